// SPDX-License-Identifier: Apache-2.0
//
// What signals.cc (delivery) shares with signal_calls.cc (the hooks of the family).
#pragma once

#include <signal.h>

#include <cstdint>

#include "scheduler/fiber.h"

namespace coro {

constexpr int signal_count = 64;
constexpr uint64_t bit_of(int signal) { return uint64_t{1} << (signal - 1); }
// SIGKILL, SIGSTOP, and libc's SIGCANCEL and SIGSETXID (nptl/internal-signals.h).
constexpr uint64_t never_blocked = bit_of(SIGKILL) | bit_of(SIGSTOP) | bit_of(32) | bit_of(33);

inline uint64_t to_mask(const sigset_t& set) { return set.__val[0]; }
inline void from_mask(uint64_t mask, sigset_t& set) {
  sigemptyset(&set);
  set.__val[0] = mask;
}

const struct sigaction& action_of(int signal);  // as the program set it
int install_action(int signal, const struct sigaction& action);  // -1 and errno, as sigaction(2)
void set_default_action(int signal);

// The fiber's virtual mask, and with it perhaps the carriers' kernel mask. Does not run what becomes deliverable.
void set_blocked(Fiber& fiber, uint64_t mask);

// Takes one pending signal of the set that was directed at the fiber, lowest number first.
bool take_pending(Fiber& fiber, uint64_t set, siginfo_t& info);

// EngineConfig's callbacks.
void fiber_born(Fiber& fiber);
void fiber_ended(Fiber& fiber);
void deliver_signals_here();

}  // namespace coro
