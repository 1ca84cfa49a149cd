// SPDX-License-Identifier: Apache-2.0
//
// dup, dup2, dup3 and fcntl's F_DUPFD: one description under several numbers (O_NONBLOCK is shared,
// CLOEXEC is not), a number that becomes something else by dup2, waiting on a duplicate, closing
// one of two, and errors.

#include "testing.h"

static void flags_are_shared_or_not() {
  Pipe pipe;
  int copy = NEED(dup(pipe.a));
  int high = NEED(fcntl(pipe.a, F_DUPFD, 200));
  int sealed = NEED(fcntl(pipe.a, F_DUPFD_CLOEXEC, 200));
  EXPECT(high >= 200 && sealed > high);
  EXPECT_EQ(FD_CLOEXEC, fcntl(sealed, F_GETFD));
  EXPECT_EQ(0, fcntl(high, F_GETFD));
  set_nonblocking(copy, true);
  char byte;
  EXPECT(is_nonblocking(pipe.a) && is_nonblocking(high));
  EXPECT_ERRNO(EAGAIN, read(pipe.a, &byte, 1));
  EXPECT_ERRNO(EAGAIN, read(high, &byte, 1));
  set_nonblocking(sealed, false);
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pipe.b, "d", 1)); });
  EXPECT_OK(1, read(copy, &byte, 1));
  EXPECT_WAITED(watch);
  writer.join();
  close(copy);
  close(high);
  close(sealed);
}

// The number that was a pipe is a socket afterwards, and a file after that.
static void a_number_changes_its_kind() {
  Pipe pipe;
  Pair pair;
  Pipe other;
  int number = NEED(dup(other.a));
  char byte;
  Thread one = after(20, [&] { EXPECT_OK(1, write(other.b, "1", 1)); });
  EXPECT_OK(1, read(number, &byte, 1));
  EXPECT_OK(number, dup2(pair.a, number));
  Stopwatch watch;
  Thread two = after(20, [&] { EXPECT_OK(1, send(pair.b, "2", 1, 0)); });
  EXPECT_OK(1, recv(number, &byte, 1, 0));
  EXPECT_WAITED(watch);
  EXPECT_OK(number, dup3(pipe.a, number, O_CLOEXEC));
  EXPECT_EQ(FD_CLOEXEC, fcntl(number, F_GETFD));
  EXPECT_ERRNO(ENOTSOCK, recv(number, &byte, 1, 0));
  Thread three = after(20, [&] { EXPECT_OK(1, write(pipe.b, "3", 1)); });
  EXPECT_OK(1, read(number, &byte, 1));
  EXPECT_EQ('3', byte);
  int null = NEED(open("/dev/null", O_RDWR));
  EXPECT_OK(number, dup2(null, number));
  EXPECT_OK(0, read(number, &byte, 1));
  EXPECT_OK(1, write(number, &byte, 1));
  close(null);
  close(number);
}

// The reader keeps waiting on what it began with, although its number is something else by now.
static void dup2_over_a_number_somebody_waits_on() {
  Pair pair, other;
  int number = NEED(dup(pair.a));
  char byte = 0;
  Thread changer = after(20, [&] {
    EXPECT_OK(1, send(pair.b, "k", 1, 0));
    pause_ms(10);
    EXPECT_OK(number, dup2(other.a, number));
  });
  EXPECT_OK(1, recv(number, &byte, 1, 0));
  EXPECT_EQ('k', byte);
  changer.join();
  Thread writer = after(20, [&] { EXPECT_OK(1, send(other.b, "o", 1, 0)); });
  EXPECT_OK(1, recv(number, &byte, 1, 0));
  EXPECT_EQ('o', byte);
  close(number);
}

static void one_of_two_is_closed() {
  Pair pair;
  int copy = NEED(dup(pair.b));
  char byte;
  Thread closer = after(20, [&] {
    close(copy);
    pause_ms(20);
    EXPECT_OK(1, send(pair.a, "c", 1, 0));
  });
  Stopwatch watch;
  EXPECT_OK(1, recv(pair.b, &byte, 1, 0));  // no end of stream: the other number lives
  EXPECT(watch.took_between(35, 4000));
  closer.join();
  EXPECT_ERRNO(EBADF, recv(copy, &byte, 1, 0));
}

static void errors() {
  Pipe pipe;
  EXPECT_ERRNO(EBADF, dup(-1));
  EXPECT_ERRNO(EBADF, dup(9999));
  EXPECT_ERRNO(EBADF, dup2(9999, pipe.a));
  EXPECT_ERRNO(EBADF, dup2(pipe.a, -1));
  EXPECT_ERRNO(EBADF, dup2(pipe.a, 1 << 30));
  EXPECT_ERRNO(EBADF, dup2(9999, 9999));
  EXPECT_OK(pipe.a, dup2(pipe.a, pipe.a));
  EXPECT_ERRNO(EINVAL, dup3(pipe.a, pipe.a, 0));
  EXPECT_ERRNO(EINVAL, dup3(pipe.a, pipe.b, O_APPEND));
  EXPECT_ERRNO(EBADF, dup3(9999, pipe.b, 0));
  EXPECT_ERRNO(EINVAL, fcntl(pipe.a, F_DUPFD, -1));
  EXPECT_ERRNO(EBADF, fcntl(-1, F_DUPFD, 0));
  EXPECT_OK(1, write(pipe.b, "!", 1));  // nothing of that has harmed it
  EXPECT_EQ(1, drain(pipe.a, 1));
}

int main() {
  from_both([] {
    flags_are_shared_or_not();
    a_number_changes_its_kind();
    dup2_over_a_number_somebody_waits_on();
    one_of_two_is_closed();
    errors();
  });
  return finish();
}
