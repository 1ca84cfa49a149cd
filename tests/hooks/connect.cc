// SPDX-License-Identifier: Apache-2.0
//
// connect: to a listener, refused, without anybody answering (SO_SNDTIMEO), to unix sockets whose
// queue is full (waits until somebody accepts), the user's O_NONBLOCK (EINPROGRESS, then SO_ERROR),
// twice, and errors.

#include <poll.h>
#include <sys/un.h>

#include "testing.h"

static void connects() {
  int server = listener();
  sockaddr_in address = address_of(server);
  int fd = NEED(socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_OK(0, connect(fd, (sockaddr*)&address, sizeof address));
  EXPECT(!is_nonblocking(fd));
  EXPECT_ERRNO(EISCONN, connect(fd, (sockaddr*)&address, sizeof address));
  int other = NEED(accept(server, nullptr, nullptr));
  EXPECT_OK(2, send(other, "hi", 2, 0));
  char buffer[4];
  EXPECT_OK(2, recv(fd, buffer, 4, 0));
  close(other);
  close(fd);
  close(server);
}

static sockaddr_in refusing_address() {
  int fd = bound_socket(SOCK_STREAM);  // bound, but nobody listens
  sockaddr_in address = address_of(fd);
  close(fd);
  return address;
}

static void refused() {
  sockaddr_in address = refusing_address();
  int fd = NEED(socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_ERRNO(ECONNREFUSED, connect(fd, (sockaddr*)&address, sizeof address));
  EXPECT_ERRNO(ECONNREFUSED, connect(fd, (sockaddr*)&address, sizeof address));
  int error = -1;
  socklen_t length = sizeof error;
  EXPECT_OK(0, getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
  EXPECT_EQ(0, error);  // the blocking call has taken it
  close(fd);
}

// A TCP listener whose queue is full: the next client gets no answer.
struct Deaf {
  int server = listener(0), filler[4], count = 0;
  sockaddr_in address = address_of(server);
  Deaf() {
    for (int& fd : filler) {
      fd = NEED(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
      connect(fd, (sockaddr*)&address, sizeof address);
      pollfd one = {fd, POLLOUT, 0};
      count++;
      if (poll(&one, 1, 20) == 0) break;
    }
  }
  ~Deaf() {
    for (int i = 0; i < count; i++) close(filler[i]);
    close(server);
  }
};

static void nobody_answers() {
  Deaf deaf;
  int fd = NEED(socket(AF_INET, SOCK_STREAM, 0));
  set_timeout(fd, SO_SNDTIMEO, 50);
  Stopwatch watch;
  EXPECT_ERRNO(EINPROGRESS, connect(fd, (sockaddr*)&deaf.address, sizeof deaf.address));
  EXPECT(watch.took_between(45, 3000));
  EXPECT(watch.others_ran());
  Stopwatch again;
  EXPECT_ERRNO(EALREADY, connect(fd, (sockaddr*)&deaf.address, sizeof deaf.address));
  EXPECT(again.took_between(45, 3000));
  close(fd);
}

static void user_does_not_want_to_wait() {
  int server = listener();
  sockaddr_in address = address_of(server), refusing = refusing_address();
  int fd = NEED(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  EXPECT_ERRNO(EINPROGRESS, connect(fd, (sockaddr*)&address, sizeof address));
  pollfd one = {fd, POLLOUT, 0};
  EXPECT_EQ(1, poll(&one, 1, 2000));
  EXPECT_EQ(POLLOUT, one.revents);
  int error = -1;
  socklen_t length = sizeof error;
  EXPECT_OK(0, getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
  EXPECT_EQ(0, error);
  EXPECT_OK(0, connect(fd, (sockaddr*)&address, sizeof address));  // the first to say so
  EXPECT_ERRNO(EISCONN, connect(fd, (sockaddr*)&address, sizeof address));
  close(fd);

  fd = NEED(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  EXPECT_ERRNO(EINPROGRESS, connect(fd, (sockaddr*)&refusing, sizeof refusing));
  one = {fd, POLLOUT, 0};
  EXPECT_EQ(1, poll(&one, 1, 2000));
  EXPECT_EQ(POLLOUT | POLLERR | POLLHUP, one.revents);
  EXPECT_OK(0, getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
  EXPECT_EQ(ECONNREFUSED, error);
  close(fd);
  close(server);
}

static void datagram_sockets() {
  int one = bound_socket(SOCK_DGRAM), two = bound_socket(SOCK_DGRAM);
  sockaddr_in address = address_of(two);
  EXPECT_OK(0, connect(one, (sockaddr*)&address, sizeof address));
  EXPECT_OK(0, connect(one, (sockaddr*)&address, sizeof address));  // may be repeated
  EXPECT_OK(3, send(one, "dgm", 3, 0));
  char buffer[4];
  EXPECT_OK(3, recv(two, buffer, 4, 0));
  sockaddr nobody = {};
  nobody.sa_family = AF_UNSPEC;
  EXPECT_OK(0, connect(one, &nobody, sizeof nobody));
  EXPECT_ERRNO(EDESTADDRREQ, send(one, "x", 1, 0));
  close(one);
  close(two);
}

// A unix listener with one client waiting already: the queue of backlog 0 is full.
static void unix_waits_for_room() {
  int server = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  socklen_t length = sizeof address;
  EXPECT_EQ(0, bind(server, (sockaddr*)&address, sizeof(sa_family_t)));
  EXPECT_EQ(0, getsockname(server, (sockaddr*)&address, &length));
  EXPECT_OK(0, listen(server, 0));
  int first = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_OK(0, connect(first, (sockaddr*)&address, length));

  int second = NEED(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
  EXPECT_ERRNO(EAGAIN, connect(second, (sockaddr*)&address, length));
  set_nonblocking(second, false);
  set_timeout(second, SO_SNDTIMEO, 30);
  Stopwatch timing;
  EXPECT_ERRNO(EAGAIN, connect(second, (sockaddr*)&address, length));
  EXPECT(timing.took_between(28, 3000));
  EXPECT(timing.others_ran());

  set_timeout(second, SO_SNDTIMEO, 0);
  int accepted = -1;
  Stopwatch watch;
  Thread acceptor = after(20, [&] { accepted = accept(server, nullptr, nullptr); });
  EXPECT_OK(0, connect(second, (sockaddr*)&address, length));
  EXPECT_WAITED(watch);
  acceptor.join();
  // Connected already, but the queue is looked at first: full it is again, with this very
  // connection.
  set_nonblocking(second, true);
  EXPECT_ERRNO(EAGAIN, connect(second, (sockaddr*)&address, length));
  close(accepted);
  accepted = NEED(accept(server, nullptr, nullptr));
  EXPECT_ERRNO(EISCONN, connect(second, (sockaddr*)&address, length));
  close(accepted);
  close(first);
  close(second);
  close(server);
  second = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_ERRNO(ECONNREFUSED, connect(second, (sockaddr*)&address, length));
  close(second);
}

static void errors() {
  Pipe pipe;
  int fd = NEED(socket(AF_INET, SOCK_STREAM, 0)), server = listener();
  sockaddr_in address = address_of(server), other_family = address;
  other_family.sin_family = 999;
  sockaddr_un missing = {AF_UNIX, "/nonexistent/socket"};
  int local = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_ERRNO(EBADF, connect(-1, (sockaddr*)&address, sizeof address));
  EXPECT_ERRNO(ENOTSOCK, connect(pipe.a, (sockaddr*)&address, sizeof address));
  EXPECT_ERRNO(EAFNOSUPPORT, connect(fd, (sockaddr*)&other_family, sizeof address));
  EXPECT_ERRNO(EINVAL, connect(fd, (sockaddr*)&address, 3));
  EXPECT_ERRNO(EFAULT, connect(fd, (sockaddr*)8, sizeof address));
  EXPECT_ERRNO(EISCONN, connect(server, (sockaddr*)&address, sizeof address));
  EXPECT_ERRNO(ENOENT, connect(local, (sockaddr*)&missing, sizeof missing));
  close(fd);
  close(server);
  close(local);
}

int main() {
  from_both([] {
    connects();
    refused();
    nobody_answers();
    user_does_not_want_to_wait();
    datagram_sockets();
    unix_waits_for_room();
    errors();
  });
  return finish();
}
