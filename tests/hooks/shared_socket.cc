// SPDX-License-Identifier: Apache-2.0
//
// One socket, several threads: a reader and a writer on the same descriptor at once, many readers
// of which each byte wakes one, a big transfer both ways in pieces, and many pairs at the same
// time.

#include "testing.h"

static void both_directions_at_once() {
  Tcp tcp;
  const long size = 4 << 20;
  char* bytes = (char*)calloc(1, size);
  in_threads(4, [&](int i) {
    int fd = i < 2 ? tcp.a : tcp.b;
    if (i % 2) {
      EXPECT_OK(size, write(fd, bytes, size));
    } else {
      EXPECT_EQ(size, drain(fd, size));
    }
  });
  free(bytes);
}

static void one_byte_wakes_one_reader() {
  Pair pair;
  std::atomic<int> got{0}, ended{0};
  Thread writer([&] {
    for (int i = 1; i <= 5; i++) {
      pause_ms(5);
      EXPECT_OK(1, write(pair.a, "1", 1));
      for (int wait = 0; got < i && wait < 2000; wait++) pause_ms(1);
      EXPECT_EQ(i, got);
    }
    pair.close_a();  // and the end wakes them all
  });
  in_threads(5, [&](int) {
    char byte;
    while (true) {
      ssize_t n = recv(pair.b, &byte, 1, 0);
      if (n == 1) got++;
      if (n <= 0) break;
    }
    ended++;
  });
  EXPECT_EQ(5, got);
  EXPECT_EQ(5, ended);
}

static void ping_pong() {
  Tcp tcp;
  Thread echo([&] {
    char buffer[16];
    for (ssize_t n; (n = recv(tcp.b, buffer, sizeof buffer, 0)) > 0;) {
      EXPECT_EQ(n, send(tcp.b, buffer, n, 0));
    }
  });
  char word[8];
  for (int i = 0; i < 500; i++) {
    EXPECT_OK(4, send(tcp.a, &i, 4, 0));
    EXPECT_OK(4, recv(tcp.a, word, 8, 0));
    EXPECT(!memcmp(word, &i, 4));
  }
  EXPECT_OK(0, shutdown(tcp.a, SHUT_WR));
}

static void many_pairs() {
  std::atomic<int> done{0};
  in_threads(64, [&](int) {
    Pair pair;
    char byte;
    Thread writer = after(20, [&] { EXPECT_OK(1, send(pair.a, "m", 1, 0)); });
    EXPECT_OK(1, recv(pair.b, &byte, 1, 0));
    done++;
  });
  EXPECT_EQ(64, done);
}

static void data_in_pieces() {
  Tcp tcp;
  const int size = 300000;
  Thread writer([&] {
    unsigned char bytes[1000];
    for (int at = 0, chunk = 1; at < size; at += chunk, chunk = chunk % 997 + 1) {
      if (chunk > size - at) chunk = size - at;
      for (int i = 0; i < chunk; i++) bytes[i] = (unsigned char)((at + i) * 7);
      EXPECT_OK(chunk, send(tcp.a, bytes, chunk, 0));
    }
    tcp.close_a();
  });
  unsigned char buffer[777];
  int at = 0;
  for (ssize_t n; (n = recv(tcp.b, buffer, sizeof buffer, 0)) > 0; at += n) {
    for (int i = 0; i < n; i++) {
      if (buffer[i] != (unsigned char)((at + i) * 7)) {
        EXPECT_EQ((at + i) * 7 & 255, buffer[i]);
        return;
      }
    }
  }
  EXPECT_EQ(size, at);
}

int main() {
  from_both([] {
    both_directions_at_once();
    one_byte_wakes_one_reader();
    ping_pong();
    many_pairs();
    data_in_pieces();
  });
  return finish();
}
