// SPDX-License-Identifier: Apache-2.0
//
// Fortified programs: with -D_FORTIFY_SOURCE=2 and buffers whose size the compiler knows but whose
// count it does not, glibc's checking doors are called instead. `nm -D hook_test_fortify` shows U
// __read_chk, __pread_chk,
// __pread64_chk, __recv_chk, __recvfrom_chk, __poll_chk, __ppoll_chk, __open_2; CTest's
// hooks.fortify.imports checks that. They wait like the plain calls, and still end a program that
// overruns its buffer.

#include <poll.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "testing.h"

static volatile size_t eight = 8;  // a count that the compiler cannot see
static volatile int one = 1;

static void reading(int source, int target) {
  char buffer[8];
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(5, write(target, "chk!!", 5)); });
  EXPECT_OK(5, read(source, buffer, eight));
  EXPECT_WAITED(watch);
  EXPECT(!memcmp(buffer, "chk!!", 5));
  EXPECT_ERRNO(EBADF, read(-one, buffer, eight));
  EXPECT_OK(0, read(source, buffer, eight - 8));
}

static void receiving() {
  Tcp tcp;
  char buffer[8];
  sockaddr_in from;
  socklen_t length = sizeof from;
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(3, send(tcp.a, "abc", 3, 0)); });
  EXPECT_OK(3, recv(tcp.b, buffer, eight, 0));
  EXPECT_WAITED(watch);
  writer.join();
  Stopwatch second;
  Thread sender = after(20, [&] { EXPECT_OK(2, send(tcp.a, "de", 2, 0)); });
  EXPECT_OK(2, recvfrom(tcp.b, buffer, eight, 0, (sockaddr*)&from, &length));
  EXPECT_WAITED(second);
  EXPECT_ERRNO(EAGAIN, recv(tcp.b, buffer, eight, MSG_DONTWAIT));
  EXPECT_INTERRUPTED(recv(tcp.b, buffer, eight, 0));
}

static void polling() {
  Pair pair;
  pollfd fds[1] = {{pair.a, POLLIN, 0}};
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pair.b, "p", 1)); });
  EXPECT_OK(1, poll(fds, one, 3000));
  EXPECT_WAITED(watch);
  EXPECT_EQ(1, drain(pair.a, 1));
  timespec time = to_timespec(30000);
  Stopwatch timing;
  EXPECT_OK(0, ppoll(fds, one, &time, nullptr));
  EXPECT(timing.took_between(29, 3000));
  EXPECT(timing.others_ran());
  writer.join();
  Thread again = after(20, [&] { EXPECT_OK(1, write(pair.b, "p", 1)); });
  EXPECT_OK(1, ppoll(fds, one, nullptr, nullptr));
  fd_set in;
  FD_ZERO(&in);
  FD_SET(pair.a * one, &in);
  EXPECT_OK(1, select(pair.a + 1, &in, nullptr, nullptr, nullptr));
}

static void positioned() {
  char buffer[8];
  int zero = NEED(open("/dev/zero", O_RDONLY)), file = NEED(open("/proc/self/exe", O_RDONLY));
  EXPECT_OK(8, pread(file, buffer, eight, 0));
  EXPECT(!memcmp(buffer, "\177ELF", 4));
  EXPECT_OK(8, pread64(file, buffer, eight, 0));
  EXPECT_OK(8, read(zero, buffer, eight));
  close(zero);
  close(file);
}

// Flags that the compiler cannot see go through __open_2 and its kin, which wait for a FIFO's other
// side too.
static void opening() {
  char path[64];
  snprintf(path, sizeof path, "/tmp/hook_test_fortify.%d", getpid());
  EXPECT_OK(0, mkfifo(path, 0600));
  int flags = (one - 1) | O_RDONLY;
  for (int i = 0; i < 4; i++) {
    int writer = -1;
    Stopwatch watch;
    Thread helper = after(20, [&] { writer = NEED(open(path, O_WRONLY)); });
    int fd = i == 0   ? open(path, flags)
             : i == 1 ? open64(path, flags)
             : i == 2 ? openat(AT_FDCWD, path, flags)
                      : openat64(AT_FDCWD, path, flags);
    NEED(fd);
    EXPECT_WAITED(watch);
    helper.join();
    close(fd);
    close(writer);
  }
  EXPECT_OK(0, unlink(path));
  EXPECT_ERRNO(ENOENT, open(path, flags));
}

// An overrun must end the program by SIGABRT, before anything is read.
template <class F>
static void ends_it(F overrun) {
  pid_t child = fork();
  if (child == 0) {
    int null = open("/dev/null", O_WRONLY);
    dup2(null, 2);
    overrun();
    _exit(0);
  }
  int status = 0;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void overruns() {
  ends_it([] {
    Pipe pipe;
    char buffer[8];
    (void)!read(pipe.a, buffer, eight + 1);
  });
  ends_it([] {
    Pair pair;
    char buffer[8];
    (void)!recv(pair.a, buffer, eight + 1, MSG_DONTWAIT);
  });
  ends_it([] { (void)!open("/tmp/none", (one - 1) | O_CREAT); });  // and no mode
  ends_it([] {
    pollfd fds[1] = {{-1, 0, 0}};
    (void)!poll(fds, one + 1, 0);
  });
}

int main() {
  overruns();
  from_both([] {
    Pipe pipe;
    reading(pipe.a, pipe.b);
    Pair pair;
    reading(pair.a, pair.b);
    receiving();
    polling();
    positioned();
    opening();
  });
  return finish();
}
