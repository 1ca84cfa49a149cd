// SPDX-License-Identifier: Apache-2.0
//
// What the program wants done with each signal. The kernel is told of our trampoline wherever the program has a handler.
#include "hooks/hook.h"
#include "hooks/signal_table.h"
#include "hooks/signals.h"
#include "hooks/trap.h"

namespace coro {
namespace {

struct sigaction actions[signal_count + 1];  // as the program set them

}  // namespace

void set_default_action(int signal) {
  actions[signal].sa_handler = SIG_DFL;
  if (signal == SIGSYS && backstop_runs()) return;
  struct sigaction plain {};
  real.sigaction(signal, &plain, nullptr);
}

const struct sigaction& action_of(int signal) { return actions[signal]; }

int install_action(int signal, const struct sigaction& action) {
  struct sigaction ours = action;
  auto handler = action.sa_handler;
  bool handled = handler != SIG_DFL && handler != SIG_IGN;
  if (handled) {
    ours.sa_sigaction = coro_signal_entry;
    ours.sa_flags = (action.sa_flags & (SA_RESTART | SA_NOCLDSTOP | SA_NOCLDWAIT)) | SA_SIGINFO | SA_ONSTACK;
    from_mask(closed_mask, ours.sa_mask);
  }
  struct sigaction before = actions[signal];
  actions[signal] = action;
  if (signal == SIGSYS && backstop_runs()) return 0;
  if (real.sigaction(signal, &ours, nullptr) < 0) {
    actions[signal] = before;
    return -1;
  }
  // What is ignored is not even pending (signal(7), POSIX).
  constexpr uint64_t ignored_by_default = bit_of(SIGCHLD) | bit_of(SIGCONT) | bit_of(SIGURG) | bit_of(SIGWINCH);
  if (handler == SIG_IGN || (handler == SIG_DFL && ignored_by_default & bit_of(signal))) forget_pending(signal);
  return 0;
}

void adopt_signals(const stack_t& alternate) {
  Fiber* main = current;
  main->alternate_stack = alternate;
  for (int signal = 1; signal <= signal_count; signal++) {
    if (signal == 32 || signal == 33) continue;  // libc's own
    struct sigaction present;
    if (real.sigaction(signal, nullptr, &present) < 0) continue;
    if (signal == SIGSYS && backstop_runs()) present = sigsys_before_backstop();
    actions[signal] = present;
    if (has_handler(signal)) install_action(signal, present);
  }
  fiber_born(*main);
}

}  // namespace coro
