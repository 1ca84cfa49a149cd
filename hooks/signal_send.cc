// SPDX-License-Identifier: Apache-2.0
//
// Sending signals: to fibers (pthread_kill, raise and their relatives) and to the own process (kill, sigqueue), which must
// be handled before the call returns if the caller is the one to handle it (POSIX, kill).
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "hooks/signal_calls.h"
#include "hooks/signals.h"
#include "hooks/thread.h"
#include "scheduler/sys.h"
#include "scheduler/thread_block.h"

namespace coro {
namespace {

// Any kernel thread may send to a fiber.
template <Call call>
bool sends_virtually() {
  gate<call>();
  return engine_started() && options().patch.covers(Switch::signal);
}

siginfo_t make_info(int signal, int code, sigval value) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  info.si_signo = signal;
  info.si_code = code;
  info.si_pid = sys::getpid();
  info.si_uid = static_cast<uid_t>(sys::call(SYS_getuid));
  info.si_value = value;
  return info;
}

// What pthread_kill does to a fiber with a valid signal number.
int kill_fiber(Fiber& target, int signal, int code, sigval value) {
  if (is_ended(target)) return 0;
  siginfo_t info = make_info(signal, code, value);
  bool blocked = target.blocked & bit_of(signal);
  if (!blocked && action_of(signal).sa_handler == SIG_IGN) return 0;
  if (!blocked && !has_handler(signal)) {  // acts on the whole process: the kernel's business
    uint64_t old = sys::set_signal_mask(sys::signal_mask() & ~bit_of(signal));
    sys::call(SYS_tgkill, sys::getpid(), sys::gettid(), signal);
    sys::set_signal_mask(old);
    return 0;
  }
  // Read through a signalfd: in the kernel, where any of our kernel threads finds it.
  if (blocked && taken_by_signalfds() & carrier_mask() & bit_of(signal) && !(target.awaited & bit_of(signal))) {
    // The kernel lets only the first kernel thread use a code that looks like its own.
    if (sys::call(SYS_rt_sigqueueinfo, sys::getpid(), signal, sys::as_long(&info)) < 0)
      sys::call(SYS_kill, sys::getpid(), signal);
    return 0;
  }
  Critical inside;  // to ourselves: it runs when this ends, before we return (raise(3))
  return send_to_fiber(target, signal, info);
}

// A handled signal to the own process that some fiber accepts now. False: the kernel's business.
bool sent_to_fiber(int signal, int code, sigval value) {
  if (!is_valid(signal) || is_libcs(signal) || !has_handler(signal)) return false;
  Critical inside;
  Fiber* target = choose_fiber(signal);
  return target && send_to_fiber(*target, signal, make_info(signal, code, value), true) == 0;
}

}  // namespace

// pthread_kill(3): to a fiber. Returns the error.
HOOK(int, pthread_kill, (pthread_t id, int signal)) {
  if (!sends_virtually<Call::pthread_kill>()) return real.pthread_kill(id, signal);
  if (is_libcs(signal)) return EINVAL;
  Fiber* target = fiber_of(id);
  if (!target) return real.pthread_kill(id, signal);
  if (is_ended(*target)) return 0;
  if (signal < 0 || signal > signal_count) return EINVAL;
  return signal ? kill_fiber(*target, signal, SI_TKILL, {}) : 0;
}

// pthread_sigqueue(3): as pthread_kill, with a value.
HOOK(int, pthread_sigqueue, (pthread_t id, int signal, const sigval value)) {
  if (!sends_virtually<Call::pthread_sigqueue>()) return real.pthread_sigqueue(id, signal, value);
  if (is_libcs(signal)) return EINVAL;
  Fiber* target = fiber_of(id);
  if (!target) return real.pthread_sigqueue(id, signal, value);
  if (is_ended(*target)) return ESRCH;
  if (signal < 0 || signal > signal_count) return EINVAL;
  return signal ? kill_fiber(*target, signal, SI_QUEUE, value) : 0;
}

// raise(3): the handler has run when it returns.
HOOK(int, raise, (int signal)) {
  Fiber* fiber = virtual_gate<Call::raise>();
  if (!fiber || !is_valid(signal) || is_libcs(signal)) return real.raise(signal);
  int error = kill_fiber(*fiber, signal, SI_TKILL, {});
  return error ? static_cast<int>(failed(error)) : 0;
}

HOOK_ALIAS(gsignal, raise);

// tgkill(2): the tid of a fiber names the fiber.
HOOK(int, tgkill, (pid_t process, pid_t tid, int signal)) {
  bool here = sends_virtually<Call::tgkill>() && process == sys::getpid();
  Fiber* target = here ? fiber_with_tid(tid) : nullptr;
  if (!target) return real.tgkill(process, tid, signal);
  if (signal < 0 || signal > signal_count) return static_cast<int>(failed(EINVAL));
  int error = signal ? kill_fiber(*target, signal, SI_TKILL, {}) : 0;
  return error ? static_cast<int>(failed(error)) : 0;
}

// kill(2). As in the kernel, the tid of a thread of a process names the process.
HOOK(int, kill, (pid_t process, int signal)) {
  if (engine_started() && fiber_with_tid(process)) process = sys::getpid();
  if (sends_virtually<Call::kill>() && process == sys::getpid() && sent_to_fiber(signal, SI_USER, {})) return 0;
  return real.kill(process, signal);
}

// sigqueue(3).
HOOK(int, sigqueue, (pid_t process, int signal, const sigval value)) {
  if (sends_virtually<Call::sigqueue>() && process == sys::getpid() && sent_to_fiber(signal, SI_QUEUE, value)) return 0;
  return real.sigqueue(process, signal, value);
}

}  // namespace coro
