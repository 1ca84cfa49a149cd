// SPDX-License-Identifier: Apache-2.0
//
//   fiber on hub            after the switch (any context)      helper thread
//   leave(after: hand_over) ──► queue, futex ───────────────► resume fiber on its own stack, with its mask
//   ... call ...                                               base ◄── switch (after: send_home) ──► hub's inbox
//
// Helpers block every signal while idle; while a fiber is on one, the kernel mask is the fiber's own.
#include "scheduler/offload.h"

#include <errno.h>

#include "scheduler/check.h"
#include "scheduler/engine.h"
#include "scheduler/fault_stack.h"
#include "scheduler/spinlock.h"
#include "scheduler/wait_queue.h"

namespace coro {
namespace {

Spinlock lock;
Fiber* first_waiting = nullptr;
Fiber* last_waiting = nullptr;
int spare_helpers = 0;  // helpers without work, less the fibers that are promised to them
int all_helpers = 0;
uint32_t arrivals = 0;  // futex: bumped with every fiber queued
constexpr int idle_seconds = 10;

Fiber* take_waiting() {
  Locked hold(lock);
  Fiber* fiber = first_waiting;
  if (!fiber) return nullptr;
  first_waiting = fiber->next;
  if (!first_waiting) last_waiting = nullptr;
  fiber->next = nullptr;
  return fiber;
}

void hand_over(void* argument) {
  auto* fiber = static_cast<Fiber*>(argument);
  fiber->state = State::away;
  fiber->hub.store(nullptr, std::memory_order_relaxed);
  {
    Locked hold(lock);
    fiber->next = nullptr;
    (last_waiting ? last_waiting->next : first_waiting) = fiber;
    last_waiting = fiber;
  }
  std::atomic_ref<uint32_t>(arrivals).fetch_add(1);
  sys::futex_wake(&arrivals, 1);
}

void send_home(void* argument) {
  auto* fiber = static_cast<Fiber*>(argument);
  fiber->hub.store(fiber->home, std::memory_order_relaxed);
  fiber->home->drop_in(*fiber);
}

void run_away_fiber(Context& base, Fiber& fiber) {
  fiber.helper_base = &base;
  fiber.helper_tid.store(sys::gettid(), std::memory_order_release);
  switch_context(base, fiber.context);
  sys::set_signal_mask(~uint64_t{0});
  {
    Locked hold(lock);
    spare_helpers++;
  }
  wake_queue(spare_helper_queue(), 1);
}

// False: idle for so long that this helper is to go.
bool sleep_for_work(uint32_t seen) {
  timespec patience{idle_seconds, 0};
  long result = sys::call(SYS_futex, sys::as_long(&arrivals), FUTEX_WAIT_PRIVATE, seen,
                          sys::as_long(&patience));
  if (result != -ETIMEDOUT) return true;
  Locked hold(lock);
  if (first_waiting || spare_helpers <= 0) return true;
  spare_helpers--;
  all_helpers--;
  return false;
}

void* help(void*) {
  Context base;
  base.thread_block = this_thread_block();
  FaultStack fault_stack;
  for (;;) {
    uint32_t seen = std::atomic_ref<uint32_t>(arrivals).load();
    if (Fiber* fiber = take_waiting())
      run_away_fiber(base, *fiber);
    else if (!sleep_for_work(seen))
      break;
  }
  count_kernel_thread(-1);
  return nullptr;
}

// Promises a helper to the caller. False: none to be had.
bool reserve_helper() {
  {
    Locked hold(lock);
    if (spare_helpers > 0) {
      spare_helpers--;
      return true;
    }
    if (all_helpers >= engine_config().offload_threads) return false;
    all_helpers++;
  }
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 128 << 10);
  uint64_t mask = sys::set_signal_mask(~uint64_t{0});
  pthread_t id;
  int failed = engine_config().create_thread(&id, &attributes, help, nullptr);
  sys::set_signal_mask(mask);
  pthread_attr_destroy(&attributes);
  if (!failed) {
    count_kernel_thread(+1);
    return true;
  }
  Locked hold(lock);
  all_helpers--;
  return false;
}

}  // namespace

Away::Away(Reason why) {
  Fiber* fiber = on_hub();
  if (!fiber) return;
  Critical::enter(fiber);
  if (reserve_helper()) {
    Hub* hub = fiber->hub.load(std::memory_order_relaxed);
    hub->counters.offloads++;
    hub->calls[why].parks++;
    fiber->reason = why;
    fiber->home = hub;
    if (is_traced(why)) {
      fiber->parked_since = now();
      trace({"fiber ", Decimal(fiber->number), " goes to a helper (", engine_config().reason_name(why), ")"});
    }
    hub->leave(*fiber, {hand_over, fiber});
    // Now on the helper. A signal for us may be sent to this kernel thread from here on.
    sys::set_signal_mask(fiber->blocked);
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
  switch_context(fiber->context, *fiber->helper_base, {send_home, fiber});
  Critical::leave(fiber);
}

const void* spare_helper_queue() { return &spare_helpers; }

int away_on(const Fiber& fiber) { return fiber.helper_tid.load(std::memory_order_acquire); }

void forget_helpers_in_child() {
  lock.reset();
  first_waiting = last_waiting = nullptr;
  spare_helpers = all_helpers = 0;
}

Spinlock& lock_of_helpers() { return lock; }  // for hold_engine()

}  // namespace coro
