// SPDX-License-Identifier: Apache-2.0
//
// How ready fibers get from busy hubs to idle ones.
//
//   busy hub                                            idle hub
//   wakes a fiber, or has several ready                 find_work(): says that it is idle, looks at the others' queues
//     └─ is a hub idle? call_for_help(): rings it ────► looks for 10 us; takes half of a queue ...
//   its fiber is out in the program's code ─── visit ── ... while the owner word is marked: the fiber, should it come
//                                                       back just then, waits for the mark to go
//
// A queue is worth taking from when its first in line does not get on (the same fiber has been out all the time), or when
// it never got empty. Two fibers that wake each other in turn, on one hub, are neither: they stay together, which is many
// times faster than two kernel threads. So that they do not pay for calling in vain, each call that was of no use
// doubles the number of occasions that are let pass before the next. What is missed here the supervisor sees at its tick.
#include "scheduler/balance.h"

#include <immintrin.h>

#include <bit>

#include "scheduler/deadline.h"
#include "scheduler/engine.h"
#include "scheduler/hub.h"
#include "scheduler/supervisor.h"
#include "scheduler/sys.h"

namespace coro {

std::atomic<uint64_t> idle_hubs{0};

namespace {

constexpr int64_t look_nanoseconds = 10'000;
constexpr uint32_t most_patience = 4096;
// A fiber that had to be fetched is woken where it last ran so many times before its waker's hub takes it again.
constexpr uint8_t wakes_at_home = 32;

}  // namespace

bool Hub::call_idle_hub() {
  uint64_t idle = idle_hubs.load();
  if (!idle) return false;
  Hub& one = coro::hub(std::countr_zero(idle));
  idle_hubs.fetch_and(~one.bit());
  one.ring_if_sleeping();
  return true;
}

void Hub::call_for_help() {
  uint32_t left = calm_.load(std::memory_order_relaxed);
  if (left) return calm_.store(left - 1, std::memory_order_relaxed);
  uint32_t patience = patience_.load(std::memory_order_relaxed) * 2 + 1;
  patience_.store(patience < most_patience ? patience : most_patience, std::memory_order_relaxed);
  calm_.store(patience, std::memory_order_relaxed);
  call_idle_hub();
}

// With nothing ready, after prepare_to_sleep(). True: now there is.
bool Hub::find_work() {
  int count = hub_count();
  if (count == 1) return false;
  // Said before looking: either we see a queue, or who fills it later sees us.
  idle_hubs.fetch_or(bit());
  for (int step = 1; step < count; step++) {
    Hub& other = coro::hub((index_ + step) % count);
    if (!other.has_queue() || !outlasts_a_look(other) || !take_from(other)) continue;
    idle_hubs.fetch_and(~bit());
    sleeping_.store(false);
    note_busy();  // the supervisor may have seen it asleep
    return true;
  }
  return false;
}

bool Hub::outlasts_a_look(Hub& other) {
  uint64_t switches = other.switches_so_far();
  bool crowded = true;
  for (int64_t end = now() + look_nanoseconds; now() < end;) {
    if (!other.has_queue()) return false;
    crowded &= other.load() > 1;
    for (int i = 0; i < 8; i++) _mm_pause();
  }
  return crowded || other.switches_so_far() == switches;
}

bool Hub::take_from(Hub& other) {
  // It may be within the engine: not for long.
  for (int tries = 0; !other.begin_visit(); tries++) {
    if (tries == 200 || !other.has_queue()) return false;
    _mm_pause();
  }
  other.deliver_inbox();
  int wanted = (other.load() + 1) / 2;
  for (int i = 0; i < wanted; i++) {
    Fiber* fiber = other.pop_ready();
    other.timers_.remove(*fiber);
    fiber->hub.store(this, std::memory_order_relaxed);
    fiber->wakes_at_home = wakes_at_home;
    push_ready(*fiber);
  }
  other.counters.moves += static_cast<uint64_t>(wanted);
  other.calm_.store(0, std::memory_order_relaxed);
  other.patience_.store(0, std::memory_order_relaxed);
  other.end_visit();
  return wanted > 0;
}

bool Hub::begin_visit() {
  Fiber* out = lent_to();
  return out && lent_.compare_exchange_strong(out, visited(out), std::memory_order_acq_rel);
}

void Hub::end_visit() {
  auto word = reinterpret_cast<uintptr_t>(lent_.load(std::memory_order_relaxed));
  lent_.store(reinterpret_cast<Fiber*>(word & ~uintptr_t{1}), std::memory_order_release);
}

bool Hub::claim_after_visit(Fiber& fiber) {
  for (int spins = 0;;) {
    Fiber* word = &fiber;
    if (lent_.compare_exchange_strong(word, nullptr, std::memory_order_acq_rel)) return true;
    if (word != visited(&fiber)) return false;  // the supervisor came in between
    if (++spins < 200)
      _mm_pause();
    else
      sys::call(SYS_sched_yield), spins = 0;  // the visitor has lost its CPU
  }
}

}  // namespace coro
