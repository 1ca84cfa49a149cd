// SPDX-License-Identifier: Apache-2.0
//
// Joining from a thread that libc made itself (the one that runs a timer's SIGEV_THREAD function):
// a thread that runs on, one that is done, with a time-out, and two of them the same one.
#include <string.h>
#include <time.h>

#include "thread_testing.h"

static std::atomic<int> done{0};
static void (*body)() = nullptr;

// Runs the function in a thread of libc's own and waits for it.
static void in_libcs_thread(void (*function)()) {
  body = function;
  int const before = done;
  sigevent event = {};
  event.sigev_notify = SIGEV_THREAD;
  event.sigev_notify_function = [](sigval) {
    body();
    ++done;
  };
  timer_t timer;
  EXPECT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
  itimerspec soon = {};
  soon.it_value.tv_nsec = 1000000;
  EXPECT_EQ(0, timer_settime(timer, 0, &soon, nullptr));
  EXPECT(comes_true([before] { return done > before; }));
  EXPECT_EQ(0, timer_delete(timer));
}

static pthread_t target;

static void make_target(void* (*start)(void*)) { EXPECT_EQ(0, pthread_create(&target, nullptr, start, nullptr)); }

static void* sleep_then_answer(void*) {
  nap(30);
  return &target;
}

static void join_target() {
  void* result = nullptr;
  EXPECT_EQ(0, pthread_join(target, &result));
  EXPECT(result == &target);
}

static timespec in_ms(int ms) {
  timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  return to_timespec(time.tv_sec * 1000000LL + time.tv_nsec / 1000 + ms * 1000LL);
}

int main() {
  make_target(sleep_then_answer);
  in_libcs_thread(join_target);

  make_target([](void*) -> void* { return &target; });
  nap(20);
  in_libcs_thread(join_target);

  make_target(sleep_then_answer);
  in_libcs_thread([] {
    EXPECT_EQ(EBUSY, pthread_tryjoin_np(target, nullptr));
    timespec const soon = in_ms(5);
    EXPECT_EQ(ETIMEDOUT, pthread_timedjoin_np(target, nullptr, &soon));
    timespec const late = in_ms(2000);
    void* result = nullptr;
    EXPECT_EQ(0, pthread_timedjoin_np(target, &result, &late));
    EXPECT(result == &target);
  });

  for (int i = 0; i < 20; ++i) {
    make_target([](void*) -> void* { return &target; });
    in_libcs_thread(join_target);
  }
  return finish();
}
