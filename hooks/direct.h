// SPDX-License-Identifier: Apache-2.0
//
// With the backstop's filter on carriers, libc's own functions for the calls that it traps would trap too when a hook
// calls them. So real.<name> of these becomes a direct system call with the cookie, made only where a filter may be:
// helpers and foreign kernel threads still go to libc.
#pragma once

namespace coro {

// From now on. Before the first filter is loaded, while the process has one kernel thread of ours.
void call_directly();

// The call of this number with these six arguments, blocking if it blocks. A value or -errno, as the kernel answers.
long call_direct(long number, const long* a);

}  // namespace coro
