// SPDX-License-Identifier: Apache-2.0
//
// Offload: the fiber itself is resumed on a helper kernel thread, makes its call there as any thread would (its errno,
// its TLS, its signal mask), and comes home to its hub. For calls that cannot be polled: waits for any child, file
// locks, process-shared objects, the resolver. Helpers are made on demand and go when idle.
#pragma once

#include "scheduler/fiber.h"

namespace coro {

// While it lives the running fiber is on a helper: on_hub() is null, so hooks pass through. Constructed off a hub, or
// when no helper can be had, it does nothing: the call then blocks its kernel thread, which is correct, only slow.
class Away {
 public:
  explicit Away(Reason why);
  ~Away();
  Away(const Away&) = delete;
};

// Brings a fiber that was unwound out of an Away (cancellation) back to a hub. Harmless on a hub.
void come_home();

// One waiter of this queue is woken whenever a helper has become free.
const void* spare_helper_queue();

// The helper thread's kernel tid while `fiber` is away, else 0.
int away_on(const Fiber& fiber);

void forget_helpers_in_child();

}  // namespace coro
