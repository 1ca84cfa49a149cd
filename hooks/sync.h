// SPDX-License-Identifier: Apache-2.0
//
// What locks, conditions, semaphores and futexes share. glibc's own state in the object stays the truth: a hook first
// tries the real trylock, and only a fiber that would have to wait is parked here, in the queue of the object's address.
// Laws:
//  - enqueue, look at the state again, park; never park on a state that was read before the enqueue;
//  - whoever changes the state calls the real function first and wake_parked() then, from any thread, fiber or not:
//    fibers wait in our queue, foreign kernel threads and fibers that are away wait in the kernel;
//  - after the real unlock or post the object may be gone: only its address is used;
//  - objects in memory shared with other processes are waited for in the kernel, by a fiber that is away.
#pragma once

#include "hooks/away.h"
#include "hooks/hook.h"
#include "scheduler/thread_block.h"

namespace coro {

// Wakes up to `most` fibers parked on `key`. Any thread, outside a Wait too. Returns how many woke.
inline int wake_parked(const void* key, int most, uint32_t bits = ~0u) {
  if (__builtin_expect(!may_have_waiters(key), 1)) return 0;
  Critical inside;
  return wake_queue(key, most, bits);
}

// settle() for a wait that may end without EINTR although a handler was deferred meanwhile: it runs before we return.
inline Outcome settle_wait(Woken woken, Fiber* fiber, Rule rule) {
  Outcome outcome = settle(woken, fiber, rule);
  if (woken != Woken::signal) Critical deferred_handlers_run_at_its_end;
  return outcome;
}

// --- what we know of glibc's objects; all of it is in sync.cc ---

// True: waiters may be in other processes.
bool is_shared(const pthread_mutex_t* mutex);
bool is_shared(const pthread_cond_t* cond);
bool is_shared(const pthread_rwlock_t* lock);
bool is_shared(const pthread_barrier_t* barrier);
bool is_shared(const sem_t* semaphore);

clockid_t clock_of(const pthread_cond_t* cond);
unsigned count_of(const pthread_barrier_t* barrier);
// The 8 bytes at its start, zero between rounds, ours to use while one is on; null: this libc has none.
void** round_of(pthread_barrier_t* barrier);
bool inherits_priority(const pthread_mutex_t* mutex);
bool is_error_checking(const pthread_mutex_t* mutex);
bool is_owner(const Fiber* fiber, const pthread_mutex_t* mutex);
bool is_writer(const Fiber* fiber, const pthread_rwlock_t* lock);
// A writer holds the lock or is registered to get it next.
bool has_writer(const pthread_rwlock_t* lock);
bool stops_readers_for_writers(const pthread_rwlock_t* lock);
// glibc 2.36's trylock takes a mutex that it reports as ENOTRECOVERABLE: gives the lock word back, as lock does.
void let_go_unrecoverable(const Fiber* fiber, pthread_mutex_t* mutex);

bool is_robust(const pthread_mutex_t* mutex);

// While it lives, the running fiber owns what it takes by the tid that its guardian has (scheduler/guardian.h), if the
// mutex is a robust one that other processes share. Round every real call that takes or gives up a mutex, or compares
// its owner. Not undone when a cancellation unwinds: the fiber then ends with the guardian's tid.
class KernelKnowsOwner {
 public:
  explicit KernelKnowsOwner(const pthread_mutex_t* mutex) {
    if (__builtin_expect(mutex->__data.__kind & ~3, 0)) begin(mutex);
  }
  ~KernelKnowsOwner() {
    if (__builtin_expect(block_ != nullptr, 0)) thread_block::set_tid(block_, own_);
  }
  KernelKnowsOwner(const KernelKnowsOwner&) = delete;

 private:
  void begin(const pthread_mutex_t* mutex);
  void* block_ = nullptr;
  int own_ = 0;
};

// The real unlock.
inline int unlock_as_owner(pthread_mutex_t* mutex) {
  KernelKnowsOwner known(mutex);
  return real.pthread_mutex_unlock(mutex);
}

// --- shortcuts: what glibc's try functions do to a free object, without the call; used only if they left the same bytes ---

struct Shortcuts {
  ptrdiff_t tid_offset = 0;  // 0: mutexes are left to glibc
  bool semaphores = false;
};
extern constinit Shortcuts shortcuts;
void look_for_shortcuts();  // once, at the first wait or lock

// pthread_mutex_trylock for the four types without attributes (nptl/pthread_mutex_trylock.c). False: ask trylock.
inline bool take_plain(pthread_mutex_t* mutex, ptrdiff_t tid_offset) {
  auto& m = mutex->__data;
  if (!tid_offset || m.__kind & ~3) return false;
  int tid = *reinterpret_cast<int*>(static_cast<char*>(__builtin_thread_pointer()) + tid_offset);
  bool recursive = m.__kind == PTHREAD_MUTEX_RECURSIVE;
  if (recursive && m.__owner == tid) {
    if (m.__count + 1 == 0) return false;
    m.__count++;
    return true;
  }
  int free = 0;
  if (!__atomic_compare_exchange_n(&m.__lock, &free, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return false;
  m.__owner = tid;
  if (recursive) m.__count = 1;
  m.__nusers++;
  return true;
}

// sem_trywait, which leaves errno alone (nptl/sem_waitcommon.c: the value is the low half of a 64-bit word).
inline bool take_token(sem_t* semaphore) {
  auto* data = reinterpret_cast<uint64_t*>(semaphore);
  uint64_t value = __atomic_load_n(data, __ATOMIC_RELAXED);
  while (static_cast<uint32_t>(value))
    if (__atomic_compare_exchange_n(data, &value, value - 1, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return true;
  return false;
}

// True if the page is surely private to this process (then a "shared" futex in it is not).
bool is_private_mapping(const void* address);

// True if the word can be read; asked of the kernel, like the above remembered for a moment.
bool is_mapped(const uint32_t* word);

// --- time ---

inline bool is_wait_clock(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC; }
inline bool has_valid_nanoseconds(const timespec& time) {
  return time.tv_nsec >= 0 && time.tv_nsec < 1'000'000'000;
}

// An absolute time on a clock; without one: never.
struct Until {
  clockid_t clock = CLOCK_REALTIME;
  const timespec* time = nullptr;
  Deadline deadline() const {
    if (!time) return Deadline::never();
    return time->tv_sec < 0 ? Deadline{0, false} : Deadline::at_time(clock, *time);
  }
};
constexpr Until for_ever{};

// --- waiting ---

// Takes a mutex that is not simply free. 0 or the error that pthread_mutex_lock would return.
int lock_slowly(Call call, Fiber* fiber, pthread_mutex_t* mutex, const Until& until);

// As pthread_mutex_lock, by a fiber on a hub.
inline int lock_mutex(Call call, Fiber* fiber, pthread_mutex_t* mutex, const Until& until = for_ever) {
  if (__builtin_expect(take_plain(mutex, shortcuts.tid_offset), 1)) return 0;
  return lock_slowly(call, fiber, mutex, until);
}

// libc's own pthread_cond_wait unlocks the mutex where no hook sees it. While one of these lives, fibers that wait for
// that mutex look at it themselves every few milliseconds. A cancelled wait leaves it counted: costs time, not truth.
class UnseenUnlock {
 public:
  explicit UnseenUnlock(const pthread_mutex_t* mutex);
  ~UnseenUnlock();
  UnseenUnlock(const UnseenUnlock&) = delete;

 private:
  std::atomic<int>& count_;
};

// Runs block() on a helper kernel thread. Without a helper: attempt(), which says EBUSY, with pauses, until the deadline.
template <class Attempt, class Block>
int block_away(Call call, Fiber* fiber, const Deadline& deadline, Attempt attempt, Block block) {
  KeepErrno keep;
  {
    Away away(to_reason(call));
    if (!on_hub()) return block();
  }
  for (int64_t pause = first_pause;; pause = pause < longest_pause ? pause * 2 : pause) {
    if (int result = attempt(); result != EBUSY) return result;
    if (deadline.passed()) return ETIMEDOUT;
    pause_for(call, fiber, pause, Cancellable::no);
  }
}

// The answer of a try function. A run of EBUSY is somebody spinning: the others' turn, or the holder never gets his.
inline int spin_watch_lock(Fiber* fiber, int result) {
  if (result == EBUSY)
    note_fruitless(fiber);
  else
    fiber->fruitless = 0;
  return result;
}

// C11's answer for a pthread error number (thrd_err_map of sysdeps/pthread/thrd_priv.h).
int to_thrd(int error);

}  // namespace coro
