// SPDX-License-Identifier: Apache-2.0
//
// close and close_range: while other threads wait on other descriptors, numbers used again at once
// for another kind, a descriptor closed under a thread that waits on it (ends when the peer acts),
// closing every descriptor a daemon does not know, and fclose, which closes behind everybody's
// back.

#include <dirent.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "testing.h"

static void others_keep_waiting() {
  Pair pair;
  char byte;
  std::atomic<bool> stop{false};
  Thread churn([&] {
    while (!stop) {
      Pipe pipe;
      Pair other;
      int copy = dup(pipe.a);
      EXPECT_OK(0, close(copy));
    }
  });
  for (int i = 0; i < 3; i++) {
    Stopwatch watch;
    Thread writer = after(20, [&] { EXPECT_OK(1, send(pair.a, "o", 1, 0)); });
    EXPECT_OK(1, recv(pair.b, &byte, 1, 0));
    EXPECT(watch.took_between(15, 4000));
  }
  stop = true;
}

// The same few numbers are pipes, sockets, files and eventfds in turn; each waits as its kind does.
static void numbers_are_used_again() {
  char bytes[8];
  for (int round = 0; round < 4; round++) {
    {
      Pipe pipe;
      Thread writer = after(2, [&] { EXPECT_OK(1, write(pipe.b, "p", 1)); });
      EXPECT_OK(1, read(pipe.a, bytes, 8));
      EXPECT_ERRNO(ENOTSOCK, recv(pipe.a, bytes, 8, 0));
    }
    {
      Pair pair;
      Thread writer = after(2, [&] { EXPECT_OK(1, write(pair.b, "s", 1)); });
      EXPECT_OK(1, read(pair.a, bytes, 8));
      set_nonblocking(pair.a, true);
      EXPECT_ERRNO(EAGAIN, read(pair.a, bytes, 8));
    }
    {
      int event = NEED(eventfd(0, 0));
      uint64_t one = 1;
      Thread writer = after(2, [&] { EXPECT_OK(8, write(event, &one, 8)); });
      EXPECT_OK(8, read(event, bytes, 8));
      writer.join();
      EXPECT_OK(0, close(event));
      int file = NEED(open("/dev/zero", O_RDONLY));
      EXPECT_OK(8, read(file, bytes, 8));
      EXPECT_OK(0, close(file));
    }
  }
}

// fclose and closedir issue their close inside libc: the number comes back as something else.
static void closed_by_libc() {
  char byte;
  for (int round = 0; round < 4; round++) {
    int fd = NEED(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    EXPECT_ERRNO(EINVAL, recv(fd, &byte, 1, 0));  // known now as a socket, not blocking
    FILE* file = fdopen(fd, "r+");
    EXPECT_EQ(0, fclose(file));
    Pipe pipe;  // takes the same number
    EXPECT_EQ(fd, pipe.a);
    Stopwatch watch;
    Thread writer = after(20, [&] { EXPECT_OK(1, write(pipe.b, "f", 1)); });
    EXPECT_OK(1, read(pipe.a, &byte, 1));
    EXPECT(watch.took_between(15, 4000));
    writer.join();
    file = fdopen(pipe.a, "r");
    EXPECT_EQ(0, fclose(file));
    Pair pair;
    EXPECT_EQ(pipe.a, pair.a);
    pipe.a = -1;
    Thread sender = after(5, [&] { EXPECT_OK(1, send(pair.b, "g", 1, 0)); });
    EXPECT_OK(1, recv(pair.a, &byte, 1, 0));
    DIR* directory = opendir("/");
    EXPECT(directory && readdir(directory));
    closedir(directory);
  }
}

// freopen puts another description under the same number.
static void reopened_by_libc() {
  for (int round = 0; round < 2; round++) {
    char path[64], byte;
    Pair pair;
    int fd = NEED(dup(pair.a));
    FILE* file = fdopen(fd, "r+");
    Thread sender = after(5, [&] { EXPECT_OK(1, send(pair.b, "s", 1, 0)); });
    EXPECT_OK(1, recv(fd, &byte, 1, 0));
    sender.join();
    Pipe pipe;
    snprintf(path, sizeof path, "/proc/self/fd/%d", pipe.a);
    file = round ? freopen64(path, "r", file) : freopen(path, "r", file);
    EXPECT(file && fileno(file) == fd);
    EXPECT_ERRNO(ENOTSOCK, recv(fd, &byte, 1, 0));
    Stopwatch watch;
    Thread writer = after(20, [&] { EXPECT_OK(1, write(pipe.b, "p", 1)); });
    EXPECT_OK(1, read(fd, &byte, 1));
    EXPECT_WAITED(watch);
    fclose(file);
  }
}

// Natively the one who waits is not told of the close and ends when the peer acts; he may also hear
// EBADF. What must not be: that he waits for ever, or gets bytes of whoever has the number now.
static void under_the_one_who_waits() {
  Pair pair, stranger;
  int fd = NEED(dup(pair.b));
  char byte = 0;
  ssize_t n = 0;
  int error = 0;
  {
    Thread reader([&] {
      n = recv(fd, &byte, 1, 0);
      error = errno;
    });
    pause_ms(20);
    EXPECT_OK(0, close(fd));
    EXPECT_OK(fd, dup2(stranger.b, fd));
    EXPECT_OK(1, send(stranger.a, "S", 1, 0));
    EXPECT_OK(1, send(pair.a, "P", 1, 0));
  }
  EXPECT(n == 1 ? byte == 'P' : n == -1 && error == EBADF);
  EXPECT_OK(1, recv(fd, &byte, 1, 0));
  EXPECT_EQ('S', byte);
  close(fd);
}

static void ranges() {
  Pair pair;
  int high[3];
  for (int& fd : high) fd = NEED(fcntl(pair.a, F_DUPFD, 600));
  EXPECT_OK(0, close_range(high[0], high[1], CLOSE_RANGE_CLOEXEC));
  EXPECT_EQ(FD_CLOEXEC, fcntl(high[0], F_GETFD));
  EXPECT_EQ(0, fcntl(high[2], F_GETFD));
  EXPECT_OK(0, close_range(high[0], high[2], 0));
  char byte;
  for (int fd : high) EXPECT_ERRNO(EBADF, recv(fd, &byte, 1, 0));
  EXPECT_ERRNO(EINVAL, close_range(10, 5, 0));
  EXPECT_ERRNO(EINVAL, close_range(600, 700, 0x100));
}

// What daemons do before they begin: close all they do not know. Nothing that carries us may break.
static void all_that_is_unknown() {
  Pipe pipe;
  int low = pipe.a < pipe.b ? pipe.b : pipe.a;
  char byte;
  if (low < 64) {
    for (int fd = low + 1; fd < 1024; fd++) close(fd);
    EXPECT_OK(0, close_range(low + 1, ~0u, 0));
    closefrom(low + 1);
  }
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pipe.b, "d", 1)); });
  EXPECT_OK(1, read(pipe.a, &byte, 1));
  EXPECT_WAITED(watch);
  Pair pair;
  pollfd one = {pair.a, POLLIN, 0};
  Thread sender = after(20, [&] { EXPECT_OK(1, send(pair.b, "e", 1, 0)); });
  EXPECT_OK(1, poll(&one, 1, 2000));
}

static void errors() {
  EXPECT_ERRNO(EBADF, close(-1));
  EXPECT_ERRNO(EBADF, close(9999));
  int fd = NEED(eventfd(0, 0));
  EXPECT_OK(0, close(fd));
  EXPECT_ERRNO(EBADF, close(fd));
}

int main() {
  from_both([] {
    others_keep_waiting();
    numbers_are_used_again();
    closed_by_libc();
    reopened_by_libc();
    under_the_one_who_waits();
    ranges();
    all_that_is_unknown();
    errors();
  });
  return finish();
}
