// SPDX-License-Identifier: Apache-2.0
//
// Offload: the fiber itself is resumed on a helper kernel thread, makes its call there as any thread would (its errno,
// its TLS, its signal mask), and comes home to its hub. For calls that cannot be polled: waits for any child, file
// locks, process-shared objects, the resolver; and for calls that start processes, which must not inherit what a
// carrier has (the backstop's filter). Helpers are made on demand, by the supervisor, from which they inherit.
#pragma once

#include "scheduler/fiber.h"

namespace coro {

enum class Helpers : uint8_t {
  many,   // at most EngineConfig::offload_threads; idle ones go
  clean,  // for short calls that start processes or threads: mostly one, for ever, because a child may be bound to the
          // life of the kernel thread that made it (PR_SET_PDEATHSIG). There is always one to be had, sooner or later.
          // Where no filter is loaded they are made in place.
};

// While it lives the running fiber is on a helper: on_hub() is null, so hooks pass through. Constructed off a hub, or
// when no helper can be had, it does nothing: the call then blocks its kernel thread, which is correct, only slow.
class Away {
 public:
  explicit Away(Reason why, Helpers helpers = Helpers::many);
  ~Away();
  Away(const Away&) = delete;
};

// Brings a fiber that was unwound out of an Away (cancellation) back to a hub. Harmless on a hub.
void come_home();

// One waiter of this queue is woken whenever a helper has become free.
const void* spare_helper_queue();

// The helper thread's kernel tid while `fiber` is away, else 0.
int away_on(const Fiber& fiber);

// The helper that the running fiber is on has been changed for good (nice, capabilities): nobody else gets it.
void spoil_helper();

// --- the supervisor ---
// Makes the helpers that were promised. False: look again soon.
bool make_helpers();

void forget_helpers_in_child();

}  // namespace coro
