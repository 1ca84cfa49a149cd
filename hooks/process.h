// SPDX-License-Identifier: Apache-2.0
//
// What the other rooms must call around processes.
#pragma once

namespace coro {

// Registers our fork handlers. First of all constructors' deeds (linked with -z initfirst): libc runs prepare handlers
// from the last registered to the first and the others from the first to the last, so nothing of the program's runs
// between ours, and a program's own handlers may call any hook.
void watch_forks();

// A fork past libc's. On a fiber that is where it may fork.
void before_fork();
void after_fork_in_parent();
void go_on_in_bare_child();

// Writes the report of --stats. In preload/start.cc. Called by _exit and quick_exit, which run no atexit handlers.
void report_at_exit();

// In a fork's child: closes what other fibers watched their children with.
void close_child_handles();

}  // namespace coro
