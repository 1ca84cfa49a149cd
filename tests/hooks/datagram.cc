// SPDX-License-Identifier: Apache-2.0
//
// Datagrams: sendto and recvfrom over UDP and unix sockets: addresses and their lengths, empty
// datagrams, truncation and MSG_TRUNC, peeking, a receiver that waits, a unix sender whose
// receiver's queue is full, UDP's ECONNREFUSED, and errors.

#include <sys/un.h>

#include "testing.h"

static void there_and_back() {
  int one = bound_socket(SOCK_DGRAM), two = bound_socket(SOCK_DGRAM);
  sockaddr_in to = address_of(two), me = address_of(one);
  guarded<char[8]> buffer;
  guarded<sockaddr_in> from;
  guarded<socklen_t> length(sizeof(sockaddr_in));
  EXPECT_OK(3, sendto(one, "udp", 3, 0, (sockaddr*)&to, sizeof to));
  EXPECT_OK(3, recvfrom(two, buffer.value, 8, 0, (sockaddr*)&from, &length));
  EXPECT(!memcmp(buffer.value, "udp", 3));
  EXPECT(buffer.untouched_from(3));
  EXPECT_EQ(me.sin_port, from.value.sin_port);
  EXPECT_EQ(sizeof(sockaddr_in), length.value);

  // A length too small for the address: cut, and the true length told.
  guarded<sockaddr_in> cut;
  length.value = 2;
  EXPECT_OK(3, sendto(one, "udp", 3, 0, (sockaddr*)&to, sizeof to));
  EXPECT_OK(3, recvfrom(two, buffer.value, 8, 0, (sockaddr*)&cut, &length));
  EXPECT_EQ(sizeof(sockaddr_in), length.value);
  EXPECT(cut.untouched_from(2));
  close(one);
  close(two);
}

static void waits() {
  int one = bound_socket(SOCK_DGRAM), two = bound_socket(SOCK_DGRAM);
  sockaddr_in to = address_of(two), me = address_of(one);
  guarded<char[4]> buffer;
  guarded<sockaddr_in> from;
  guarded<socklen_t> length(sizeof(sockaddr_in));
  Stopwatch watch;
  Thread sender =
      after(20, [&] { EXPECT_OK(2, sendto(one, "ok", 2, 0, (sockaddr*)&to, sizeof to)); });
  EXPECT_OK(2, recvfrom(two, buffer.value, 4, 0, (sockaddr*)&from, &length));
  EXPECT_WAITED(watch);
  EXPECT_EQ(me.sin_port, from.value.sin_port);
  EXPECT(buffer.untouched_from(2));
  sender.join();
  close(one);
  close(two);
}

static void empty_ones_and_cut_ones() {
  int one = bound_socket(SOCK_DGRAM), two = bound_socket(SOCK_DGRAM);
  sockaddr_in to = address_of(two);
  guarded<char[8]> buffer;
  EXPECT_OK(0, connect(one, (sockaddr*)&to, sizeof to));
  EXPECT_OK(0, send(one, "", 0, 0));  // an empty datagram is a datagram
  EXPECT_OK(0, recv(two, buffer.value, 8, 0));
  EXPECT_ERRNO(EAGAIN, recv(two, buffer.value, 8, MSG_DONTWAIT));
  EXPECT_OK(6, send(one, "longer", 6, 0));
  EXPECT_OK(2, recv(two, buffer.value, 2, MSG_PEEK));
  EXPECT_OK(6, recv(two, buffer.value, 2, MSG_PEEK | MSG_TRUNC));
  EXPECT_OK(6, recv(two, buffer.value, 2, MSG_TRUNC));  // the rest is lost
  EXPECT(buffer.untouched_from(2));
  EXPECT_ERRNO(EAGAIN, recv(two, buffer.value, 8, MSG_DONTWAIT));
  Stopwatch watch;
  Thread sender = after(20, [&] { EXPECT_OK(0, send(one, nullptr, 0, 0)); });
  EXPECT_OK(0, read(two, buffer.value, 8));
  EXPECT_WAITED(watch);
  sender.join();
  EXPECT_ERRNO(EMSGSIZE, send(one, calloc(1, 70000), 70000, 0));
  close(one);
  close(two);
}

static void refused() {
  int gone = bound_socket(SOCK_DGRAM), fd = bound_socket(SOCK_DGRAM);
  sockaddr_in to = address_of(gone);
  close(gone);
  char byte;
  EXPECT_OK(0, connect(fd, (sockaddr*)&to, sizeof to));
  EXPECT_OK(1, send(fd, "?", 1, 0));
  EXPECT_ERRNO(ECONNREFUSED, recv(fd, &byte, 1, 0));
  Stopwatch watch;  // the error comes while it waits
  Thread sender = after(20, [&] { EXPECT_OK(1, send(fd, "?", 1, 0)); });
  EXPECT_ERRNO(ECONNREFUSED, recv(fd, &byte, 1, 0));
  EXPECT_WAITED(watch);
  sender.join();
  close(fd);
}

static void shutdown_wakes() {
  int fd = bound_socket(SOCK_DGRAM), other = bound_socket(SOCK_DGRAM);
  sockaddr_in to = address_of(other);
  char byte;
  EXPECT_OK(0, connect(fd, (sockaddr*)&to, sizeof to));
  Stopwatch watch;
  Thread stopper = after(20, [&] { EXPECT_OK(0, shutdown(fd, SHUT_RD)); });
  EXPECT_OK(0, recv(fd, &byte, 1, 0));
  EXPECT_WAITED(watch);
  stopper.join();
  close(fd);
  close(other);
}

// Unix datagrams are never lost: the sender waits for room in the receiver's queue.
static void full_queue() {
  Pair pair(SOCK_DGRAM);
  char bytes[16] = {};
  int sent = 0;
  while (send(pair.a, bytes, sizeof bytes, MSG_DONTWAIT) == sizeof bytes) sent++;
  EXPECT_EQ(EAGAIN, errno);
  EXPECT(sent > 0);
  Stopwatch watch;
  Thread reader = after(20, [&] {
    for (int i = 0; i < sent; i++) EXPECT_OK(16, recv(pair.b, bytes, 16, 0));
  });
  EXPECT_OK(3, send(pair.a, "and", 3, 0));
  EXPECT_WAITED(watch);
  reader.join();
  EXPECT_OK(3, recv(pair.b, bytes, 16, 0));
  while (send(pair.a, bytes, 16, MSG_DONTWAIT) == 16) {
  }
  set_timeout(pair.a, SO_SNDTIMEO, 30);
  Stopwatch timing;
  EXPECT_ERRNO(EAGAIN, write(pair.a, bytes, 16));
  EXPECT(timing.took_between(28, 3000));
}

static void full_queue_of_a_named_receiver() {
  int receiver = NEED(socket(AF_UNIX, SOCK_DGRAM, 0)),
      sender = NEED(socket(AF_UNIX, SOCK_DGRAM, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  socklen_t length = sizeof address;
  EXPECT_EQ(0, bind(receiver, (sockaddr*)&address, sizeof(sa_family_t)));
  EXPECT_EQ(0, getsockname(receiver, (sockaddr*)&address, &length));
  char byte;
  while (sendto(sender, "x", 1, MSG_DONTWAIT, (sockaddr*)&address, length) == 1) {
  }
  Stopwatch
      watch;  // the sender itself polls as writable all the time: it is the receiver that is full
  Thread reader = after(20, [&] { EXPECT_OK(1, recv(receiver, &byte, 1, 0)); });
  EXPECT_OK(1, sendto(sender, "y", 1, 0, (sockaddr*)&address, length));
  EXPECT_WAITED(watch);
  reader.join();
  close(receiver);
  EXPECT_ERRNO(ECONNREFUSED, sendto(sender, "y", 1, 0, (sockaddr*)&address, length));
  close(sender);
}

static void errors() {
  Pipe pipe;
  int fd = NEED(socket(AF_INET, SOCK_DGRAM, 0));
  sockaddr_in to = address_of(fd), odd = to;
  odd.sin_family = 999;
  EXPECT_ERRNO(EDESTADDRREQ, send(fd, "x", 1, 0));
  EXPECT_ERRNO(EDESTADDRREQ, sendto(fd, "x", 1, 0, nullptr, 0));
  EXPECT_ERRNO(EINVAL, sendto(fd, "x", 1, 0, (sockaddr*)&to, 3));
  EXPECT_ERRNO(EAFNOSUPPORT, sendto(fd, "x", 1, 0, (sockaddr*)&odd, sizeof odd));
  EXPECT_ERRNO(EBADF, sendto(-1, "x", 1, 0, (sockaddr*)&to, sizeof to));
  EXPECT_ERRNO(EBADF, recvfrom(-1, nullptr, 1, 0, nullptr, nullptr));
  EXPECT_ERRNO(ENOTSOCK, sendto(pipe.b, "x", 1, 0, (sockaddr*)&to, sizeof to));
  EXPECT_ERRNO(ENOTSOCK, recvfrom(pipe.a, nullptr, 0, 0, nullptr, nullptr));
  close(fd);
}

int main() {
  from_both([] {
    there_and_back();
    waits();
    empty_ones_and_cut_ones();
    refused();
    shutdown_wakes();
    full_queue();
    full_queue_of_a_named_receiver();
    errors();
  });
  return finish();
}
