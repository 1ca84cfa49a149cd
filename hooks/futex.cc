// SPDX-License-Identifier: Apache-2.0
//
// futex(2). A fiber's FUTEX_WAIT parks in the queue of the word's address; the kernel keeps the waits of kernel threads
// and of other processes. So a wake goes to the queue first and, with what is left of its count, to the kernel.
//  - A wait without FUTEX_PRIVATE_FLAG on memory that is shared goes to the kernel, on a helper. libstdc++ leaves the flag
//    out on words that nobody shares: the memory decides.
//  - What the kernel would refuse (bad alignment, time, bits, operation) it is asked to refuse, with its own errno.
//  - The kernel restarts an interrupted wait under SA_RESTART only if it has no time-out (futex(2), signal(7)).
#include "hooks/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>

#include "hooks/sync.h"
#include "hooks/user_memory.h"

namespace coro {
namespace {

struct Operation {
  uint32_t* word;
  int command;  // FUTEX_CMD_MASK
  bool is_private, realtime;
  long value;               // val: expected value, or how many to wake
  const timespec* time;     // timeout
  long more;                // val2: the same argument, as a count
  uint32_t* second;         // uaddr2
  uint32_t third;           // val3
  bool trapped = false;     // see wait_watching()
};

Operation decode(const long* a) {
  int code = static_cast<int>(a[1]);
  return {reinterpret_cast<uint32_t*>(a[0]),
          code & FUTEX_CMD_MASK,
          (code & FUTEX_PRIVATE_FLAG) != 0,
          (code & FUTEX_CLOCK_REALTIME) != 0,
          a[2],
          reinterpret_cast<const timespec*>(a[3]),
          a[3],
          reinterpret_cast<uint32_t*>(a[4]),
          static_cast<uint32_t>(a[5]),
          false};
}

long ask_kernel(const long* a) { return real.syscall(SYS_futex, a[0], a[1], a[2], a[3], a[4], a[5]); }

long ask_kernel_away(const long* a) {
  Away away(to_reason(Call::syscall));
  return ask_kernel(a);
}

// False: for the kernel to refuse.
bool is_good(const void* word) {
  auto address = reinterpret_cast<uint64_t>(word);
  return address % 4 == 0 && address >= 4096 && address >> 47 == 0;
}
bool is_good(const timespec* time) { return !time || (time->tv_sec >= 0 && has_valid_nanoseconds(*time)); }

bool still_same(void* argument) {
  auto& op = *static_cast<Operation*>(argument);
  return __atomic_load_n(op.word, __ATOMIC_SEQ_CST) == static_cast<uint32_t>(op.value);
}

// --- FUTEX_WAIT, FUTEX_WAIT_BITSET ---

Deadline deadline_of(const Operation& op) {
  if (!op.time) return Deadline::never();
  if (op.command == FUTEX_WAIT) return Deadline::in(to_nanoseconds(*op.time));
  return Deadline::at_time(op.realtime ? CLOCK_REALTIME : CLOCK_MONOTONIC, *op.time);
}

// In the kernel, on a helper. Without a helper: looks at the word from time to time, and calls a change a wake.
long wait_away(Fiber* fiber, Operation& op, const long* a) {
  Deadline deadline = deadline_of(op);
  auto attempt = [&] { return still_same(&op) ? failed(deadline.passed() ? ETIMEDOUT : EINPROGRESS) : failed(EAGAIN); };
  auto is_answer = [](long) { return errno != EINPROGRESS; };
  return attempt_then_block(Call::syscall, fiber, Cancellable::no, attempt, is_answer, [&] { return ask_kernel(a); });
}

// A wait that came in past the hooks. Whoever ends it does so past them too: on a carrier that call traps and finds us,
// on a helper or a foreign kernel thread it goes to the kernel alone. So the word is looked at from time to time, and
// who has waited for long waits in the kernel, on a helper. An end too early is allowed (futex(2)).
long wait_watching(Fiber* fiber, Operation& op, const long* a) {
  uint32_t bits = op.command == FUTEX_WAIT ? FUTEX_BITSET_MATCH_ANY : op.third;
  Deadline deadline = deadline_of(op);
  constexpr int64_t first_look = 2'000'000, last_look = 500'000'000;
  for (int64_t pause = first_look; pause <= last_look; pause *= 2) {
    Deadline look = Deadline::in(pause);
    bool ends = !deadline.is_never() && deadline.left() <= pause;
    Woken woken;
    {
      Wait wait(to_reason(Call::syscall), Cancellable::no);
      if (!wait.enqueue(op.word, bits, 0, still_same, &op)) return pause == first_look ? failed(EAGAIN) : 0;
      wait.until(ends ? deadline : look);
      woken = wait.park();
    }
    switch (settle_wait(woken, fiber, op.time ? Rule::interrupts : Rule::restarts)) {
      case Outcome::ready: return 0;
      case Outcome::timed_out:
        if (ends) return failed(ETIMEDOUT);
        break;
      case Outcome::interrupted: return failed(EINTR);
      default: break;
    }
  }
  if (op.time && op.command == FUTEX_WAIT) return 0;  // its time is relative: the caller reckons anew
  return wait_away(fiber, op, a);
}

long wait_parked(Fiber* fiber, Operation& op) {
  uint32_t bits = op.command == FUTEX_WAIT ? FUTEX_BITSET_MATCH_ANY : op.third;
  Deadline deadline = deadline_of(op);
  for (;;) {
    Woken woken;
    {
      Wait wait(to_reason(Call::syscall), Cancellable::no);
      if (!wait.enqueue(op.word, bits, 0, still_same, &op)) return failed(EAGAIN);
      wait.until(deadline);
      woken = wait.park();
    }
    switch (settle_wait(woken, fiber, op.time ? Rule::interrupts : Rule::restarts)) {
      case Outcome::ready: return 0;
      case Outcome::timed_out: return failed(ETIMEDOUT);
      case Outcome::interrupted: return failed(EINTR);
      default: break;  // the kernel, too, compares again when it restarts the call
    }
  }
}

long wait_for(Fiber* fiber, Operation& op, const long* a) {
  timespec time;
  if (op.time && !read_user(op.time, time)) return failed(EFAULT);
  if (op.time) op.time = &time;
  if (op.command == FUTEX_WAIT && op.realtime) return ask_kernel_away(a);  // ENOSYS, but not in every release
  bool no_bits = op.command == FUTEX_WAIT_BITSET && op.third == 0;
  if (no_bits || !is_good(op.word) || !is_good(op.time)) return ask_kernel(a);
  if (!is_mapped(op.word)) return failed(EFAULT);
  if (!still_same(&op)) return failed(EAGAIN);
  if (!op.is_private && !is_private_mapping(op.word)) return wait_away(fiber, op, a);
  return op.trapped ? wait_watching(fiber, op, a) : wait_parked(fiber, op);
}

// --- FUTEX_WAKE, FUTEX_WAKE_BITSET ---

// Wakes fibers, then kernel threads. The kernel takes a count below 1 as 1.
long wake(uint32_t* word, bool is_private, long most, uint32_t bits) {
  int count = static_cast<int>(most) < 1 ? 1 : static_cast<int>(most);
  int woken = wake_parked(word, count, bits);
  if (woken == count) return woken;
  int code = FUTEX_WAKE_BITSET | (is_private ? FUTEX_PRIVATE_FLAG : 0);
  long others = real.syscall(SYS_futex, reinterpret_cast<long>(word), code, count - woken, 0, 0, bits);
  return others < 0 && woken == 0 ? others : woken + (others < 0 ? 0 : others);
}

long wake_for(const Operation& op, const long* a) {
  uint32_t bits = op.command == FUTEX_WAKE ? FUTEX_BITSET_MATCH_ANY : op.third;
  if (bits == 0 || op.realtime || !is_good(op.word)) return ask_kernel(a);
  KeepErrno keep;
  if (op.trapped) {
    // Perhaps by libc's own unlock, on behalf of a lock that fibers wait for in the lock hooks' queue and kernel threads
    // in the kernel: one of each kind, as the hooks do it.
    long others = ask_kernel(a);
    long woken = wake_parked(op.word, static_cast<int>(op.value) < 1 ? 1 : static_cast<int>(op.value), bits);
    return others < 0 ? woken : others + woken < op.value ? others + woken : op.value;
  }
  return wake(op.word, op.is_private, op.value, bits);
}

// --- FUTEX_REQUEUE, FUTEX_CMP_REQUEUE ---

long requeue_for(Operation& op, const long* a) {
  auto most = static_cast<int>(op.value), more = static_cast<int>(op.more);
  if (op.realtime || most < 0 || more < 0 || !is_good(op.word) || !is_good(op.second)) return ask_kernel(a);
  if (op.command == FUTEX_CMP_REQUEUE && !is_mapped(op.word)) return failed(EFAULT);
  // The comparison is of the word with the third value.
  Operation compared = op;
  compared.value = static_cast<long>(op.third);
  int done = 0;
  {
    Critical inside;
    bool compares = op.command == FUTEX_CMP_REQUEUE;
    done = requeue(op.word, op.second, most, more, compares ? still_same : nullptr, &compared);
  }
  if (done < 0) return failed(EAGAIN);
  int woken = done < most ? done : most;
  if (woken == most && done - woken == more) return done;
  KeepErrno keep;
  long others = real.syscall(SYS_futex, a[0], a[1], most - woken, more - (done - woken), a[4], a[5]);
  return others > 0 ? done + others : done;
}

// --- FUTEX_WAKE_OP ---

int sign_extended(uint32_t twelve_bits) { return static_cast<int>(twelve_bits << 20) >> 20; }

uint32_t apply(int code, uint32_t old, uint32_t argument) {
  switch (code) {
    case FUTEX_OP_SET: return argument;
    case FUTEX_OP_ADD: return old + argument;
    case FUTEX_OP_OR: return old | argument;
    case FUTEX_OP_ANDN: return old & ~argument;
    default: return old ^ argument;
  }
}

bool compare(int code, int old, int argument) {
  switch (code) {
    case FUTEX_OP_CMP_EQ: return old == argument;
    case FUTEX_OP_CMP_NE: return old != argument;
    case FUTEX_OP_CMP_LT: return old < argument;
    case FUTEX_OP_CMP_LE: return old <= argument;
    case FUTEX_OP_CMP_GT: return old > argument;
    default: return old >= argument;
  }
}

// Changes the second word, wakes on the first and, if the second was as asked, there too.
long wake_op_for(const Operation& op, const long* a) {
  int code = op.third >> 28 & 7, comparison = op.third >> 24 & 15;
  if (op.realtime || !is_good(op.word) || !is_good(op.second) || code > FUTEX_OP_XOR || comparison > FUTEX_OP_CMP_GE)
    return ask_kernel(a);
  if (!is_mapped(op.second)) return failed(EFAULT);
  auto argument = static_cast<uint32_t>(sign_extended(op.third >> 12 & 0xfff));
  if (op.third >> 28 & FUTEX_OP_OPARG_SHIFT) argument = 1u << (argument & 31);
  uint32_t old = __atomic_load_n(op.second, __ATOMIC_SEQ_CST);
  while (!__atomic_compare_exchange_n(op.second, &old, apply(code, old, argument), false, __ATOMIC_SEQ_CST,
                                      __ATOMIC_SEQ_CST)) {
  }
  KeepErrno keep;
  long woken = wake(op.word, op.is_private, op.value, FUTEX_BITSET_MATCH_ANY);
  if (compare(comparison, static_cast<int>(old), sign_extended(op.third & 0xfff)))
    woken += wake(op.second, op.is_private, op.more, FUTEX_BITSET_MATCH_ANY);
  return woken;
}

}  // namespace

namespace {

long act(Fiber* fiber, Operation op, const long* a) {
  switch (op.command) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET: return fiber ? wait_for(fiber, op, a) : ask_kernel(a);
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET: return wake_for(op, a);
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE: return requeue_for(op, a);
    case FUTEX_WAKE_OP: return wake_op_for(op, a);
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
    case FUTEX_TRYLOCK_PI:
    case FUTEX_UNLOCK_PI:
    case FUTEX_WAIT_REQUEUE_PI:
    case FUTEX_CMP_REQUEUE_PI: return futex_pi(fiber, a);
    default: return ask_kernel(a);
  }
}

}  // namespace

long futex(Fiber* fiber, const long* a) { return act(fiber, decode(a), a); }

long futex_trapped(Fiber* fiber, const long* a) {
  Operation op = decode(a);
  op.trapped = true;
  return act(on_hub() ? fiber : nullptr, op, a);
}

}  // namespace coro
