// SPDX-License-Identifier: Apache-2.0
//
// Deadlines: points in time in nanoseconds. Below the hook line there are no time-outs. A deadline is on the steady
// clock (CLOCK_MONOTONIC), or on CLOCK_REALTIME where POSIX says that a step of the clock moves it (clock_nanosleep
// with TIMER_ABSTIME, *_timedwait on the default clock): those are marked and the loop recomputes them after a step.
#pragma once

#include <sys/time.h>
#include <time.h>

#include <cstdint>

namespace coro {

inline int64_t to_nanoseconds(const timespec& t) {
  constexpr int64_t most = INT64_MAX / 1'000'000'000 - 1;
  if (t.tv_sec >= most) return INT64_MAX;
  if (t.tv_sec <= -most / 2) return INT64_MIN / 2;  // half, so that a distance from it fits too
  return t.tv_sec * int64_t{1'000'000'000} + t.tv_nsec;
}

inline timespec to_timespec(int64_t nanoseconds) {
  if (nanoseconds < 0) nanoseconds = 0;
  return {nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
}

inline int64_t now_on(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return to_nanoseconds(t);
}

inline int64_t now() { return now_on(CLOCK_MONOTONIC); }

struct Deadline {
  int64_t at = INT64_MAX;  // on `clock`; INT64_MAX: never
  bool realtime = false;   // at is on CLOCK_REALTIME

  static Deadline never() { return {}; }

  // `nanoseconds` from now; negative means now.
  static Deadline in(int64_t nanoseconds) {
    if (nanoseconds < 0) nanoseconds = 0;
    int64_t base = now();
    return {nanoseconds > INT64_MAX - base ? INT64_MAX : base + nanoseconds, false};
  }

  // An absolute time on `clock`. CLOCK_BOOTTIME and others are taken as a distance from their present value.
  static Deadline at_time(clockid_t clock, const timespec& t) {
    if (clock == CLOCK_MONOTONIC) return {to_nanoseconds(t), false};
    if (clock == CLOCK_REALTIME) return {to_nanoseconds(t), true};
    int64_t then = to_nanoseconds(t);
    return then == INT64_MAX ? never() : in(then - now_on(clock));
  }

  bool is_never() const { return at == INT64_MAX; }
  int64_t now_here() const { return realtime ? now_on(CLOCK_REALTIME) : now(); }
  int64_t left() const { return is_never() ? INT64_MAX : at - now_here(); }
  bool passed() const { return !is_never() && left() <= 0; }

  // The same moment on the steady clock, as the two clocks stand now.
  int64_t on_steady_clock() const {
    if (!realtime || is_never()) return at;
    int64_t difference = at - now_on(CLOCK_REALTIME);
    int64_t base = now();
    return difference > INT64_MAX - base ? INT64_MAX : base + difference;
  }
};

}  // namespace coro
