// SPDX-License-Identifier: Apache-2.0
//
// The alternate signal stack of one of our kernel threads, where the kernel can enter when a fiber's own stack is used up.
// Used only between the kernel's entry and the first step of the handler (hooks/signal_frame.cc).
#pragma once

#include <cstddef>

namespace coro {

class FaultStack {
 public:
  FaultStack();
  ~FaultStack();
  FaultStack(const FaultStack&) = delete;

 private:
  void* memory_ = nullptr;
};

// For the calling kernel thread, for good.
void give_fault_stack();

}  // namespace coro
