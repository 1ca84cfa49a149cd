// SPDX-License-Identifier: Apache-2.0
//
// The user's O_NONBLOCK, set and taken back by fcntl(F_SETFL) and ioctl(FIONBIO), through this
// descriptor or a duplicate, before a call and while another thread waits; other fcntl and ioctl
// commands pass.

#include <sys/ioctl.h>
#include <sys/stat.h>

#include "testing.h"

static void by_ioctl(int from, int to) {
  int on = 1, off = 0, count = -1;
  char byte;
  EXPECT_OK(0, ioctl(from, FIONBIO, &on));
  EXPECT(is_nonblocking(from));
  EXPECT_ERRNO(EAGAIN, read(from, &byte, 1));
  EXPECT_OK(0, ioctl(from, FIONBIO, &off));
  EXPECT(!is_nonblocking(from));
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(3, write(to, "abc", 3)); });
  EXPECT_OK(1, read(from, &byte, 1));
  EXPECT_WAITED(watch);
  EXPECT_OK(0, ioctl(from, FIONREAD, &count));
  EXPECT_EQ(2, count);
  EXPECT_EQ(2, drain(from, 2));
}

static void by_fcntl_through_a_duplicate(int from, int to) {
  int copy = NEED(dup(from));
  char byte;
  int flags = fcntl(copy, F_GETFL);
  EXPECT_OK(0, fcntl(copy, F_SETFL, flags | O_NONBLOCK));
  EXPECT_EQ(flags | O_NONBLOCK, fcntl(from, F_GETFL));
  EXPECT_ERRNO(EAGAIN, read(from, &byte, 1));
  close(copy);
  EXPECT_ERRNO(EAGAIN, read(from, &byte, 1));  // it stays when the duplicate goes
  EXPECT_OK(0, fcntl(from, F_SETFL, flags));
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(1, write(to, "f", 1)); });
  EXPECT_OK(1, read(from, &byte, 1));
  EXPECT_WAITED(watch);
}

// The same description reached behind everybody's back: /proc gives a new one for a pipe, so only
// dup shares.
static void a_second_description_has_its_own_flag() {
  Pipe pipe;
  char path[40], byte;
  snprintf(path, sizeof path, "/proc/self/fd/%d", pipe.a);
  int second = NEED(open(path, O_RDONLY | O_NONBLOCK));
  EXPECT(is_nonblocking(second) && !is_nonblocking(pipe.a));
  EXPECT_ERRNO(EAGAIN, read(second, &byte, 1));
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pipe.b, "p", 1)); });
  EXPECT_OK(1, read(pipe.a, &byte, 1));
  EXPECT_WAITED(watch);
  close(second);
}

// Set while another thread waits: its call goes on waiting, the next one does not.
static void set_meanwhile(int from, int to) {
  char byte;
  Stopwatch watch;
  Thread setter = after(20, [&] {
    set_nonblocking(from, true);
    pause_ms(20);
    EXPECT_OK(1, write(to, "m", 1));
  });
  ssize_t n = read(from, &byte, 1);
  EXPECT_EQ(1, n);
  EXPECT(watch.took_between(35, 4000));
  setter.join();
  EXPECT_ERRNO(EAGAIN, read(from, &byte, 1));
  set_nonblocking(from, false);
}

static void other_commands() {
  Pipe pipe;
  EXPECT_OK(65536, fcntl(pipe.a, F_GETPIPE_SZ));
  EXPECT_OK(4096, fcntl(pipe.b, F_SETPIPE_SZ, 4096));
  EXPECT_EQ(4096, fill_up(pipe.b));
  EXPECT_OK(O_RDONLY, fcntl(pipe.a, F_GETFL));
  EXPECT_OK(0, fcntl(pipe.a, F_SETFD, FD_CLOEXEC));
  EXPECT_OK(FD_CLOEXEC, fcntl(pipe.a, F_GETFD));
  EXPECT_OK(0, ioctl(pipe.a, FIONCLEX));
  EXPECT_OK(0, fcntl(pipe.a, F_GETFD));
  Pair pair;
  EXPECT_OK(0, fcntl(pair.a, F_SETOWN, getpid()));
  EXPECT_OK(getpid(), fcntl(pair.a, F_GETOWN));
}

static void errors() {
  int on = 1;
  Pipe pipe;
  EXPECT_ERRNO(EBADF, fcntl(-1, F_GETFL));
  EXPECT_ERRNO(EBADF, fcntl(9999, F_SETFL, O_NONBLOCK));
  EXPECT_ERRNO(EINVAL, fcntl(pipe.a, 9999));
  EXPECT_ERRNO(EBADF, ioctl(-1, FIONBIO, &on));
  EXPECT_ERRNO(EFAULT, ioctl(pipe.a, FIONBIO, nullptr));
  EXPECT_ERRNO(ENOTTY, ioctl(pipe.a, TCGETS, &on));
  int null = NEED(open("/dev/null", O_RDONLY));
  EXPECT_ERRNO(ENOTTY, ioctl(null, 0x1234567, &on));
  close(null);
}

int main() {
  from_both([] {
    Pipe pipe;
    Pair pair;
    Tcp tcp;
    for (Ends* ends : {(Ends*)&pipe, (Ends*)&pair, (Ends*)&tcp}) {
      by_ioctl(ends->a, ends->b);
      by_fcntl_through_a_duplicate(ends->a, ends->b);
      set_meanwhile(ends->a, ends->b);
    }
    a_second_description_has_its_own_flag();
    other_commands();
    errors();
  });
  return finish();
}
