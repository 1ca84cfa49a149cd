// SPDX-License-Identifier: Apache-2.0
//
// What the files of the thread family share.
#pragma once

#include "hooks/hook.h"

namespace coro {

// --- thread_end.cc ---

// From now on main ends as every fiber does. Called when the engine starts, on the main fiber.
void watch_end_of_main();

// --- thread_name.cc ---

// The live fiber with this tid; null: none.
Fiber* fiber_with_tid(int tid);

// Whether the kernel knows the fiber by its tid: main, or in a child the fiber that forked. What such a thread sets for
// itself is set in the kernel, for the process's first kernel thread, as it would be natively.
bool is_first_thread(const Fiber& fiber);

// Main's traits become what the kernel says of it. Called when the engine starts, on the main fiber.
void adopt_traits();

// What a thread made now inherits.
Traits traits_of_caller();

// The forking fiber is the child's first thread: what was only remembered for it is set in the kernel. was_away: it was
// forked by another kernel thread than its own.
void apply_traits_in_child(Fiber& fiber, bool was_away);

// The fiber that a call by number means: 0 is the caller. Null: the number is the kernel's business.
Fiber* meant(pid_t number);

// As meant(), but the first thread is the kernel's business: `number` is put right for the call.
Fiber* meant_and_virtual(pid_t& number);

inline int to_result(int error) { return error ? static_cast<int>(failed(error)) : 0; }

// --- thread_affinity.cc, thread_schedule.cc ---

// The affinity that the attributes name, if any. 0 or an error number.
int affinity_of(const pthread_attr_t* attributes, Traits& traits);

// The CPUs that the fiber may run on. False: unknown.
bool affinity_of(const Fiber& fiber, cpu_set_t& set);

// 0, EINVAL (no such policy or priority) or EPERM (not for this process), as sched_setscheduler(2).
int check_schedule(int policy, int priority);

// Sets in the kernel, for the calling kernel thread, what of the traits is no longer as it was in `before`.
void set_kernel_schedule(const Traits& traits, const Traits& before);

}  // namespace coro
