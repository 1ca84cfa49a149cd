// SPDX-License-Identifier: Apache-2.0
//
// A glibc thread block per fiber: struct pthread with the static TLS below it, what the FS base points to. To libc a
// block *is* a thread: errno, locale, stdio ownership, pthread_self(), thread-specific data, cancellation all hang on
// it. This is the only module that knows glibc's insides; every offset comes from libc's own _thread_db_* descriptors
// or from looking at a real thread (the specimen), none is written down here.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <cstdint>

namespace coro::thread_block {

// Learns the layout. `create`: libc's real pthread_create, used to start and end one specimen thread (which also flips
// libc's single-threaded flags: until then its locks and stdio may leave out their atomic instructions). Returns null, or why this libc is not one we know. Once; again
// after no_kernel_thread, when nothing is wrong but that the process may not have another thread or its stack.
inline constexpr char no_kernel_thread[] = "cannot create a kernel thread";
const char* prepare(int (*create)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*));

// Bytes needed at the top of a stack for a block, and the block's alignment.
size_t size();
size_t alignment();

// Where the static TLS that belongs to a block begins: the first byte of those that it needs.
char* low_end(void* block);

// Builds a block in the `size()` zeroed bytes that end at `top` (aligned). Null: out of memory. Any thread.
// It and renew() and release() take libc's locks, whose holder may be a fiber that waits: not in a critical section.
void* make(void* top, int tid);

// Puts the block into libc's dl_stack_user list, where dlopen finds it to initialise the static TLS of a library
// loaded later, and takes it off. setuid(2)'s broadcast walks the list too, and skips us: no kernel thread has such a tid.
// In a forked child the list is empty. In a critical section.
void link(void* block);
void unlink(void* block);

// Makes a dead fiber's block as new for the next fiber: every module's TLS re-initialised but libc's (whose malloc
// cache stays warm).
void renew(void* block, int tid);

// Frees what make() and life allocated (dtv, dynamic TLS). The memory stays the caller's.
void release(void* block);

// Runs on the new fiber, first thing: what start_thread() of nptl/pthread_create.c does before the start routine.
void begin_here();

// Runs on the ending fiber, last: thread_local destructors, then pthread_key destructors, as start_thread() does.
void end_here();

// The thread-specific data's part of it, forced: for main, whose thread_local destructors are exit(3)'s.
void end_data_here();

// Marks every robust mutex that the (ended) block still holds as FUTEX_OWNER_DIED and calls wake(futex word) on each.
void abandon_robust_mutexes(void* block, void (*wake)(void*));

void* robust_list(void* block);  // the head, for set_robust_list(2)

int tid(const void* block);
ptrdiff_t tid_offset();  // of the tid in every block
void set_tid(void* block, int tid);

// libc's cancellation word of a block (nptl/descr.h CANCEL*_BITMASK).
int* cancel_word(void* block);
enum : int { cancel_disabled = 1, cancel_asynchronous = 2, cancel_requested = 8, cancel_exiting = 16 };

// Which block libc means by the kernel thread `tid` in the broadcast of a setuid(2) that waits at this moment, its lock
// held: one that is marked and has not been heard of. Null: none. In a signal handler, with any FS base.
struct Marked {
  void* block;
  bool is_second;  // in the same broadcast another block of this kernel thread was meant
};
Marked block_marked_for_setxid(int tid);

// The calling kernel thread's own block is a fiber's, so `base`, with the same tid, stands for it too. Once a process.
void note_first_thread(void* base);

}  // namespace coro::thread_block
