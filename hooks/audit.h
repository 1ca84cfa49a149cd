// SPDX-License-Identifier: Apache-2.0
//
// CORO_AUDIT: which calls came in past the hooks and from where, and which fibers were handed off. Counted in fixed
// tables; told at exit by preload/start.cc.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "scheduler/fiber.h"

namespace coro {

// A call that came in past the hooks, at the instruction before `address`.
void note_trap(long address, long number);

// EngineConfig::handed_off.
void note_hand_off(const Fiber& fiber, int kernel_thread);

struct Noted {
  bool hand_off;
  long number;        // of the system call; -1: it computed
  uintptr_t address;  // behind the syscall instruction; 0: unknown
  uint64_t count;
};

// Calls see() for everything noted.
void each_noted(void (*see)(const Noted&, void*), void* argument);

// "read" for 0; null for what has no name here.
const char* name_of_number(long number);

}  // namespace coro
