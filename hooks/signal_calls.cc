// SPDX-License-Identifier: Apache-2.0
//
// The hooks of the signals family. How signals are delivered: signals.cc. All of them act on the running fiber also
// while it is away on a helper, so they ask for `current` and not for a hub.
#include <errno.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

#include "hooks/retry.h"
#include "hooks/signal_table.h"
#include "hooks/signals.h"
#include "scheduler/offload.h"
#include "scheduler/sys.h"
#include "scheduler/thread_block.h"

namespace coro {
namespace {

uint64_t interrupting = 0;  // siginterrupt(3): signals whose signal(2) handlers do not restart

// The running fiber, once masks and actions are virtual. Null: pass through.
Fiber* virtual_signals() {
  if (!engine_started() || !options().patch.covers(Switch::signal)) return nullptr;
  return current;
}

bool is_valid(int signal) { return signal >= 1 && signal <= signal_count; }
bool is_libcs(int signal) { return signal == 32 || signal == 33; }

// The signals family counts its calls when it can park.
template <Call call>
Fiber* virtual_gate() {
  Fiber* fiber = virtual_signals();
  if (fiber) gate<call>();
  return fiber;
}

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

// sigaction(2).
HOOK(int, sigaction, (int signal, const struct sigaction* action, struct sigaction* old)) {
  Fiber* fiber = virtual_gate<Call::sigaction>();
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

// pthread_sigmask(3): the fiber's mask. Returns the error.
HOOK(int, pthread_sigmask, (int how, const sigset_t* set, sigset_t* old)) {
  Fiber* fiber = virtual_gate<Call::pthread_sigmask>();
  return fiber ? change_mask(fiber, how, set, old) : real.pthread_sigmask(how, set, old);
}

// sigprocmask(2).
HOOK(int, sigprocmask, (int how, const sigset_t* set, sigset_t* old)) {
  Fiber* fiber = virtual_gate<Call::sigprocmask>();
  if (!fiber) return real.sigprocmask(how, set, old);
  int error = change_mask(fiber, how, set, old);
  return error ? static_cast<int>(failed(error)) : 0;
}

// sigpending(2): what waits for the fiber, and what waits in the kernel for the process.
HOOK(int, sigpending, (sigset_t * set)) {
  Fiber* fiber = virtual_gate<Call::sigpending>();
  int result = real.sigpending(set);
  if (fiber && result == 0)
    from_mask((to_mask(*set) | fiber->pending_signals.load()) & fiber->blocked, *set);
  return result;
}

namespace {

// Parks until a handler has run on the fiber. `until`: with this mask, put back afterwards.
int wait_for_handler(Call call, Fiber* fiber) {
  test_cancel(fiber);
  while (wait_until(call, fiber, Deadline::never(), Rule::interrupts) != Outcome::interrupted) {
  }
  return static_cast<int>(failed(EINTR));
}

}  // namespace

// pause(2): parks until a handler has run.
HOOK(int, pause, (void)) {
  Fiber* fiber = gate<Call::pause>();
  return fiber ? wait_for_handler(Call::pause, fiber) : real.pause();
}

// sigsuspend(2): parks with another mask until a handler has run.
HOOK(int, sigsuspend, (const sigset_t* set)) {
  Fiber* fiber = gate<Call::sigsuspend>();
  if (!fiber || !set) return real.sigsuspend(set);
  uint64_t before = fiber->blocked;
  set_blocked(*fiber, to_mask(*set));
  Handled handled = run_handlers(fiber);  // what was only waiting for this mask
  if (handled == Handled::none) wait_for_handler(Call::sigsuspend, fiber);
  set_blocked(*fiber, before);
  Critical::deliver_deferred(fiber);
  return static_cast<int>(failed(EINTR));
}

namespace {

enum class Got : uint8_t { signal, again, interrupted, timed_out };

// One round of waiting for a signal of the set: sent to the fiber, or pending in the kernel for the process (a signalfd
// tells the event loop of that).
Got wait_for_signal(Call call, Fiber* fiber, const sigset_t& set, const Deadline& deadline) {
  Critical::enter(fiber);
  int fd = to_high_number(static_cast<int>(
      sys::call(SYS_signalfd4, -1, sys::as_long(&set), 8, SFD_CLOEXEC | SFD_NONBLOCK)));
  Critical::leave(fiber);
  if (fd < 0) yield_to_others();
  Woken woken;
  {
    Wait wait(to_reason(call), Cancellable::yes);
    if (fd >= 0) wait.on(fd, way_in);
    wait.until(fd >= 0 ? deadline : Deadline::in(1'000'000));
    woken = fiber->pending_signals.load() & to_mask(set) ? Woken::ready : wait.park();
  }
  if (fd >= 0) {
    forget_own_descriptor(fd);
    sys::close(fd);
  }
  if (woken == Woken::signal && fiber->pending_signals.load() & to_mask(set)) return Got::again;
  switch (settle(woken, fiber, Rule::interrupts)) {
    case Outcome::timed_out: return fd >= 0 ? Got::timed_out : Got::again;
    case Outcome::interrupted: return Got::interrupted;
    default: return Got::again;
  }
}

// The signal number, or -errno.
int wait_for_set(Call call, Fiber* fiber, const sigset_t& set, siginfo_t* info, const Deadline& deadline) {
  test_cancel(fiber);
  uint64_t mask = to_mask(set) & ~never_blocked, before = fiber->blocked;
  siginfo_t found;
  memset(&found, 0, sizeof found);
  timespec none{};
  int result = 0;
  fiber->awaited = mask;
  set_blocked(*fiber, before | mask);
  while (!result) {
    if (take_pending(*fiber, mask, found) || real.sigtimedwait(&set, &found, &none) > 0) {
      result = found.si_signo;
      break;
    }
    if (deadline.passed()) {
      result = -EAGAIN;
      break;
    }
    // Cancellation unwinds out of this: the awaited set must not outlive it.
    if (fiber->is_cancelled()) {
      fiber->awaited = 0;
      set_blocked(*fiber, before);
      test_cancel(fiber);
    }
    Got got = wait_for_signal(call, fiber, set, deadline);
    if (got == Got::interrupted) result = -EINTR;
  }
  fiber->awaited = 0;
  set_blocked(*fiber, before);
  Critical::deliver_deferred(fiber);
  if (result > 0 && info) *info = found;
  return result;
}

}  // namespace

// sigtimedwait(2): parks until a signal of the set is pending, a time-out (EAGAIN) or another handler (EINTR).
HOOK(int, sigtimedwait, (const sigset_t* set, siginfo_t* info, const timespec* timeout)) {
  Fiber* fiber = gate<Call::sigtimedwait>();
  bool bad = timeout && (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000);
  if (!fiber || !set || bad) return real.sigtimedwait(set, info, timeout);
  int saved = errno;
  Deadline deadline = timeout ? Deadline::in(to_nanoseconds(*timeout)) : Deadline::never();
  int result = wait_for_set(Call::sigtimedwait, fiber, *set, info, deadline);
  errno = saved;
  return result < 0 ? static_cast<int>(failed(-result)) : result;
}

// sigwaitinfo(2).
HOOK(int, sigwaitinfo, (const sigset_t* set, siginfo_t* info)) {
  Fiber* fiber = gate<Call::sigwaitinfo>();
  if (!fiber || !set) return real.sigwaitinfo(set, info);
  int saved = errno;
  int result = wait_for_set(Call::sigwaitinfo, fiber, *set, info, Deadline::never());
  errno = saved;
  return result < 0 ? static_cast<int>(failed(-result)) : result;
}

// sigwait(3): never EINTR; returns the error.
HOOK(int, sigwait, (const sigset_t* set, int* signal)) {
  Fiber* fiber = gate<Call::sigwait>();
  if (!fiber || !set) return real.sigwait(set, signal);
  KeepErrno keep;
  int result;
  do {
    result = wait_for_set(Call::sigwait, fiber, *set, nullptr, Deadline::never());
  } while (result == -EINTR);
  if (result < 0) return -result;
  *signal = result;
  return 0;
}

// sigaltstack(2): each fiber has its own.
HOOK(int, sigaltstack, (const stack_t* stack, stack_t* old)) {
  Fiber* fiber = virtual_gate<Call::sigaltstack>();
  if (!fiber) return real.sigaltstack(stack, old);
  stack_t before = fiber->alternate_stack;
  auto here = static_cast<char*>(__builtin_frame_address(0));
  auto low = static_cast<char*>(before.ss_sp);
  bool on_it = !(before.ss_flags & SS_DISABLE) && low && here >= low && here < low + before.ss_size;
  if (on_it) before.ss_flags = SS_ONSTACK;
  if (stack) {
    if (on_it) return static_cast<int>(failed(EPERM));
    int flags = stack->ss_flags & ~SS_ONSTACK;
    if (flags & ~(SS_DISABLE | static_cast<int>(1u << 31))) return static_cast<int>(failed(EINVAL));
    if (!(flags & SS_DISABLE) && stack->ss_size < 2048) return static_cast<int>(failed(ENOMEM));
    fiber->alternate_stack = *stack;
    fiber->alternate_stack.ss_flags = flags;
    if (flags & SS_DISABLE) fiber->alternate_stack = {nullptr, SS_DISABLE, 0};
    // For stack overflow the kernel itself needs one: the present carrier gets the last that was set.
    if (!(flags & SS_DISABLE)) real.sigaltstack(stack, nullptr);
  }
  if (old) *old = before;
  return 0;
}

namespace {

// Signals that some signalfd takes. One that every fiber blocks then waits in the kernel, where the descriptor sees it.
uint64_t signalfds_take = 0;

}  // namespace

// signalfd(2): as libc; noted, because the descriptor cannot see what is pending for a fiber.
HOOK(int, signalfd, (int fd, const sigset_t* set, int flags)) {
  int result = real.signalfd(fd, set, flags);
  if (result >= 0) signalfds_take |= to_mask(*set);
  return result;
}

namespace {

// What pthread_kill does to a fiber with a valid signal number.
int kill_fiber(Fiber& target, int signal, int code, sigval value) {
  if (is_ended(target)) return 0;
  siginfo_t info;
  memset(&info, 0, sizeof info);
  info.si_signo = signal;
  info.si_code = code;
  info.si_pid = sys::getpid();
  info.si_uid = static_cast<uid_t>(sys::call(SYS_getuid));
  info.si_value = value;
  auto handler = action_of(signal).sa_handler;
  bool blocked = target.blocked & bit_of(signal);
  if (handler == SIG_IGN && !blocked) return 0;
  if (handler == SIG_DFL && !blocked) {  // acts on the whole process: the kernel's business
    uint64_t old = sys::set_signal_mask(sys::signal_mask() & ~bit_of(signal));
    sys::call(SYS_tgkill, sys::getpid(), sys::gettid(), signal);
    sys::set_signal_mask(old);
    return 0;
  }
  if (blocked && signalfds_take & carrier_mask() & bit_of(signal) && !(target.awaited & bit_of(signal))) {
    sys::call(SYS_tgkill, sys::getpid(), sys::gettid(), signal);
    return 0;
  }
  int error;
  {
    Critical inside;  // to ourselves: it runs when this ends, before we return (raise(3))
    error = send_to_fiber(target, signal, info);
  }
  return error;
}

struct Search {
  int tid;
  Fiber* found;
};

Fiber* fiber_with_tid(int tid) {
  if (Fiber* main = main_fiber())
    if (tid == sys::getpid()) return main;
  Search search{tid, nullptr};
  each_live_fiber(
      [](Fiber& fiber, void* argument) {
        auto* wanted = static_cast<Search*>(argument);
        if (thread_block::tid(fiber.context.thread_block) == wanted->tid) wanted->found = &fiber;
      },
      &search);
  return search.found;
}

}  // namespace

// pthread_kill(3): to a fiber. Returns the error.
HOOK(int, pthread_kill, (pthread_t id, int signal)) {
  if (!virtual_gate<Call::pthread_kill>()) return real.pthread_kill(id, signal);
  if (signal < 0 || signal > signal_count || is_libcs(signal)) return EINVAL;
  Fiber* target = fiber_of(id);
  if (!target) return real.pthread_kill(id, signal);
  return signal ? kill_fiber(*target, signal, SI_TKILL, {}) : 0;
}

// pthread_sigqueue(3): as pthread_kill, with a value.
HOOK(int, pthread_sigqueue, (pthread_t id, int signal, const sigval value)) {
  if (!virtual_gate<Call::pthread_sigqueue>()) return real.pthread_sigqueue(id, signal, value);
  if (signal < 0 || signal > signal_count || is_libcs(signal)) return EINVAL;
  Fiber* target = fiber_of(id);
  if (!target) return real.pthread_sigqueue(id, signal, value);
  return signal ? kill_fiber(*target, signal, SI_QUEUE, value) : 0;
}

// raise(3): the handler has run when it returns.
HOOK(int, raise, (int signal)) {
  Fiber* fiber = virtual_gate<Call::raise>();
  if (!fiber || !is_valid(signal) || is_libcs(signal)) return real.raise(signal);
  int error = kill_fiber(*fiber, signal, SI_TKILL, {});
  return error ? static_cast<int>(failed(error)) : 0;
}

// tgkill(2): the tid of a fiber names the fiber.
HOOK(int, tgkill, (pid_t process, pid_t tid, int signal)) {
  Fiber* fiber = virtual_gate<Call::tgkill>();
  if (!fiber || process != sys::getpid() || signal < 0 || signal > signal_count) return real.tgkill(process, tid, signal);
  Fiber* target = fiber_with_tid(tid);
  if (!target) return real.tgkill(process, tid, signal);
  int error = signal ? kill_fiber(*target, signal, SI_TKILL, {}) : 0;
  return error ? static_cast<int>(failed(error)) : 0;
}

}  // namespace coro
