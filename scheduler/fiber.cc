// SPDX-License-Identifier: Apache-2.0
//
// Birth, life and death of a fiber. All of them together: fiber_pool.cc.
#include "scheduler/fiber.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/carrier.h"
#include "scheduler/check.h"
#include "scheduler/engine.h"
#include "scheduler/fiber_pool.h"
#include "scheduler/guardian.h"
#include "scheduler/offload.h"
#include "scheduler/supervisor.h"
#include "scheduler/thread_block.h"
#include "scheduler/wait.h"

namespace coro {

thread_local constinit Fiber* current = nullptr;

namespace {

// After-action of a fiber's last switch: its stack is left for ever.
void bury(void* argument) {
  auto& fiber = *static_cast<Fiber*>(argument);
  fiber.state = State::done;
  uint32_t before = fiber.life.fetch_or(Fiber::flag_done);
  if (before & Fiber::flag_detached) {
    recycle_later(fiber);
    return;
  }
  wake_queue(&fiber.life, INT32_MAX);
  // It may have been joined and recycled by now: a fiber is never freed, and a wake too many is harmless.
  if (before & Fiber::flag_joined_from_afar) sys::futex_wake(&fiber.life, INT32_MAX);
}

Fiber** current_of(void* block) {
  // `current` is initial-exec: at the same distance from every thread's block.
  auto distance = reinterpret_cast<char*>(&current) - static_cast<char*>(this_thread_block());
  return reinterpret_cast<Fiber**>(static_cast<char*>(block) + distance);
}

void wake_robust_waiters(void* word) {
  // The futex word is the first member of pthread_mutex_t, and the key that lock hooks wait on.
  wake_queue(word, INT32_MAX);
}

// Its thread-specific data is gone.
[[noreturn]] void leave_the_living(Fiber& self) {
  come_home();
  release_spent();
  if (delist(self)) {
    // The last thread of the process ended: exit status 0, as start_thread() does.
    engine_config().exit_process(0);
    __builtin_unreachable();
  }
  Critical::enter(&self);
  if (engine_config().fiber_ended) engine_config().fiber_ended(self);
  thread_block::abandon_robust_mutexes(self.context.thread_block, wake_robust_waiters);
  dismiss_guardian(self);
  Hub* hub = self.hub.load(std::memory_order_relaxed);
  hub->forget_timer(self);
  // What lies deep in the stack is of no use to the next fiber.
  if (!self.stack_is_users && !self.is_main) cool_stack(self.stack, thread_block::size() + engine_config().keep_of_stack);
  hub->leave(self, {bury, &self});
  check_failed("a buried fiber never runs again", __FILE__, __LINE__);
}

void* call_start_routine(Fiber& self) {
  if (!self.c11) return self.start(self.argument);
  auto start = reinterpret_cast<int (*)(void*)>(reinterpret_cast<void*>(self.start));
  return reinterpret_cast<void*>(static_cast<intptr_t>(start(self.argument)));
}

// libc's unwinder (pthread_exit, cancellation) stops at the buffer registered here and jumps back into this frame.
void live_and_end(void*) {
  Fiber& self = *current;
  thread_block::begin_here();
  __pthread_unwind_buf_t base;
  if (_setjmp(reinterpret_cast<__jmp_buf_tag*>(base.__cancel_jmp_buf)) == 0) {
    __pthread_register_cancel(&base);
    Critical::leave(&self);
    if (self.pending_signals.load(std::memory_order_relaxed)) engine_config().deliver_signals();
    void* result = call_start_routine(self);
    self.result = result;
  } else if (!self.exited) {
    self.result = PTHREAD_CANCELED;
  }
  thread_block::end_here();
  leave_the_living(self);
}

bool give_stack_and_block(Fiber& fiber, const FiberSpec& spec, size_t guard, int tid) {
  if (spec.stack_size < thread_block::size() + 2048) return false;  // the program's thread-local data lies in it
  if (spec.users_stack) {
    fiber.stack = {static_cast<char*>(spec.users_stack), spec.stack_size, 0};
  } else {
    Critical inside;
    if (!take_stack(spec.stack_size, guard, fiber.stack)) return false;
  }
  fiber.stack_is_users = spec.users_stack != nullptr;
  if (fiber.stack_is_users)
    memset(fiber.stack.top() - thread_block::size(), 0, thread_block::size());
  else
    *reinterpret_cast<void**>(fiber.stack.top() - sizeof(void*)) = nullptr;  // give_back_stack's link
  void* block = thread_block::make(fiber.stack.top(), tid);
  Critical inside;
  if (!block) {
    if (!fiber.stack_is_users) give_back_stack(fiber.stack);
    fiber.stack = {};
    return false;
  }
  thread_block::link(block);
  fiber.context.thread_block = block;
  return true;
}

// A fiber with stack and thread block, for a new life. Null: no memory. While it waits for a lock of libc's others may run:
// the lock's holder, in the middle of a dlopen, may be one of them.
Fiber* build_fiber(const FiberSpec& spec) {
  constexpr size_t page = 4096;
  size_t size = (spec.stack_size + page - 1) & ~(page - 1);
  size_t guard = (spec.guard + page - 1) & ~(page - 1);
  auto [fiber, warm, tid] = take_fiber(spec.users_stack, size, guard);
  if (!fiber) return nullptr;
  if (warm) {
    thread_block::renew(fiber->context.thread_block, static_cast<int>(tid));
  } else if (!give_stack_and_block(*fiber, spec, guard, static_cast<int>(tid))) {
    put_back_bare(*fiber);
    return nullptr;
  }
  return fiber;
}

// What a new life begins with; nothing of the last one is left.
void begin_life(Fiber& fiber, const FiberSpec& spec) {
  fiber.start = spec.start;
  fiber.argument = spec.argument;
  fiber.c11 = spec.c11;
  fiber.result = nullptr;
  fiber.exited = false;
  fiber.awaited = 0;
  fiber.handlers_end_waits = false;
  fiber.shielded = false;
  fiber.life = spec.detached ? uint32_t{Fiber::flag_detached} : 0;
  fiber.pending_signals = 0;
  fiber.blocked = spec.blocked;
  fiber.alternate_stack = {};
  fiber.alternate_stack.ss_flags = SS_DISABLE;
  fiber.deadline = Deadline::never();
  fiber.critical = 1;  // left in live_and_end
  fiber.wait = nullptr;
  fiber.reason = 0;
  fiber.fruitless = 0;
  fiber.has_made_new = false;
  fiber.is_new = true;
  fiber.joiner = nullptr;
  fiber.traits = spec.traits;
}

// Makes the first resume enter live_and_end.
void make_ready_to_enter(Fiber& fiber) {
  void* block = fiber.context.thread_block;
  fiber.cancel_word = thread_block::cancel_word(block);
  *current_of(block) = &fiber;
  // The stack begins below the static TLS, as in nptl/allocatestack.c.
  char* top = thread_block::low_end(block);
  make_context(fiber.context, fiber.stack.bottom, static_cast<size_t>(top - fiber.stack.bottom),
               block, live_and_end, nullptr);
}

// The maker's own, unless another has less to do. The maker itself does not count: it may well park next.
Hub& choose_hub() {
  Hub* mine = current ? current->hub.load(std::memory_order_relaxed) : nullptr;
  Hub* home = mine ? mine : &hub(0);
  int least = home->crowd() - (mine != nullptr);
  for (int i = 0; i < hub_count(); i++)
    if (int crowd = hub(i).crowd(); crowd < least) home = &hub(i), least = crowd;
  return *home;
}

// After a few more calls the new one begins, even if its maker never parks. Not at once: natively, too, the maker gets on
// with its next lines before the new thread has come up.
void note_new(Fiber& maker) {
  constexpr uint8_t calls_before = 4;
  maker.has_made_new = true;
  if (maker.calls_in_a_row < UINT8_MAX + 1 - calls_before) maker.calls_in_a_row = UINT8_MAX + 1 - calls_before;
}

}  // namespace

namespace {

// A forked child begins without filter; this is its first new fiber.
void load_filter_in_child() {
  Fiber* self = on_hub();
  if (!self || self->carrier->has_filter) return;
  load_filter(*self->carrier);
}

}  // namespace

Fiber* make_fiber(const FiberSpec& spec, pthread_t* id) {
  release_spent();
  if (in_bare_child()) bare_child = false;
  if (Fiber* maker = on_hub()) {
    Critical inside;
    if (!maker->hub.load(std::memory_order_relaxed)->refresh()) return nullptr;
  }
  Fiber* fiber = build_fiber(spec);
  if (!fiber) return nullptr;
  Critical inside;
  begin_life(*fiber, spec);
  make_ready_to_enter(*fiber);
  Hub& home = choose_hub();
  enlist(*fiber);
  if (engine_config().fiber_born) engine_config().fiber_born(*fiber);
  fiber->hub.store(&home, std::memory_order_relaxed);
  ensure_supervisor();
  if (__builtin_expect(engine_config().load_filter != nullptr, 0)) load_filter_in_child();
  if (id) *id = fiber->id();
  if (Fiber* maker = on_hub(); maker && maker->hub.load(std::memory_order_relaxed) == &home) note_new(*maker);
  home.expect_newcomer();
  home.drop_in(*fiber);
  open_hub_if_wanted();
  return fiber;
}

void adopt_main_fiber(Fiber& fiber, Hub& hub) {
  fiber.is_main = true;
  fiber.state = State::running;
  fiber.hub = &hub;
  fiber.context.thread_block = this_thread_block();
  fiber.cancel_word = thread_block::cancel_word(fiber.context.thread_block);
  fiber.alternate_stack.ss_flags = SS_DISABLE;
  fiber.blocked = sys::signal_mask();
  current = &fiber;
  enlist(fiber);
}

void Critical::claim_hub(Fiber* fiber) {
  if (!fiber->hub.load(std::memory_order_relaxed)->claim(*fiber)) rejoin(*fiber);
}

void Critical::lend_hub(Fiber* fiber) { fiber->hub.load(std::memory_order_relaxed)->lend(*fiber); }

void Critical::run_deferred(Fiber* fiber) {
  if (fiber->critical.load(std::memory_order_relaxed) == 0) engine_config().deliver_signals();
}

Fiber* fiber_of(pthread_t id) { return *current_of(reinterpret_cast<void*>(id)); }

bool is_done(const Fiber& fiber) { return fiber.life.load() & Fiber::flag_done; }

void forget_fiber(Fiber& fiber) { recycle(fiber); }

bool detach_fiber(Fiber& fiber) {
  uint32_t before = fiber.life.fetch_or(Fiber::flag_detached);
  if (before & Fiber::flag_detached) return false;
  if (before & Fiber::flag_done) recycle(fiber);
  return true;
}

void end_main_fiber() {
  Fiber& self = *current;
  if (!self.exited) self.result = PTHREAD_CANCELED;
  thread_block::end_data_here();
  leave_the_living(self);
}

bool sleep_until_done(Fiber& fiber, const Deadline& deadline) {
  uint32_t life = fiber.life.fetch_or(Fiber::flag_joined_from_afar) | Fiber::flag_joined_from_afar;
  while (!(life & Fiber::flag_done)) {
    int64_t left = deadline.is_never() ? 0 : deadline.left();
    if (!deadline.is_never() && left <= 0) return false;
    timespec time = to_timespec(left);
    long result = sys::call(SYS_futex, sys::as_long(&fiber.life), FUTEX_WAIT_PRIVATE, life,
                            deadline.is_never() ? 0 : sys::as_long(&time));
    if (result == -EINTR) return false;
    life = fiber.life.load();
  }
  return true;
}

bool is_ended(const Fiber& fiber) { return fiber.ended; }

}  // namespace coro
