// SPDX-License-Identifier: Apache-2.0
//
// futex(2) for fibers: the operations that programs make with syscall(SYS_futex, ...).
#pragma once

#include "scheduler/fiber.h"

namespace coro {

// a: the six arguments after the number. Returns as syscall(2) does. `fiber` null: the caller's wait blocks in the kernel,
// its wakes reach fibers too.
long futex(Fiber* fiber, const long* a);

// As futex(), for calls of libc's inside and of others that do not come through syscall(2).
long futex_trapped(Fiber* fiber, const long* a);

// The operations with priority inheritance (futex_pi.cc), the same way.
long futex_pi(Fiber* fiber, const long* a);

}  // namespace coro
