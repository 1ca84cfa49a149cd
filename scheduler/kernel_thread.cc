// SPDX-License-Identifier: Apache-2.0
#include "scheduler/kernel_thread.h"

#include "scheduler/engine.h"
#include "scheduler/fault_stack.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

// Lies at the unused end of the thread's fault stack.
struct Start {
  void* (*run)(void*);
  void* argument;
};

void* begin_kernel_thread(void* memory) {
  auto start = *static_cast<Start*>(memory);
  use_fault_stack(memory);
  bool without_libc = start.run(start.argument) == ends_without_libc;
  free_fault_stack(memory);
  if (without_libc) sys::call(SYS_exit, 0);
  return nullptr;
}

}  // namespace

bool start_kernel_thread(void* (*run)(void*), void* argument, pthread_t* thread) {
  void* fault_stack = make_fault_stack();  // here: there it would be too late to say no
  if (!fault_stack) return false;
  *static_cast<Start*>(fault_stack) = {run, argument};
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  if (!thread) pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 128 << 10);
  pthread_t id;
  uint64_t mask = sys::set_signal_mask(~uint64_t{0});
  int failed = engine_config().create_thread(thread ? thread : &id, &attributes, begin_kernel_thread, fault_stack);
  sys::set_signal_mask(mask);
  pthread_attr_destroy(&attributes);
  if (failed) discard_fault_stack(fault_stack);
  return !failed;
}

}  // namespace coro
