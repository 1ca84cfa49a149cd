// SPDX-License-Identifier: Apache-2.0
//
// Condition variables. Fibers wait wholly in our queue of the condition's address: they join it, then unlock the mutex, so
// a signal sent after the unlock finds them. Kernel threads that are no fibers, and waiters in other processes, wait in
// libc's own function; signal and broadcast reach both. A waiter touches the condition no more once it is woken, so it may
// be destroyed right after a broadcast. A handler that runs in a waiting fiber ends the wait with 0, a spurious wake
// (POSIX allows it): while it ran, the fiber was not in the queue and a signal may have gone by.
#include <threads.h>

#include "hooks/signals.h"
#include "hooks/sync.h"

namespace coro {
namespace {

int real_wait(pthread_cond_t* cond, pthread_mutex_t* mutex, const Until& until) {
  return until.time ? real.pthread_cond_clockwait(cond, mutex, until.clock, until.time)
                    : real.pthread_cond_wait(cond, mutex);
}

// libc's own wait, on a kernel thread of its own. False: no helper is to be had, nothing was done.
bool wait_off_hub(Call call, pthread_cond_t* cond, pthread_mutex_t* mutex, const Until& until, int& result) {
  KeepErrno keep;
  UnseenUnlock unseen(mutex);
  Away away(to_reason(call));
  if (on_hub()) return false;
  result = real_wait(cond, mutex, until);
  return true;
}

// The wait itself, in `woken`. The mutex is unlocked; or an error says that it was not ours.
int unlock_and_park(Call call, pthread_cond_t* cond, pthread_mutex_t* mutex, const Deadline& deadline, Woken& woken) {
  Wait wait(to_reason(call), Cancellable::yes);
  wait.enqueue(cond);
  if (int error = real.pthread_mutex_unlock(mutex)) {
    if (wait.withdraw()) wake_queue(cond, 1);
    return error;
  }
  wake_queue(mutex, 1);
  wait.until(deadline);
  woken = wait.park();
  return 0;
}

// A fiber waits for a private condition. 0, ETIMEDOUT, or what the mutex said.
int park_for(Call call, Fiber* fiber, pthread_cond_t* cond, pthread_mutex_t* mutex, const Deadline& deadline) {
  test_cancel(fiber);
  Woken woken = Woken::ready;
  if (int error = unlock_and_park(call, cond, mutex, deadline, woken)) return error;
  if (woken == Woken::signal) {
    run_handlers(fiber);
  } else {
    Critical deferred_handlers_run_at_its_end;
  }
  // Whatever ended the wait, the caller holds the mutex again: a cancelled one in its cleanup handlers (POSIX).
  int error = lock_mutex(call, fiber, mutex);
  if (woken == Woken::cancelled) test_cancel(fiber);
  if (error) return error;
  return woken == Woken::timed_out ? ETIMEDOUT : 0;
}

int wait_for(Call call, Fiber* fiber, pthread_cond_t* cond, pthread_mutex_t* mutex, const Until& until = for_ever) {
  if (!engine_started()) return real_wait(cond, mutex, until);
  if (fiber && !is_shared(cond)) return park_for(call, fiber, cond, mutex, until.deadline());
  int result = 0;
  if (wait_off_hub(call, cond, mutex, until, result)) return result;
  // No helper: a spurious wake after a while, so that the program looks for itself.
  result = park_for(call, fiber, cond, mutex, Deadline::in(first_pause));
  return result == ETIMEDOUT && !until.deadline().passed() ? 0 : result;
}

// pthread_cond_timedwait on the condition's own clock.
int wait_until_time(Call call, Fiber* fiber, pthread_cond_t* cond, pthread_mutex_t* mutex, const timespec* time) {
  if (!engine_started()) return real.pthread_cond_timedwait(cond, mutex, time);
  if (!has_valid_nanoseconds(*time)) return EINVAL;
  return wait_for(call, fiber, cond, mutex, {clock_of(cond), time});
}

}  // namespace

// pthread_cond_wait(3): gives the mutex up, parks until signalled, has the mutex again.
HOOK(int, pthread_cond_wait, (pthread_cond_t * cond, pthread_mutex_t* mutex)) {
  return wait_for(Call::pthread_cond_wait, gate<Call::pthread_cond_wait>(), cond, mutex);
}

// pthread_cond_timedwait(3): until a time on the clock of the condition's attributes.
HOOK(int, pthread_cond_timedwait, (pthread_cond_t * cond, pthread_mutex_t* mutex, const timespec* time)) {
  return wait_until_time(Call::pthread_cond_timedwait, gate<Call::pthread_cond_timedwait>(), cond, mutex, time);
}

// pthread_cond_clockwait(3): until a time on that clock.
HOOK(int, pthread_cond_clockwait,
     (pthread_cond_t * cond, pthread_mutex_t* mutex, clockid_t clock, const timespec* time)) {
  Fiber* fiber = gate<Call::pthread_cond_clockwait>();
  if (!has_valid_nanoseconds(*time) || !is_wait_clock(clock)) return EINVAL;
  return wait_for(Call::pthread_cond_clockwait, fiber, cond, mutex, {clock, time});
}

// pthread_cond_signal(3): wakes a fiber, or else a kernel thread.
HOOK(int, pthread_cond_signal, (pthread_cond_t * cond)) {
  gate<Call::pthread_cond_signal>();
  return wake_parked(cond, 1) ? 0 : real.pthread_cond_signal(cond);
}

// pthread_cond_broadcast(3).
HOOK(int, pthread_cond_broadcast, (pthread_cond_t * cond)) {
  gate<Call::pthread_cond_broadcast>();
  int result = real.pthread_cond_broadcast(cond);
  wake_parked(cond, INT32_MAX);
  return result;
}

namespace {

pthread_cond_t* posix(cnd_t* cond) { return reinterpret_cast<pthread_cond_t*>(cond); }
pthread_mutex_t* posix(mtx_t* mutex) { return reinterpret_cast<pthread_mutex_t*>(mutex); }

}  // namespace

// cnd_wait(3) and its kin: a cnd_t is a pthread_cond_t.
HOOK(int, cnd_wait, (cnd_t * cond, mtx_t* mutex)) {
  return to_thrd(wait_for(Call::cnd_wait, gate<Call::cnd_wait>(), posix(cond), posix(mutex)));
}
HOOK(int, cnd_timedwait, (cnd_t * cond, mtx_t* mutex, const timespec* time)) {
  Fiber* fiber = gate<Call::cnd_timedwait>();
  return to_thrd(wait_until_time(Call::cnd_timedwait, fiber, posix(cond), posix(mutex), time));
}
HOOK(int, cnd_signal, (cnd_t * cond)) {
  gate<Call::cnd_signal>();
  return wake_parked(cond, 1) ? static_cast<int>(thrd_success) : real.cnd_signal(cond);
}
HOOK(int, cnd_broadcast, (cnd_t * cond)) {
  gate<Call::cnd_broadcast>();
  int result = real.cnd_broadcast(cond);
  wake_parked(cond, INT32_MAX);
  return result;
}

}  // namespace coro
