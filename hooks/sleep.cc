// SPDX-License-Identifier: Apache-2.0
//
// Waiting for time. Interrupted by handlers whatever SA_RESTART says (signal(7)); the rest is reported only then.
#include <threads.h>

#include "hooks/retry.h"
#include "hooks/user_memory.h"

namespace coro {
namespace {

// Sleeps until the deadline. 0, or EINTR with what was left in *rest.
int sleep_until(Call call, Fiber* fiber, const Deadline& deadline, timespec* rest) {
  test_cancel(fiber);
  KeepErrno keep;
  if (deadline.passed()) {
    yield_to_others();
    return 0;
  }
  if (wait_until(call, fiber, deadline, Rule::interrupts) != Outcome::interrupted) return 0;
  if (rest) *rest = to_timespec(deadline.left());
  return EINTR;
}

}  // namespace

// nanosleep(2): parks for the time; *rest is written only on EINTR.
HOOK(int, nanosleep, (const timespec* time, timespec* rest)) {
  Fiber* fiber = gate<Call::nanosleep>();
  timespec t;
  if (!fiber || !read_time(time, t)) return real.nanosleep(time, rest);
  int error = sleep_until(Call::nanosleep, fiber, Deadline::in(to_nanoseconds(t)), rest);
  return error ? static_cast<int>(failed(error)) : 0;
}
HOOK_ALIAS(__nanosleep, nanosleep);

// clock_nanosleep(2): as nanosleep on the clock; returns the error, leaves errno; an absolute sleep writes no rest.
HOOK(int, clock_nanosleep, (clockid_t clock, int flags, const timespec* time, timespec* rest)) {
  Fiber* fiber = gate<Call::clock_nanosleep>();
  bool known = clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME ||
               clock == CLOCK_TAI;
  timespec t;
  if (!fiber || !known || !read_time(time, t))
    return real.clock_nanosleep(clock, flags, time, rest);
  bool absolute = flags & TIMER_ABSTIME;
  Deadline deadline = absolute ? Deadline::at_time(clock, t) : Deadline::in(to_nanoseconds(t));
  return sleep_until(Call::clock_nanosleep, fiber, deadline, absolute ? nullptr : rest);
}

// usleep(3).
HOOK(int, usleep, (useconds_t microseconds)) {
  Fiber* fiber = gate<Call::usleep>();
  if (!fiber) return real.usleep(microseconds);
  Deadline deadline = Deadline::in(int64_t{microseconds} * 1000);
  int error = sleep_until(Call::usleep, fiber, deadline, nullptr);
  return error ? static_cast<int>(failed(error)) : 0;
}

// sleep(3): returns the seconds left when a handler ran, rounded as libc rounds: whole seconds, cut off.
HOOK(unsigned, sleep, (unsigned seconds)) {
  Fiber* fiber = gate<Call::sleep>();
  if (!fiber) return real.sleep(seconds);
  timespec rest{};
  Deadline deadline = Deadline::in(int64_t{seconds} * 1'000'000'000);
  if (!sleep_until(Call::sleep, fiber, deadline, &rest)) return 0;
  errno = EINTR;
  return static_cast<unsigned>(rest.tv_sec);
}

// thrd_sleep(3): 0, -1 when interrupted, another negative value on error.
HOOK(int, thrd_sleep, (const timespec* time, timespec* rest)) {
  Fiber* fiber = gate<Call::thrd_sleep>();
  timespec t;
  if (!fiber || !read_time(time, t)) return real.thrd_sleep(time, rest);
  Deadline deadline = Deadline::in(to_nanoseconds(t));
  return sleep_until(Call::thrd_sleep, fiber, deadline, rest) ? -1 : 0;
}

// sched_yield(2): lets every ready fiber run; with none, other processes.
HOOK(int, sched_yield, (void)) {
  Fiber* fiber = gate<Call::sched_yield>();
  if (!fiber || !yield_to_others()) return real.sched_yield();
  return 0;
}
HOOK_ALIAS(__sched_yield, sched_yield);
HOOK_ALIAS(pthread_yield, sched_yield);

HOOK(void, thrd_yield, (void)) {
  Fiber* fiber = gate<Call::thrd_yield>();
  if (!fiber || !yield_to_others()) real.sched_yield();
}

}  // namespace coro
