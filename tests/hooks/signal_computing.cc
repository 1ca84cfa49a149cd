// SPDX-License-Identifier: Apache-2.0
//
// A thread that computes hears of a signal that comes just when it goes back to computing from a
// call, however short: its handler runs, although the thread makes no further call.
#include "signal_testing.h"

static std::atomic<int> asked{0};     // the round whose signal is wanted
static std::atomic<int> answered{0};  // the last round whose handler ran

static void on_signal(int) { answered.store(asked.load()); }

// One of the short calls that end just as the signal comes.
static void make_call(int round) {
  switch (round % 3) {
    case 0: sched_yield(); break;
    case 1: pthread_kill(pthread_self(), 0); break;
    default: usleep(0);
  }
}

static void each_signal_is_heard(int threads_beside) {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  EXPECT_OK(0, sigaction(SIGUSR1, &action, nullptr));
  asked = answered = 0;
  std::atomic<bool> stop{false};
  Thread computes([&] {
    int64_t const end = now_us() + 400 * 1000;
    for (int round = 1; now_us() < end; round++) {
      int64_t const late = now_us() + 5000 * 1000;
      asked = round;
      for (int i = 0; i < 3 && answered != round; i++) make_call(round);
      while (answered != round && now_us() < late) {}
      EXPECT_EQ(round, answered);
      if (answered != round) break;
    }
    stop = true;
  });
  Thread asks([&] {
    unsigned random = 1;
    for (int told = 0; !stop;) {
      int const round = asked;
      if (round == told) continue;
      random = random * 1103515245 + 12345;
      for (unsigned i = random >> 16 & 511; i > 0; i--) asm volatile("");
      EXPECT_EQ(0, pthread_kill(computes.id(), SIGUSR1));
      told = round;
    }
  });
  in_threads(threads_beside, [&](int) {
    while (!stop) usleep(100);
  });
}

int main() {
  from_both([] {
    each_signal_is_heard(0);
    each_signal_is_heard(6);
  });
  return finish();
}
