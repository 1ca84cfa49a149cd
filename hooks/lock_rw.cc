// SPDX-License-Identifier: Apache-2.0
//
// Read-write locks. As mutexes: glibc's try functions decide, and a fiber that may not enter parks in the queue of the
// lock's address, readers and writers told apart by their bits. What try functions cannot do is to register a waiting
// writer, which stops new readers: where that matters (the kind that prefers writers, and a writer that was passed over
// again and again) one writer at a time waits in glibc's own function, on a helper.
#include "hooks/sync.h"

namespace coro {
namespace {

enum Side : uint32_t { reader = 1, writer = 2 };
constexpr int passed_over_too_often = 4;

int attempt(pthread_rwlock_t* lock, Side side) {
  return side == reader ? real.pthread_rwlock_tryrdlock(lock) : real.pthread_rwlock_trywrlock(lock);
}

// All readers may enter together; of the writers one, and its unlock wakes the next.
void wake_waiters(const pthread_rwlock_t* lock) {
  if (__builtin_expect(!may_have_waiters(lock), 1)) return;
  wake_parked(lock, 1, writer);
  wake_parked(lock, INT32_MAX, reader);
}

// libc's own function, which blocks the kernel thread. One that gives up may have held readers back.
int block(pthread_rwlock_t* lock, Side side, const Until& until) {
  int result;
  if (!until.time)
    result = side == reader ? real.pthread_rwlock_rdlock(lock) : real.pthread_rwlock_wrlock(lock);
  else if (side == reader)
    result = real.pthread_rwlock_clockrdlock(lock, until.clock, until.time);
  else
    result = real.pthread_rwlock_clockwrlock(lock, until.clock, until.time);
  if (result == ETIMEDOUT) wake_waiters(lock);
  return result;
}

int wait_once(Call call, Fiber* fiber, pthread_rwlock_t* lock, Side side, const Deadline& deadline) {
  Woken woken;
  {
    Wait wait(to_reason(call), Cancellable::no);
    wait.enqueue(lock, side);
    int tried = attempt(lock, side);
    if (tried != EBUSY) return tried;
    wait.until(deadline);
    woken = wait.park();
  }
  settle_wait(woken, fiber, Rule::restarts);
  int tried = attempt(lock, side);
  return tried == EBUSY && woken == Woken::timed_out ? ETIMEDOUT : tried;
}

[[gnu::noinline]] int lock_slowly(Call call, Fiber* fiber, pthread_rwlock_t* lock, Side side, const Until& until) {
  if (is_writer(fiber, lock)) return EDEADLK;
  Deadline deadline = until.deadline();
  auto away = [&] {
    return block_away(call, fiber, deadline, [&] { return attempt(lock, side); },
                      [&] { return block(lock, side, until); });
  };
  if (is_shared(lock)) return away();
  for (int passed_over = 0;; passed_over++) {
    bool registers = side == writer && (stops_readers_for_writers(lock) || passed_over > passed_over_too_often);
    if (registers && !has_writer(lock)) return away();
    int result = wait_once(call, fiber, lock, side, deadline);
    if (result != EBUSY) return result;
  }
}

// The times are checked before anything else (nptl/pthread_rwlock_common.c).
int lock(Call call, Fiber* fiber, pthread_rwlock_t* lock, Side side, const Until& until = for_ever) {
  if (until.time && (!is_wait_clock(until.clock) || !has_valid_nanoseconds(*until.time))) return EINVAL;
  if (!fiber) return block(lock, side, until);
  int tried = attempt(lock, side);
  return __builtin_expect(tried != EBUSY, 1) ? tried : lock_slowly(call, fiber, lock, side, until);
}

}  // namespace

// pthread_rwlock_rdlock(3): parks while a writer has the lock.
HOOK(int, pthread_rwlock_rdlock, (pthread_rwlock_t * own)) {
  return lock(Call::pthread_rwlock_rdlock, gate<Call::pthread_rwlock_rdlock>(), own, reader);
}
HOOK_ALIAS(__pthread_rwlock_rdlock, pthread_rwlock_rdlock);

// pthread_rwlock_timedrdlock(3), pthread_rwlock_clockrdlock(3): until an absolute time.
HOOK(int, pthread_rwlock_timedrdlock, (pthread_rwlock_t * own, const timespec* time)) {
  constexpr Call call = Call::pthread_rwlock_timedrdlock;
  return lock(call, gate<call>(), own, reader, {CLOCK_REALTIME, time});
}
HOOK(int, pthread_rwlock_clockrdlock, (pthread_rwlock_t * own, clockid_t clock, const timespec* time)) {
  constexpr Call call = Call::pthread_rwlock_clockrdlock;
  return lock(call, gate<call>(), own, reader, {clock, time});
}

// pthread_rwlock_tryrdlock(3), pthread_rwlock_trywrlock(3): EBUSY when it may not enter.
HOOK(int, pthread_rwlock_tryrdlock, (pthread_rwlock_t * own)) {
  Fiber* fiber = gate<Call::pthread_rwlock_tryrdlock>();
  int tried = attempt(own, reader);
  return fiber ? spin_watch_lock(fiber, tried) : tried;
}
HOOK(int, pthread_rwlock_trywrlock, (pthread_rwlock_t * own)) {
  Fiber* fiber = gate<Call::pthread_rwlock_trywrlock>();
  int tried = attempt(own, writer);
  return fiber ? spin_watch_lock(fiber, tried) : tried;
}
HOOK_ALIAS(__pthread_rwlock_tryrdlock, pthread_rwlock_tryrdlock);
HOOK_ALIAS(__pthread_rwlock_trywrlock, pthread_rwlock_trywrlock);

// pthread_rwlock_wrlock(3): parks while anybody else has the lock.
HOOK(int, pthread_rwlock_wrlock, (pthread_rwlock_t * own)) {
  return lock(Call::pthread_rwlock_wrlock, gate<Call::pthread_rwlock_wrlock>(), own, writer);
}
HOOK_ALIAS(__pthread_rwlock_wrlock, pthread_rwlock_wrlock);

// pthread_rwlock_timedwrlock(3), pthread_rwlock_clockwrlock(3): until an absolute time.
HOOK(int, pthread_rwlock_timedwrlock, (pthread_rwlock_t * own, const timespec* time)) {
  constexpr Call call = Call::pthread_rwlock_timedwrlock;
  return lock(call, gate<call>(), own, writer, {CLOCK_REALTIME, time});
}
HOOK(int, pthread_rwlock_clockwrlock, (pthread_rwlock_t * own, clockid_t clock, const timespec* time)) {
  constexpr Call call = Call::pthread_rwlock_clockwrlock;
  return lock(call, gate<call>(), own, writer, {clock, time});
}

// pthread_rwlock_unlock(3): never parks.
HOOK(int, pthread_rwlock_unlock, (pthread_rwlock_t * own)) {
  gate<Call::pthread_rwlock_unlock>();
  int result = real.pthread_rwlock_unlock(own);
  wake_waiters(own);  // from here on the lock may be gone
  return result;
}
HOOK_ALIAS(__pthread_rwlock_unlock, pthread_rwlock_unlock);

}  // namespace coro
