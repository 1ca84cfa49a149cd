// SPDX-License-Identifier: Apache-2.0
//
// socket and socketpair: kinds, the NONBLOCK and CLOEXEC flags as fcntl shows them, errors;
// getsockopt and setsockopt of what the library has to remember (timeouts) come back as they were
// set.

#include <sys/un.h>

#include "testing.h"

static void flags() {
  int plain = NEED(socket(AF_INET, SOCK_STREAM, 0));
  EXPECT(!is_nonblocking(plain));
  EXPECT_EQ(0, fcntl(plain, F_GETFD));
  int both = NEED(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  EXPECT(is_nonblocking(both));
  EXPECT_EQ(FD_CLOEXEC, fcntl(both, F_GETFD));
  guarded<char[1]> byte;
  EXPECT_ERRNO(ENOTCONN, recv(both, byte.value, 1, 0));
  close(plain);
  close(both);
}

static void pairs() {
  guarded<int[2]> fds;
  EXPECT_OK(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.value));
  char byte = 'p';
  for (int fd : fds.value) {
    EXPECT(is_nonblocking(fd));
    EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
    EXPECT_ERRNO(EAGAIN, read(fd, &byte, 1));
  }
  EXPECT_OK(1, write(fds.value[0], &byte, 1));
  EXPECT_OK(1, read(fds.value[1], &byte, 1));
  close(fds.value[0]);
  close(fds.value[1]);
}

static void errors() {
  guarded<int[2]> fds;
  EXPECT_ERRNO(EAFNOSUPPORT, socket(999, SOCK_STREAM, 0));
  EXPECT_ERRNO(EINVAL, socket(AF_INET, 99, 0));
  EXPECT_ERRNO(EPROTONOSUPPORT, socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
  EXPECT_ERRNO(EINVAL, socket(AF_INET, SOCK_STREAM | 0x40000000, 0));
  EXPECT_ERRNO(EOPNOTSUPP, socketpair(AF_INET, SOCK_STREAM, 0, fds.value));
  EXPECT_ERRNO(EAFNOSUPPORT, socketpair(999, SOCK_STREAM, 0, fds.value));
  EXPECT_ERRNO(EFAULT, socketpair(AF_UNIX, SOCK_STREAM, 0, (int*)8));
}

static void timeouts_read_back(int option) {
  Pair pair;
  timeval zero;
  socklen_t length = sizeof zero;
  EXPECT_OK(0, getsockopt(pair.a, SOL_SOCKET, option, &zero, &length));
  EXPECT_EQ(0, zero.tv_sec);
  EXPECT_EQ(0, zero.tv_usec);
  timeval set = {3, 500000}, got = {};
  EXPECT_OK(0, setsockopt(pair.a, SOL_SOCKET, option, &set, sizeof set));
  EXPECT_OK(0, getsockopt(pair.a, SOL_SOCKET, option, &got, &length));
  EXPECT_EQ(3, got.tv_sec);
  EXPECT_EQ(500000, got.tv_usec);
  timeval wrong = {1, 1000000};
  EXPECT_ERRNO(EDOM, setsockopt(pair.a, SOL_SOCKET, option, &wrong, sizeof wrong));
  EXPECT_ERRNO(EINVAL, setsockopt(pair.a, SOL_SOCKET, option, &set, 3));
  EXPECT_OK(0, getsockopt(pair.a, SOL_SOCKET, option, &got, &length));
  EXPECT_EQ(3, got.tv_sec);
  // A negative time means: do not wait at all; it reads back as none.
  timeval negative = {-1, 0};
  char byte;
  EXPECT_OK(0, setsockopt(pair.a, SOL_SOCKET, option, &negative, sizeof negative));
  EXPECT_OK(0, getsockopt(pair.a, SOL_SOCKET, option, &got, &length));
  EXPECT_EQ(0, got.tv_sec);
  if (option == SO_RCVTIMEO) EXPECT_ERRNO(EAGAIN, recv(pair.a, &byte, 1, 0));
  EXPECT_ERRNO(EBADF, setsockopt(-1, SOL_SOCKET, option, &set, sizeof set));
  Pipe pipe;
  EXPECT_ERRNO(ENOTSOCK, setsockopt(pipe.a, SOL_SOCKET, option, &set, sizeof set));
}

static void other_options() {
  int fd = NEED(socket(AF_INET, SOCK_STREAM, 0));
  guarded<int> value;
  guarded<socklen_t> length(sizeof(int));
  EXPECT_OK(0, getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length));
  EXPECT_EQ(SOCK_STREAM, value.value);
  int on = 1;
  EXPECT_OK(0, setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
  EXPECT_OK(0, getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, &length));
  EXPECT_EQ(1, value.value);
  EXPECT_ERRNO(ENOPROTOOPT, setsockopt(fd, SOL_SOCKET, 9999, &on, sizeof on));
  EXPECT_ERRNO(EOPNOTSUPP, listen(Pair(SOCK_DGRAM).a, 1));
  EXPECT_ERRNO(EBADF, listen(-1, 1));
  close(fd);
}

static void a_socket_works_after_all_that() {
  Pair pair;
  char byte;
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pair.b, "w", 1)); });
  EXPECT_OK(1, recv(pair.a, &byte, 1, 0));
  EXPECT_WAITED(watch);
}

int main() {
  from_both([] {
    flags();
    pairs();
    errors();
    timeouts_read_back(SO_RCVTIMEO);
    timeouts_read_back(SO_SNDTIMEO);
    other_options();
    a_socket_works_after_all_that();
  });
  return finish();
}
