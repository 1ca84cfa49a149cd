// SPDX-License-Identifier: Apache-2.0
#include "scheduler/guardian.h"

#include <sys/syscall.h>

#include "scheduler/carrier.h"
#include "scheduler/engine.h"
#include "scheduler/kernel_thread.h"
#include "scheduler/memory.h"
#include "scheduler/offload.h"
#include "scheduler/sys.h"
#include "scheduler/thread_block.h"

namespace coro {

struct Guardian {
  uint32_t tid = 0;    // futex: 0 until the list is registered
  uint32_t ended = 0;  // futex
  int process = 0;     // a forked child has none of its parent's
  void* robust_list = nullptr;
};

namespace {

constexpr size_t size_of_head = 24;  // struct robust_list_head

void* guard(void* argument) {
  auto* guardian = static_cast<Guardian*>(argument);
  void* own_list = nullptr;
  size_t size = 0;
  sys::call(SYS_get_robust_list, 0, sys::as_long(&own_list), sys::as_long(&size));
  sys::call(SYS_set_robust_list, sys::as_long(guardian->robust_list), size_of_head);
  std::atomic_ref<uint32_t>(guardian->tid).store(static_cast<uint32_t>(sys::gettid()), std::memory_order_release);
  sys::futex_wake(&guardian->tid, 1);
  while (!std::atomic_ref<uint32_t>(guardian->ended).load(std::memory_order_acquire))
    sys::futex_wait(&guardian->ended, 0);
  sys::call(SYS_set_robust_list, sys::as_long(own_list), size_of_head);
  resize_memory(guardian, 0);
  count_kernel_thread(-1);
  return nullptr;
}

Guardian* make_guardian(Fiber& self) {
  auto* guardian = static_cast<Guardian*>(resize_memory(nullptr, sizeof(Guardian)));
  if (!guardian) return nullptr;
  *guardian = {};
  guardian->process = sys::getpid();
  guardian->robust_list = thread_block::robust_list(self.context.thread_block);
  if (!start_kernel_thread(guard, guardian)) {
    resize_memory(guardian, 0);
    return nullptr;
  }
  count_kernel_thread(+1);
  while (!std::atomic_ref<uint32_t>(guardian->tid).load(std::memory_order_acquire)) sys::futex_wait(&guardian->tid, 0);
  return guardian;
}

}  // namespace

int tid_of_guardian(Fiber& self, Reason reason) {
  if (self.guardian && self.guardian->process != sys::getpid()) self.guardian = nullptr;
  if (!self.guardian) {
    Away away(reason, Helpers::clean);  // a kernel thread inherits its maker's filter
    Critical inside;
    if (!self.guardian && !is_filtered_here()) self.guardian = make_guardian(self);
  }
  return self.guardian ? static_cast<int>(self.guardian->tid) : 0;
}

void dismiss_guardian(Fiber& self) {
  Guardian* guardian = self.guardian;
  self.guardian = nullptr;
  if (!guardian || guardian->process != sys::getpid()) return;
  std::atomic_ref<uint32_t>(guardian->ended).store(1, std::memory_order_release);
  sys::futex_wake(&guardian->ended, 1);
}

}  // namespace coro
