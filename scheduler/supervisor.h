// SPDX-License-Identifier: Apache-2.0
//
// The supervisor: one kernel thread that watches the hubs. A hub whose fiber has not come back for a while, although
// others could run, is handed to another carrier; the stuck kernel thread keeps only its fiber. So a computing loop, a
// blocking call that nobody intercepted, or a libc lock costs one kernel thread for as long as it lasts, never progress.
#pragma once

namespace coro {

// Starts it if it does not run. Any thread, inside a critical section.
void ensure_supervisor();

// A hub woke up: the supervisor, if it sleeps, watches again. Any thread.
void note_busy();

void forget_supervisor_in_child();

}  // namespace coro
