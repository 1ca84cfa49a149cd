// SPDX-License-Identifier: Apache-2.0
//
// All fibers there are: the list of the living, the pool of those that wait for their next life, numbers and thread ids.
// A fiber is recycled with its stack and thread block still built: the next pthread_create of the same stack size renews
// them instead of making them.
#include "scheduler/fiber_pool.h"

#include <sys/mman.h>

#include <new>

#include "scheduler/engine.h"
#include "scheduler/spinlock.h"
#include "scheduler/sys.h"
#include "scheduler/thread_block.h"

namespace coro {
namespace {

Spinlock lock;                // over everything below
Fiber* live = nullptr;        // list of fibers that are not done
int live_count = 0;
Fiber* idle = nullptr;        // recycled fibers with warm stack and block, linked by next
int idle_count = 0;
Fiber* bare = nullptr;        // fibers without stack
std::atomic<Fiber*> spent{nullptr};  // their stacks and blocks are to be given back
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

// Fibers are never freed, so that a stale (fiber, epoch) is always safe to look at: a slab of them at a time. The list of
// slabs only grows, so that a signal handler can go through it at any instruction.
struct Slab {
  static constexpr size_t count = 64;
  Slab* next;
  Fiber fibers[count];
};
std::atomic<Slab*> slabs{nullptr};
uint32_t generation = 1;  // one more in each forked child, where the parent's fibers are dead and not to be touched

Fiber* new_fiber_memory() {
  void* memory = mmap(nullptr, sizeof(Slab), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  auto* slab = new (memory) Slab;
  for (Fiber& fiber : slab->fibers) {
    fiber.next = bare;
    bare = &fiber;
  }
  slab->next = slabs.load(std::memory_order_relaxed);
  slabs.store(slab, std::memory_order_release);
  return bare;
}

Fiber* take_bare() {
  Fiber* fiber = bare ? bare : new_fiber_memory();
  if (fiber) bare = fiber->next;
  return fiber;
}

// A recycled fiber of this stack size; null: there is none. lock held.
Fiber* take_warm(size_t size, size_t guard) {
  for (Fiber **link = &idle, *fiber; (fiber = *link); link = &fiber->next) {
    if (fiber->stack.size != size || fiber->stack.guard != guard) continue;
    *link = fiber->next;
    idle_count--;
    return fiber;
  }
  return nullptr;
}

// lock held.
void add_to_living(Fiber& fiber) {
  fiber.live_previous = nullptr;
  fiber.live_next = live;
  if (live) live->live_previous = &fiber;
  live = &fiber;
  live_count++;
  numbers.fibers_made++;
  if (live_count > numbers.fibers_alive_most) numbers.fibers_alive_most = live_count;
}

}  // namespace

Taken take_fiber(bool users_stack, size_t size, size_t guard) {
  Critical inside;
  Locked hold(lock);
  Fiber* warm = users_stack ? nullptr : take_warm(size, guard);
  Fiber* fiber = warm ? warm : take_bare();
  return {fiber, warm != nullptr, next_tid()};
}

void put_back_bare(Fiber& fiber) {
  Critical inside;
  Locked hold(lock);
  fiber.next = bare;
  bare = &fiber;
}

void enlist(Fiber& fiber) {
  Locked hold(lock);
  fiber.number = ++last_number;
  fiber.ended = false;
  fiber.living_in = generation;
  add_to_living(fiber);
}

bool delist(Fiber& fiber) {
  Critical inside;
  Locked hold(lock);
  fiber.ended = true;
  fiber.living_in = 0;
  (fiber.live_previous ? fiber.live_previous->live_next : live) = fiber.live_next;
  if (fiber.live_next) fiber.live_next->live_previous = fiber.live_previous;
  return --live_count == 0;
}

static bool keep_warm(Fiber& fiber) {
  if (fiber.stack_is_users) return false;
  Locked hold(lock);
  if (idle_count >= engine_config().stack_pool) return false;
  idle_count++;
  fiber.next = idle;
  idle = &fiber;
  return true;
}

static void strip(Fiber& fiber) {
  {
    Critical inside;
    thread_block::unlink(fiber.context.thread_block);
  }
  thread_block::release(fiber.context.thread_block);
  fiber.context.thread_block = nullptr;
  if (!fiber.stack_is_users) {
    Critical inside;
    cool_stack(fiber.stack, 0);
    give_back_stack(fiber.stack);
  }
  fiber.stack = {};
  put_back_bare(fiber);
}

void recycle(Fiber& fiber) {
  if (!fiber.is_main && !keep_warm(fiber)) strip(fiber);
}

void recycle_later(Fiber& fiber) {
  if (fiber.is_main || keep_warm(fiber)) return;
  if (fiber.stack_is_users) return strip(fiber);  // the user may take it back at any moment
  Locked hold(lock);
  fiber.next = spent.load(std::memory_order_relaxed);
  spent.store(&fiber, std::memory_order_relaxed);
}

void release_spent() {
  if (!spent.load(std::memory_order_relaxed)) return;
  Fiber* fiber;
  {
    Critical inside;
    Locked hold(lock);
    fiber = spent.exchange(nullptr);
  }
  while (fiber) {
    Fiber* next = fiber->next;
    strip(*fiber);
    fiber = next;
  }
}

int new_tid() {
  Locked hold(lock);
  return static_cast<int>(next_tid());
}

// In a fork's child: `survivor` is the only one. The others' stacks stay mapped (their owners' data may be shared).
void forget_other_fibers(Fiber& survivor) {
  lock.reset();
  live_count = 0;
  last_tid = 0;
  numbers = {};
  generation++;
  survivor.living_in = generation;
  live = nullptr;
  for (Fiber* fiber = idle; fiber; fiber = fiber->next)
    thread_block::link(fiber->context.thread_block);
  add_to_living(survivor);
}

static bool accepts(const Fiber& fiber, uint64_t bit) {
  return fiber.living_in == generation && (!(fiber.blocked & bit) || fiber.awaited & bit);
}

Fiber* any_fiber_accepting(uint64_t bit) {
  if (Fiber* main = main_fiber())
    if (accepts(*main, bit)) return main;  // it is in no slab
  for (Slab* slab = slabs.load(std::memory_order_acquire); slab; slab = slab->next)
    for (Fiber& fiber : slab->fibers)
      if (accepts(fiber, bit)) return &fiber;
  return nullptr;
}

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
