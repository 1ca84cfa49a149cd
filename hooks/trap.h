// SPDX-License-Identifier: Apache-2.0
//
// The backstop: calls that come to the kernel past the hooks, out of libc's inside or by a program's own syscall
// instruction, are turned into a SIGSYS on carriers and go through the hooks after all.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include "scheduler/fiber.h"

namespace coro {

// Makes the filter, takes SIGSYS, and returns what loads the filter for the calling kernel thread (EngineConfig). Null:
// the backstop is off or cannot be had; then nothing has changed. Once, before the engine starts.
bool (*start_backstop())();

bool backstop_runs();

// clone and clone3 that trapped with these registers: made where what they make does not inherit the filter, by the fiber, or
// null: in place. What the kernel answers.
long clone_past_hooks(Fiber* fiber, long number, const long* a, const ucontext_t& frame);

// What the program had set for SIGSYS before. From then on the kernel has ours, and hooks/signal_actions.cc the program's.
const struct sigaction& sigsys_before_backstop();

}  // namespace coro
