// SPDX-License-Identifier: Apache-2.0
//
// Signals that were sent to a fiber and wait for it, with what they carry. Lock-free: the trampoline may come at any
// instruction.
#include <atomic>

#include "hooks/signal_table.h"

namespace coro {
namespace {

// One queued signal of one fiber.
struct Queued {
  std::atomic<Fiber*> owner{nullptr};
  int signal = 0;
  std::atomic<bool> filled{false};
  siginfo_t info;
};
constexpr int most_queued = 512;
Queued queue[most_queued];

}  // namespace

bool enqueue_info(Fiber& fiber, int signal, const siginfo_t& info) {
  for (Queued& slot : queue) {
    Fiber* nobody = nullptr;
    if (!slot.owner.compare_exchange_strong(nobody, &fiber)) continue;
    slot.signal = signal;
    slot.info = info;
    slot.filled.store(true, std::memory_order_release);
    return true;
  }
  return false;
}

bool dequeue_info(Fiber& fiber, int signal, siginfo_t& info) {
  bool found = false, more = false;
  for (Queued& slot : queue) {
    if (slot.owner.load(std::memory_order_relaxed) != &fiber || !slot.filled.load() ||
        slot.signal != signal)
      continue;
    if (found) {
      more = true;
      break;
    }
    found = true;
    info = slot.info;
    slot.filled = false;
    slot.owner = nullptr;
  }
  if (!more) fiber.pending_signals.fetch_and(~bit_of(signal));
  return found;
}

bool take_pending(Fiber& fiber, uint64_t set, siginfo_t& info) {
  while (uint64_t there = fiber.pending_signals.load() & set) {
    int signal = __builtin_ctzll(there) + 1;
    if (dequeue_info(fiber, signal, info)) return true;
  }
  return false;
}

void drop_queued_signals() {
  for (Queued& slot : queue) {
    slot.filled = false;
    slot.owner = nullptr;
  }
}

}  // namespace coro
