// SPDX-License-Identifier: Apache-2.0
//
// The engine as a whole: started when the first fiber is made, never stopped. It is told everything it may not know by
// itself (options, libc's real functions) in an EngineConfig.
#pragma once

#include <pthread.h>

#include "scheduler/check.h"
#include "scheduler/fiber.h"
#include "scheduler/hub.h"

namespace coro {

struct EngineConfig {
  int hubs = 1;
  LoopKind loop = LoopKind::automatic;
  int stack_pool = 1024;        // idle fibers kept warm (stack and thread block)
  int offload_threads = 256;    // most helper threads
  size_t keep_of_stack = 16384;  // bytes of a pooled stack that stay resident
  int (*create_thread)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*) = nullptr;
  int (*join_thread)(pthread_t, void**) = nullptr;
  bool (*load_filter)() = nullptr;  // the backstop's, for the calling kernel thread; null: none
  void (*exit_process)(int) = nullptr;  // exit(3), when the last fiber ends
  bool fault_stacks = false;            // each of our kernel threads gets an alternate signal stack
  void (*deliver_signals)() = nullptr;  // runs the running fiber's pending, unblocked handlers
  void (*fiber_born)(Fiber&) = nullptr;  // before it can run; and when it ended. No parking in them.
  void (*fiber_ended)(Fiber&) = nullptr;
  // By the supervisor: the fiber keeps this kernel thread, as orphan_tid says from now on. Null: nobody asks.
  void (*handed_off)(const Fiber&, int kernel_thread) = nullptr;
  const char* (*reason_name)(Reason) = nullptr;
  bool (*is_traced)(Reason) = nullptr;  // null: nothing is
};

// Makes the calling (first) thread's flow the main fiber and opens the first hub. Null, or why it cannot be; then nothing has
// changed. Once, from the program's first thread or any other that is alone.
const char* start_engine(const EngineConfig& config);
bool engine_started();
const EngineConfig& engine_config();

// Whether to tell the way of the calls with this reason (CORO_TRACE). Any thread.
inline bool is_traced(Reason why) {
  return __builtin_expect(tracing.load(std::memory_order_relaxed), 0) && engine_config().is_traced(why);
}

int hub_count();
bool is_hub_block(const void* thread_block);  // the calling kernel thread is in a hub's own context
Hub& hub(int index);
// One hub more is wanted where there are fewer than fibers, and than config().hubs. On a fiber, in a critical section; never
// waits: the supervisor opens it, and it joins in when it is ready.
void open_hub_if_wanted();
void open_wanted_hub();  // the supervisor

// The descriptor number is about to die or to mean something else: every fiber that waits for it is woken with
// Woken::closed, on every hub. Any thread.
void forget_descriptor(int fd);
// The same, for a descriptor of ours after a wait: the handlers that ended the wait are still to be run by the hook.
void forget_own_descriptor(int fd);
// Every fiber that waits for it looks again. Any thread.
void nudge_descriptor(int fd);

// From just before a fork until just after it, in the parent and in the child: no other kernel thread is in the middle
// of a change of what the child will go on with. In a critical section; nothing else of the engine in between.
void hold_engine();
void release_engine();

// In a fork's child, on the fiber that forked: that fiber is all there is, with a new hub.
void restart_engine_in_child();

// The main fiber, null before the engine started or after it was ended in a child that another fiber forked.
Fiber* main_fiber();

// The kernel signal mask that carriers are to have. When it returns no carrier lets in what the mask blocks. In a
// critical section.
void set_carrier_mask(uint64_t mask);
uint64_t carrier_mask();

struct EngineNumbers {
  uint64_t fibers_made = 0;
  int fibers_alive = 0, fibers_alive_most = 0;
  int kernel_threads = 0, kernel_threads_most = 0;
};
EngineNumbers engine_numbers();
void count_kernel_thread(int change);  // +1 / -1, by whoever starts and ends one

}  // namespace coro
