// SPDX-License-Identifier: Apache-2.0
//
// The switch: leaves one stack and FS base, continues another. Two users: Hub (hub <-> fiber, fiber <-> fiber) and the
// offload threads. No queue, no state, no policy: those change before the call and are visible there.
#pragma once

#include <cstddef>

namespace coro {

// A place where execution can continue. While it runs, stack_pointer is stale.
struct Context {
  void* stack_pointer = nullptr;  // where Boost.Context left the registers
  void* thread_block = nullptr;   // its FS base; set once
  void (*entry)(void*) = nullptr;  // first run only
  void* argument = nullptr;
#if defined(__SANITIZE_THREAD__)
  void* tsan_fiber = nullptr;
#endif
};

// What must happen only after the leaving context's stack is really left: runs first thing on the context that is
// continued, on its stack and with its FS base. Must not park.
struct After {
  void (*act)(void*) = nullptr;
  void* argument = nullptr;
};

// Prepares `context` to start entry(argument) on [bottom, bottom + size). entry must never return.
void make_context(Context& context, void* bottom, size_t size, void* thread_block,
                  void (*entry)(void*), void* argument);

// Saves the caller in `from` and continues `to`; returns when somebody continues `from`. Touches no errno.
void switch_context(Context& from, Context& to, After after = {});

// The FS base of the calling context, as the kernel and libc see it.
void* this_thread_block();

// Calls act(argument) with the FS base of another block, on this stack. Every signal must be blocked.
void call_as_thread(void* block, void (*act)(void*), void* argument);

// Chooses wrfsbase or arch_prctl (AT_HWCAP2 bit 1: FSGSBASE, kernel 5.9+). Called once by engine start.
void choose_switch();

}  // namespace coro
