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
std::atomic<int> ever_used{0};  // places from here on were never filled: most programs need few

void note_used(int place) {
  int used = ever_used.load();
  while (used <= place && !ever_used.compare_exchange_weak(used, place + 1)) {
  }
}

}  // namespace

bool enqueue_info(Fiber& fiber, int signal, const siginfo_t& info) {
  for (int i = 0; i < most_queued; i++) {
    Queued& slot = queue[i];
    Fiber* nobody = nullptr;
    if (!slot.owner.compare_exchange_strong(nobody, &fiber)) continue;
    note_used(i);
    slot.signal = signal;
    slot.info = info;
    slot.filled.store(true, std::memory_order_release);
    return true;
  }
  return false;
}

bool dequeue_info(Fiber& fiber, int signal, siginfo_t& info) {
  bool found = false, more = false;
  for (int i = 0; i < ever_used.load(); i++) {
    Queued& slot = queue[i];
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
  for (int i = 0; i < ever_used.load(); i++) {
    queue[i].filled = false;
    queue[i].owner = nullptr;
  }
}

}  // namespace coro
