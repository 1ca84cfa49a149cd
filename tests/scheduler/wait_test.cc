// SPDX-License-Identifier: Apache-2.0
#include "scheduler/wait.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <deque>
#include <thread>

#include "tests/scheduler/testing.h"

namespace coro {
namespace {

uint64_t epoch_of(Fiber& fiber) { return fiber.wake_word.load() >> 8; }
bool wake_it(Fiber& fiber, uint64_t epoch, Woken how = Woken::ready) {
  Critical inside;
  return wake(fiber, epoch, how);
}

TEST(wait, a_deadline_ends_it) {
  Stopwatch stopwatch;
  int key = 0;
  EXPECT_EQ(Woken::timed_out, park_on(&key, Deadline::in(10 * millisecond)));
  EXPECT_TRUE(stopwatch.took_between(10, 2000));
}

TEST(wait, a_deadline_that_has_passed_ends_it_at_once) {
  Stopwatch stopwatch;
  int key = 0;
  EXPECT_EQ(Woken::timed_out, park_on(&key, Deadline::in(-1)));
  EXPECT_EQ(Woken::timed_out, park_on(&key, Deadline::at_time(CLOCK_REALTIME, {1, 0})));
  EXPECT_TRUE(stopwatch.took_between(0, 2000));
}

TEST(wait, a_realtime_deadline_ends_it) {
  Stopwatch stopwatch;
  int key = 0;
  timespec then = to_timespec(now_on(CLOCK_REALTIME) + 10 * millisecond);
  EXPECT_EQ(Woken::timed_out, park_on(&key, Deadline::at_time(CLOCK_REALTIME, then)));
  EXPECT_TRUE(stopwatch.took_between(9, 2000));
}

TEST(wait, a_wake_comes_before_its_deadline) {
  int key = 0;
  Spawned a([&] { EXPECT_EQ(Woken::ready, park_on(&key, Deadline::in(60'000 * millisecond))); });
  EXPECT_TRUE(soon([&] { return wake_on(&key) == 1; }));
}

TEST(wait, deadlines_end_waits_in_their_order) {
  Notes<int> order;
  {
    std::deque<Spawned> all;
    int64_t start = now() + 100 * millisecond;
    for (int i : {4, 1, 3, 0, 2})
      all.emplace_back([&, i] {
        Critical inside;  // keeps the hub, so that the notes are in order
        int key = 0;
        park_on(&key, {start + i * millisecond / 10, false});
        order.add(i);
      });
  }
  EXPECT_EQ((std::vector<int>{0, 1, 2, 3, 4}), order.all());
}

TEST(wait, a_stale_wake_is_ignored) {
  int key = 0;
  Spawned a([&] {
    EXPECT_EQ(Woken::ready, park_on(&key));
    EXPECT_EQ(Woken::timed_out, park_on(&key, Deadline::in(10 * millisecond)));
  });
  ASSERT_TRUE(soon([&] { return waiters_on(&key) == 1; }));
  uint64_t first = epoch_of(a.fiber());
  EXPECT_FALSE(wake_it(a.fiber(), first - 1));
  EXPECT_FALSE(wake_it(a.fiber(), first + 1));
  EXPECT_TRUE(wake_it(a.fiber(), first));
  ASSERT_TRUE(soon([&] { return epoch_of(a.fiber()) != first; }));
  EXPECT_FALSE(wake_it(a.fiber(), first));
}

TEST(wait, the_second_wake_is_refused) {
  int key = 0;
  Spawned a([&] { EXPECT_EQ(Woken::closed, park_on(&key)); });
  ASSERT_TRUE(soon([&] { return waiters_on(&key) == 1; }));
  uint64_t epoch = epoch_of(a.fiber());
  Critical inside;
  EXPECT_TRUE(wake(a.fiber(), epoch, Woken::closed));
  EXPECT_FALSE(wake(a.fiber(), epoch, Woken::ready));
  EXPECT_FALSE(wake_present_wait(a.fiber(), Woken::signal));
}

TEST(wait, a_fiber_of_another_life_is_not_woken) {
  int key = 0;
  auto first = std::make_unique<Spawned>([&] { park_on(&key); });
  Fiber& fiber = first->fiber();
  ASSERT_TRUE(soon([&] { return waiters_on(&key) == 1; }));
  uint64_t epoch = epoch_of(fiber);
  wake_on(&key);
  first.reset();
  Spawned second([&] { EXPECT_EQ(Woken::timed_out, park_on(&key, Deadline::in(5 * millisecond))); });
  ASSERT_EQ(&fiber, &second.fiber());
  ASSERT_TRUE(soon([&] { return epoch_of(fiber) != epoch; }));
  EXPECT_FALSE(wake_it(fiber, epoch));
}

TEST(wait, a_wake_between_arming_and_parking_is_not_lost) {
  Wait wait(testing_reason, Cancellable::no);
  EXPECT_TRUE(wake(*current, epoch_of(*current), Woken::ready));
  EXPECT_EQ(Woken::ready, wait.park());
}

TEST(wait, withdraw_without_a_wake_says_so) {
  int key = 0;
  Wait wait(testing_reason, Cancellable::no);
  wait.enqueue(&key);
  EXPECT_FALSE(wait.withdraw());
  EXPECT_EQ(0, count_waiters(&key));
  EXPECT_EQ(0, wake_queue(&key, 1));
}

TEST(wait, withdraw_passes_a_wake_on) {
  int key = 0;
  Spawned next([&] { EXPECT_EQ(Woken::ready, park_on(&key)); });
  {
    Wait wait(testing_reason, Cancellable::no);
    wait.enqueue(&key);
    EXPECT_EQ(1, wake_queue(&key, 1));  // us: we are first
    EXPECT_TRUE(wait.withdraw());       // so the wake must go on
    EXPECT_FALSE(wait.withdraw());
  }
  EXPECT_TRUE(soon([&] { return wake_on(&key, 1) == 1; }));
}

TEST(wait, leaving_scope_disarms_it) {
  int key = 0;
  {
    Wait wait(testing_reason, Cancellable::no);
    wait.enqueue(&key);
  }
  EXPECT_EQ(0, waiters_on(&key));
  EXPECT_FALSE(wake_it(*current, epoch_of(*current)));
  EXPECT_EQ(0, current->critical);
}

TEST(wait, leaving_scope_swallows_a_wake_without_harm) {
  for (int i = 0; i < 100; i++) {
    Wait wait(testing_reason, Cancellable::no);
    EXPECT_TRUE(wake(*current, epoch_of(*current), Woken::timed_out));
  }
  int key = 0;
  EXPECT_EQ(Woken::timed_out, park_on(&key, Deadline::in(millisecond)));
}

TEST(wait, errno_is_left_alone) {
  errno = 77;
  rest(millisecond);
  EXPECT_EQ(77, errno);
}

constexpr uint64_t usr1 = 1 << (SIGUSR1 - 1);

TEST(wait, a_pending_signal_ends_it_unless_blocked) {
  Spawned a([] {
    int key = 0;
    current->pending_signals = usr1;
    EXPECT_EQ(Woken::signal, park_on(&key));
    current->blocked = usr1;
    EXPECT_EQ(Woken::timed_out, park_on(&key, Deadline::in(millisecond)));
    current->pending_signals = 0;
  });
}

TEST(wait, a_signal_ends_a_wait_that_is_on) {
  int key = 0;
  Spawned a([&] { EXPECT_EQ(Woken::signal, park_on(&key)); });
  ASSERT_TRUE(soon([&] { return waiters_on(&key) == 1; }));
  Critical inside;
  EXPECT_TRUE(wake_present_wait(a.fiber(), Woken::signal));
}

Woken park_cancellable(const void* key, Cancellable cancellable) {
  Wait wait(testing_reason, cancellable);
  wait.enqueue(key);
  wait.until(Deadline::in(5 * millisecond));
  return wait.park();
}

TEST(wait, a_cancellation_ends_only_cancellation_points) {
  Spawned a([] {
    int key = 0;
    *current->cancel_word |= 8;  // as pthread_cancel does
    EXPECT_TRUE(current->is_cancelled());
    EXPECT_EQ(Woken::cancelled, park_cancellable(&key, Cancellable::yes));
    EXPECT_EQ(Woken::timed_out, park_cancellable(&key, Cancellable::no));
    *current->cancel_word |= 1;  // PTHREAD_CANCEL_DISABLE
    EXPECT_EQ(Woken::timed_out, park_cancellable(&key, Cancellable::yes));
    *current->cancel_word = 0;
  });
}

TEST(wait, wake_cancelled_ends_a_cancellation_point_that_is_on) {
  int key = 0;
  for (Cancellable cancellable : {Cancellable::yes, Cancellable::no}) {
    Woken how{};
    Spawned a([&] { how = park_cancellable(&key, cancellable); });
    ASSERT_TRUE(soon([&] { return waiters_on(&key) == 1 || is_ended(a.fiber()); }));
    {
      Critical inside;
      wake_cancelled(a.fiber(), false);
    }
    a.join();
    if (cancellable == Cancellable::no) {
      EXPECT_EQ(Woken::timed_out, how);
    }
  }
}

TEST(wait, several_descriptors_say_which_fired) {
  int quiet[2], loud[2];
  ASSERT_EQ(0, pipe(quiet));
  ASSERT_EQ(0, pipe(loud));
  IoSource sources[4];
  sources[0].fd = quiet[0], sources[0].ways = way_in;
  sources[1].fd = loud[0], sources[1].ways = way_in;
  sources[2].fd = -1, sources[2].ways = way_in;
  sources[3].fd = quiet[1], sources[3].ways = 0;
  Spawned writer([&] { EXPECT_EQ(1, write(loud[1], "x", 1)); });
  {
    Wait wait(testing_reason, Cancellable::no);
    wait.on(sources, 4);
    EXPECT_EQ(Woken::ready, wait.park());
  }
  EXPECT_EQ(0, sources[0].fired);
  EXPECT_EQ(way_in, sources[1].fired);
  EXPECT_EQ(0, sources[3].fired);
  for (int fd : {quiet[0], quiet[1], loud[0], loud[1]}) forget_descriptor(fd), close(fd);
}

TEST(wait, wakes_race_with_deadlines_and_one_wins) {
  int key = 0, rounds = 2000, ready = 0, timed_out = 0;
  std::atomic<bool> stop{false};
  std::atomic<int> delivered{0};
  std::thread waker([&] {
    while (!stop) delivered += wake_queue(&key, 1);
  });
  for (int i = 0; i < rounds; i++) {
    Woken how = park_on(&key, Deadline::in(i % 50 * 1000));
    (how == Woken::ready ? ready : timed_out)++;
  }
  stop = true;
  waker.join();
  EXPECT_EQ(rounds, ready + timed_out);
  EXPECT_EQ(ready, delivered);
}

TEST(wait, wakes_race_with_withdrawals_and_none_is_lost) {
  int key = 0, kept = 0;
  std::atomic<bool> stop{false};
  std::atomic<int> delivered{0};
  std::thread waker([&] {
    while (!stop) delivered += wake_queue(&key, 1);
  });
  for (int i = 0; i < 5000; i++) {
    Wait wait(testing_reason, Cancellable::no);
    wait.enqueue(&key);
    for (int spins = i % 100; spins; spins--) __builtin_ia32_pause();
    kept += wait.withdraw();
  }
  stop = true;
  waker.join();
  EXPECT_EQ(kept, delivered);
}

}  // namespace
}  // namespace coro
