// SPDX-License-Identifier: Apache-2.0
#include "scheduler/deadline.h"

#include "tests/scheduler/testing.h"

namespace coro {
namespace {

TEST(deadline, never_does_not_pass) {
  Deadline never = Deadline::never();
  EXPECT_TRUE(never.is_never());
  EXPECT_FALSE(never.passed());
  EXPECT_EQ(INT64_MAX, never.left());
  EXPECT_EQ(INT64_MAX, never.on_steady_clock());
}

TEST(deadline, a_negative_time_is_now) {
  Deadline deadline = Deadline::in(-5);
  EXPECT_TRUE(deadline.passed());
  EXPECT_GT(deadline.left(), -1000 * millisecond);
}

TEST(deadline, more_time_than_fits_is_never) {
  EXPECT_TRUE(Deadline::in(INT64_MAX).is_never());
  EXPECT_TRUE(Deadline::at_time(CLOCK_MONOTONIC, {INT64_MAX, 0}).is_never());
  EXPECT_TRUE(Deadline::at_time(CLOCK_REALTIME, {INT64_MAX, 999'999'999}).is_never());
  EXPECT_TRUE(Deadline::at_time(CLOCK_BOOTTIME, {INT64_MAX, 0}).is_never());
}

TEST(deadline, a_time_before_all_clocks_has_passed) {
  for (clockid_t clock : {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME})
    for (time_t seconds : {time_t{-1}, time_t{-10'000'000'000}, time_t{INT64_MIN}}) {
      Deadline deadline = Deadline::at_time(clock, {seconds, 0});
      int64_t due = deadline.on_steady_clock();
      EXPECT_TRUE(deadline.passed()) << clock << " " << seconds;
      EXPECT_LE(due, now());
    }
}

TEST(deadline, a_future_one_comes_nearer) {
  Deadline deadline = Deadline::in(1000 * millisecond);
  int64_t before = deadline.left();
  EXPECT_LE(before, 1000 * millisecond);
  EXPECT_LE(deadline.left(), before);
  EXPECT_FALSE(deadline.passed());
}

TEST(deadline, realtime_is_the_same_moment_on_the_steady_clock) {
  int64_t in_a_second = now_on(CLOCK_REALTIME) + 1000 * millisecond;
  Deadline deadline = Deadline::at_time(CLOCK_REALTIME, to_timespec(in_a_second));
  EXPECT_TRUE(deadline.realtime);
  EXPECT_NEAR(static_cast<double>(deadline.on_steady_clock() - now()), 1e9, 5e8);
}

TEST(deadline, other_clocks_count_as_a_distance) {
  int64_t in_a_second = now_on(CLOCK_BOOTTIME) + 1000 * millisecond;
  Deadline deadline = Deadline::at_time(CLOCK_BOOTTIME, to_timespec(in_a_second));
  EXPECT_FALSE(deadline.realtime);
  EXPECT_NEAR(static_cast<double>(deadline.left()), 1e9, 5e8);
}

TEST(deadline, nanoseconds_survive_the_way_through_timespec) {
  for (int64_t ns : {int64_t{0}, int64_t{1}, int64_t{999'999'999}, int64_t{1'000'000'000}, INT64_MAX / 2})
    EXPECT_EQ(ns, to_nanoseconds(to_timespec(ns)));
  EXPECT_EQ(0, to_nanoseconds(to_timespec(-7)));
}

}  // namespace
}  // namespace coro
