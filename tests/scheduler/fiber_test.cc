// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fiber.h"

#include <errno.h>
#include <string.h>

#include <deque>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "scheduler/thread_block.h"
#include "tests/scheduler/testing.h"

namespace coro {
namespace {

TEST(fiber, errno_is_its_own) {
  errno = 7;
  auto life = [](int number) {
    EXPECT_EQ(0, errno);
    errno = number;
    rest(millisecond);
    EXPECT_EQ(number, errno);
  };
  Spawned a([&] { life(1); });
  Spawned b([&] { life(2); });
  a.join(), b.join();
  EXPECT_EQ(7, errno);
}

thread_local int own_number = 41;
thread_local std::string own_text = "fresh";

TEST(fiber, thread_locals_are_its_own) {
  own_number = 1;
  auto life = [](int number) {
    EXPECT_EQ(41, own_number);
    EXPECT_EQ("fresh", own_text);
    own_number = number;
    own_text = std::to_string(number);
    rest(millisecond);
    EXPECT_EQ(number, own_number);
    EXPECT_EQ(std::to_string(number), own_text);
  };
  Spawned a([&] { life(100); });
  Spawned b([&] { life(200); });
  a.join(), b.join();
  EXPECT_EQ(1, own_number);
}

TEST(fiber, a_pooled_one_begins_as_new) {
  Fiber *first, *second;
  {
    Spawned a([] { own_number = 5, own_text = "used", errno = 9; });
    first = &a.fiber();
  }
  Spawned b([] {
    EXPECT_EQ(41, own_number);
    EXPECT_EQ("fresh", own_text);
  });
  second = &b.fiber();
  EXPECT_EQ(first, second);
}

TEST(fiber, prints_floating_point) {
  Spawned a([] {
    char text[64];
    snprintf(text, sizeof text, "%f %.3e %Lg", 3.25, 1e100, 2.5L);
    EXPECT_STREQ("3.250000 1.000e+100 2.5", text);
    EXPECT_EQ(9, printf("%f\n", 1.5));
  });
}

TEST(fiber, exceptions_stay_with_their_fiber_across_parks) {
  auto life = [](const std::string& name) {
    try {
      throw std::runtime_error(name);
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(0, std::uncaught_exceptions());
      rest(millisecond);
      EXPECT_EQ(name, error.what());
      try {
        throw;  // the one that this fiber is handling
      } catch (const std::exception& again) {
        EXPECT_EQ(name, again.what());
      }
    }
  };
  std::deque<Spawned> all;
  for (int i = 0; i < 20; i++) all.emplace_back([&, i] { life(std::to_string(i)); });
}

TEST(fiber, an_exception_unwinds_through_a_wait) {
  int key = 0;
  Spawned a([&] {
    EXPECT_THROW(
        {
          Wait wait(testing_reason, Cancellable::no);
          wait.enqueue(&key);
          throw 1;
        },
        int);
    EXPECT_EQ(0, current->critical);
    EXPECT_EQ(0, waiters_on(&key));
    rest(millisecond);  // a later wait is none the worse for it
  });
}

TEST(fiber, tids_are_unique) {
  Notes<int> tids;
  {
    std::deque<Spawned> all;
    for (int i = 0; i < many; i++)
      all.emplace_back([&] { tids.add(thread_block::tid(this_thread_block())); });
  }
  std::vector<int> seen = tids.all();
  EXPECT_EQ(many, std::ssize(std::set<int>(seen.begin(), seen.end())));
}

TEST(fiber, its_id_is_what_pthread_self_says) {
  Spawned a([&] { EXPECT_EQ(current->id(), pthread_self()); });
  EXPECT_EQ(&a.fiber(), fiber_of(a.id()));
  a.join();
  EXPECT_EQ(main_fiber(), fiber_of(pthread_self()));
}

TEST(fiber, gives_its_result_to_whoever_joins) {
  FiberSpec spec;
  spec.stack_size = testing_stack();
  spec.argument = &spec;
  spec.start = [](void* argument) { return argument; };
  Fiber* fiber = make_fiber(spec, nullptr);
  EXPECT_TRUE(soon([&] { return is_done(*fiber); }));
  EXPECT_TRUE(is_ended(*fiber));
  EXPECT_EQ(&spec, fiber->result);
  forget_fiber(*fiber);
}

TEST(fiber, a_c11_routine_gives_an_int) {
  FiberSpec spec;
  spec.stack_size = testing_stack();
  spec.c11 = true;
  int (*start)(void*) = [](void*) { return -3; };
  spec.start = reinterpret_cast<void* (*)(void*)>(reinterpret_cast<void*>(start));
  Fiber* fiber = make_fiber(spec, nullptr);
  EXPECT_TRUE(soon([&] { return is_done(*fiber); }));
  EXPECT_EQ(reinterpret_cast<void*>(intptr_t{-3}), fiber->result);
  forget_fiber(*fiber);
}

struct Notice {
  explicit Notice(std::atomic<int>& gone) : gone(gone) {}
  ~Notice() { gone++; }
  std::atomic<int>& gone;
};

TEST(fiber, pthread_exit_unwinds_and_ends_it) {
  if (!may_pthread_exit) GTEST_SKIP() << "TSan's own pthread_exit knows no fibers";
  std::atomic<int> gone{0};
  Spawned a([&] {
    Notice notice(gone);
    current->exited = true;  // as the hook does
    current->result = &gone;
    pthread_exit(nullptr);
  });
  EXPECT_EQ(&gone, a.join());
  EXPECT_EQ(1, gone);
}

TEST(fiber, a_detached_one_goes_by_itself) {
  int before = live_fibers();
  FiberSpec spec;
  spec.stack_size = testing_stack();
  spec.detached = true;
  spec.start = [](void*) -> void* { return nullptr; };
  for (int i = 0; i < 100; i++) EXPECT_TRUE(make_fiber(spec, nullptr));
  EXPECT_TRUE(soon([&] { return live_fibers() == before; }));
}

TEST(fiber, detaching_works_once) {
  std::atomic<bool> go{false};
  FiberSpec spec;
  spec.stack_size = testing_stack();
  spec.argument = &go;
  spec.start = [](void* flag) -> void* {
    soon([&] { return static_cast<std::atomic<bool>*>(flag)->load(); });
    return nullptr;
  };
  Fiber* fiber = make_fiber(spec, nullptr);
  int alive = live_fibers();
  EXPECT_TRUE(detach_fiber(*fiber));
  EXPECT_FALSE(detach_fiber(*fiber));
  go = true;
  EXPECT_TRUE(soon([&] { return live_fibers() == alive - 1; }));
}

TEST(fiber, the_living_are_listed) {
  int before = live_fibers();
  std::deque<Spawned> all;
  int key = 0;
  for (int i = 0; i < 5; i++) all.emplace_back([&] { park_on(&key); });
  EXPECT_EQ(before + 5, live_fibers());
  int seen = 0;
  each_live_fiber([](Fiber&, void* count) { ++*static_cast<int*>(count); }, &seen);
  EXPECT_EQ(before + 5, seen);
  EXPECT_TRUE(soon([&] { return waiters_on(&key) == 5; }));
  EXPECT_EQ(5, wake_on(&key));
  all.clear();
  EXPECT_EQ(before, live_fibers());
}

TEST(fiber, runs_on_the_users_stack) {
  constexpr size_t page = 4096;
  size_t size = (testing_stack() + page - 1) & ~(page - 1);
  auto* memory = static_cast<char*>(aligned_alloc(page, size));
  FiberSpec spec;
  spec.users_stack = memory;
  spec.stack_size = size;
  for (int i = 0; i < 3; i++) {  // the same memory may be given again
    Spawned a([&] {
      char here = 0;
      EXPECT_GE(&here, memory);
      EXPECT_LT(&here, memory + size);
      EXPECT_LT(static_cast<char*>(this_thread_block()), memory + size);
      EXPECT_EQ(41, own_number);
      own_number = 1;
      rest(millisecond);
    }, spec);
  }
  free(memory);
}

[[gnu::noinline]] int go_deeper(int depth) {
  volatile char room[1024] = {};
  return depth == 0 ? room[0] : go_deeper(depth - 1) + room[1];
}

TEST(fiber, a_deep_stack_is_fine_and_too_deep_a_one_hits_the_guard) {
  FiberSpec spec;
  spec.stack_size = testing_stack() + (1 << 20);
  Spawned fine([] { EXPECT_EQ(0, go_deeper(300)); }, spec);
  fine.join();
  EXPECT_DEATH(Spawned([] { go_deeper(1 << 20); }, spec), "");
}

TEST(fiber, too_small_a_stack_for_the_thread_local_data_is_one_too) {
  FiberSpec spec;
  spec.stack_size = thread_block::size() - 1;
  spec.start = [](void*) -> void* { return nullptr; };
  EXPECT_EQ(nullptr, make_fiber(spec, nullptr));
}

TEST(fiber, too_large_a_stack_is_an_outcome) {
  FiberSpec spec;
  spec.stack_size = size_t{1} << 50;
  spec.start = [](void*) -> void* { return nullptr; };
  EXPECT_EQ(nullptr, make_fiber(spec, nullptr));
}

TEST(fiber, is_awaited_by_a_kernel_thread) {
  static Fiber* target;
  static std::atomic<bool> tried{false}, heard{false};
  FiberSpec spec;
  spec.stack_size = testing_stack();
  spec.start = [](void*) -> void* {
    while (!tried) rest(millisecond);
    return nullptr;
  };
  target = make_fiber(spec, nullptr);
  ASSERT_NE(nullptr, target);
  pthread_t waiter;
  auto wait = [](void*) -> void* {
    EXPECT_FALSE(sleep_until_done(*target, Deadline::in(1)));
    tried = true;
    EXPECT_TRUE(sleep_until_done(*target, Deadline::never()));
    heard = true;
    return nullptr;
  };
  ASSERT_EQ(0, pthread_create(&waiter, nullptr, wait, nullptr));
  while (!heard) rest(millisecond);
  EXPECT_TRUE(is_done(*target));
  pthread_join(waiter, nullptr);
  forget_fiber(*target);
}

TEST(fiber, finds_one_that_accepts_a_signal) {
  constexpr uint64_t usr1 = 1 << (SIGUSR1 - 1);
  uint64_t before = current->blocked;
  current->blocked = ~uint64_t{0};
  EXPECT_EQ(nullptr, any_fiber_accepting(usr1));
  current->awaited = usr1;
  EXPECT_EQ(current, any_fiber_accepting(usr1));
  current->awaited = 0;
  current->blocked = before;
}

// That the sanitizers see what fibers do: a build that finds nothing proves nothing.
#if defined(__SANITIZE_ADDRESS__)
TEST(fiber, asan_sees_an_overflow_on_its_stack) {
  auto spoil = [] {
    volatile char room[16] = {};
    volatile size_t beyond = sizeof room;
    rest(millisecond);
    room[beyond] = 1;
  };
  EXPECT_DEATH(Spawned a(spoil), "stack-buffer-overflow");
}
#endif
#if defined(__SANITIZE_THREAD__)
TEST(fiber, tsan_sees_a_race_with_another_thread) {
  auto race = [] {
    static int shared = 0;
    std::thread other([] { shared++; });
    Spawned a([] { shared++; });
    a.join();
    other.join();
    exit(0);
  };
  EXPECT_EXIT(race(), testing::ExitedWithCode(66), "data race");
}
#endif

}  // namespace
}  // namespace coro
