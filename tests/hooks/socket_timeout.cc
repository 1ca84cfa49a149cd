// SPDX-License-Identifier: Apache-2.0
//
// SO_RCVTIMEO and SO_SNDTIMEO: every call that receives or sends hears EAGAIN after the time, not
// before; what was moved until then counts; the option set through one descriptor holds for its
// duplicate; the option set to zero means for ever again.

#include <sys/uio.h>

#include "testing.h"

#define EXPECT_TIMES_OUT(call)             \
  do {                                     \
    Stopwatch watch_;                      \
    EXPECT_ERRNO(EAGAIN, call);            \
    EXPECT(watch_.took_between(28, 3000)); \
    EXPECT(watch_.others_ran());           \
  } while (0)

static void receiving() {
  Tcp tcp;
  set_timeout(tcp.b, SO_RCVTIMEO, 30);
  guarded<char[4]> buffer;
  guarded<sockaddr_in> from;
  guarded<socklen_t> length(sizeof(sockaddr_in));
  iovec vector = {buffer.value, 4};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  EXPECT_TIMES_OUT(recv(tcp.b, buffer.value, 4, 0));
  EXPECT_TIMES_OUT(recv(tcp.b, buffer.value, 4, MSG_PEEK));
  EXPECT_TIMES_OUT(read(tcp.b, buffer.value, 4));
  EXPECT_TIMES_OUT(readv(tcp.b, &vector, 1));
  EXPECT_TIMES_OUT(recvfrom(tcp.b, buffer.value, 4, 0, (sockaddr*)&from, &length));
  EXPECT_TIMES_OUT(recvmsg(tcp.b, &message, 0));
  EXPECT(buffer.untouched());
  EXPECT(from.untouched());
  Thread writer = after(10, [&] { EXPECT_OK(2, send(tcp.a, "ok", 2, 0)); });
  EXPECT_OK(2, recv(tcp.b, buffer.value, 4, 0));
  writer.join();
  Stopwatch none;
  EXPECT_ERRNO(EAGAIN, recv(tcp.b, buffer.value, 4, MSG_DONTWAIT));
}

static void waitall_gives_what_came() {
  Tcp tcp;
  set_timeout(tcp.b, SO_RCVTIMEO, 30);
  char buffer[10];
  EXPECT_OK(4, send(tcp.a, "four", 4, 0));
  Stopwatch watch;
  EXPECT_OK(4, recv(tcp.b, buffer, 10, MSG_WAITALL));
  EXPECT(watch.took_between(28, 3000));
}

static void sending(int fd) {
  set_timeout(fd, SO_SNDTIMEO, 30);
  fill_up(fd);
  char buffer[4096] = {};
  iovec vector = {buffer, sizeof buffer};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  EXPECT_TIMES_OUT(send(fd, buffer, sizeof buffer, 0));
  EXPECT_TIMES_OUT(write(fd, buffer, sizeof buffer));
  EXPECT_TIMES_OUT(writev(fd, &vector, 1));
  EXPECT_TIMES_OUT(sendto(fd, buffer, sizeof buffer, 0, nullptr, 0));
  EXPECT_TIMES_OUT(sendmsg(fd, &message, 0));
}

static void a_part_is_sent() {
  Tcp tcp;
  set_timeout(tcp.a, SO_SNDTIMEO, 60);
  const long size = 32 << 20;
  char* bytes = (char*)calloc(1, size);
  Stopwatch watch;
  errno = 77;
  long sent = send(tcp.a, bytes, size, 0);
  EXPECT_EQ(77, errno);
  EXPECT(sent > 0 && sent < size);
  EXPECT(watch.took_between(55, 4000));
  EXPECT_EQ(sent, drain(tcp.b, sent));
  free(bytes);
}

static void duplicates_share_it_and_it_can_be_taken_back() {
  Pair pair;
  set_timeout(pair.b, SO_RCVTIMEO, 30);
  int copy = NEED(dup(pair.b));
  char byte;
  EXPECT_TIMES_OUT(recv(copy, &byte, 1, 0));
  set_timeout(copy, SO_RCVTIMEO, 0);
  Stopwatch watch;
  Thread writer = after(60, [&] { EXPECT_OK(1, send(pair.a, "l", 1, 0)); });
  EXPECT_OK(1, recv(pair.b, &byte, 1, 0));
  EXPECT(watch.took_between(55, 4000));
  writer.join();
  close(copy);
}

static void set_while_another_waits() {
  Pair pair;
  char byte;
  Thread setter = after(30, [&] {
    set_timeout(pair.b, SO_RCVTIMEO, 10);  // too late for the call under way
    pause_ms(50);
    EXPECT_OK(1, send(pair.a, "m", 1, 0));
  });
  Stopwatch watch;
  EXPECT_EQ(1, recv(pair.b, &byte, 1, 0));
  EXPECT(watch.took_between(55, 4000));
}

static void datagrams() {
  int fd = bound_socket(SOCK_DGRAM);
  set_timeout(fd, SO_RCVTIMEO, 30);
  guarded<char[4]> buffer;
  EXPECT_TIMES_OUT(recv(fd, buffer.value, 4, 0));
  EXPECT_TIMES_OUT(recvfrom(fd, buffer.value, 4, 0, nullptr, nullptr));
  EXPECT_TIMES_OUT(read(fd, buffer.value, 4));
  EXPECT(buffer.untouched());
  close(fd);
}

int main() {
  from_both([] {
    receiving();
    waitall_gives_what_came();
    Pair pair;
    sending(pair.a);
    a_part_is_sent();
    duplicates_share_it_and_it_can_be_taken_back();
    set_while_another_waits();
    datagrams();
  });
  return finish();
}
