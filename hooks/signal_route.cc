// SPDX-License-Identifier: Apache-2.0
//
// Whom a signal is for, and how it gets there. A signal for the process goes to the main fiber if it accepts it, else to
// any that does (signal(7)); when all block it, or are in a handler that does, it waits in our queue for whoever opens
// his mask first, or takes it with sigwait. What every fiber blocks by its own mask does not come here: it waits in the
// kernel.
#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>

#include "hooks/signal_calls.h"
#include "hooks/signals.h"
#include "scheduler/carrier.h"
#include "scheduler/offload.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

constexpr int nudge_code = -60;  // SI_ASYNCNL; who sent it shows in the value
char nudge_mark;

// The kernel thread that runs the fiber outside the engine, if that is not the caller's: it does not look at what is
// pending before its next call. 0: there is none.
int computes_on(const Fiber& fiber) {
  if (int helper = away_on(fiber)) return helper;
  if (int orphan = fiber.orphan_tid.load(std::memory_order_relaxed)) return orphan;
  Hub* hub = fiber.hub.load(std::memory_order_relaxed);
  return hub && hub->has_out(fiber) ? hub->carrier()->tid.load() : 0;
}

// A fiber that goes back to the program's code writes that it is out there, and then looks at what is pending; with no
// barrier between, because every call goes that way. So who sends makes the barrier for all (membarrier(2)): either the
// fiber sees the signal, or we see where it is.
void let_writes_settle() { sys::call(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED); }

// What is pending for the fiber makes a difference to it now: ends its wait, or has its kernel thread look.
void tell(Fiber& fiber, int signal) {
  if (wake_present_wait(fiber, Woken::signal) || &fiber == current) return;
  let_writes_settle();
  if (int kernel_thread = computes_on(fiber)) nudge(kernel_thread, signal);
}

}  // namespace

void nudge(int kernel_thread, int signal) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  info.si_signo = signal;
  mark_as_nudge(info);
  sys::call(SYS_rt_tgsigqueueinfo, sys::getpid(), kernel_thread, signal, sys::as_long(&info));
}

void mark_as_nudge(siginfo_t& info) {
  info.si_code = nudge_code;
  info.si_value.sival_ptr = &nudge_mark;
}

bool is_nudge(const siginfo_t& info) { return info.si_code == nudge_code && info.si_value.sival_ptr == &nudge_mark; }

int send_to_fiber(Fiber& fiber, int signal, const siginfo_t& info, bool shared) {
  uint64_t bit = bit_of(signal);
  bool queues = signal >= 34 || info.si_code == SI_TIMER;  // and real-time signals; the others coalesce
  if (queues || !(fiber.pending_signals.load() & bit))
    if (!enqueue_info(fiber, signal, info, shared)) return EAGAIN;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (fiber.blocked & bit) {
    if (fiber.awaited & bit) wake_present_wait(fiber, Woken::signal);
    return 0;
  }
  tell(fiber, signal);
  return 0;
}

void nudge_orphan(const Fiber& fiber, int kernel_thread) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (uint64_t left = fiber.pending_signals.load() & ~fiber.blocked; left; left &= left - 1)
    if (int signal = __builtin_ctzll(left) + 1; has_handler(signal)) return nudge(kernel_thread, signal);
}

void expect_signals() { sys::call(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED); }

Fiber* choose_fiber(int signal) {
  uint64_t bit = bit_of(signal);
  if (Fiber* main = main_fiber())
    if (!is_ended(*main) && accepts(*main, bit)) return main;
  if (Fiber* self = current)
    if (!is_ended(*self) && accepts(*self, bit)) return self;
  return any_fiber_accepting(bit);
}

namespace {

// Wakes who has something new in his own queue.
void tell_of_pending(Fiber& fiber, uint64_t set) {
  if (fiber.pending_signals.load() & set) tell(fiber, __builtin_ctzll(set) + 1);
}

// Somebody may have opened his mask while the signal was on its way to the queue.
void look_again(int signal) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  Fiber* taker = choose_fiber(signal);
  if (!taker) return;
  move_pending(process_signals(), *taker, bit_of(signal), false);
  tell_of_pending(*taker, bit_of(signal));
}

}  // namespace

void send_to_process(int signal, const siginfo_t& info) {
  uint64_t bit = bit_of(signal);
  Fiber& process = process_signals();
  // A signalfd looks into the kernel's queue. Only what the kernel keeps there may go back to it.
  if (taken_by_signalfds() & carrier_mask() & bit) {
    siginfo_t copy = info;
    if (sys::call(SYS_rt_sigqueueinfo, sys::getpid(), signal, sys::as_long(&copy)) < 0)
      sys::call(SYS_kill, sys::getpid(), signal);
    return;
  }
  if (signal >= 34 || info.si_code == SI_TIMER || !(process.pending_signals.load() & bit)) enqueue_info(process, signal, info, true);
  look_again(signal);
}

namespace {

// It is for the thread that runs here: libc's own raise(3), or what its own system call brought upon it.
bool is_directed(int signal, const siginfo_t* info) {
  if (info->si_pid != sys::getpid()) return false;
  bool by_own_call = (signal == SIGPIPE || signal == SIGXFSZ) && info->si_code == SI_USER;
  return info->si_code == SI_TKILL || by_own_call;
}

}  // namespace

bool is_for_main(const siginfo_t* info) { return info->si_code == SI_TKILL && sys::gettid() == sys::getpid(); }

Fiber* owner_of(Fiber& self, int signal, const siginfo_t* info, bool& shared) {
  Fiber* target = nullptr;
  shared = false;
  if (is_directed(signal, info)) {
    if (signal == SIGABRT) self.blocked &= ~bit_of(signal);  // abort(3) unblocks it, in the kernel only
    return &self;
  }
  if (is_for_main(info) && main_fiber()) return main_fiber();
  if (names_fiber(*info, target)) return target;
  shared = true;
  return choose_fiber(signal);
}

void fetch_from_kernel(uint64_t set) {
  for (;;) {
    siginfo_t info;
    timespec none{};
    long signal = sys::call(SYS_rt_sigtimedwait, sys::as_long(&set), sys::as_long(&info), sys::as_long(&none), sizeof set);
    if (signal <= 0) return;
    if (is_nudge(info)) continue;
    bool shared;
    if (Fiber* target = owner_of(*current, static_cast<int>(signal), &info, shared))
      send_to_fiber(*target, static_cast<int>(signal), info, shared);
    else if (shared)
      send_to_process(static_cast<int>(signal), info);
  }
}

void give_up_blocked(Fiber& fiber, uint64_t set) {
  uint64_t there = fiber.pending_signals.load() & set;
  if (!there) return;
  move_pending(fiber, process_signals(), there, true);
  for (; there; there &= there - 1) look_again(__builtin_ctzll(there) + 1);
}

namespace {

void forget_one(Fiber& fiber, void* signal) { drop_pending(fiber, bit_of(*static_cast<int*>(signal))); }

}  // namespace

void forget_pending(int signal) {
  drop_pending(process_signals(), bit_of(signal));
  each_live_fiber(forget_one, &signal);
  // The kernel forgets its own only when it is told that the signal is ignored; it was.
}

}  // namespace coro
