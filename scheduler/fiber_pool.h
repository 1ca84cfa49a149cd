// SPDX-License-Identifier: Apache-2.0
//
// What fiber.cc (a fiber's way from birth to burial) and fiber_pool.cc (all fibers there are) share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "scheduler/fiber.h"

namespace coro {

// A fiber to build on, with a thread id for it. `warm`: a stack of this size and a thread block are still on it. Fibers
// that get the user's stack are never warm. Null: no memory.
struct Taken {
  Fiber* fiber;
  bool warm;
  uint32_t tid;
};
Taken take_fiber(bool users_stack, size_t size, size_t guard);

// Puts back one that got no stack.
void put_back_bare(Fiber& fiber);

// Puts back one that is done; without stack and block when enough warm ones are idle. Not in an after-action: it frees
// memory, and the program's free() may wait for a lock of its own.
void recycle(Fiber& fiber);
// In an after-action: as recycle(), what it would free waits for release_spent().
void recycle_later(Fiber& fiber);
void release_spent();

// Among the living, with the next number.
void enlist(Fiber& fiber);
// No longer. True: it was the last one alive.
bool delist(Fiber& fiber);

}  // namespace coro
