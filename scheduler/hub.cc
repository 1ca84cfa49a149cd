// SPDX-License-Identifier: Apache-2.0
#include "scheduler/hub.h"

#include "scheduler/balance.h"
#include "scheduler/carrier.h"
#include "scheduler/check.h"
#include "scheduler/engine.h"
#include "scheduler/memory.h"
#include "scheduler/supervisor.h"
#include "scheduler/sys.h"
#include "scheduler/wait.h"

namespace coro {
namespace {

// How many fibers run between two looks at the event loop; more when more are ready: it would tell of what they wait for.
constexpr int switches_per_turn = 64;
constexpr int yields_per_turn = 16;  // of a fiber that yields with nobody ready
// A new fiber is first in the queue: natively a thread begins at once, beside its maker, and programs count on it. No more
// than so many in a turn, or makers of threads would keep everybody else out.
constexpr int new_per_turn = 16;

}  // namespace

const char* Hub::open(int index, LoopKind kind) {
  index_ = index;
  return loop_.open(kind, *this);
}

void Hub::drop_in(Fiber& fiber) {
  Fiber* head = inbox_.load(std::memory_order_relaxed);
  do {
    fiber.next = head;
  } while (!inbox_.compare_exchange_weak(head, &fiber, std::memory_order_seq_cst));
  // Pairs with prepare_to_sleep(): either the hub sees the inbox filled, or we see it sleeping.
  if (!ring_if_sleeping() && idle_hubs.load(std::memory_order_seq_cst) && current)
    call_for_help();  // the waker may run on for long
}

void Hub::deliver_inbox() {
  if (!inbox_.load(std::memory_order_relaxed)) return;
  if (newcomers_.load(std::memory_order_relaxed)) newcomers_.store(0, std::memory_order_relaxed);
  Fiber* fiber = inbox_.exchange(nullptr, std::memory_order_acquire);
  Fiber* in_order = nullptr;  // the inbox is a stack: turn it over
  while (fiber) {
    Fiber* next = fiber->next;
    fiber->next = in_order;
    in_order = fiber;
    fiber = next;
  }
  while (in_order) {
    Fiber* next = in_order->next;
    if (in_order->wait) in_order->wait->disarm(*this);
    in_order->hub.store(this, std::memory_order_relaxed);
    // May have been written after it had rejoined, but before we were given the hub.
    in_order->orphan_tid.store(0, std::memory_order_relaxed);
    if (in_order->is_new && new_this_turn_ < new_per_turn) {
      new_this_turn_++;
      push_after_new(*in_order);
      last_new_ = in_order;
    } else {
      push_ready(*in_order);
    }
    in_order->is_new = false;
    in_order = next;
  }
}

void Hub::forget_descriptor(int fd, uint32_t generation) {
  Fiber* fiber = current;
  if (fiber && fiber->hub.load(std::memory_order_relaxed) == this) {
    loop_.forget(fd, generation);
    return;
  }
  tell(fd, generation, false);
  loop_.forget_from_afar(fd);
}

void Hub::nudge_descriptor(int fd) {
  Fiber* fiber = current;
  if (fiber && fiber->hub.load(std::memory_order_relaxed) == this)
    loop_.nudge(fd);
  else
    tell(fd, 0, true);
}

void Hub::tell(int fd, uint32_t generation, bool nudge) {
  auto* note = static_cast<Closed*>(resize_memory(nullptr, sizeof(Closed)));
  if (!note && last_note_used_.exchange(true)) return;
  if (!note) note = &last_note_;
  *note = {closed_.load(std::memory_order_relaxed), fd, generation, nudge};
  while (!closed_.compare_exchange_weak(note->next, note)) {
  }
  ring_if_sleeping();
}

void Hub::hear_of_closes() {
  if (!closed_.load()) return;
  Closed* note = closed_.exchange(nullptr);
  while (note) {
    Closed* next = note->next;
    if (note == &last_note_) {
      last_note_used_ = false;
      loop_.look_at_all();
    } else {
      note->nudge ? loop_.nudge(note->fd) : loop_.forget(note->fd, note->generation);
      resize_memory(note, 0);
    }
    note = next;
  }
}

void Hub::push_ready(Fiber& fiber) {
  fiber.state = State::ready;
  fiber.next = nullptr;
  (last_ready_ ? last_ready_->next : first_ready_) = &fiber;
  last_ready_ = &fiber;
  load_.store(load_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

// In front of those who have run before, behind those who have not.
void Hub::push_after_new(Fiber& fiber) {
  if (last_new_ ? last_new_ == last_ready_ : !first_ready_) return push_ready(fiber);
  fiber.state = State::ready;
  Fiber*& before = last_new_ ? last_new_->next : first_ready_;
  fiber.next = before;
  before = &fiber;
  load_.store(load_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

Fiber* Hub::pop_ready() {
  Fiber* fiber = first_ready_;
  if (!fiber) return nullptr;
  if (fiber == last_new_) last_new_ = nullptr;
  first_ready_ = fiber->next;
  if (!first_ready_) last_ready_ = nullptr;
  fiber->next = nullptr;
  load_.store(load_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  return fiber;
}

Fiber* Hub::next_ready() {
  if (--budget_ <= 0) return nullptr;
  deliver_inbox();
  return pop_ready();
}

void Hub::leave(Fiber& fiber, After after) {
  CHECK(refresh());
  Fiber* next = next_ready();
  if (next == &fiber) {  // woken before it had left
    fiber.state = State::running;
    return;
  }
  if (!next) {
    switch_context(fiber.context, base_, after);
    return;
  }
  counters.switches++;
  counters.direct_switches++;
  next->state = State::running;
  next->carrier = carrier_;
  switch_context(fiber.context, next->context, after);
}

bool Hub::yield(Fiber& fiber) {
  deliver_inbox();
  if (!first_ready_) {
    if (is_stale_) return false;  // in a fork handler, perhaps: not the time to open a loop
    if (++lonely_yields_ < yields_per_turn) return false;
    lonely_yields_ = 0;
    budget_ = 0;  // by way of base_, which turns the loop
  }
  push_ready(fiber);
  leave(fiber);
  return true;
}

void Hub::let_new_begin(Fiber& fiber) {
  deliver_inbox();
  if (!last_new_) return;
  push_after_new(fiber);
  leave(fiber);
}

void Hub::resume(Fiber& fiber) {
  counters.switches++;
  fiber.state = State::running;
  fiber.carrier = carrier_;
  switch_context(base_, fiber.context);
}

void Hub::taken_over_by(Carrier& carrier) {
  carrier_ = &carrier;
  carrier.wear(0);
}

// Reads what the fiber that is out cannot change without claiming the hub first; a wrong answer costs a needless hand-off
// or a tick.
bool Hub::has_others_waiting() {
  if (load() > 0 || inbox_.load() || closed_.load()) return true;
  return timers_.earliest() <= now() || loop_.has_events();
}

bool Hub::hand_over(Fiber& out) {
  Carrier* carrier = reserve_carrier();
  if (!carrier) return false;
  if (!claim(out)) {
    put_back(*carrier);
    return true;
  }
  out.orphan_tid = carrier_->tid.load();
  counters.hand_offs++;
  give(*carrier, *this);
  return true;
}

void Hub::expire_timers() {
  if (timers_.size() == 0) return;
  int64_t time = now();
  if (timers_.next_due() > time) return;
  timers_.expire(time, [](Fiber& fiber) {
    uint64_t present = fiber.wake_word.load(std::memory_order_relaxed);
    wake(fiber, present >> 8, Woken::timed_out);
  });
}

void Hub::lend_mask(uint64_t mask) {
  if (mask != carrier_->mask.load(std::memory_order_relaxed)) carrier_->wear(mask);
}

// True: the inbox is empty and whoever fills it from now on rings.
bool Hub::prepare_to_sleep() {
  if (first_ready_) return false;
  sleeping_.store(true, std::memory_order_seq_cst);
  if (!inbox_.load(std::memory_order_seq_cst) && !closed_.load(std::memory_order_seq_cst))
    return true;
  sleeping_.store(false, std::memory_order_seq_cst);  // the supervisor may have seen us asleep, and sleep now (hub.pml)
  note_busy();
  return false;
}

void Hub::run() {
  for (;;) {
    lend_mask(carrier_mask());
    hear_of_closes();
    deliver_inbox();
    expire_timers();
    deliver_inbox();
    new_this_turn_ = 0;
    if (load() > 1 && idle_hubs.load(std::memory_order_relaxed)) call_for_help();
    budget_ = load() > switches_per_turn ? load() : switches_per_turn;
    while (budget_ > 0) {
      Fiber* next = next_ready();
      if (!next) break;
      resume(*next);
    }
    bool idle = prepare_to_sleep() && !find_work();
    counters.turns++;
    counters.sleeps += idle;
    if (__builtin_expect(tells_sleep_, 0) && idle) tell_sleep();
    loop_.turn(idle, timers_.next_due());
    sleeping_.store(false, std::memory_order_seq_cst);
    if (idle) {
      if (hub_count() > 1) idle_hubs.fetch_and(~bit());
      note_busy();
    }
  }
}

void Hub::tell_sleep() {
  tells_sleep_ = false;
  trace({"hub ", Decimal(index_), " waits"});
}

void Hub::forget_in_child() {
  first_ready_ = last_ready_ = last_new_ = nullptr;
  inbox_ = nullptr;
  sleeping_ = false;
  load_ = newcomers_ = 0;
  calm_ = patience_ = 0;
  lent_ = nullptr;
  timers_.forget_in_child();
  closed_ = nullptr;
  last_note_used_ = false;
  counters = {};
  for (CallCounters& call : calls) call = {};
  loop_.forget_in_child();
  is_stale_ = true;
}

void Hub::close_in_child(bool intact) { loop_.close(intact); }

}  // namespace coro
