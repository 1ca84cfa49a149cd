// SPDX-License-Identifier: Apache-2.0
//
// What the files of the signals family share: delivery (signals.cc), the queue, the masks, and the hooks (signal_*.cc).
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

// In a fork's child: only the survivor's mask counts.
void recount_in_child(Fiber& survivor);

// Queues one instance of the signal for the fiber. False: no room. Any instruction; never waits.
bool enqueue_info(Fiber& fiber, int signal, const siginfo_t& info);

// Takes one queued instance of the signal; clears the pending bit with the last. False: none is there.
bool dequeue_info(Fiber& fiber, int signal, siginfo_t& info);
void drop_queued_signals();

// Takes one pending signal of the set that was directed at the fiber, lowest number first.
bool take_pending(Fiber& fiber, uint64_t set, siginfo_t& info);

// EngineConfig's callbacks.
void fiber_born(Fiber& fiber);
void fiber_ended(Fiber& fiber);
void deliver_signals_here();

}  // namespace coro
