// SPDX-License-Identifier: Apache-2.0
//
// Credentials belong to a process in POSIX and to a kernel thread in Linux. libc's setuid(2) and its kin therefore send
// SIGSETXID to every block on its lists that has a living kernel thread's tid, and wait until each handler has changed
// its kernel thread and cleared the mark in its block, which it finds behind the FS base.
//  - A kernel thread that carries fibers has a fiber's FS base most of the time: the handler would clear the mark of the
//    wrong block, and setuid would wait for ever. Ours runs libc's with the FS base of the block that was meant;
//  - the first kernel thread's own block is main's, and main may call setuid on any carrier, which then skips that block
//    as its own. So the base of that kernel thread has the same tid: one of the two is always signalled;
//  - a kernel thread that is signalled for two blocks, or that the caller itself is on, must still change but once;
//  - blocks of other fibers have no kernel thread's tid and are skipped by libc.
//
// The same signal, which nothing of ours blocks, carries our own news from carrier to carrier, told apart by its code.
#pragma once

namespace coro {

struct Carrier;

// Puts our handler before libc's, which libc installed when it made its first thread. Once.
void wrap_setxid_handler();

// Makes the carrier call hear_mask(). False: the kernel has no room for the signal.
bool send_new_mask(Carrier& carrier);

}  // namespace coro
