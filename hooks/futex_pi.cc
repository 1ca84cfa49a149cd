// SPDX-License-Identifier: Apache-2.0
//
// Futexes with priority inheritance. The kernel keeps them for kernel threads: it would enter a kernel thread as the owner
// and not find a fiber by its number. So for words that no other process shares the protocol of futex(2) is kept here:
// the word is 0 or the owner's tid, with FUTEX_WAITERS while somebody waits; there is no priority to inherit among fibers.
//  - An unlock lets go and wakes the first waiter, who takes the word if nobody was faster. Whoever waits, or takes the
//    word while others wait, sets FUTEX_WAITERS, so the next unlock comes here again;
//  - a kernel thread beside fibers asks the kernel, and looks again every millisecond while a fiber owns the word.
#include <linux/futex.h>
#include <sys/syscall.h>

#include "hooks/futex.h"
#include "hooks/sync.h"
#include "hooks/thread.h"
#include "hooks/user_memory.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

using Word = std::atomic_ref<uint32_t>;

uint32_t tid_of(const Fiber* fiber) { return static_cast<uint32_t>(thread_block::tid(fiber->context.thread_block)); }

bool is_alive(uint32_t tid) {
  auto number = static_cast<int>(tid);
  return fiber_with_tid(number) || sys::call(SYS_tgkill, sys::getpid(), number, 0) == 0;
}

// One look. 0: the word is ours. EAGAIN: it is not, and with `waits` it is marked as waited for. Else the call's error.
// `own`: how many of the waiters are we ourselves.
int take(Fiber* fiber, uint32_t* address, bool waits, int own) {
  Word word(*address);
  uint32_t tid = tid_of(fiber), seen = word.load();
  for (;;) {
    uint32_t owner = seen & FUTEX_TID_MASK, wanted;
    if (owner == tid) return EDEADLK;
    if (owner && !waits) return EAGAIN;
    if (owner && !is_alive(owner)) return ESRCH;
    if (owner)
      wanted = seen | FUTEX_WAITERS;
    else
      wanted = tid | (seen & FUTEX_OWNER_DIED) | (count_waiters(address) > own ? FUTEX_WAITERS : 0);
    if (word.compare_exchange_weak(seen, wanted)) return owner ? EAGAIN : 0;
  }
}

// Critical: count_waiters() is the engine's.
int take_inside(Fiber* fiber, uint32_t* address, bool waits) {
  Critical inside;
  return take(fiber, address, waits, 0);
}

long lock(Fiber* fiber, uint32_t* address, const Deadline& deadline) {
  int error = take_inside(fiber, address, true);
  while (error == EAGAIN) {
    Woken woken;
    {
      Wait wait(to_reason(Call::syscall), Cancellable::no);
      wait.enqueue(address);
      error = take(fiber, address, true, 1);
      if (error != EAGAIN) {
        if (wait.withdraw() && error) wake_queue(address, 1);
        break;
      }
      wait.until(deadline);
      woken = wait.park();
    }
    settle_wait(woken, fiber, Rule::restarts);
    error = take_inside(fiber, address, true);
    if (error == EAGAIN && woken == Woken::timed_out && deadline.passed()) error = ETIMEDOUT;
  }
  return error ? failed(error) : 0;
}

long unlock(Fiber* fiber, uint32_t* address) {
  Word word(*address);
  uint32_t seen = word.load();
  do {
    if ((seen & FUTEX_TID_MASK) != tid_of(fiber)) return failed(EPERM);
  } while (!word.compare_exchange_weak(seen, 0));
  wake_parked(address, 1);
  return 0;
}

long ask_kernel(const long* a) { return real.syscall(SYS_futex, a[0], a[1], a[2], a[3], a[4], a[5]); }

uint32_t* word_of(long argument) { return reinterpret_cast<uint32_t*>(argument); }

// The arguments with another operation, its flags kept.
struct Arguments {
  long a[6];
  Arguments(const long* from, long command, long value, long time, long second, long third)
      : a{from[0], (from[1] & ~long{FUTEX_CMD_MASK}) | command, value, time, second, third} {}
};

// The absolute time of the call; false: it is not readable.
bool read_deadline(const long* a, Deadline& deadline, bool& valid) {
  int command = static_cast<int>(a[1]) & FUTEX_CMD_MASK;
  auto* given = reinterpret_cast<const timespec*>(a[3]);
  timespec time;
  valid = true;
  deadline = Deadline::never();
  if (!given) return true;
  if (!read_user(given, time)) return false;
  valid = time.tv_sec >= 0 && has_valid_nanoseconds(time);
  bool realtime = command == FUTEX_LOCK_PI || a[1] & FUTEX_CLOCK_REALTIME;
  if (valid) deadline = Deadline::at_time(realtime ? CLOCK_REALTIME : CLOCK_MONOTONIC, time);
  return true;
}

// Waits on the first word; who is then woken or moved goes on to take the second.
long wait_requeue(Fiber* fiber, const long* a, const Deadline& deadline) {
  if (a[0] == a[4] || !is_mapped(word_of(a[4]))) return failed(a[0] == a[4] ? EINVAL : EFAULT);
  Arguments wait(a, FUTEX_WAIT_BITSET, a[2], a[3], 0, static_cast<long>(FUTEX_BITSET_MATCH_ANY));
  if (futex(fiber, wait.a) < 0) return -1;
  return lock(fiber, word_of(a[4]), deadline);
}

// Wakes all that it would wake or move: each of them takes the second word by itself.
long requeue_for(Fiber* fiber, const long* a) {
  if (a[2] != 1 || a[0] == a[4] || static_cast<int>(a[3]) < 0) return failed(EINVAL);
  long most = static_cast<int>(a[3]) == INT32_MAX ? INT32_MAX : static_cast<int>(a[3]) + 1;
  Arguments requeue(a, FUTEX_CMP_REQUEUE, most, 0, a[4], a[5]);
  return futex(fiber, requeue.a);
}

// By a kernel thread that is no fiber on a hub.
long off_hub(const long* a, int command) {
  if (command == FUTEX_UNLOCK_PI) {
    long result = ask_kernel(a);
    if (result == 0) wake_parked(word_of(a[0]), 1);
    return result;
  }
  bool locks = command == FUTEX_LOCK_PI || command == FUTEX_LOCK_PI2;
  for (;;) {
    long result = ask_kernel(a);
    if (result == 0 || errno != ESRCH || !locks) return result;
    auto owner = static_cast<int>(Word(*word_of(a[0])).load() & FUTEX_TID_MASK);
    if (owner && !fiber_with_tid(owner)) return result;
    Deadline deadline;
    bool valid;
    if (read_deadline(a, deadline, valid) && deadline.passed()) return failed(ETIMEDOUT);
    timespec pause = to_timespec(1'000'000);
    sys::call(SYS_nanosleep, sys::as_long(&pause), 0);
  }
}

}  // namespace

long futex_pi(Fiber* fiber, const long* a) {
  int command = static_cast<int>(a[1]) & FUTEX_CMD_MASK;
  if (a[0] % 4 || a[0] == 0) return ask_kernel(a);  // the kernel refuses it
  if (!is_mapped(word_of(a[0]))) return failed(EFAULT);
  bool is_ours = a[1] & FUTEX_PRIVATE_FLAG || is_private_mapping(word_of(a[0]));
  if (!is_ours) {
    Away away(to_reason(Call::syscall));
    return ask_kernel(a);
  }
  if (!fiber) return off_hub(a, command);
  bool has_time = command != FUTEX_UNLOCK_PI && command != FUTEX_TRYLOCK_PI && command != FUTEX_CMP_REQUEUE_PI;
  Deadline deadline = Deadline::never();
  bool valid = true;
  if (has_time && !read_deadline(a, deadline, valid)) return failed(EFAULT);
  if (!valid) return failed(EINVAL);
  switch (command) {
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2: return lock(fiber, word_of(a[0]), deadline);
    case FUTEX_UNLOCK_PI: return unlock(fiber, word_of(a[0]));
    case FUTEX_WAIT_REQUEUE_PI: return wait_requeue(fiber, a, deadline);
    case FUTEX_CMP_REQUEUE_PI: return requeue_for(fiber, a);
    default: break;
  }
  int error = take_inside(fiber, word_of(a[0]), false);  // FUTEX_TRYLOCK_PI
  return error ? failed(error) : 0;
}

}  // namespace coro
