// SPDX-License-Identifier: Apache-2.0
//
// Condition variables. Fibers wait wholly in our queue of the condition's address: they join it, then unlock the mutex, so
// a signal sent after the unlock finds them. Kernel threads that are no fibers, and waiters in other processes, wait in
// libc's own function; signal and broadcast reach both. A waiter touches the condition no more once it is woken, so it may
// be destroyed right after a broadcast. After a handler a fiber waits on, as in glibc. While it ran the fiber was not in the
// queue: a signal that found nobody there meanwhile is seen in a count and ends the wait.
#include <threads.h>

#include "hooks/signals.h"
#include "hooks/sync.h"

namespace coro {
namespace {

int real_wait(pthread_cond_t* cond, pthread_mutex_t* mutex, const Until& until) {
  KernelKnowsOwner known(mutex);
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

// By hash of the condition: signals that found no fiber in its queue, and broadcasts. A waiter compares the count before it
// queued with that after it queued again; a signaller counts and then looks into the queue. So one sees the other.
constexpr int table_size = 256;
std::atomic<uint32_t> missed[table_size];
std::atomic<uint32_t>& missed_by(const void* cond) {
  return missed[reinterpret_cast<uint64_t>(cond) * 0x9E3779B97F4A7C15u >> 56];
}

int signal_fiber(pthread_cond_t* cond) {
  if (wake_parked(cond, 1)) return 1;
  missed_by(cond)++;
  return wake_parked(cond, 1);
}

void signal_all_fibers(pthread_cond_t* cond) {
  missed_by(cond)++;
  wake_parked(cond, INT32_MAX);
}

// The mutex is in use while somebody waits with it: pthread_mutex_destroy says EBUSY. glibc gives it up without counting
// down __nusers and takes it again without counting up (nptl/pthread_cond_wait.c); both are done under the mutex.
class InUse {
 public:
  InUse(const Fiber* fiber, pthread_mutex_t* mutex) : mutex_(is_owner(fiber, mutex) ? mutex : nullptr) {
    if (mutex_) mutex_->__data.__nusers++;
  }
  void not_unlocked() {
    if (mutex_) mutex_->__data.__nusers--;
  }
  // EOWNERDEAD: it was taken, but the dead owner is still counted in our place.
  void locked(int error) {
    if (mutex_ && (error == 0 || error == EOWNERDEAD)) mutex_->__data.__nusers--;
  }

 private:
  pthread_mutex_t* mutex_;
};

// Gives the mutex up and waits, in `woken`; or an error says that it was not ours.
int unlock_and_park(Call call, pthread_cond_t* cond, pthread_mutex_t* mutex, const Deadline& deadline, Woken& woken) {
  Wait wait(to_reason(call), Cancellable::yes);
  wait.enqueue(cond);
  if (int error = unlock_as_owner(mutex)) {
    if (wait.withdraw()) wake_queue(cond, 1);
    return error;
  }
  wake_queue(mutex, 1);
  wait.until(deadline);
  woken = wait.park();
  return 0;
}

// Waits on after a handler. Ready at once: a signal may have gone by.
Woken park_again(Call call, pthread_cond_t* cond, uint32_t missed_before, const Deadline& deadline) {
  Wait wait(to_reason(call), Cancellable::yes);
  wait.enqueue(cond);
  if (missed_by(cond) != missed_before) {
    if (wait.withdraw()) wake_queue(cond, 1);  // that one is the next waiter's: ours has gone by
    return Woken::ready;
  }
  wait.until(deadline);
  return wait.park();
}

// A fiber waits for a private condition. 0, ETIMEDOUT, or what the mutex said.
int park_for(Call call, Fiber* fiber, pthread_cond_t* cond, pthread_mutex_t* mutex, const Deadline& deadline) {
  test_cancel(fiber);
  uint32_t missed_before = missed_by(cond);
  InUse in_use(fiber, mutex);
  Woken woken = Woken::ready;
  if (int error = unlock_and_park(call, cond, mutex, deadline, woken)) {
    in_use.not_unlocked();
    return error;
  }
  while (woken == Woken::signal) {
    run_handlers(fiber);
    woken = park_again(call, cond, missed_before, deadline);
  }
  Critical::deliver_deferred(fiber);
  // Whatever ended the wait, the caller holds the mutex again: a cancelled one in its cleanup handlers (POSIX).
  int error = lock_mutex(call, fiber, mutex);
  in_use.locked(error);
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
  return signal_fiber(cond) ? 0 : real.pthread_cond_signal(cond);
}

// pthread_cond_broadcast(3).
HOOK(int, pthread_cond_broadcast, (pthread_cond_t * cond)) {
  gate<Call::pthread_cond_broadcast>();
  int result = real.pthread_cond_broadcast(cond);
  signal_all_fibers(cond);
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
  return signal_fiber(posix(cond)) ? static_cast<int>(thrd_success) : real.cnd_signal(cond);
}
HOOK(int, cnd_broadcast, (cnd_t * cond)) {
  gate<Call::cnd_broadcast>();
  int result = real.cnd_broadcast(cond);
  signal_all_fibers(posix(cond));
  return result;
}

}  // namespace coro
