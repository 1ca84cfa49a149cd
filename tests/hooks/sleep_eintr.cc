// SPDX-License-Identifier: Apache-2.0
//
// Handlers end every sleep, with SA_RESTART as well, and the time left is told: by sleep's result
// (whole seconds), nanosleep's and relative clock_nanosleep's out-parameter; absolute sleeps do not
// touch it. pause returns after a handler only; ignored signals end nothing.

#include <threads.h>

#include "testing.h"

static void sleeps(int flags) {
  timespec time = {5, 0}, then = to_timespec(now_us() + 5000000);
  guarded<timespec> left, clock_left, real_left, untouched;
  count_signal(SIGUSR1, flags);
  int before = handled;
  Stopwatch watch;
  {
    Kicker kicker(pthread_self());
    EXPECT_ERRNO(EINTR, nanosleep(&time, &left));
    EXPECT_ERRNO(EINTR, nanosleep(&time, nullptr));
    EXPECT_OK(EINTR, clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &clock_left));
    EXPECT_OK(EINTR, clock_nanosleep(CLOCK_REALTIME, 0, &time, &real_left));
    EXPECT_OK(EINTR, clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, &untouched));
    EXPECT_ERRNO(EINTR, usleep(5000000));
    unsigned rest = sleep(5);
    EXPECT(rest == 4 || rest == 5);
    EXPECT_EQ(-1, thrd_sleep(&time, nullptr));
    EXPECT_ERRNO(EINTR, pause());
  }
  EXPECT(watch.took_between(50, 4500));
  EXPECT(left.value.tv_sec == 4 && left.value.tv_nsec > 0);
  EXPECT(clock_left.value.tv_sec == 4 && clock_left.value.tv_nsec > 0);
  EXPECT(real_left.value.tv_sec == 4 && real_left.value.tv_nsec > 0);
  EXPECT(untouched.untouched());
  EXPECT(handled >= before + 9);
  EXPECT(pthread_equal(handled_in, pthread_self()));
}

static void the_rest_of_the_time() {
  timespec time = to_timespec(50000), left = {};
  count_signal(SIGUSR1, SA_RESTART);
  Stopwatch watch;
  pthread_t me = pthread_self();
  int signals = 0;
  Thread kicks([&] {
    for (int i = 0; i < 3; i++) {
      pause_ms(10);
      pthread_kill(me, SIGUSR1);
      signals++;
    }
  });
  while (nanosleep(&time, &left) == -1) {
    EXPECT_EQ(EINTR, errno);
    time = left;
  }
  EXPECT(watch.took_between(50, 3000));
}

static void ignored_ones_end_nothing() {
  pthread_t me = pthread_self();
  signal(SIGUSR2, SIG_IGN);
  timespec time = to_timespec(50000);
  guarded<timespec> left;
  Thread kicks([&] {
    for (int i = 0; i < 4; i++) {
      pause_ms(8);
      pthread_kill(me, SIGUSR2);
      pthread_kill(me, SIGCHLD);  // ignored by default
    }
  });
  Stopwatch watch;
  EXPECT_OK(0, nanosleep(&time, &left));
  EXPECT(watch.took_between(50, 3000));
  EXPECT(left.untouched());
}

static void pause_waits() {
  count_signal(SIGUSR1, SA_RESTART);
  pthread_t me = pthread_self();
  std::atomic<bool> back{false};
  Stopwatch watch;
  Thread kicks([&] {
    pause_ms(20);
    EXPECT(!back);
    while (!back) {
      pthread_kill(me, SIGUSR1);
      pause_ms(10);
    }
  });
  EXPECT_ERRNO(EINTR, pause());
  back = true;
  EXPECT_WAITED(watch);
}

int main() {
  from_both([] {
    sleeps(0);
    sleeps(SA_RESTART);
    the_rest_of_the_time();
    ignored_ones_end_nothing();
    pause_waits();
  });
  return finish();
}
