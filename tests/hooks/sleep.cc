// SPDX-License-Identifier: Apache-2.0
//
// sleep, usleep, nanosleep, clock_nanosleep and thrd_sleep: never too short, others run meanwhile,
// many sleepers at once in the right order, zero and past times at once, absolute times on both
// clocks, what is left untouched on success, wrong arguments and how each call tells of them.

#include <threads.h>

#include "testing.h"

#define EXPECT_SLEEPS(call)                \
  do {                                     \
    Stopwatch watch_;                      \
    EXPECT_OK(0, call);                    \
    EXPECT(watch_.took_between(30, 3000)); \
    EXPECT(watch_.others_ran());           \
  } while (0)

static void relative() {
  timespec time = to_timespec(30000);
  guarded<timespec> left;
  EXPECT_SLEEPS(usleep(30000));
  EXPECT_SLEEPS(nanosleep(&time, nullptr));
  EXPECT_SLEEPS(nanosleep(&time, &left));
  EXPECT_SLEEPS(clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &left));
  EXPECT_SLEEPS(clock_nanosleep(CLOCK_REALTIME, 0, &time, &left));
  EXPECT_SLEEPS(clock_nanosleep(CLOCK_BOOTTIME, 0, &time, &left));
  EXPECT_SLEEPS(thrd_sleep(&time, &left));
  EXPECT(left.untouched());
  EXPECT_EQ(30000000, time.tv_nsec);
}

static void seconds() {
  Stopwatch watch;
  EXPECT_OK(0, sleep(1));
  EXPECT(watch.took_between(1000, 10000));
  EXPECT(watch.others_ran());
}

static void absolute(clockid_t clock) {
  guarded<timespec> left;
  timespec then = to_timespec(now_us(clock) + 30000);
  Stopwatch watch;
  EXPECT_OK(0, clock_nanosleep(clock, TIMER_ABSTIME, &then, &left));
  EXPECT(now_us(clock) >= then.tv_sec * 1000000LL + then.tv_nsec / 1000);
  EXPECT(watch.took_between(25, 3000));
  EXPECT(watch.others_ran());
  Stopwatch past;
  EXPECT_OK(0, clock_nanosleep(clock, TIMER_ABSTIME, &then, &left));  // over by now
  then = {0, 0};
  EXPECT_OK(0, clock_nanosleep(clock, TIMER_ABSTIME, &then, nullptr));
  EXPECT(past.took_between(0, 1000));
  EXPECT(left.untouched());
}

static void at_once() {
  timespec none = {0, 0}, tiny = {0, 1};
  Stopwatch watch;
  for (int i = 0; i < 20; i++) {
    EXPECT_OK(0, sleep(0));
    EXPECT_OK(0, usleep(0));
    EXPECT_OK(0, nanosleep(&none, nullptr));
    EXPECT_OK(0, nanosleep(&tiny, nullptr));
    EXPECT_OK(0, clock_nanosleep(CLOCK_MONOTONIC, 0, &none, nullptr));
  }
  EXPECT(watch.took_between(0, 2000));
}

static void in_order() {
  std::atomic<int> next{0};
  int order[5];
  in_threads(5, [&](int i) {
    pause_ms(20 + 40 * (4 - i));
    order[next++] = i;
  });
  for (int i = 0; i < 5; i++) EXPECT_EQ(4 - i, order[i]);
}

static void many_together_take_as_long_as_one() {
  Stopwatch watch;
  in_threads(100, [](int) {
    timespec time = to_timespec(50000);
    EXPECT_OK(0, nanosleep(&time, nullptr));
  });
  EXPECT(watch.took_between(50, 2500));  // one after the other: 5000
}

static void errors() {
  timespec wrong = {0, 1000000000}, negative = {-1, 0}, below = {0, -1}, fine = {0, 1};
  guarded<timespec> left;
  for (timespec* time : {&wrong, &negative, &below}) {
    EXPECT_ERRNO(EINVAL, nanosleep(time, &left));
    EXPECT_OK(EINVAL, clock_nanosleep(CLOCK_MONOTONIC, 0, time, &left));  // errno is left alone
    EXPECT_OK(EINVAL, clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, time, &left));
    EXPECT(thrd_sleep(time, nullptr) < -1);
  }
  EXPECT_OK(EINVAL, clock_nanosleep(99, 0, &fine, nullptr));
  EXPECT_OK(EINVAL, clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &fine, nullptr));
  EXPECT_OK(EOPNOTSUPP, clock_nanosleep(CLOCK_MONOTONIC_COARSE, 0, &fine, nullptr));
  EXPECT_ERRNO(EFAULT, nanosleep((timespec*)8, nullptr));
  EXPECT_OK(EFAULT, clock_nanosleep(CLOCK_REALTIME, 0, (timespec*)8, nullptr));
  EXPECT(left.untouched());
  EXPECT_OK(0, usleep(1000000 - 999000));
}

int main() {
  Thread slow([] { seconds(); });
  from_both([] {
    relative();
    absolute(CLOCK_MONOTONIC);
    absolute(CLOCK_REALTIME);
    absolute(CLOCK_BOOTTIME);
    at_once();
    in_order();
    many_together_take_as_long_as_one();
    errors();
  });
  slow.join();
  return finish();
}
