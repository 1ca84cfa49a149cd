// SPDX-License-Identifier: Apache-2.0
//
// sched_yield, pthread_yield by its other name, and what spin-then-wait programs do instead:
// nanosleep(0), poll with no time, and fruitless calls that do not block. Each must let the thread
// run that is waited for.

#include <poll.h>
#include <sched.h>
#include <threads.h>

#include "testing.h"

// Two threads hand a ball back and forth, each spinning until it has it.
template <class F>
static void ball(F spin) {
  std::atomic<int> turn{0};
  const int rounds = 50;
  Stopwatch watch;
  in_threads(2, [&](int me) {
    for (int i = 0; i < rounds; i++) {
      while (turn % 2 != me) spin();
      turn++;
    }
  });
  EXPECT_EQ(2 * rounds, turn);
  EXPECT(watch.took_between(0, 5000));
}

static void many_yielders() {
  std::atomic<int> started{0};
  in_threads(50, [&](int) {
    started++;
    while (started < 50) EXPECT_OK(0, sched_yield());
  });
  EXPECT_EQ(50, started);
}

int main() {
  from_both([] {
    for (int i = 0; i < 100; i++) EXPECT_OK(0, sched_yield());
    ball([] { sched_yield(); });
    ball([] { thrd_yield(); });
    ball([] {
      timespec none = {0, 0};
      nanosleep(&none, nullptr);
    });
    ball([] { usleep(0); });
    ball([] { poll(nullptr, 0, 0); });
    Pair pair;
    ball([&] {
      char byte;
      EXPECT_ERRNO(EAGAIN, recv(pair.a, &byte, 1, MSG_DONTWAIT));
    });
    Pipe pipe(O_NONBLOCK);
    ball([&] {
      char byte;
      EXPECT_ERRNO(EAGAIN, read(pipe.a, &byte, 1));
    });
    many_yielders();
  });
  return finish();
}
