// SPDX-License-Identifier: Apache-2.0
//
// What a kernel thread hands down to the processes that it starts. A program sets it on one of its threads and forks or
// execs there; under us the fork happens on a helper, which must first look like that thread. Covered: CPU affinity,
// nice, scheduling policy, and the calls of the journal: capabilities, prctl, personality, namespaces.
#pragma once

#include <sched.h>

#include "scheduler/fiber.h"

namespace coro {

struct Identity {
  cpu_set_t affinity;
  long nice, policy;  // as the system calls answer
  int priority;
};

// What a process that the fiber starts would natively inherit.
Identity identity_of(const Fiber& fiber);

// The calling kernel thread becomes it. True: in a way that cannot be undone.
bool assume_identity(const Identity& wanted);

// For a fiber that is on a helper, before a program is run from there.
void assume_identity_on_helper(const Fiber& fiber);

// A prctl that succeeded on the calling kernel thread.
void note_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);

}  // namespace coro
