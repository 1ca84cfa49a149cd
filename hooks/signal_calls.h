// SPDX-License-Identifier: Apache-2.0
//
// What the files with the hooks of the signals family share. All of them act on the running fiber also while it is away
// on a helper, so they ask for `current` and not for a hub.
#pragma once

#include "hooks/hook.h"
#include "hooks/signal_table.h"

namespace coro {

// The running fiber, once masks and actions are virtual. Null: pass through.
inline Fiber* virtual_signals() {
  if (!engine_started() || !options().patch.covers(Switch::signal)) return nullptr;
  return current;
}

inline bool is_valid(int signal) { return signal >= 1 && signal <= signal_count; }
inline bool is_libcs(int signal) { return signal == 32 || signal == 33; }

// The signals family counts its calls when it can park.
template <Call call>
Fiber* virtual_gate() {
  Fiber* fiber = virtual_signals();
  if (fiber) gate<call>();
  return fiber;
}

// sigaction(2) and sigprocmask(2), for all names of theirs.
int change_action(int signal, const struct sigaction* action, struct sigaction* old);
int change_own_mask(int how, const sigset_t* set, sigset_t* old);

// Signals that some signalfd takes. One that every fiber blocks then waits in the kernel, where the descriptor sees it.
uint64_t taken_by_signalfds();

}  // namespace coro
