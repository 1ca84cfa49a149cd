// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fault_stack.h"

#include <signal.h>
#include <sys/mman.h>

#include "scheduler/engine.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

// The kernel's frame takes up to 11 kB (AMX). Pages that are not touched cost nothing.
constexpr size_t size = 64 << 10;

}  // namespace

void* make_fault_stack() {
  long memory = sys::call(SYS_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory < 0 && memory > -4096 ? nullptr : reinterpret_cast<void*>(memory);
}

void use_fault_stack(void* memory) {
  if (!engine_config().fault_stacks) return;
  stack_t stack{};
  stack.ss_sp = memory;
  stack.ss_size = size;
  sys::call(SYS_sigaltstack, sys::as_long(&stack), 0);
}

void free_fault_stack(void* memory) {
  stack_t none{};
  none.ss_flags = SS_DISABLE;
  if (engine_config().fault_stacks) sys::call(SYS_sigaltstack, sys::as_long(&none), 0);
  discard_fault_stack(memory);
}

void discard_fault_stack(void* memory) { sys::call(SYS_munmap, sys::as_long(memory), size); }

}  // namespace coro
