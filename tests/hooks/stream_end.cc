// SPDX-License-Identifier: Apache-2.0
//
// How streams end: shutdown of each side (before and during a call of another thread), EPIPE with
// and without SIGPIPE, MSG_NOSIGNAL, ECONNRESET once and then end of stream, data before the error,
// and errors.

#include "testing.h"

static void shutdown_read_wakes() {
  Tcp tcp;
  char byte;
  Stopwatch watch;
  Thread stopper = after(20, [&] { EXPECT_OK(0, shutdown(tcp.b, SHUT_RD)); });
  EXPECT_OK(0, recv(tcp.b, &byte, 1, 0));
  EXPECT_WAITED(watch);
  EXPECT_OK(0, recv(tcp.b, &byte, 1, 0));
  stopper.join();
  EXPECT_OK(1, send(tcp.a, "x", 1, 0));
}

static void shutdown_write_is_the_peers_end() {
  Pair pair;
  char buffer[4];
  EXPECT_OK(2, send(pair.a, "ok", 2, 0));
  Thread stopper = after(20, [&] { EXPECT_OK(0, shutdown(pair.a, SHUT_WR)); });
  EXPECT_OK(2, recv(pair.b, buffer, 4, 0));
  Stopwatch watch;
  EXPECT_OK(0, recv(pair.b, buffer, 4, 0));
  EXPECT(watch.took_between(0, 4000));
  stopper.join();
  EXPECT_ERRNO(EPIPE, send(pair.a, "x", 1, MSG_NOSIGNAL));
  EXPECT_OK(3, send(pair.b, "yes", 3, 0));  // the other way is still open
  EXPECT_OK(3, recv(pair.a, buffer, 4, 0));
}

// A sender that waits for room is ended by shutdown; what it has sent counts.
static void shutdown_ends_a_sender() {
  Pair pair;
  fill_up(pair.a);
  Stopwatch watch;
  Thread stopper = after(20, [&] { EXPECT_OK(0, shutdown(pair.a, SHUT_WR)); });
  EXPECT_ERRNO(EPIPE, send(pair.a, "x", 1, MSG_NOSIGNAL));
  EXPECT_WAITED(watch);
  stopper.join();
  Tcp tcp;
  const long size = 32 << 20;
  char* bytes = (char*)calloc(1, size);
  Thread closer = after(20, [&] { EXPECT_OK(0, shutdown(tcp.a, SHUT_WR)); });
  long sent = send(tcp.a, bytes, size, MSG_NOSIGNAL);
  EXPECT(sent > 0 && sent < size);
  EXPECT_ERRNO(EPIPE, send(tcp.a, bytes, size, MSG_NOSIGNAL));
  free(bytes);
}

static void the_peer_goes_while_sending() {
  Pair pair;
  fill_up(pair.a);
  Stopwatch watch;
  Thread closer = after(20, [&] { pair.close_b(); });
  // A unix peer that went with bytes unread is a reset, told once, to whoever calls first.
  EXPECT_ERRNO(ECONNRESET, send(pair.a, "x", 1, MSG_NOSIGNAL));
  EXPECT_WAITED(watch);
  closer.join();
  char byte;
  EXPECT_OK(0, recv(pair.a, &byte, 1, 0));
  EXPECT_ERRNO(EPIPE, send(pair.a, "x", 1, MSG_NOSIGNAL));
}

static void sigpipe() {
  Pair pair;
  pair.close_b();
  count_signal(SIGPIPE, 0);
  int before = handled;
  EXPECT_ERRNO(EPIPE, send(pair.a, "x", 1, MSG_NOSIGNAL));
  EXPECT_EQ(before, handled);
  EXPECT_ERRNO(EPIPE, send(pair.a, "x", 1, 0));
  EXPECT_EQ(before + 1, handled);
  EXPECT(pthread_equal(handled_in, pthread_self()));  // the writer gets it, nobody else
  EXPECT_ERRNO(EPIPE, write(pair.a, "x", 1));
  EXPECT_EQ(before + 2, handled);
  signal(SIGPIPE, SIG_IGN);
  EXPECT_ERRNO(EPIPE, write(pair.a, "x", 1));
  EXPECT_ERRNO(EPIPE, send(pair.a, "x", 1, 0));
  EXPECT_EQ(before + 2, handled);
  signal(SIGPIPE, SIG_DFL);
}

static void reset_by(int fd) {
  linger hard = {1, 0};
  EXPECT_OK(0, setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard));
  EXPECT_OK(0, close(fd));
}

static void reset_while_waiting() {
  Tcp tcp;
  char byte;
  Stopwatch watch;
  Thread closer = after(20, [&] { reset_by(std::exchange(tcp.a, -1)); });
  EXPECT_ERRNO(ECONNRESET, recv(tcp.b, &byte, 1, 0));
  EXPECT_WAITED(watch);
  EXPECT_OK(0, recv(tcp.b, &byte, 1, 0));  // told once
  EXPECT_ERRNO(EPIPE, send(tcp.b, "x", 1, MSG_NOSIGNAL));
}

static void reset_drops_what_was_there() {
  Tcp tcp;
  char buffer[4];
  EXPECT_OK(2, send(tcp.a, "hi", 2, 0));
  EXPECT_OK(2, recv(tcp.b, buffer, 4, MSG_PEEK));
  reset_by(std::exchange(tcp.a, -1));
  EXPECT_OK(2, recv(tcp.b, buffer, 4, 0));
  EXPECT_ERRNO(ECONNRESET, recv(tcp.b, buffer, 4, 0));
}

static void reset_then_write() {
  Tcp tcp;
  reset_by(std::exchange(tcp.a, -1));
  EXPECT_ERRNO(ECONNRESET, send(tcp.b, "x", 1, MSG_NOSIGNAL));  // the first hears of the reset
  EXPECT_ERRNO(EPIPE, send(tcp.b, "x", 1, MSG_NOSIGNAL));
  char byte;
  EXPECT_OK(0, recv(tcp.b, &byte, 1, 0));
}

static void errors() {
  Pipe pipe;
  int idle = NEED(socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_ERRNO(EBADF, shutdown(-1, SHUT_RD));
  EXPECT_ERRNO(ENOTSOCK, shutdown(pipe.a, SHUT_RD));
  EXPECT_ERRNO(ENOTCONN, shutdown(idle, SHUT_RD));
  Pair pair;
  EXPECT_ERRNO(EINVAL, shutdown(pair.a, 7));
  close(idle);
}

int main() {
  from_both([] {
    shutdown_read_wakes();
    shutdown_write_is_the_peers_end();
    shutdown_ends_a_sender();
    the_peer_goes_while_sending();
    sigpipe();
    reset_while_waiting();
    reset_drops_what_was_there();
    reset_then_write();
    errors();
  });
  return finish();
}
