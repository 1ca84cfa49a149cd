// SPDX-License-Identifier: Apache-2.0
//
// A kernel thread that stands for a fiber towards the kernel. A robust mutex that other processes share is given on by
// the kernel when its owner dies with the process: it looks through the robust lists that kernel threads have registered,
// for words that hold their tids. So a fiber that takes such a mutex gets a guardian, as it would natively be a kernel
// thread: one that sleeps, has registered the fiber's robust list as its own, and lends the fiber its tid for that call.
#pragma once

#include "scheduler/fiber.h"

namespace coro {

struct Guardian;

// The tid of the running fiber's guardian, made when it is first asked for: the fiber leaves its hub for that. 0: it
// cannot be made.
int tid_of_guardian(Fiber& self, Reason reason);

// The fiber has ended and holds no mutex any more.
void dismiss_guardian(Fiber& self);

}  // namespace coro
