// SPDX-License-Identifier: Apache-2.0
//
// glibc's traps met here:
//  - which word tells a process-shared object is private to glibc: each is found by making one of each and comparing;
//  - robust mutexes always carry the shared mark, because the kernel's wake at a thread's end is a shared one. So the
//    mark alone says nothing: an object in private memory is ours alone, whatever its mark;
//  - futex words of libstdc++ (__cxa_guard, std::future) are used without FUTEX_PRIVATE_FLAG: the same question.
#include "hooks/sync.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <threads.h>

#include "scheduler/check.h"
#include "scheduler/guardian.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

// One word of an object, by which two kinds of it differ: word & mask == value means the marked kind.
struct Mark {
  size_t offset = 0;
  uint32_t mask = 0, value = 0;  // mask 0: not found
  bool known() const { return mask != 0; }
  bool on(const void* object) const {
    uint32_t word;
    memcpy(&word, static_cast<const char*>(object) + offset, sizeof word);
    return (word & mask) == value;
  }
};

struct SyncLayout {
  Mark shared_mutex, shared_cond, shared_rwlock, shared_barrier, shared_semaphore;
  Mark monotonic_cond, inheriting_mutex, checking_mutex, robust_mutex;
  size_t barrier_count = 0;
  bool barrier_has_room = false;
  unsigned writer_bit = 0;  // of a rwlock's __readers: PTHREAD_RWLOCK_WRLOCKED
  bool owners_known = false;
};

// Makes a plain and a marked object with make(object, marked) and finds the one word that differs.
template <class Object, class Make>
Mark find_mark(Make make) {
  alignas(8) uint32_t words[2][sizeof(Object) / 4];
  memset(words, 0, sizeof words);
  for (int marked = 0; marked < 2; marked++) make(reinterpret_cast<Object*>(words[marked]), marked);
  Mark mark;
  for (size_t i = 0; i < sizeof(Object) / 4; i++) {
    uint32_t difference = words[0][i] ^ words[1][i];
    if (!difference) continue;
    if (mark.known()) return {};
    mark = {i * 4, difference, words[1][i] & difference};
  }
  return mark;
}

template <class Set>
Mark find_mutex_mark(Set set) {
  return find_mark<pthread_mutex_t>([&](pthread_mutex_t* mutex, bool marked) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    if (marked) set(&attributes);
    pthread_mutex_init(mutex, &attributes);
  });
}

template <class Set>
Mark find_cond_mark(Set set) {
  return find_mark<pthread_cond_t>([&](pthread_cond_t* cond, bool marked) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    if (marked) set(&attributes);
    pthread_cond_init(cond, &attributes);
  });
}

void look_at_mutexes_and_conds(SyncLayout& l) {
  l.shared_mutex = find_mutex_mark([](auto* a) { pthread_mutexattr_setpshared(a, PTHREAD_PROCESS_SHARED); });
  l.inheriting_mutex = find_mutex_mark([](auto* a) { pthread_mutexattr_setprotocol(a, PTHREAD_PRIO_INHERIT); });
  l.robust_mutex = find_mutex_mark([](auto* a) { pthread_mutexattr_setrobust(a, PTHREAD_MUTEX_ROBUST); });
  l.checking_mutex = find_mutex_mark([](auto* a) { pthread_mutexattr_settype(a, PTHREAD_MUTEX_ERRORCHECK); });
  if (l.checking_mutex.known()) l.checking_mutex.mask |= 3;  // the type's two bits (pthreadP.h): recursive and adaptive ones are none
  l.shared_cond = find_cond_mark([](auto* a) { pthread_condattr_setpshared(a, PTHREAD_PROCESS_SHARED); });
  l.monotonic_cond = find_cond_mark([](auto* a) { pthread_condattr_setclock(a, CLOCK_MONOTONIC); });
}

void look_at_barriers_and_semaphores(SyncLayout& l) {
  l.shared_barrier = find_mark<pthread_barrier_t>([](pthread_barrier_t* barrier, bool marked) {
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    if (marked) pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(barrier, &attributes, 3);
  });
  Mark count = find_mark<pthread_barrier_t>([](pthread_barrier_t* barrier, bool marked) {
    pthread_barrier_init(barrier, nullptr, marked ? 0x2aaaaaaa : 0x15555555);
  });
  l.barrier_count = count.offset;
  l.barrier_has_room = count.mask == 0x3fffffff && count.offset >= 8 && l.shared_barrier.offset >= 8;
  l.shared_semaphore = find_mark<sem_t>([](sem_t* semaphore, bool marked) { sem_init(semaphore, marked, 0); });
}

void look_at_rwlocks(SyncLayout& l) {
  l.shared_rwlock = find_mark<pthread_rwlock_t>([](pthread_rwlock_t* lock, bool marked) {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    if (marked) pthread_rwlockattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_rwlock_init(lock, &attributes);
  });
  pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  int tid = thread_block::tid(this_thread_block());
  real.pthread_rwlock_trywrlock(&lock);
  real.pthread_mutex_trylock(&mutex);
  unsigned held = lock.__data.__readers;
  l.owners_known = lock.__data.__cur_writer == tid && mutex.__data.__owner == tid &&
                   (mutex.__data.__lock == 1 || mutex.__data.__lock == tid);
  real.pthread_rwlock_unlock(&lock);
  l.writer_bit = held & ~lock.__data.__readers;
}

// --- shortcuts ---

// Whether take_plain leaves the same bytes as trylock, first and second time.
bool takes_mutexes_alike(int type, ptrdiff_t tid_offset) {
  pthread_mutex_t ours, theirs;
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, type);
  if (type == PTHREAD_MUTEX_DEFAULT) pthread_mutexattr_init(&attributes);  // NORMAL carries one more bit
  pthread_mutex_init(&ours, &attributes);
  pthread_mutex_init(&theirs, &attributes);
  for (int time = 0; time < 2; time++) {
    if (take_plain(&ours, tid_offset) != (real.pthread_mutex_trylock(&theirs) == 0)) return false;
    if (memcmp(&ours, &theirs, sizeof ours) != 0) return false;
  }
  return true;
}

bool takes_tokens_alike() {
  sem_t ours, theirs;
  memset(&ours, 0, sizeof ours);
  memset(&theirs, 0, sizeof theirs);
  sem_init(&ours, 0, 1);
  sem_init(&theirs, 0, 1);
  for (int time = 0; time < 2; time++) {
    if (take_token(&ours) != (real.sem_trywait(&theirs) == 0)) return false;
    if (memcmp(&ours, &theirs, sizeof ours) != 0) return false;
  }
  return true;
}

// Found at the first wait. Two hubs may look at the same time: both write the same bytes.
const SyncLayout& layout() {
  static constinit SyncLayout found;
  static std::atomic<bool> looked{false};
  // Without a fiber nobody acts on the answer, and the place of the tid in a thread block is not yet known.
  if (looked.load(std::memory_order_acquire) || !engine_started()) return found;
  SyncLayout l;
  look_at_mutexes_and_conds(l);
  look_at_barriers_and_semaphores(l);
  look_at_rwlocks(l);
  if (!l.owners_known) trouble({"this libc's locks are unknown: a thread that locks twice waits for ever"});
  found = l;
  looked.store(true, std::memory_order_release);
  return found;
}

// An unknown mark leaves the decision to the memory.
bool is_shared_object(const Mark& mark, const void* object) {
  return (!mark.known() || mark.on(object)) && !is_private_mapping(object);
}

bool has_own_tid(const Fiber* fiber, int owner) {
  return layout().owners_known && owner == thread_block::tid(fiber->context.thread_block);
}

}  // namespace

constinit Shortcuts shortcuts;

void look_for_shortcuts() {
  static std::atomic<bool> looked{false};
  if (looked.load(std::memory_order_relaxed) || looked.exchange(true)) return;
  KeepErrno keep;
  ptrdiff_t offset = thread_block::tid_offset();
  bool alike = layout().owners_known;
  for (int type : {PTHREAD_MUTEX_DEFAULT, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ADAPTIVE_NP})
    alike = alike && takes_mutexes_alike(type, offset);
  shortcuts.semaphores = takes_tokens_alike();
  if (alike) shortcuts.tid_offset = offset;
}

bool is_shared(const pthread_mutex_t* mutex) { return is_shared_object(layout().shared_mutex, mutex); }
bool is_shared(const pthread_cond_t* cond) { return is_shared_object(layout().shared_cond, cond); }
bool is_shared(const pthread_rwlock_t* lock) { return is_shared_object(layout().shared_rwlock, lock); }
bool is_shared(const pthread_barrier_t* barrier) { return is_shared_object(layout().shared_barrier, barrier); }
bool is_shared(const sem_t* semaphore) { return is_shared_object(layout().shared_semaphore, semaphore); }

clockid_t clock_of(const pthread_cond_t* cond) {
  const Mark& monotonic = layout().monotonic_cond;
  return monotonic.known() && monotonic.on(cond) ? CLOCK_MONOTONIC : CLOCK_REALTIME;
}

unsigned count_of(const pthread_barrier_t* barrier) {
  unsigned count;
  memcpy(&count, reinterpret_cast<const char*>(barrier) + layout().barrier_count, sizeof count);
  return count;
}

void** round_of(pthread_barrier_t* barrier) {
  return layout().barrier_has_room ? reinterpret_cast<void**>(barrier) : nullptr;
}

bool inherits_priority(const pthread_mutex_t* mutex) {
  const Mark& inheriting = layout().inheriting_mutex;
  return inheriting.known() && inheriting.on(mutex);
}
bool is_robust(const pthread_mutex_t* mutex) {
  const Mark& robust = layout().robust_mutex;
  return robust.known() && robust.on(mutex);
}

void KernelKnowsOwner::begin(const pthread_mutex_t* mutex) {
  Fiber* self = current;
  if (!self || !is_robust(mutex) || inherits_priority(mutex) || !is_shared(mutex)) return;
  KeepErrno keep;
  void* block = self->context.thread_block;
  int own = thread_block::tid(block);
  if (own == sys::getpid()) return;  // the process's first thread, whose list libc has registered
  int lent = tid_of_guardian(*self, to_reason(Call::pthread_mutex_lock));
  if (!lent) return;
  block_ = block;
  own_ = own;
  thread_block::set_tid(block, lent);
}

bool is_error_checking(const pthread_mutex_t* mutex) {
  const Mark& checking = layout().checking_mutex;
  return checking.known() && checking.on(mutex);
}

bool is_owner(const Fiber* fiber, const pthread_mutex_t* mutex) {
  return has_own_tid(fiber, __atomic_load_n(&mutex->__data.__owner, __ATOMIC_RELAXED));
}
bool is_writer(const Fiber* fiber, const pthread_rwlock_t* lock) {
  return has_own_tid(fiber, __atomic_load_n(&lock->__data.__cur_writer, __ATOMIC_RELAXED));
}
bool has_writer(const pthread_rwlock_t* lock) {
  return __atomic_load_n(&lock->__data.__readers, __ATOMIC_RELAXED) & layout().writer_bit;
}
bool stops_readers_for_writers(const pthread_rwlock_t* lock) {
  return lock->__data.__flags == PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP;
}

void let_go_unrecoverable(const Fiber* fiber, pthread_mutex_t* mutex) {
  int tid = thread_block::tid(fiber->context.thread_block);
  int word = __atomic_load_n(&mutex->__data.__lock, __ATOMIC_RELAXED);
  if ((word & FUTEX_TID_MASK) != tid) return;
  __atomic_store_n(&mutex->__data.__lock, 0, __ATOMIC_SEQ_CST);
  sys::call(SYS_futex, sys::as_long(&mutex->__data.__lock), FUTEX_WAKE, INT32_MAX);
  wake_parked(mutex, INT32_MAX);
}

int to_thrd(int error) {
  switch (error) {
    case 0: return thrd_success;
    case ENOMEM: return thrd_nomem;
    case ETIMEDOUT: return thrd_timedout;
    case EBUSY: return thrd_busy;
    default: return thrd_error;
  }
}

}  // namespace coro
