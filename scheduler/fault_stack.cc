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

void* make() {
  if (!engine_config().fault_stacks) return nullptr;
  long memory = sys::call(SYS_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory < 0 && memory > -4096) return nullptr;
  stack_t stack{};
  stack.ss_sp = reinterpret_cast<void*>(memory);
  stack.ss_size = size;
  sys::call(SYS_sigaltstack, sys::as_long(&stack), 0);
  return stack.ss_sp;
}

}  // namespace

FaultStack::FaultStack() : memory_(make()) {}

FaultStack::~FaultStack() {
  if (!memory_) return;
  stack_t none{};
  none.ss_flags = SS_DISABLE;
  sys::call(SYS_sigaltstack, sys::as_long(&none), 0);
  sys::call(SYS_munmap, sys::as_long(memory_), size);
}

void give_fault_stack() { make(); }

}  // namespace coro
