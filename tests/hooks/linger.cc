// SPDX-License-Identifier: Apache-2.0
//
// SO_LINGER: close waits until the peer has taken what was sent, or for the time given; a signal or
// a user's O_NONBLOCK does not lose the bytes; without it, close returns at once and the bytes
// still arrive.

#include "testing.h"

static void linger_for(int fd, int seconds) {
  linger option = {1, seconds};
  EXPECT_OK(0, setsockopt(fd, SOL_SOCKET, SO_LINGER, &option, sizeof option));
}

static void close_waits_for_the_reader() {
  Tcp tcp;
  long filled = fill_up(tcp.a);
  linger_for(tcp.a, 10);
  Stopwatch watch;
  Thread reader = after(20, [&] {
    EXPECT_EQ(filled, drain(tcp.b, filled));
    EXPECT_EQ(0, drain(tcp.b, 1));
  });
  EXPECT_OK(0, close(std::exchange(tcp.a, -1)));
  EXPECT_WAITED(watch);
}

static void close_gives_up() {
  Tcp tcp;
  fill_up(tcp.a);
  linger_for(tcp.a, 1);
  Stopwatch watch;
  EXPECT_OK(0, close(std::exchange(tcp.a, -1)));
  EXPECT(watch.took_between(900, 8000));
  EXPECT(watch.others_ran());
}

static void without_it_close_is_quick() {
  Tcp tcp;
  long filled = fill_up(tcp.a);
  Stopwatch watch;
  EXPECT_OK(0, close(std::exchange(tcp.a, -1)));
  EXPECT(watch.took_between(0, 500));
  EXPECT_EQ(filled, drain(tcp.b, filled));
  EXPECT_EQ(0, drain(tcp.b, 1));
}

int main() {
  from_both([] {
    close_waits_for_the_reader();
    without_it_close_is_quick();
  });
  Ticker ticker;
  close_gives_up();
  return finish();
}
