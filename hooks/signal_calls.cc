// SPDX-License-Identifier: Apache-2.0
//
// The hooks of the signals family that set what a signal does and whom it may reach: actions, masks, alternate stacks.
// Those that wait: signal_waits.cc; that send: signal_send.cc. How signals are delivered: signals.cc.
#include "hooks/signal_calls.h"

#include <errno.h>
#include <sys/signalfd.h>

#include "hooks/trap.h"

namespace coro {
namespace {

constexpr size_t least_alternate_stack = 2048;  // MINSIGSTKSZ of the kernel's headers
uint64_t signalfds_take = 0;
uint64_t interrupting = 0;  // siginterrupt(3): signals whose signal(2) handlers do not restart

int change_mask(Fiber* fiber, int how, const sigset_t* set, sigset_t* old) {
  uint64_t before = fiber->blocked, after = before;
  if (set) {
    uint64_t mask = to_mask(*set);
    switch (how) {
      case SIG_BLOCK: after |= mask; break;
      case SIG_UNBLOCK: after &= ~mask; break;
      case SIG_SETMASK: after = mask; break;
      default: return EINVAL;
    }
  }
  if (old) from_mask(before, *old);
  if (after != before) {
    set_blocked(*fiber, after);
    Critical::deliver_deferred(fiber);
  }
  return 0;
}

}  // namespace

int change_action(int signal, const struct sigaction* action, struct sigaction* old) {
  Fiber* fiber = virtual_signals();
  if (signal == SIGSYS && backstop_runs()) fiber = current;  // whatever CORO_PATCH says: the kernel's is ours
  if (!fiber || !is_valid(signal) || is_libcs(signal)) return real.sigaction(signal, action, old);
  struct sigaction before = action_of(signal);
  if (!action) {
    if (old) *old = before;
    return 0;
  }
  Critical inside;
  if (install_action(signal, *action) < 0) return -1;
  if (old) *old = before;
  return 0;
}

// sigaction(2).
HOOK(int, sigaction, (int signal, const struct sigaction* action, struct sigaction* old)) {
  virtual_gate<Call::sigaction>();
  return change_action(signal, action, old);
}
HOOK_ALIAS(__sigaction, sigaction);

namespace {

sighandler_t simple_action(int signal, sighandler_t handler, int flags) {
  struct sigaction action {}, old {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  if (!(flags & SA_NODEFER)) sigaddset(&action.sa_mask, signal);  // as glibc's signal()
  if (handler == SIG_ERR) return reinterpret_cast<sighandler_t>(failed(EINVAL));
  if (hook_sigaction(signal, &action, &old) < 0) return SIG_ERR;
  return old.sa_handler;
}

}  // namespace

// signal(2), with BSD semantics as in glibc: restarts unless siginterrupt(3) said otherwise.
HOOK(sighandler_t, signal, (int signal, sighandler_t handler)) {
  if (!virtual_gate<Call::signal>() || !is_valid(signal)) return real.signal(signal, handler);
  return simple_action(signal, handler, interrupting & bit_of(signal) ? 0 : SA_RESTART);
}
HOOK_ALIAS(bsd_signal, signal);
HOOK_ALIAS(ssignal, signal);

// sysv_signal(3): one shot, not blocked, interrupts.
HOOK(sighandler_t, sysv_signal, (int signal, sighandler_t handler)) {
  if (!virtual_gate<Call::sysv_signal>() || !is_valid(signal)) return real.sysv_signal(signal, handler);
  return simple_action(signal, handler, static_cast<int>(SA_RESETHAND | SA_NODEFER));
}
HOOK_ALIAS(__sysv_signal, sysv_signal);

// siginterrupt(3).
HOOK(int, siginterrupt, (int signal, int interrupts)) {
  if (is_valid(signal))
    interrupting = interrupts ? interrupting | bit_of(signal) : interrupting & ~bit_of(signal);
  if (!virtual_gate<Call::siginterrupt>() || !is_valid(signal)) return real.siginterrupt(signal, interrupts);
  struct sigaction action = action_of(signal);
  action.sa_flags = interrupts ? action.sa_flags & ~SA_RESTART : action.sa_flags | SA_RESTART;
  return hook_sigaction(signal, &action, nullptr);
}

namespace {

// A kernel thread that is none of ours may have been made on a carrier (jemalloc's are, round pthread_create's hook) and
// have its filter: it must not block SIGSYS, or the kernel ends the process.
const sigset_t* without_sigsys(int how, const sigset_t* set, sigset_t& copy) {
  if (!set || how == SIG_UNBLOCK || !backstop_runs()) return set;
  copy = *set;
  sigdelset(&copy, SIGSYS);
  return &copy;
}

}  // namespace

// pthread_sigmask(3): the fiber's mask. Returns the error.
HOOK(int, pthread_sigmask, (int how, const sigset_t* set, sigset_t* old)) {
  Fiber* fiber = virtual_gate<Call::pthread_sigmask>();
  sigset_t copy;
  if (!fiber) return real.pthread_sigmask(how, without_sigsys(how, set, copy), old);
  return change_mask(fiber, how, set, old);
}

int change_own_mask(int how, const sigset_t* set, sigset_t* old) {
  Fiber* fiber = virtual_signals();
  sigset_t copy;
  if (!fiber) return real.sigprocmask(how, without_sigsys(how, set, copy), old);
  int error = change_mask(fiber, how, set, old);
  return error ? static_cast<int>(failed(error)) : 0;
}

// sigprocmask(2).
HOOK(int, sigprocmask, (int how, const sigset_t* set, sigset_t* old)) {
  virtual_gate<Call::sigprocmask>();
  return change_own_mask(how, set, old);
}

// sigpending(2): what waits for the fiber, and what waits in the kernel for the process.
HOOK(int, sigpending, (sigset_t * set)) {
  Fiber* fiber = virtual_gate<Call::sigpending>();
  int result = real.sigpending(set);
  if (fiber && result == 0)
    from_mask((to_mask(*set) | fiber->pending_signals.load() | process_signals().pending_signals.load()) & fiber->blocked,
              *set);
  return result;
}

namespace {

// Makes it the fiber's; the errno of a stack that sigaltstack(2) refuses. kernel/signal.c, do_sigaltstack().
int set_alternate_stack(Fiber& fiber, const stack_t& stack) {
  constexpr auto auto_disarm = static_cast<int>(1u << 31);
  int mode = stack.ss_flags & ~auto_disarm;
  if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0) return EINVAL;
  if (mode == SS_DISABLE) {
    fiber.alternate_stack = {nullptr, stack.ss_flags, 0};
    return 0;
  }
  if (stack.ss_size < least_alternate_stack) return ENOMEM;
  fiber.alternate_stack = {stack.ss_sp, stack.ss_flags & auto_disarm, stack.ss_size};
  return 0;
}

bool is_on(const stack_t& stack, const char* here) {
  auto low = static_cast<char*>(stack.ss_sp);
  return !(stack.ss_flags & SS_DISABLE) && low && here >= low && here < low + stack.ss_size;
}

}  // namespace

// sigaltstack(2): each fiber has its own.
HOOK(int, sigaltstack, (const stack_t* stack, stack_t* old)) {
  Fiber* fiber = virtual_gate<Call::sigaltstack>();
  if (!fiber) return real.sigaltstack(stack, old);
  stack_t before = fiber->alternate_stack;
  bool on_it = is_on(before, static_cast<char*>(__builtin_frame_address(0)));
  if (on_it) before.ss_flags |= SS_ONSTACK;
  if (stack)
    if (int error = on_it ? EPERM : set_alternate_stack(*fiber, *stack)) return static_cast<int>(failed(error));
  if (old) *old = before;
  return 0;
}

uint64_t taken_by_signalfds() { return signalfds_take; }

// signalfd(2): as libc; noted, because the descriptor cannot see what is pending for a fiber.
HOOK(int, signalfd, (int fd, const sigset_t* set, int flags)) {
  int result = real.signalfd(fd, set, flags);
  if (result >= 0) signalfds_take |= to_mask(*set);
  return result;
}

}  // namespace coro
