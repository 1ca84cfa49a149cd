// SPDX-License-Identifier: Apache-2.0
//
// The old names for actions and masks: System V's sigset and its relatives, BSD's sigblock and sigsetmask. Inside libc they go
// past sigaction and sigprocmask, to the kernel: the action would not be known to us, the mask not be the fiber's. What each
// does in terms of the two is glibc's own (sysdeps/posix/sigset.c, signal/sighold.c, sigignore.c, sigrelse.c; misc/sigsetmask.c).
#include <string.h>

#include "hooks/signal_calls.h"

namespace coro {
namespace {

const auto sig_hold = reinterpret_cast<sighandler_t>(2);  // SIG_HOLD

// -1, EINVAL: no such signal, or libc's own.
int change_one(int how, int signal, sigset_t* old) {
  sigset_t one;
  sigemptyset(&one);
  return sigaddset(&one, signal) < 0 ? -1 : change_own_mask(how, &one, old);
}

// The mask of the first 32 signals; -1 when that fails.
int change_low_half(int how, int low_half) {
  sigset_t set, old;
  sigemptyset(&set);
  memcpy(&set, &low_half, sizeof low_half);
  if (change_own_mask(how, &set, &old) < 0) return -1;
  memcpy(&low_half, &old, sizeof low_half);
  return low_half;
}

}  // namespace

// sigset(3): an action, and the signal is let in; or SIG_HOLD.
HOOK(sighandler_t, sigset, (int signal, sighandler_t handler)) {
  virtual_gate<Call::sigset>();
  struct sigaction action {}, old;
  sigset_t mask;
  if (!is_valid(signal) || is_libcs(signal)) return reinterpret_cast<sighandler_t>(failed(EINVAL));
  if (handler == sig_hold) {
    if (change_one(SIG_BLOCK, signal, &mask) < 0) return SIG_ERR;
    if (sigismember(&mask, signal) == 1) return sig_hold;
    return change_action(signal, nullptr, &old) < 0 ? SIG_ERR : old.sa_handler;
  }
  action.sa_handler = handler;
  if (change_action(signal, &action, &old) < 0 || change_one(SIG_UNBLOCK, signal, &mask) < 0) return SIG_ERR;
  return sigismember(&mask, signal) == 1 ? sig_hold : old.sa_handler;
}

// sighold(3), sigrelse(3).
HOOK(int, sighold, (int signal)) {
  virtual_gate<Call::sighold>();
  return change_one(SIG_BLOCK, signal, nullptr);
}
HOOK(int, sigrelse, (int signal)) {
  virtual_gate<Call::sigrelse>();
  return change_one(SIG_UNBLOCK, signal, nullptr);
}

// sigignore(3).
HOOK(int, sigignore, (int signal)) {
  virtual_gate<Call::sigignore>();
  struct sigaction action {};
  action.sa_handler = SIG_IGN;
  return change_action(signal, &action, nullptr);
}

// sigblock(3), sigsetmask(3), siggetmask(3).
HOOK(int, sigblock, (int mask)) {
  virtual_gate<Call::sigblock>();
  return change_low_half(SIG_BLOCK, mask);
}
HOOK(int, sigsetmask, (int mask)) {
  virtual_gate<Call::sigsetmask>();
  return change_low_half(SIG_SETMASK, mask);
}
HOOK(int, siggetmask, (void)) {
  virtual_gate<Call::siggetmask>();
  return change_low_half(SIG_BLOCK, 0);
}

}  // namespace coro
