// SPDX-License-Identifier: Apache-2.0
//
// Signals that were sent and wait: for one fiber, or for the process, with what they carry and in the order they came.
// Lock-free: the trampoline may come at any instruction.
#include <atomic>

#include "hooks/signal_table.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

enum : uint32_t { slot_free, slot_busy, slot_filled };

// One queued signal. Who moves `state` to busy has it to himself.
struct Queued {
  std::atomic<uint32_t> state{slot_free};
  int signal = 0;
  bool shared = false;  // sent to the process
  Fiber* owner = nullptr;
  uint64_t order = 0;
  siginfo_t info{};
};
constexpr int most_queued = 4096;
constinit Queued queue[most_queued];
std::atomic<int> ever_used{0};  // places from here on were never filled: most programs need few
std::atomic<int> in_use{0};
std::atomic<uint64_t> last_order{0};
Fiber process_;  // nobody's fiber: owns what was sent to the process and nobody accepts

void note_used(int place) {
  int used = ever_used.load();
  while (used <= place && !ever_used.compare_exchange_weak(used, place + 1)) {
  }
}

bool grab(Queued& slot) {
  uint32_t filled = slot_filled;
  return slot.state.load(std::memory_order_relaxed) == slot_filled && slot.state.compare_exchange_strong(filled, slot_busy);
}
// The bit is set last: who looked while the entry was in our hands has missed it.
void put_back(Queued& slot) {
  Fiber* owner = slot.owner;
  uint64_t bit = bit_of(slot.signal);
  slot.state.store(slot_filled, std::memory_order_seq_cst);
  owner->pending_signals.fetch_or(bit);
}
void free_slot(Queued& slot) {
  slot.state.store(slot_free, std::memory_order_release);
  in_use.fetch_sub(1);
}

// The oldest of the fiber's entries of that signal, grabbed; null: there is none.
Queued* grab_oldest(Fiber& fiber, int signal) {
  for (;;) {
    Queued* oldest = nullptr;
    for (int i = 0; i < ever_used.load(); i++) {
      Queued& slot = queue[i];
      if (slot.state.load() != slot_filled || slot.owner != &fiber || slot.signal != signal) continue;
      if (!oldest || slot.order < oldest->order) oldest = &slot;
    }
    if (!oldest) return nullptr;
    if (!grab(*oldest)) continue;
    if (oldest->owner == &fiber && oldest->signal == signal) return oldest;
    put_back(*oldest);
  }
}

bool has_any(const Fiber& fiber, int signal) {
  for (int i = 0; i < ever_used.load(); i++)
    if (queue[i].state.load() == slot_filled && queue[i].owner == &fiber && queue[i].signal == signal) return true;
  return false;
}

// After entries of the fiber went: the bit is clear if that was the last. An entry in somebody's hands does not count: it
// goes, or he sets the bit when he puts it back. He may be on this kernel thread, interrupted: nobody waits for him.
void settle_bit(Fiber& fiber, int signal) {
  fiber.pending_signals.fetch_and(~bit_of(signal));
  if (has_any(fiber, signal)) fiber.pending_signals.fetch_or(bit_of(signal));
}

// A timer's signal that still waits counts the further expiries instead of queueing them (timer_getoverrun(2)).
bool counts_as_overrun(Fiber& fiber, int signal, const siginfo_t& info) {
  if (info.si_code != SI_TIMER || !(fiber.pending_signals.load() & bit_of(signal))) return false;
  for (int i = 0; i < ever_used.load(); i++) {
    Queued& slot = queue[i];
    if (slot.signal != signal || slot.owner != &fiber || !grab(slot)) continue;
    bool same = slot.owner == &fiber && slot.signal == signal && slot.info.si_code == SI_TIMER &&
                slot.info.si_timerid == info.si_timerid;
    if (same) slot.info.si_overrun += 1 + info.si_overrun;
    put_back(slot);
    if (same) return true;
  }
  return false;
}

}  // namespace

Fiber& process_signals() { return process_; }

bool enqueue_info(Fiber& fiber, int signal, const siginfo_t& info, bool shared) {
  if (counts_as_overrun(fiber, signal, info)) return true;
  for (int i = 0; i < most_queued; i++) {
    Queued& slot = queue[i];
    uint32_t nobodys = slot_free;
    if (slot.state.load(std::memory_order_relaxed) != slot_free) continue;
    if (!slot.state.compare_exchange_strong(nobodys, slot_busy)) continue;
    in_use.fetch_add(1);
    note_used(i);
    slot.signal = signal;
    slot.shared = shared;
    slot.owner = &fiber;
    slot.order = last_order.fetch_add(1) + 1;
    slot.info = info;
    put_back(slot);
    return true;
  }
  return false;
}

bool dequeue_info(Fiber& fiber, int signal, siginfo_t& info) {
  // A handler that came in between would find, and run, what was sent after the entry in our hands.
  uint64_t open = sys::set_signal_mask(closed_mask);
  Queued* slot = grab_oldest(fiber, signal);
  if (slot) {
    info = slot->info;
    free_slot(*slot);
    note_overruns(info);
  }
  settle_bit(fiber, signal);
  sys::set_signal_mask(open);
  return slot != nullptr;
}

bool take_pending(Fiber& fiber, uint64_t set, siginfo_t& info) {
  while (uint64_t there = fiber.pending_signals.load() & set) {
    int signal = __builtin_ctzll(there) + 1;
    if (dequeue_info(fiber, signal, info)) return true;
  }
  return false;
}

void move_pending(Fiber& from, Fiber& to, uint64_t set, bool shared_only) {
  for (set &= from.pending_signals.load(); set; set &= set - 1) {
    int signal = __builtin_ctzll(set) + 1;
    bool moved = false;
    for (int i = 0; i < ever_used.load(); i++) {
      Queued& slot = queue[i];
      if (slot.owner != &from || slot.signal != signal || !grab(slot)) continue;
      bool ours = slot.owner == &from && slot.signal == signal && (slot.shared || !shared_only);
      if (ours) {
        // A standard signal that is pending there already is one with it.
        bool doubled = signal < 34 && to.pending_signals.load() & bit_of(signal) && has_any(to, signal);
        slot.owner = &to;
        moved = true;
        if (doubled) {
          free_slot(slot);
          continue;
        }
      }
      put_back(slot);
    }
    if (moved) settle_bit(from, signal);
  }
}

void drop_pending(Fiber& fiber, uint64_t set) {
  if (!in_use.load()) return;
  for (int i = 0; i < ever_used.load(); i++) {
    Queued& slot = queue[i];
    if (slot.owner != &fiber || !grab(slot)) continue;
    if (slot.owner == &fiber && set & bit_of(slot.signal))
      free_slot(slot);
    else
      put_back(slot);
  }
  fiber.pending_signals.fetch_and(~set);
}

void drop_pending_timer(int timer) {
  if (!in_use.load()) return;
  for (int i = 0; i < ever_used.load(); i++) {
    Queued& slot = queue[i];
    if (slot.info.si_code != SI_TIMER || slot.info.si_timerid != timer || !grab(slot)) continue;
    bool same = slot.info.si_code == SI_TIMER && slot.info.si_timerid == timer;
    Fiber* owner = slot.owner;
    int signal = slot.signal;
    if (!same) {
      put_back(slot);
      continue;
    }
    free_slot(slot);
    settle_bit(*owner, signal);
  }
}

void drop_queued_signals() {
  for (int i = 0; i < ever_used.load(); i++) queue[i].state = slot_free;
  in_use = 0;
  process_.pending_signals = 0;
}

}  // namespace coro
