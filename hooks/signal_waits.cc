// SPDX-License-Identifier: Apache-2.0
//
// Waiting for signals: pause and sigsuspend for a handler, sigwait and its relatives for a signal of a set.
#include <errno.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

#include "hooks/retry.h"
#include "hooks/signal_calls.h"
#include "hooks/signals.h"
#include "scheduler/sys.h"

namespace coro {

namespace {

// Parks until a handler has run on the fiber.
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

namespace {

int suspend(Call call, Fiber* fiber, uint64_t mask) {
  test_cancel(fiber);
  uint64_t before = fiber->blocked;
  {
    UntilHandled end_waits(fiber);
    set_blocked(*fiber, mask);
    wait_for_handler(call, fiber);
  }
  set_blocked(*fiber, before);
  Critical::deliver_deferred(fiber);
  return static_cast<int>(failed(EINTR));
}

}  // namespace

// sigsuspend(2): parks with another mask until a handler has run.
HOOK(int, sigsuspend, (const sigset_t* set)) {
  Fiber* fiber = gate<Call::sigsuspend>();
  return fiber && set ? suspend(Call::sigsuspend, fiber, to_mask(*set)) : real.sigsuspend(set);
}
HOOK_ALIAS(__sigsuspend, sigsuspend);

// sigpause(3) as BSD had it: a mask of the first 32 signals; as X/Open has it: without this signal (signal/sigpause.c).
HOOK(int, __sigpause, (int signal_or_mask, int is_signal)) {
  Fiber* fiber = gate<Call::__sigpause>();
  if (!fiber || (is_signal && !is_valid(signal_or_mask))) return real.__sigpause(signal_or_mask, is_signal);
  uint64_t mask = is_signal ? fiber->blocked & ~bit_of(signal_or_mask) : static_cast<uint32_t>(signal_or_mask);
  return suspend(Call::__sigpause, fiber, mask);
}
HOOK(int, sigpause, (int mask)) { return hook___sigpause(mask, 0); }
HOOK(int, __xpg_sigpause, (int signal)) { return hook___sigpause(signal, 1); }

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

// A timer, or an owner of a descriptor, may have named another fiber for what waits in the kernel.
bool take_from_kernel(Fiber& fiber, const sigset_t& set, siginfo_t& found) {
  timespec none{};
  while (real.sigtimedwait(&set, &found, &none) > 0) {
    Fiber* other = nullptr;
    if (!names_fiber(found, other) || other == &fiber) {
      note_overruns(found);
      return true;
    }
    Critical inside;
    if (other) send_to_fiber(*other, found.si_signo, found);
  }
  return false;
}

// The signal number, or -errno.
int wait_for_set(Call call, Fiber* fiber, const sigset_t& set, siginfo_t* info, const Deadline& deadline) {
  test_cancel(fiber);
  uint64_t mask = to_mask(set) & ~never_blocked, before = fiber->blocked;
  siginfo_t found;
  memset(&found, 0, sizeof found);
  int result = 0;
  fiber->awaited = mask;
  set_blocked(*fiber, before | mask);
  while (!result) {
    if (take_pending(*fiber, mask, found) || take_pending(process_signals(), mask, found) ||
        take_from_kernel(*fiber, set, found)) {
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
  if (found.si_code == SI_TKILL) found.si_code = SI_USER;  // as libc: sysdeps/unix/sysv/linux/sigtimedwait.c
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

}  // namespace coro
