// SPDX-License-Identifier: Apache-2.0
//
//   fiber on hub            after the switch (any context)      helper thread
//   leave(after: hand_over) ──► queue, futex ───────────────► resume fiber on its own stack, with its mask
//   ... call ...                                               base ◄── switch (after: give_back_and_go) ──► hub's inbox
//
// Helpers block every signal while idle; while a fiber is on one, the kernel mask is the fiber's own. A helper is made by
// the supervisor: a kernel thread inherits its maker's seccomp filter, and carriers have one. So a fiber leaves for a
// helper that is only promised; when it cannot be made, the fiber is sent home again without having been away.
#include "scheduler/offload.h"

#include <errno.h>

#include "scheduler/carrier.h"
#include "scheduler/check.h"
#include "scheduler/engine.h"
#include "scheduler/kernel_thread.h"
#include "scheduler/spinlock.h"
#include "scheduler/supervisor.h"
#include "scheduler/wait_queue.h"

namespace coro {

struct Helper {
  Context base;
  bool spoiled = false;
  uint32_t bell = 0;       // futex: bumped when there is work for it
  Helper* next = nullptr;  // in the pool's list of idle ones
};

namespace {

constexpr int idle_seconds = 10, most_clean = 64;

struct Pool {
  Fiber* first = nullptr;  // fibers that wait for a helper
  Fiber* last = nullptr;
  int spare = 0;       // helpers without work, less the fibers that are promised to them; of many only
  int all = 0;         // helpers, and those promised
  int promised = 0;    // to be made by the supervisor
  uint32_t taken = 0;  // fibers that got a helper so far
  Helper* idle = nullptr;  // the last to lie down is the first to be woken, so that what a rush needed goes when it is over
  bool stays = false;  // the clean ones: whoever comes waits for one
};

Spinlock lock;
Pool many, clean{.stays = true};
uint32_t clean_taken_before = 0;  // the supervisor's

Pool& pool_of(const Fiber& fiber) { return fiber.wants_clean ? clean : many; }

Fiber* take_first(Pool& pool) {
  Fiber* fiber = pool.first;
  if (!fiber) return nullptr;
  pool.first = fiber->next;
  if (!pool.first) pool.last = nullptr;
  fiber->next = nullptr;
  return fiber;
}

Fiber* take_waiting(Pool& pool) {
  Locked hold(lock);
  Fiber* fiber = take_first(pool);
  if (fiber) pool.taken++;
  return fiber;
}

void hand_over(void* argument) {
  auto* fiber = static_cast<Fiber*>(argument);
  Pool& pool = pool_of(*fiber);
  fiber->state = State::away;
  fiber->hub.store(nullptr, std::memory_order_relaxed);
  Helper* helper;
  {
    Locked hold(lock);
    fiber->next = nullptr;
    (pool.last ? pool.last->next : pool.first) = fiber;
    pool.last = fiber;
    helper = pool.idle;
    if (!helper) return;  // one will come by
    pool.idle = helper->next;
    std::atomic_ref<uint32_t>(helper->bell).fetch_add(1);
  }
  sys::futex_wake(&helper->bell, 1);
}

void send_home(void* argument) {
  auto* fiber = static_cast<Fiber*>(argument);
  fiber->hub.store(fiber->home, std::memory_order_relaxed);
  fiber->home->drop_in(*fiber);
}

// From the helper's own stack, which is free for the next fiber before this one can ask for a helper again.
void give_back_and_go(void* argument) {
  auto* fiber = static_cast<Fiber*>(argument);
  if (!fiber->helper->spoiled) {
    Locked hold(lock);
    pool_of(*fiber).spare++;
  }
  send_home(fiber);
}

// False: the helper is spoiled.
bool run_away_fiber(Pool& pool, Helper& helper, Fiber& fiber) {
  fiber.helper = &helper;
  fiber.helper_tid.store(sys::gettid(), std::memory_order_release);
  switch_context(helper.base, fiber.context);
  sys::set_signal_mask(~uint64_t{0});
  if (!pool.stays) wake_queue(spare_helper_queue(), 1);
  return !helper.spoiled;
}

// False: idle for so long that this helper is to go.
bool sleep_for_work(Pool& pool, Helper& self) {
  std::atomic_ref<uint32_t> bell(self.bell);
  uint32_t heard = bell.load();
  {
    Locked hold(lock);
    if (pool.first) return true;
    self.next = pool.idle;
    pool.idle = &self;
  }
  timespec patience{idle_seconds, 0};
  while (bell.load() == heard) {
    long result = sys::call(SYS_futex, sys::as_long(&self.bell), FUTEX_WAIT_PRIVATE, heard,
                            pool.stays ? 0 : sys::as_long(&patience));
    if (result != -ETIMEDOUT) continue;
    Locked hold(lock);
    if (bell.load() != heard) break;
    if (pool.spare <= 0) continue;  // promised to somebody who is about to come
    Helper** link = &pool.idle;
    while (*link != &self) link = &(*link)->next;
    *link = self.next;
    pool.spare--;
    pool.all--;
    return false;
  }
  return true;
}

// A spoiled helper goes. Whoever was promised to it gets another.
void replace_spoiled(Pool& pool) {
  {
    Locked hold(lock);
    pool.all--;
    if (pool.stays && pool.first) {
      pool.all++;
      pool.promised++;
    }
  }
  call_supervisor();
}

void* help(void* argument) {
  auto& pool = *static_cast<Pool*>(argument);
  Helper helper;
  helper.base.thread_block = this_thread_block();
  count_kernel_thread(+1);
  for (;;) {
    Fiber* fiber = take_waiting(pool);
    if (fiber && !run_away_fiber(pool, helper, *fiber)) {
      replace_spoiled(pool);
      break;
    }
    if (!fiber && !sleep_for_work(pool, helper)) break;
  }
  count_kernel_thread(-1);
  return nullptr;
}

bool make_helper(Pool& pool) { return start_kernel_thread(help, &pool); }

// A helper that was promised cannot be made. False: whom it was promised to has not arrived yet, so try again.
bool break_promise(Pool& pool) {
  Fiber* in_vain = nullptr;  // goes home
  {
    Locked hold(lock);
    if (pool.first && (!pool.stays || pool.all == 1)) {
      in_vain = take_first(pool);
      for (Fiber* one = in_vain; pool.stays && one; one = one->next) one->next = take_first(pool);
    } else if (!pool.stays && pool.spare > 0) {
      pool.spare--;  // another helper took it
    } else if (pool.all == 1) {
      pool.promised++;
      return false;
    }
    pool.all--;
  }
  while (Fiber* fiber = in_vain) {
    in_vain = fiber->next;
    send_home(fiber);
  }
  return true;
}

// Promises a helper to the caller, who then arrives at the pool for certain. False: none to be had.
bool reserve_helper(Pool& pool) {
  {
    Locked hold(lock);
    if (pool.stays && pool.all > 0) return true;
    if (!pool.stays && pool.spare > 0) {
      pool.spare--;
      return true;
    }
    if (!pool.stays && pool.all >= engine_config().offload_threads) return false;
    pool.all++;
    if (supervisor_runs()) pool.promised++;
  }
  if (call_supervisor() || make_helper(pool)) return true;
  Locked hold(lock);
  pool.all--;
  return false;
}

// False: look again soon.
bool make_promised(Pool& pool) {
  for (;;) {
    {
      Locked hold(lock);
      if (!pool.promised) return true;
      pool.promised--;
    }
    if (!make_helper(pool) && !break_promise(pool)) return false;
  }
}

}  // namespace

// A clean helper that a fiber blocks (in a fork handler of the program, say) does not stop the others: who has waited for
// a whole tick gets another.
bool make_helpers() {
  bool done = make_promised(many) & make_promised(clean);
  {
    Locked hold(lock);
    bool stuck = clean.first && clean.taken == clean_taken_before && clean.all < most_clean;
    clean_taken_before = clean.taken;
    if (!clean.first) return done;
    if (!stuck) return false;
    clean.all++;
  }
  if (!make_helper(clean)) break_promise(clean);
  return false;
}

Away::Away(Reason why, Helpers helpers) {
  Fiber* fiber = on_hub();
  if (!fiber || in_bare_child() || (helpers == Helpers::clean && !is_filtered_here())) return;
  Critical::enter(fiber);
  Pool& pool = helpers == Helpers::clean ? clean : many;
  Hub* hub = fiber->hub.load(std::memory_order_relaxed);
  if (hub->refresh() && reserve_helper(pool)) {
    hub->counters.offloads++;
    hub->calls[why].parks++;
    fiber->reason = why;
    fiber->home = hub;
    fiber->wants_clean = pool.stays;
    if (is_traced(why)) {
      fiber->parked_since = now();
      trace({"fiber ", Decimal(fiber->number), " goes to a helper (", engine_config().reason_name(why), ")"});
    }
    hub->leave(*fiber, {hand_over, fiber});
    // Now on the helper, or at home again when none could be made. A signal for us may be sent to this kernel thread
    // from here on.
    if (away_on(*fiber)) sys::set_exact_signal_mask(fiber->blocked);
  }
  Critical::leave(fiber);
  Critical::deliver_deferred(fiber);  // sent when it was neither here nor there
}

Away::~Away() { come_home(); }

void come_home() {
  Fiber* fiber = current;
  if (!fiber || !fiber->helper_tid.load(std::memory_order_relaxed)) return;
  Critical::enter(fiber);
  sys::set_signal_mask(~uint64_t{0});
  if (is_traced(fiber->reason))
    trace({"fiber ", Decimal(fiber->number), " comes home after ", Milliseconds(now() - fiber->parked_since)});
  fiber->helper_tid.store(0, std::memory_order_release);
  switch_context(fiber->context, fiber->helper->base, {give_back_and_go, fiber});
  Critical::leave(fiber);
}

const void* spare_helper_queue() { return &many.spare; }

int away_on(const Fiber& fiber) { return fiber.helper_tid.load(std::memory_order_acquire); }

void spoil_helper() {
  if (current && away_on(*current)) current->helper->spoiled = true;
}

void forget_helpers_in_child() {
  lock.reset();
  many = {};
  clean = {.stays = true};
}

Spinlock& lock_of_helpers() { return lock; }  // for hold_engine()

}  // namespace coro
