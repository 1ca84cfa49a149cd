// SPDX-License-Identifier: Apache-2.0
//
// A heap of its own, with fibers that never run.
#include "scheduler/timers.h"

#include <algorithm>
#include <deque>
#include <random>

#include "tests/scheduler/testing.h"

namespace coro {
namespace {

std::vector<Fiber*> fired;

std::vector<Fiber*> expire(Timers& timers, int64_t time) {
  fired.clear();
  timers.expire(time, [](Fiber& fiber) { fired.push_back(&fiber); });
  return std::exchange(fired, {});
}

// Begins a wait until `at`, as Wait::arm does.
void wait_until(Timers& timers, Fiber& fiber, int64_t at) {
  fiber.deadline = {at, false};
  EXPECT_TRUE(timers.watch(fiber, at));
}

TEST(timers, an_empty_heap_has_nothing_due) {
  Timers timers;
  EXPECT_EQ(INT64_MAX, timers.next_due());
  EXPECT_TRUE(expire(timers, INT64_MAX).empty());
}

TEST(timers, the_earliest_is_due_first) {
  Timers timers;
  std::deque<Fiber> fibers(5);
  for (int64_t at : {30, 10, 50, 20, 40}) wait_until(timers, fibers[at / 10 - 1], at);
  EXPECT_EQ(10, timers.next_due());
  EXPECT_EQ(10, timers.earliest());
  EXPECT_TRUE(expire(timers, 9).empty());
  EXPECT_EQ((std::vector<Fiber*>{&fibers[0], &fibers[1], &fibers[2]}), expire(timers, 30));
  EXPECT_EQ(40, timers.next_due());
  EXPECT_EQ(2, timers.size());
}

TEST(timers, a_wait_that_ended_early_is_forgotten_when_it_comes_up) {
  Timers timers;
  Fiber fiber;
  wait_until(timers, fiber, 10);
  fiber.deadline = Deadline::never();
  EXPECT_EQ(1, timers.size());  // lazy
  EXPECT_TRUE(expire(timers, 10).empty());
  EXPECT_EQ(0, timers.size());
  EXPECT_EQ(-1, fiber.timer_index);
}

TEST(timers, a_later_deadline_keeps_the_old_place_until_it_comes_up) {
  Timers timers;
  Fiber fiber;
  wait_until(timers, fiber, 10);
  wait_until(timers, fiber, 99);
  EXPECT_EQ(10, timers.next_due());
  EXPECT_TRUE(expire(timers, 10).empty());
  EXPECT_EQ(99, timers.next_due());
  EXPECT_EQ((std::vector<Fiber*>{&fiber}), expire(timers, 99));
}

TEST(timers, an_earlier_deadline_rises_at_once) {
  Timers timers;
  Fiber a, b;
  wait_until(timers, a, 50);
  wait_until(timers, b, 60);
  wait_until(timers, b, 5);
  EXPECT_EQ(5, timers.next_due());
  EXPECT_EQ((std::vector<Fiber*>{&b, &a}), expire(timers, 50));
}

TEST(timers, who_is_removed_does_not_fire) {
  Timers timers;
  std::deque<Fiber> fibers(20);
  for (int i = 0; i < 20; i++) wait_until(timers, fibers[i], i + 1);
  for (int i = 0; i < 20; i += 2) timers.remove(fibers[i]);
  timers.remove(fibers[0]);  // twice is once
  EXPECT_EQ(2, timers.next_due());
  EXPECT_EQ(10u, expire(timers, 100).size());
  EXPECT_EQ(INT64_MAX, timers.earliest());
}

TEST(timers, all_sorts_of_waits_fire_when_their_time_has_come) {
  Timers timers;
  std::mt19937 random(7);
  std::deque<Fiber> fibers(500);
  for (int step = 0; step < 5000; step++) {
    Fiber& fiber = fibers[random() % fibers.size()];
    if (random() % 4 == 0)
      timers.remove(fiber), fiber.deadline = Deadline::never();
    else
      wait_until(timers, fiber, 1 + random() % 100'000);
  }
  for (int64_t time = 0; time <= 100'000; time += 50) {
    std::vector<Fiber*> expected;
    for (Fiber& fiber : fibers)
      if (fiber.deadline.at > time - 50 && fiber.deadline.at <= time) expected.push_back(&fiber);
    std::vector<Fiber*> got = expire(timers, time);
    std::sort(got.begin(), got.end());
    std::sort(expected.begin(), expected.end());
    ASSERT_EQ(expected, got) << time;
  }
  EXPECT_EQ(0, timers.size());
}

TEST(timers, a_set_clock_moves_the_realtime_ones) {
  Timers timers;
  std::deque<Fiber> fibers(50);
  int64_t start = now();
  for (int i = 0; i < 50; i++) {
    Fiber& fiber = fibers[i];
    if (i % 2)
      wait_until(timers, fiber, start + i * 1000 * millisecond);
    else  // as they stood while the clock was an hour behind
      timers.watch(fiber, start + 3'600'000 * millisecond);
    if (i % 2 == 0) fiber.deadline = {now_on(CLOCK_REALTIME) - (i + 1) * millisecond, true};
  }
  EXPECT_TRUE(expire(timers, start).empty());
  timers.clock_was_set();
  EXPECT_LT(timers.next_due(), start + millisecond);
  EXPECT_EQ(timers.next_due(), timers.earliest());
  std::vector<Fiber*> due = expire(timers, now());
  EXPECT_EQ(25u, due.size());
  EXPECT_EQ(&fibers[48], due.front());
  EXPECT_EQ(start + 1000 * millisecond, timers.next_due());
}

TEST(timers, in_a_child_it_forgets_all) {
  Timers timers;
  std::deque<Fiber> fibers(10);
  for (Fiber& fiber : fibers) wait_until(timers, fiber, 5);
  timers.forget_in_child();
  EXPECT_EQ(0, timers.size());
  EXPECT_EQ(INT64_MAX, timers.earliest());
  Fiber survivor;
  wait_until(timers, survivor, 7);
  EXPECT_EQ(1, timers.size());
}

}  // namespace
}  // namespace coro
