// SPDX-License-Identifier: Apache-2.0
//
// Mutexes and spin locks. glibc's trylock decides; a fiber that finds the lock taken parks in the queue of its address and
// tries again when an unlock wakes it (others may be faster, as with glibc). Not interrupted by signals, not cancelled.
// Priority inheritance among fibers would be the kernel's to arrange, and the kernel does not know fibers: such mutexes
// are waited for as all others, and their FUTEX_LOCK_PI is never called (it fails for an owner that is no kernel thread).
#include <immintrin.h>
#include <threads.h>

#include "hooks/sync.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

constexpr int table_size = 256;
int slot_of(const void* key) {
  return static_cast<int>(reinterpret_cast<uint64_t>(key) * 0x9E3779B97F4A7C15u >> 56);
}

// By hash of the mutex: kernel threads that are in libc's pthread_cond_wait with it, see UnseenUnlock.
std::atomic<int> unseen[table_size];
constexpr int64_t unseen_pause = 2'000'000;

// By hash of the mutex: fibers that were woken for it in vain more than once. An unlock that wakes somebody then gives
// up its turn, or a loop of lock, wait, unlock would keep the lock from everybody else on the hub for ever.
std::atomic<int> starving[table_size];

class Starving {
 public:
  explicit Starving(const void* key) : count_(starving[slot_of(key)]) {}
  ~Starving() {
    if (counted_) count_--;
  }
  void woken_in_vain() {
    if (++times_ != 2) return;
    counted_ = true;
    count_++;
  }

 private:
  std::atomic<int>& count_;
  int times_ = 0;
  bool counted_ = false;
};

// What trylock's answer means for lock; EBUSY: wait.
int after_try(const Fiber* fiber, pthread_mutex_t* mutex, int tried) {
  if (tried == ENOTRECOVERABLE) let_go_unrecoverable(fiber, mutex);
  // A priority ceiling is set by libc with the thread's tid, which is no kernel thread's: natively EINVAL, because the
  // thread is not SCHED_FIFO.
  if (tried == ESRCH) return EINVAL;
  return tried;
}

// One look, and if the mutex is still taken one wait. EBUSY: try again; ETIMEDOUT: the wait's deadline passed.
int wait_once(Call call, Fiber* fiber, pthread_mutex_t* mutex, const Deadline& deadline) {
  Woken woken;
  {
    Wait wait(to_reason(call), Cancellable::no);
    wait.enqueue(mutex);
    int tried = real.pthread_mutex_trylock(mutex);
    // An unlock that chose us meanwhile needs no successor: we hold the mutex, and our own unlock wakes the next.
    if (tried != EBUSY) return after_try(fiber, mutex, tried);
    bool polls = unseen[slot_of(mutex)].load() != 0 || is_shared(mutex);
    wait.until(polls && deadline.left() > unseen_pause ? Deadline::in(unseen_pause) : deadline);
    woken = wait.park();
  }
  settle_wait(woken, fiber, Rule::restarts);
  int tried = after_try(fiber, mutex, real.pthread_mutex_trylock(mutex));
  return tried == EBUSY && woken == Woken::timed_out && deadline.passed() ? ETIMEDOUT : tried;
}

int real_lock(pthread_mutex_t* mutex, const Until& until) {
  KernelKnowsOwner known(mutex);
  return until.time ? real.pthread_mutex_clocklock(mutex, until.clock, until.time)
                    : real.pthread_mutex_lock(mutex);
}

// By a kernel thread that is no fiber on a hub. The kernel would look in vain for a fiber that owns a mutex with priority
// inheritance: such a mutex is polled.
int lock_off_hub(pthread_mutex_t* mutex, const Until& until = for_ever) {
  if (!engine_started() || !inherits_priority(mutex)) return real_lock(mutex, until);
  Deadline deadline = until.deadline();
  for (;;) {
    int tried = real.pthread_mutex_trylock(mutex);
    if (tried != EBUSY) return tried;
    if (until.time && (until.time->tv_sec < 0 || !has_valid_nanoseconds(*until.time))) return EINVAL;
    if (deadline.passed()) return ETIMEDOUT;
    timespec pause = to_timespec(first_pause);
    sys::call(SYS_nanosleep, sys::as_long(&pause), 0);
  }
}

}  // namespace

int lock_slowly(Call call, Fiber* fiber, pthread_mutex_t* mutex, const Until& until) {
  look_for_shortcuts();
  KernelKnowsOwner known(mutex);
  int tried = after_try(fiber, mutex, real.pthread_mutex_trylock(mutex));
  if (tried != EBUSY) return tried;
  if (is_error_checking(mutex) && is_owner(fiber, mutex)) return EDEADLK;
  // Only who has to wait is told of a bad time, and a time before 1970 is past whatever its nanoseconds. Where the kernel
  // is asked to lock (priority inheritance) it refuses such a time.
  if (until.time && until.time->tv_sec < 0) return inherits_priority(mutex) ? EINVAL : ETIMEDOUT;
  if (until.time && !has_valid_nanoseconds(*until.time)) return EINVAL;
  Deadline deadline = until.deadline();
  if (is_shared(mutex) && !inherits_priority(mutex))
    return block_away(call, fiber, deadline, [&] { return after_try(fiber, mutex, real.pthread_mutex_trylock(mutex)); },
                      [&] { return real_lock(mutex, until); });
  Starving patience(mutex);
  for (;;) {
    int result = wait_once(call, fiber, mutex, deadline);
    if (result != EBUSY) return result;
    patience.woken_in_vain();
  }
}

UnseenUnlock::UnseenUnlock(const pthread_mutex_t* mutex) : count_(unseen[slot_of(mutex)]) {
  count_++;
  wake_parked(mutex, INT32_MAX);  // those that park from now on see the count
}
UnseenUnlock::~UnseenUnlock() { count_--; }

// pthread_mutex_lock(3): parks until the mutex is ours.
HOOK(int, pthread_mutex_lock, (pthread_mutex_t* mutex)) {
  Fiber* fiber = gate<Call::pthread_mutex_lock>();
  if (__builtin_expect(!fiber, 0)) return lock_off_hub(mutex);
  return lock_mutex(Call::pthread_mutex_lock, fiber, mutex);
}
HOOK_ALIAS(__pthread_mutex_lock, pthread_mutex_lock);

// pthread_mutex_trylock(3): EBUSY when it is taken.
HOOK(int, pthread_mutex_trylock, (pthread_mutex_t* mutex)) {
  Fiber* fiber = gate<Call::pthread_mutex_trylock>();
  if (!fiber) return real.pthread_mutex_trylock(mutex);
  if (take_plain(mutex, shortcuts.tid_offset)) return spin_watch_lock(fiber, 0);
  KernelKnowsOwner known(mutex);
  int tried = real.pthread_mutex_trylock(mutex);
  return spin_watch_lock(fiber, tried == ESRCH ? EINVAL : tried);
}
HOOK_ALIAS(__pthread_mutex_trylock, pthread_mutex_trylock);

// pthread_mutex_timedlock(3): until a time on CLOCK_REALTIME.
HOOK(int, pthread_mutex_timedlock, (pthread_mutex_t* mutex, const timespec* time)) {
  Fiber* fiber = gate<Call::pthread_mutex_timedlock>();
  Until until{CLOCK_REALTIME, time};
  if (!fiber) return lock_off_hub(mutex, until);
  return lock_mutex(Call::pthread_mutex_timedlock, fiber, mutex, until);
}

// pthread_mutex_clocklock(3): until a time on that clock.
HOOK(int, pthread_mutex_clocklock, (pthread_mutex_t* mutex, clockid_t clock, const timespec* time)) {
  Fiber* fiber = gate<Call::pthread_mutex_clocklock>();
  if (!is_wait_clock(clock)) return EINVAL;
  Until until{clock, time};
  if (!fiber) return lock_off_hub(mutex, until);
  return lock_mutex(Call::pthread_mutex_clocklock, fiber, mutex, until);
}

namespace {

[[gnu::noinline]] void wake_next(Fiber* fiber, const pthread_mutex_t* mutex) {
  if (wake_parked(mutex, 1) && fiber && starving[slot_of(mutex)].load(std::memory_order_relaxed))
    yield_to_others();
}

[[gnu::always_inline]] inline int unlock(Fiber* fiber, pthread_mutex_t* mutex) {
  bool nested = mutex->__data.__count > 1;  // of a recursive one: it stays locked
  int result = unlock_as_owner(mutex);
  // From here on the mutex may be gone.
  if (__builtin_expect(may_have_waiters(mutex), 0) && !nested && result == 0) wake_next(fiber, mutex);
  return result;
}

}  // namespace

// pthread_mutex_unlock(3): never parks; a waiting fiber becomes ready.
HOOK(int, pthread_mutex_unlock, (pthread_mutex_t* mutex)) {
  return unlock(gate<Call::pthread_mutex_unlock>(), mutex);
}
HOOK_ALIAS(__pthread_mutex_unlock, pthread_mutex_unlock);

// pthread_mutex_consistent(3): makes the caller the owner.
HOOK(int, pthread_mutex_consistent, (pthread_mutex_t* mutex)) {
  KernelKnowsOwner known(mutex);
  return real.pthread_mutex_consistent(mutex);
}
HOOK_ALIAS(pthread_mutex_consistent_np, pthread_mutex_consistent);

// mtx_lock(3) and its kin: a mtx_t is a pthread_mutex_t.
HOOK(int, mtx_lock, (mtx_t * mutex)) {
  auto* own = reinterpret_cast<pthread_mutex_t*>(mutex);
  Fiber* fiber = gate<Call::mtx_lock>();
  return to_thrd(fiber ? lock_mutex(Call::mtx_lock, fiber, own) : lock_off_hub(own));
}
HOOK(int, mtx_timedlock, (mtx_t * mutex, const timespec* time)) {
  auto* own = reinterpret_cast<pthread_mutex_t*>(mutex);
  Until until{CLOCK_REALTIME, time};
  Fiber* fiber = gate<Call::mtx_timedlock>();
  return to_thrd(fiber ? lock_mutex(Call::mtx_timedlock, fiber, own, until) : lock_off_hub(own, until));
}
HOOK(int, mtx_trylock, (mtx_t * mutex)) {
  Fiber* fiber = gate<Call::mtx_trylock>();
  int tried = real.pthread_mutex_trylock(reinterpret_cast<pthread_mutex_t*>(mutex));
  return to_thrd(fiber ? spin_watch_lock(fiber, tried) : tried);
}
HOOK(int, mtx_unlock, (mtx_t * mutex)) {
  return to_thrd(unlock(gate<Call::mtx_unlock>(), reinterpret_cast<pthread_mutex_t*>(mutex)));
}

// pthread_spin_lock(3): spins a little, then lets others run: on one hub the holder is one of them.
HOOK(int, pthread_spin_lock, (pthread_spinlock_t * lock)) {
  Fiber* fiber = gate<Call::pthread_spin_lock>();
  if (!fiber) return real.pthread_spin_lock(lock);
  for (int tries = 0; real.pthread_spin_trylock(lock) != 0; tries++) {
    if (tries < 100)
      _mm_pause();
    else if (tries < 200)
      yield_to_others();
    else
      pause_for(Call::pthread_spin_lock, fiber, 50'000, Cancellable::no);
  }
  return 0;
}
HOOK(int, pthread_spin_trylock, (pthread_spinlock_t * lock)) {
  Fiber* fiber = gate<Call::pthread_spin_trylock>();
  int tried = real.pthread_spin_trylock(lock);
  return fiber ? spin_watch_lock(fiber, tried) : tried;
}

}  // namespace coro
