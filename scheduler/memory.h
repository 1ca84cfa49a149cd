// SPDX-License-Identifier: Apache-2.0
//
// Memory for what hubs do. Never the program's malloc: a malloc that locks with pthread_mutex_lock (jemalloc) may be held by
// a fiber that is parked or ready, and the hub that would run it must not wait for it. (libev keeps its own: loop.cc.)
// Any thread, inside a critical section or off fibers.
#pragma once

#include <cstddef>

namespace coro {

// As realloc(3), but what is new is zeroed; size 0 gives it back and returns null. Null: no memory, `old` stands.
void* resize_memory(void* old, size_t size);

}  // namespace coro
