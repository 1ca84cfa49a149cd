// SPDX-License-Identifier: Apache-2.0
//
// The supervisor: one kernel thread that watches the hubs. A hub whose fiber has not come back for a while, although
// others could run, is handed to another carrier; the stuck kernel thread keeps only its fiber. So a computing loop, a
// blocking call that nobody intercepted, or a libc lock costs one kernel thread for as long as it lasts, never progress.
// It also makes the other kernel threads: what it makes does not inherit a carrier's seccomp filter.
#pragma once

namespace coro {

// Starts it if it does not run. Any thread, inside a critical section.
void ensure_supervisor();
bool supervisor_runs();

// A hub woke up: the supervisor, if it sleeps, watches again. Any thread.
void note_busy();

// There is something to make or to bury: it looks at once. False: it does not run. Any thread.
bool call_supervisor();

void forget_supervisor_in_child();

}  // namespace coro
