// SPDX-License-Identifier: Apache-2.0
//
// Birth, life and death of fibers. A fiber is recycled with its stack and thread block still built: the next
// pthread_create of the same stack size renews them instead of making them.
#include "scheduler/fiber.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "scheduler/carrier.h"
#include "scheduler/check.h"
#include "scheduler/engine.h"
#include "scheduler/offload.h"
#include "scheduler/spinlock.h"
#include "scheduler/supervisor.h"
#include "scheduler/thread_block.h"
#include "scheduler/wait.h"

namespace coro {

thread_local constinit Fiber* current = nullptr;

namespace {

Spinlock lock;                // over everything below
Fiber* live = nullptr;        // list of fibers that are not done
int live_count = 0;
Fiber* idle = nullptr;        // recycled fibers with warm stack and block, linked by next
int idle_count = 0;
Fiber* bare = nullptr;        // fibers without stack
uint32_t last_number = 0;
EngineNumbers numbers;

// Thread ids of fibers: above every kernel pid (PID_MAX_LIMIT is 2^22), below FUTEX_TID_MASK (2^30). Process-shared locks
// tell owners in several processes apart by them, so each process counts from a place of its own.
constexpr uint32_t first_tid = 1u << 28, tid_count = 3u << 28;
uint32_t last_tid = 0;  // 0: none yet in this process

uint32_t next_tid() {
  if (!last_tid) last_tid = first_tid + static_cast<uint32_t>(sys::getpid()) * 0x9E3779B1u % tid_count;
  if (++last_tid >= first_tid + tid_count) last_tid = first_tid;
  return last_tid;
}

Fiber* new_fiber_memory() {
  // Fibers are never freed, so that a stale (fiber, epoch) is always safe to look at: a slab of them at a time.
  constexpr size_t count = 64;
  void* memory = mmap(nullptr, sizeof(Fiber) * count, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  auto* fibers = static_cast<Fiber*>(memory);
  for (size_t i = 0; i < count; i++) {
    auto* fiber = new (&fibers[i]) Fiber;
    fiber->next = bare;
    bare = fiber;
  }
  return bare;
}

// Takes a recycled fiber of this stack size out of the pool, or a bare one. lock held.
Fiber* take_from_pool(size_t size, size_t guard, bool& warm) {
  for (Fiber **link = &idle, *fiber; (fiber = *link); link = &fiber->next) {
    if (fiber->stack.size != size || fiber->stack.guard != guard) continue;
    *link = fiber->next;
    idle_count--;
    warm = true;
    return fiber;
  }
  warm = false;
  Fiber* fiber = bare ? bare : new_fiber_memory();
  if (fiber) bare = fiber->next;
  return fiber;
}

void enlist(Fiber& fiber) {
  fiber.live_previous = nullptr;
  fiber.live_next = live;
  if (live) live->live_previous = &fiber;
  live = &fiber;
  live_count++;
  numbers.fibers_made++;
  if (live_count > numbers.fibers_alive_most) numbers.fibers_alive_most = live_count;
}

// True: it was the last one alive.
bool delist(Fiber& fiber) {
  Critical inside;
  Locked hold(lock);
  fiber.ended = true;
  (fiber.live_previous ? fiber.live_previous->live_next : live) = fiber.live_next;
  if (fiber.live_next) fiber.live_next->live_previous = fiber.live_previous;
  return --live_count == 0;
}

void recycle(Fiber& fiber) {
  if (fiber.is_main) return;
  bool keep = false;
  if (!fiber.stack_is_users) {
    Locked hold(lock);
    keep = idle_count < engine_config().stack_pool;
    if (keep) idle_count++;
  }
  if (!keep) {
    thread_block::release(fiber.context.thread_block);
    fiber.context.thread_block = nullptr;
    if (!fiber.stack_is_users) {
      cool_stack(fiber.stack, 0);
      give_back_stack(fiber.stack);
    }
    fiber.stack = {};
  }
  Locked hold(lock);
  Fiber*& list = keep ? idle : bare;
  fiber.next = list;
  list = &fiber;
}

// After-action of a fiber's last switch: its stack is left for ever.
void bury(void* argument) {
  auto& fiber = *static_cast<Fiber*>(argument);
  fiber.state = State::done;
  uint8_t before = fiber.life.fetch_or(Fiber::flag_done);
  if (before & Fiber::flag_detached)
    recycle(fiber);
  else
    wake_queue(&fiber.life, INT32_MAX);
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

[[noreturn]] void finish(Fiber& self) {
  thread_block::end_here();
  come_home();
  if (delist(self)) {
    // The last thread of the process ended: exit status 0, as start_thread() does.
    engine_config().exit_process(0);
    __builtin_unreachable();
  }
  Critical::enter(&self);
  if (engine_config().fiber_ended) engine_config().fiber_ended(self);
  thread_block::abandon_robust_mutexes(self.context.thread_block, wake_robust_waiters);
  wake_queue(&live_count, INT32_MAX);  // wait_until_alone
  Hub* hub = self.hub.load(std::memory_order_relaxed);
  hub->forget_timer(self);
  // What lies deep in the stack is of no use to the next fiber.
  if (!self.stack_is_users) cool_stack(self.stack, engine_config().keep_of_stack);
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
  if (__sigsetjmp(reinterpret_cast<__jmp_buf_tag*>(base.__cancel_jmp_buf), 0) == 0) {
    __pthread_register_cancel(&base);
    Critical::leave(&self);
    if (self.pending_signals.load(std::memory_order_relaxed)) engine_config().deliver_signals();
    void* result = call_start_routine(self);
    self.result = result;
  } else if (!self.exited) {
    self.result = PTHREAD_CANCELED;
  }
  finish(self);
}

bool give_stack_and_block(Fiber& fiber, const FiberSpec& spec, size_t guard, int tid) {
  if (spec.users_stack) {
    fiber.stack = {static_cast<char*>(spec.users_stack), spec.stack_size, 0};
  } else if (!take_stack(spec.stack_size, guard, fiber.stack)) {
    return false;
  }
  fiber.stack_is_users = spec.users_stack != nullptr;
  if (fiber.stack_is_users)
    memset(fiber.stack.top() - thread_block::size(), 0, thread_block::size());
  else
    *reinterpret_cast<void**>(fiber.stack.top() - sizeof(void*)) = nullptr;  // give_back_stack's link
  void* block = thread_block::make(fiber.stack.top(), tid);
  if (!block) {
    if (!fiber.stack_is_users) give_back_stack(fiber.stack);
    fiber.stack = {};
    return false;
  }
  fiber.context.thread_block = block;
  return true;
}

}  // namespace

Fiber* make_fiber(const FiberSpec& spec, pthread_t* id) {
  constexpr size_t page = 4096;
  size_t size = (spec.stack_size + page - 1) & ~(page - 1);
  size_t guard = (spec.guard + page - 1) & ~(page - 1);
  bool warm = false;
  Fiber* fiber;
  uint32_t tid;
  {
    Locked hold(lock);
    fiber = spec.users_stack ? nullptr : take_from_pool(size, guard, warm);
    if (spec.users_stack) {
      fiber = bare ? bare : new_fiber_memory();
      if (fiber) bare = fiber->next;
    }
    tid = next_tid();
  }
  if (!fiber) return nullptr;
  if (warm) {
    thread_block::renew(fiber->context.thread_block, static_cast<int>(tid));
  } else if (!give_stack_and_block(*fiber, spec, guard, static_cast<int>(tid))) {
    Locked hold(lock);
    fiber->next = bare;
    bare = fiber;
    return nullptr;
  }
  fiber->start = spec.start;
  fiber->argument = spec.argument;
  fiber->c11 = spec.c11;
  fiber->result = nullptr;
  fiber->exited = fiber->ended = false;
  fiber->awaited = 0;
  free(fiber->affinity);
  fiber->affinity = nullptr;
  fiber->life = spec.detached ? Fiber::flag_detached : 0;
  fiber->asked_stack_size = spec.stack_size;
  fiber->asked_guard = spec.guard;
  fiber->pending_signals = 0;
  fiber->blocked = spec.blocked;
  fiber->alternate_stack = {};
  fiber->alternate_stack.ss_flags = SS_DISABLE;
  fiber->deadline = Deadline::never();
  fiber->critical = 1;  // left in live_and_end
  fiber->wait = nullptr;
  fiber->reason = 0;
  fiber->fruitless = 0;
  if (current) memcpy(fiber->name, current->name, sizeof fiber->name);
  void* block = fiber->context.thread_block;
  fiber->cancel_word = thread_block::cancel_word(block);
  *current_of(block) = fiber;
  // The stack begins below the static TLS, as in nptl/allocatestack.c.
  char* top = static_cast<char*>(block) - thread_block::size();
  if (top < fiber->stack.bottom) top = fiber->stack.bottom;
  make_context(fiber->context, fiber->stack.bottom, static_cast<size_t>(top - fiber->stack.bottom),
               block, live_and_end, nullptr);
  Hub* home = &hub(0);
  if (Fiber* self = current) {
    if (Hub* mine = self->hub.load(std::memory_order_relaxed)) home = mine;
  }
  for (int i = 0; i < hub_count(); i++)
    if (hub(i).load() < home->load()) home = &hub(i);
  {
    Locked hold(lock);
    fiber->number = ++last_number;
    enlist(*fiber);
  }
  fiber->joiner = nullptr;
  if (engine_config().fiber_born) engine_config().fiber_born(*fiber);
  fiber->hub.store(home, std::memory_order_relaxed);
  ensure_supervisor();
  if (id) *id = fiber->id();
  home->drop_in(*fiber);
  return fiber;
}

int new_tid() {
  Locked hold(lock);
  return static_cast<int>(next_tid());
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
  Locked hold(lock);
  fiber.number = ++last_number;
  enlist(fiber);
}

// In a fork's child: `survivor` is the only one. The others' stacks stay mapped (their owners' data may be shared).
void forget_other_fibers(Fiber& survivor) {
  lock.reset();
  live = nullptr;
  live_count = 0;
  last_tid = 0;
  numbers = {};
  for (Fiber* fiber = idle; fiber; fiber = fiber->next)
    thread_block::relink_in_child(fiber->context.thread_block);
  enlist(survivor);
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
  uint8_t before = fiber.life.fetch_or(Fiber::flag_detached);
  if (before & Fiber::flag_detached) return false;
  if (before & Fiber::flag_done) recycle(fiber);
  return true;
}

void wait_until_alone(Reason why) {
  for (;;) {
    Wait wait(why, Cancellable::no);
    wait.enqueue(&live_count);
    {
      Locked hold(lock);
      if (live_count <= 1) return;
    }
    wait.park();
  }
}

Fiber* any_fiber_accepting(uint64_t bit) {
  if (!lock.try_lock()) return nullptr;
  Fiber* found = nullptr;
  for (Fiber* fiber = live; fiber && !found; fiber = fiber->live_next)
    if (!(fiber->blocked & bit) || fiber->awaited & bit) found = fiber;
  lock.unlock();
  return found;
}

bool is_ended(const Fiber& fiber) { return fiber.ended; }

int live_fibers() {
  Locked hold(lock);
  return live_count;
}

void each_live_fiber(void (*see)(Fiber&, void*), void* argument) {
  Critical inside;
  Locked hold(lock);
  for (Fiber* fiber = live; fiber; fiber = fiber->live_next) see(*fiber, argument);
}

EngineNumbers fiber_numbers() {
  Locked hold(lock);
  EngineNumbers copy = numbers;
  copy.fibers_alive = live_count;
  return copy;
}

Spinlock& lock_of_fibers() { return lock; }  // for hold_engine()

}  // namespace coro
