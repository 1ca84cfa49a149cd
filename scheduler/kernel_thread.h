// SPDX-License-Identifier: Apache-2.0
//
// Kernel threads of the engine's own: carriers, helpers, the supervisor.
#pragma once

#include <pthread.h>

namespace coro {

// Starts one: a small stack, a fault stack, every signal blocked. `thread`: for who will join it; null: detached. What
// run() returns is nobody's, but for `ends_without_libc`. False: there is no memory, or the kernel has none. Not counted.
bool start_kernel_thread(void* (*run)(void*), void* argument, pthread_t* thread = nullptr);

inline void* const ends_without_libc = reinterpret_cast<void*>(1);

}  // namespace coro
