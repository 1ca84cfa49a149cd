// SPDX-License-Identifier: Apache-2.0
//
// The alternate signal stack of one of our kernel threads, where the kernel can enter when a fiber's own stack is used up.
// Used only between the kernel's entry and the first step of the handler (hooks/signal_frame.cc).
#pragma once

namespace coro {

// Zeroed memory for one, of which the kernel uses the far end first. Null: there is none, and then the kernel thread must
// not be: it would end the process when a fiber on it overflows.
void* make_fault_stack();
// Makes it that of the calling kernel thread.
void use_fault_stack(void* memory);
// The calling kernel thread, which uses it, is to end.
void free_fault_stack(void* memory);
// Nobody has used it.
void discard_fault_stack(void* memory);

}  // namespace coro
