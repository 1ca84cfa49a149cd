// SPDX-License-Identifier: Apache-2.0
#include "scheduler/stack.h"

#include <string.h>

#include <algorithm>
#include <vector>

#include "tests/scheduler/testing.h"

namespace coro {
namespace {

constexpr size_t page = 4096;

// The lock of stacks is one of the engine's: only in a critical section.
Stack taken(size_t size, size_t guard) {
  Critical inside;
  Stack stack;
  EXPECT_TRUE(take_stack(size, guard, stack));
  return stack;
}

void give_back(const Stack& stack) {
  Critical inside;
  give_back_stack(stack);
}

TEST(stack, sizes_are_rounded_to_pages) {
  Stack stack = taken(5 * page + 1, 1);
  EXPECT_EQ(6 * page, stack.size);
  EXPECT_EQ(page, stack.guard);
  EXPECT_EQ(0u, reinterpret_cast<uintptr_t>(stack.bottom) % page);
  EXPECT_EQ(stack.bottom + stack.size, stack.top());
  give_back(stack);
}

TEST(stack, is_usable_to_the_last_byte) {
  Stack stack = taken(16 * page, page);
  memset(stack.bottom, 0x5a, stack.size);
  EXPECT_EQ(0x5a, stack.top()[-1]);
  give_back(stack);
}

TEST(stack, many_do_not_overlap) {
  std::vector<Stack> all;
  for (int i = 0; i < 600; i++) all.push_back(taken(4 * page, page));  // several slabs
  std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.bottom < b.bottom; });
  for (size_t i = 1; i < all.size(); i++) EXPECT_LE(all[i - 1].top(), all[i].bottom - all[i].guard);
  for (Stack& stack : all) give_back(stack);
}

TEST(stack, what_was_given_back_is_taken_again) {
  Stack first = taken(7 * page, page);
  give_back(first);
  EXPECT_EQ(first.bottom, taken(7 * page, page).bottom);
  EXPECT_NE(first.bottom, taken(7 * page, 2 * page).bottom);  // of another kind
  give_back(first);
}

TEST(stack, the_guard_kills) {
  Stack stack = taken(8 * page, 2 * page);
  EXPECT_DEATH(*static_cast<volatile char*>(stack.bottom - 1) = 1, "");
  EXPECT_DEATH(*static_cast<volatile char*>(stack.bottom - 2 * page) = 1, "");
  give_back(stack);
}

TEST(stack, without_a_guard_is_possible) {
  Stack stack = taken(8 * page, 0);
  EXPECT_EQ(0u, stack.guard);
  memset(stack.bottom, 1, stack.size);
  give_back(stack);
}

TEST(stack, cooling_keeps_the_top) {
  Stack stack = taken(16 * page, page);
  memset(stack.bottom, 1, stack.size);
  cool_stack(stack, 4 * page);
  EXPECT_EQ(1, stack.top()[-1]);
  EXPECT_EQ(1, stack.top()[-static_cast<ptrdiff_t>(4 * page)]);
  EXPECT_EQ(0, stack.top()[-static_cast<ptrdiff_t>(4 * page) - 1]);
  EXPECT_EQ(0, stack.bottom[0]);
  cool_stack(stack, 0);
  EXPECT_EQ(0, stack.top()[-1]);
  give_back(stack);
}

TEST(stack, large_ones_are_there_and_cost_nothing_untouched) {
  Stack stack = taken(8 << 20, page);
  stack.bottom[0] = stack.top()[-1] = 1;
  EXPECT_EQ(8u << 20, stack.size);
  cool_stack(stack, 0);
  give_back(stack);
}

TEST(stack, more_kinds_than_anyone_has_still_work) {
  for (size_t pages = 20; pages < 100; pages++) {
    Stack stack = taken(pages * page, page);
    EXPECT_EQ(pages * page, stack.size);
    stack.bottom[0] = stack.top()[-1] = 1;
    give_back(stack);
  }
}

TEST(stack, too_much_is_an_outcome) {
  Critical inside;
  Stack stack;
  EXPECT_FALSE(take_stack(size_t{1} << 50, page, stack));
  EXPECT_EQ(nullptr, stack.bottom);
}

}  // namespace
}  // namespace coro
