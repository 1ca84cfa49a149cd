// SPDX-License-Identifier: Apache-2.0
//
// accept and accept4: a connection that waits already, one that comes later, the peer's address and
// its length, the flags of the new descriptor, two threads at one listener, time-outs, shutdown of
// the listener, the user's O_NONBLOCK and the order of errors.

#include <sys/un.h>

#include "testing.h"

static void ready_at_once() {
  int server = listener();
  int client = connect_to(address_of(server));
  guarded<sockaddr_in> peer;
  guarded<socklen_t> length(sizeof(sockaddr_in));
  errno = 77;
  int fd = accept(server, (sockaddr*)&peer, &length);
  EXPECT_EQ(77, errno);
  NEED(fd);
  EXPECT_EQ(sizeof(sockaddr_in), length.value);
  EXPECT_EQ(address_of(client).sin_port, peer.value.sin_port);
  EXPECT(!is_nonblocking(fd));
  EXPECT_EQ(0, fcntl(fd, F_GETFD));
  close(fd);
  close(client);
  close(server);
}

static void waits_for_a_client() {
  int server = listener();
  sockaddr_in address = address_of(server);
  Stopwatch watch;
  Thread client = after(20, [&] {
    int fd = connect_to(address);
    char byte;
    EXPECT_OK(0, recv(fd, &byte, 1, 0));
    close(fd);
  });
  int fd = accept(server, nullptr, nullptr);
  EXPECT_WAITED(watch);
  EXPECT(fd >= 0);
  EXPECT(!is_nonblocking(server));
  EXPECT(!is_nonblocking(fd));
  close(fd);
  close(server);
}

static void a_short_address_is_cut() {
  int server = listener();
  int client = connect_to(address_of(server));
  guarded<char[sizeof(sockaddr_in)]> peer;
  guarded<socklen_t> length(4);
  int fd = NEED(accept4(server, (sockaddr*)peer.value, &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
  EXPECT_EQ(sizeof(sockaddr_in), length.value);  // the true length
  EXPECT(peer.untouched_from(4));
  EXPECT(is_nonblocking(fd));
  EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
  char byte;
  EXPECT_ERRNO(EAGAIN, recv(fd, &byte, 1, 0));
  close(fd);
  close(client);
  close(server);
}

static void accepted_sockets_do_not_inherit_nonblock() {
  int server = listener();
  set_nonblocking(server, true);
  EXPECT_ERRNO(EAGAIN, accept(server, nullptr, nullptr));
  EXPECT_ERRNO(EAGAIN, accept4(server, nullptr, nullptr, 0));
  int client = connect_to(address_of(server));
  int fd = NEED(accept(server, nullptr, nullptr));
  EXPECT(!is_nonblocking(fd));
  char byte;
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(1, send(client, "q", 1, 0)); });
  EXPECT_OK(1, recv(fd, &byte, 1, 0));
  EXPECT_WAITED(watch);
  writer.join();
  close(fd);
  close(client);
  close(server);
}

static void two_acceptors() {
  int server = listener();
  sockaddr_in address = address_of(server);
  std::atomic<int> got{0};
  Thread clients = after(20, [&] {
    int first = connect_to(address);
    int second = connect_to(address);
    while (got < 2) pause_ms(1);
    close(first);
    close(second);
  });
  in_threads(2, [&](int) {
    int fd = accept4(server, nullptr, nullptr, 0);
    EXPECT(fd >= 0);
    got++;
    close(fd);
  });
  clients.join();
  close(server);
}

static void times_out() {
  int server = listener();
  set_timeout(server, SO_RCVTIMEO, 30);
  Stopwatch watch;
  EXPECT_ERRNO(EAGAIN, accept(server, nullptr, nullptr));
  EXPECT(watch.took_between(28, 3000));
  EXPECT(watch.others_ran());
  close(server);
}

static void shutdown_ends_it() {
  int server = listener();
  Stopwatch watch;
  Thread stopper = after(20, [&] { EXPECT_OK(0, shutdown(server, SHUT_RDWR)); });
  EXPECT_ERRNO(EINVAL, accept(server, nullptr, nullptr));
  EXPECT_WAITED(watch);
  stopper.join();
  close(server);
}

static void unix_peers() {
  int server = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  EXPECT_EQ(0, bind(server, (sockaddr*)&address, sizeof(sa_family_t)));  // autobind
  socklen_t length = sizeof address;
  EXPECT_OK(0, getsockname(server, (sockaddr*)&address, &length));
  EXPECT_OK(0, listen(server, 4));
  int client = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  Thread connecting =
      after(20, [&] { EXPECT_OK(0, connect(client, (sockaddr*)&address, length)); });
  guarded<sockaddr_un> peer;
  guarded<socklen_t> peer_length(sizeof(sockaddr_un));
  int fd = NEED(accept(server, (sockaddr*)&peer, &peer_length));
  EXPECT_EQ(sizeof(sa_family_t), peer_length.value);
  connecting.join();
  close(fd);
  close(client);
  close(server);
}

static void errors() {
  Pipe pipe;
  int idle = NEED(socket(AF_INET, SOCK_STREAM, 0));
  int datagram = bound_socket(SOCK_DGRAM);
  int server = listener();
  EXPECT_ERRNO(EBADF, accept(-1, nullptr, nullptr));
  EXPECT_ERRNO(EBADF, accept4(9999, nullptr, nullptr, 0));
  EXPECT_ERRNO(ENOTSOCK, accept(pipe.a, nullptr, nullptr));
  EXPECT_ERRNO(EINVAL, accept(idle, nullptr, nullptr));
  EXPECT_ERRNO(EOPNOTSUPP, accept(datagram, nullptr, nullptr));
  EXPECT_ERRNO(EINVAL, accept4(server, nullptr, nullptr, 1));
  EXPECT_ERRNO(EINVAL, accept4(pipe.a, nullptr, nullptr, 1));  // flags are looked at first
  EXPECT_ERRNO(EBADF, accept4(-1, nullptr, nullptr, 1));       // but after the descriptor
  close(idle);
  close(datagram);
  close(server);
}

int main() {
  from_both([] {
    ready_at_once();
    waits_for_a_client();
    a_short_address_is_cut();
    accepted_sockets_do_not_inherit_nonblock();
    two_acceptors();
    times_out();
    shutdown_ends_it();
    unix_peers();
    errors();
  });
  return finish();
}
