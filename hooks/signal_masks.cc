// SPDX-License-Identifier: Apache-2.0
//
// The fibers' virtual masks, and what follows from them for the kernel: a carrier's kernel mask blocks a signal only while
// every fiber blocks it.
#include <string.h>

#include "hooks/signal_table.h"
#include "hooks/signals.h"
#include "scheduler/engine.h"
#include "scheduler/hub.h"
#include "scheduler/offload.h"
#include "scheduler/spinlock.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

Spinlock counting;
int blocked_by[signal_count];
int fibers_counted = 0;

void count_mask(uint64_t mask, int change) {
  for (; mask; mask &= mask - 1) blocked_by[__builtin_ctzll(mask)] += change;
}

uint64_t blocked_by_all() {
  uint64_t mask = 0;
  for (int i = 0; i < signal_count; i++)
    if (fibers_counted && blocked_by[i] == fibers_counted) mask |= uint64_t{1} << i;
  return mask;
}

void recount(Fiber& fiber, uint64_t mask, int population) {
  Locked hold(counting);
  fibers_counted += population;
  count_mask(fiber.counted, -1);
  count_mask(mask, +1);
  fiber.counted = mask;
  // Under the lock: of two such changes the later must be the one that lasts.
  uint64_t wanted = blocked_by_all();
  if (wanted != carrier_mask()) set_carrier_mask(wanted);
}

// What was sent to the process and the fiber accepts is its own now.
void take_over_pending(Fiber& fiber) {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // look_again() in signal_route.cc: mask and queue, queue and mask
  uint64_t there = process_signals().pending_signals.load() & (~fiber.blocked | fiber.awaited);
  if (there) move_pending(process_signals(), fiber, there, false);
}

}  // namespace

void fiber_born(Fiber& fiber) {
  fiber.counted = 0;
  drop_pending(fiber, ~uint64_t{0});  // sent to its last life when that was over
  recount(fiber, fiber.blocked, +1);
  take_over_pending(fiber);
}

void fiber_ended(Fiber& fiber) {
  disown_all_of(fiber);
  recount(fiber, 0, -1);
  give_up_blocked(fiber, ~uint64_t{0});
  drop_pending(fiber, ~uint64_t{0});
}

void set_blocked(Fiber& fiber, uint64_t mask) {
  mask &= ~never_blocked;
  fiber.blocked = mask;
  if (away_on(fiber)) sys::set_exact_signal_mask(mask);
  if (fiber.counted != mask) {
    // Of kernel threads that open their masks at once, each would get some of what waits, and the order be lost.
    if (uint64_t opened = fiber.counted & ~mask & carrier_mask()) fetch_from_kernel(opened);
    Critical::enter(current);
    recount(fiber, mask, 0);
    Critical::leave(current);  // what became deliverable is the caller's business
  }
  take_over_pending(fiber);
  give_up_blocked(fiber, mask & ~fiber.awaited);
}

void recount_in_child(Fiber& survivor) {
  counting.reset();
  memset(blocked_by, 0, sizeof blocked_by);
  fibers_counted = 0;
  fiber_born(survivor);
}

KernelMask::KernelMask(const Fiber* fiber) {
  if (!fiber || !fiber->hub.load(std::memory_order_relaxed)) return;
  set_ = true;
  sys::set_exact_signal_mask(fiber->blocked);
}

KernelMask::~KernelMask() {
  if (set_) sys::set_signal_mask(carrier_mask());
}

}  // namespace coro
