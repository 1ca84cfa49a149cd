// SPDX-License-Identifier: Apache-2.0
//
// recv and send on stream sockets: data that is there, data that comes later, end of stream, the
// flags PEEK, WAITALL, DONTWAIT and TRUNC, zero lengths, the user's O_NONBLOCK, and the order of
// errors.

#include "testing.h"

static void ready_at_once() {
  Tcp tcp;
  guarded<char[8]> buffer;
  EXPECT_OK(5, send(tcp.a, "hello", 5, 0));
  EXPECT_OK(5, recv(tcp.b, buffer.value, 8, 0));
  EXPECT(!memcmp(buffer.value, "hello", 5));
  EXPECT(buffer.untouched_from(5));
}

static void waits_for_data(int type) {
  Pair pair(type);
  guarded<char[8]> buffer;
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(3, send(pair.a, "abc", 3, 0)); });
  EXPECT_OK(3, recv(pair.b, buffer.value, 8, 0));
  EXPECT_WAITED(watch);
  EXPECT(!memcmp(buffer.value, "abc", 3));
  EXPECT(buffer.untouched_from(3));
}

static void waits_on_tcp() {
  Tcp tcp;
  char byte = 0;
  for (int i = 0; i < 3; i++) {
    Stopwatch watch;
    Thread writer = after(20, [&] { EXPECT_OK(1, send(tcp.a, "x", 1, 0)); });
    EXPECT_OK(1, recv(tcp.b, &byte, 1, 0));
    EXPECT_WAITED(watch);
    EXPECT_EQ('x', byte);
  }
}

static void end_of_stream() {
  Tcp tcp;
  char buffer[4];
  Stopwatch watch;
  Thread closer = after(20, [&] { tcp.close_a(); });
  EXPECT_OK(0, recv(tcp.b, buffer, 4, 0));
  EXPECT_WAITED(watch);
  EXPECT_OK(0, recv(tcp.b, buffer, 4, 0));
  EXPECT_OK(0, recv(tcp.b, buffer, 4, MSG_DONTWAIT));
}

static void peek() {
  Pair pair;
  char buffer[8] = {};
  Thread writer = after(20, [&] { EXPECT_OK(4, send(pair.a, "peek", 4, 0)); });
  EXPECT_OK(2, recv(pair.b, buffer, 2, MSG_PEEK));
  EXPECT_OK(4, recv(pair.b, buffer, 8, MSG_PEEK));
  EXPECT_OK(4, recv(pair.b, buffer, 8, 0));
  EXPECT(!memcmp(buffer, "peek", 4));
  EXPECT_ERRNO(EAGAIN, recv(pair.b, buffer, 8, MSG_DONTWAIT | MSG_PEEK));
}

static void waitall(int a, int b) {
  guarded<char[10]> buffer;
  Stopwatch watch;
  Thread writer([&] {
    for (int i = 0; i < 5; i++) {
      pause_ms(10);
      EXPECT_OK(2, send(a, "0123456789" + 2 * i, 2, 0));
    }
  });
  EXPECT_OK(10, recv(b, buffer.value, 10, MSG_WAITALL));
  EXPECT_WAITED(watch);
  EXPECT(!memcmp(buffer.value, "0123456789", 10));
}

static void waitall_ends_early_at_end_of_stream() {
  Tcp tcp;
  char buffer[10];
  EXPECT_OK(4, send(tcp.a, "four", 4, 0));
  Thread closer = after(20, [&] { EXPECT_OK(0, shutdown(tcp.a, SHUT_WR)); });
  EXPECT_OK(4, recv(tcp.b, buffer, 10, MSG_WAITALL));
  EXPECT_OK(0, recv(tcp.b, buffer, 10, MSG_WAITALL));
}

static void waitall_of_more_than_the_buffers_hold() {
  Tcp tcp;
  const int size = 8 << 20;
  char* out = (char*)malloc(size);
  char* in = (char*)calloc(1, size);
  for (int i = 0; i < size; i++) out[i] = (char)(i * 31 + (i >> 11));
  Thread writer([&] { EXPECT_OK(size, send(tcp.a, out, size, 0)); });
  EXPECT_OK(size, recv(tcp.b, in, size, MSG_WAITALL));
  EXPECT(!memcmp(out, in, size));
  free(out);
  free(in);
}

static void waitall_that_may_not_wait() {
  Pair pair;
  char buffer[10];
  EXPECT_OK(4, send(pair.a, "four", 4, 0));
  EXPECT_OK(4, recv(pair.b, buffer, 10, MSG_WAITALL | MSG_DONTWAIT));
}

static void user_does_not_want_to_wait() {
  Pair pair;
  guarded<char[4]> buffer;
  EXPECT_ERRNO(EAGAIN, recv(pair.b, buffer.value, 4, MSG_DONTWAIT));
  set_nonblocking(pair.b, true);
  EXPECT_ERRNO(EAGAIN, recv(pair.b, buffer.value, 4, 0));
  EXPECT(is_nonblocking(pair.b));
  EXPECT(!is_nonblocking(pair.a));
  EXPECT(buffer.untouched());
  set_nonblocking(pair.b, false);
  Thread writer = after(20, [&] { EXPECT_OK(1, send(pair.a, "y", 1, 0)); });
  EXPECT_OK(1, recv(pair.b, buffer.value, 4, 0));
  EXPECT(!is_nonblocking(pair.b));
}

// Receiving no bytes waits all the same, for there to be something, and takes nothing.
static void zero_length(int a, int b) {
  char buffer[4];
  EXPECT_OK(0, send(a, "", 0, 0));  // on a stream: nothing is sent
  EXPECT_ERRNO(EAGAIN, recv(b, buffer, 0, MSG_DONTWAIT));
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(1, send(a, "z", 1, 0)); });
  EXPECT_OK(0, recv(b, buffer, 0, 0));
  EXPECT_WAITED(watch);
  EXPECT_OK(1, recv(b, buffer, 4, 0));
}

static void trunc_on_tcp_discards() {
  Tcp tcp;
  guarded<char[8]> buffer;
  EXPECT_OK(6, send(tcp.a, "drop!k", 6, 0));
  EXPECT_OK(5, recv(tcp.b, buffer.value, 5, MSG_TRUNC | MSG_WAITALL));
  EXPECT(buffer.untouched());
  EXPECT_OK(1, recv(tcp.b, buffer.value, 8, 0));
  EXPECT_EQ('k', buffer.value[0]);
}

static void errors() {
  char byte = 0;
  Pipe pipe;
  int unconnected = NEED(socket(AF_INET, SOCK_STREAM, 0));
  int server = listener();
  EXPECT_ERRNO(EBADF, recv(-1, &byte, 1, 0));
  EXPECT_ERRNO(EBADF, recv(9999, &byte, 1, 0));
  EXPECT_ERRNO(EBADF, send(-1, &byte, 1, 0));
  EXPECT_ERRNO(EBADF, recv(-1, nullptr, 1, MSG_DONTWAIT));
  EXPECT_ERRNO(ENOTSOCK, recv(pipe.a, &byte, 1, 0));
  EXPECT_ERRNO(ENOTSOCK, send(pipe.b, &byte, 1, 0));
  EXPECT_ERRNO(ENOTCONN, recv(unconnected, &byte, 1, 0));
  EXPECT_ERRNO(EPIPE, send(unconnected, &byte, 1, MSG_NOSIGNAL));
  EXPECT_ERRNO(ENOTCONN, recv(server, &byte, 1, 0));
  close(unconnected);
  close(server);
  EXPECT_ERRNO(EBADF, recv(server, &byte, 1, 0));
}

int main() {
  from_both([] {
    ready_at_once();
    waits_for_data(SOCK_STREAM);
    waits_for_data(SOCK_SEQPACKET);
    waits_for_data(SOCK_DGRAM);
    waits_on_tcp();
    end_of_stream();
    peek();
    Pair pair;
    waitall(pair.a, pair.b);
    Tcp tcp;
    waitall(tcp.a, tcp.b);
    waitall_ends_early_at_end_of_stream();
    waitall_of_more_than_the_buffers_hold();
    waitall_that_may_not_wait();
    user_does_not_want_to_wait();
    zero_length(pair.a, pair.b);
    zero_length(tcp.a, tcp.b);
    trunc_on_tcp_discards();
    errors();
  });
  return finish();
}
