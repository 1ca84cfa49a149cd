// SPDX-License-Identifier: Apache-2.0
//
// Things done once: pthread_once with many callers of which the others wait for a slow first one,
// std::call_once whose callable throws and is tried again by the next, cancellation inside a
// pthread_once routine (the next caller runs it), C11 call_once, nested onces, a function-local
// static raced by threads (__cxa_guard), one whose constructor throws, and __cxa_guard after a
// wait.
#include <threads.h>

#include <mutex>
#include <vector>

#include "thread_testing.h"

static std::atomic<int> runs{0};
static std::atomic<bool> finished{false};

static void slow_routine() {
  ++runs;
  nap(30);
  finished = true;
}

static void others_wait_for_the_first() {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  std::vector<Pthread> threads;
  for (int i = 0; i < 20; ++i) {
    threads.emplace_back([] {
      errno = 77;
      EXPECT_EQ(0, pthread_once(&once, slow_routine));
      EXPECT(finished);
      EXPECT_EQ(77, errno);
    });
  }
  while_others_tick([&] { threads.clear(); });
  EXPECT_EQ(1, runs);
}

static void a_throwing_call_is_tried_again() {
  std::once_flag flag;
  std::atomic<int> tries{0};
  std::atomic<int> thrown{0};
  std::vector<Pthread> threads;
  for (int i = 0; i < 10; ++i) {
    threads.emplace_back([&] {
      try {
        std::call_once(flag, [&] {
          nap(3);
          if (++tries < 4) throw tries.load();
        });
      } catch (int) {
        ++thrown;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(4, tries);
  EXPECT_EQ(3, thrown);
}

static pthread_once_t cancelled_once = PTHREAD_ONCE_INIT;
static std::atomic<int> cancelled_tries{0};

static void cancelled_routine() {
  if (++cancelled_tries == 1) {
    for (;;) pause();
  }
}

static void a_cancelled_call_is_tried_again() {
  Pthread first([] { pthread_once(&cancelled_once, cancelled_routine); });
  EXPECT(comes_true([] { return cancelled_tries == 1; }));
  Pthread second([] { EXPECT_EQ(0, pthread_once(&cancelled_once, cancelled_routine)); });
  nap(20);
  EXPECT_EQ(1, cancelled_tries);
  EXPECT_EQ(0, pthread_cancel(first.id()));
  EXPECT(first.join() == PTHREAD_CANCELED);
  second.join();
  EXPECT_EQ(2, cancelled_tries);
}

static pthread_once_t inner_once = PTHREAD_ONCE_INIT;
static pthread_once_t outer_once = PTHREAD_ONCE_INIT;
static std::atomic<int> nested{0};

static void nested_onces() {
  auto outer = [] {
    pthread_once(&inner_once, [] {
      nap(5);
      ++nested;
    });
    ++nested;
  };
  std::vector<Pthread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] { EXPECT_EQ(0, pthread_once(&outer_once, outer)); });
  }
  threads.clear();
  EXPECT_EQ(2, nested);
}

static void c11() {
  static once_flag flag = ONCE_FLAG_INIT;
  static std::atomic<int> count{0};
  std::vector<Pthread> threads;
  for (int i = 0; i < 10; ++i) {
    threads.emplace_back([] {
      call_once(&flag, [] {
        nap(10);
        ++count;
      });
      EXPECT_EQ(1, count);
    });
  }
}

struct Slow {
  Slow() {
    ++built;
    nap(20);
    value = 9;
  }
  int value = 0;
  static inline std::atomic<int> built{0};
};

static Slow& the_static() {
  static Slow slow;
  return slow;
}

static void a_static_is_built_once() {
  std::vector<Pthread> threads;
  for (int i = 0; i < 20; ++i) threads.emplace_back([] { EXPECT_EQ(9, the_static().value); });
  while_others_tick([&] { threads.clear(); });
  EXPECT_EQ(1, Slow::built);
}

struct Reluctant {
  Reluctant() {
    nap(5);
    if (++tries < 3) throw tries.load();
  }
  static inline std::atomic<int> tries{0};
};

static void a_throwing_constructor_is_tried_again() {
  std::atomic<int> thrown{0};
  std::vector<Pthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      try {
        static Reluctant const reluctant;
        (void)reluctant;
      } catch (int) {
        ++thrown;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(3, Reluctant::tries);
  EXPECT_EQ(2, thrown);
}

int main() {
  others_wait_for_the_first();
  a_throwing_call_is_tried_again();
  a_cancelled_call_is_tried_again();
  nested_onces();
  c11();
  a_static_is_built_once();
  a_throwing_constructor_is_tried_again();
  return finish();
}
