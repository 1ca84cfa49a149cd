// SPDX-License-Identifier: Apache-2.0
//
// The backstop's filter: a seccomp program that turns calls which may block into a SIGSYS (hooks/trap.cc), unless they
// carry the cookie of scheduler/sys.h. Each carrier loads it for itself; a kernel thread inherits it from its maker, and
// a program through exec, so nothing is started from a carrier.
#pragma once

namespace coro {

// si_errno of the SIGSYS that our filter makes; a program's own filter makes others.
constexpr int backstop_mark = 0xc012;

// Whether the kernel takes filters here. Null, or why not. Once, from one thread.
const char* prepare_backstop();

// Loads it for the calling kernel thread. Raw system calls only: any thread. False: the kernel refused.
bool load_backstop();

}  // namespace coro
