// SPDX-License-Identifier: Apache-2.0
//
// Stacks, carved out of large slabs: a mapping per stack would end at vm.max_map_count (65,530). Each has a guard
// below it. Slabs are never unmapped; a stack that is not wanted is cooled (its pages go back) and kept for reuse.
#pragma once

#include <cstddef>

namespace coro {

struct Stack {
  char* bottom = nullptr;  // lowest usable byte, above the guard
  size_t size = 0;         // usable bytes
  size_t guard = 0;        // bytes of guard below bottom; 0 for a stack that the program supplied
  char* top() const { return bottom + size; }
};

// Stacks are executable from now on if the program or a library that is loaded wants that, as libc's are: GNU C's nested functions
// and Ada's put code there. Once, before the first stack.
void choose_stack_protection();

// Rounds to pages. False: no memory (the caller answers EAGAIN). Any thread.
bool take_stack(size_t size, size_t guard, Stack& stack);

// Gives the pages below `keep` bytes from the top back to the kernel (MADV_DONTNEED); addresses stay ours.
void cool_stack(const Stack& stack, size_t keep);

// Keeps a stack for the next take_stack() of the same size and guard. Its content is garbage or zero.
void give_back_stack(const Stack& stack);

}  // namespace coro
