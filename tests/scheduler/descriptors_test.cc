// SPDX-License-Identifier: Apache-2.0
#include "scheduler/descriptors.h"

#include <fcntl.h>
#include <unistd.h>

#include "tests/scheduler/testing.h"

namespace coro {
namespace {

bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

TEST(descriptors, each_close_begins_another_life) {
  uint32_t first = generation_of(700);
  EXPECT_EQ(first, end_generation(700).generation);
  EXPECT_NE(first, generation_of(700));
  EXPECT_EQ(generation_of(701), generation_of(701));
}

TEST(descriptors, numbers_that_cannot_be_have_no_lives) {
  for (int fd : {-1, INT32_MIN, INT32_MAX, 1 << 23}) {
    EXPECT_EQ(0u, generation_of(fd));
    EXPECT_EQ(0u, end_generation(fd).generation);
    EXPECT_EQ(0u, generation_of(fd));
    note_hub(fd, 0);
    EXPECT_EQ(0u, end_generation(fd).hubs);
  }
}

TEST(descriptors, a_close_names_the_hubs_that_must_hear) {
  note_hub(702, 0);
  note_hub(702, 5);
  note_hub(702, 63);
  EXPECT_EQ(uint64_t{1} | 32 | uint64_t{1} << 63, end_generation(702).hubs);
  forget_hub(702, 5);
  EXPECT_EQ(uint64_t{1} | uint64_t{1} << 63, end_generation(702).hubs);
  forget_hub(702, 0);
  forget_hub(702, 63);
  EXPECT_EQ(0u, end_generation(702).hubs);
}

TEST(descriptors, high_numbers_have_lives_of_their_own) {
  note_hub(3'000'000, 1);
  EXPECT_EQ(2u, end_generation(3'000'000).hubs);
  EXPECT_EQ(0u, end_generation(2'999'999).hubs);
  forget_hub(3'000'000, 1);
}

TEST(descriptors, the_engines_own_are_known) {
  EXPECT_FALSE(is_our_descriptor(-1));
  EXPECT_FALSE(is_our_descriptor(703));
  note_own(703);
  note_own(704);
  EXPECT_TRUE(is_our_descriptor(703));
  forget_own(703);
  EXPECT_FALSE(is_our_descriptor(703));
  EXPECT_TRUE(is_our_descriptor(704));  // behind a free place
  forget_own(704);
  EXPECT_TRUE(is_our_descriptor(last_epoll()));
}

TEST(descriptors, close_own_closes_and_forgets) {
  int fd = dup(2);
  note_own(fd);
  close_own(fd);
  EXPECT_FALSE(is_open(fd));
  EXPECT_FALSE(is_our_descriptor(fd));
  close_own(-1);
}

TEST(descriptors, to_high_number_moves_and_closes_on_exec) {
  int low = dup(2);
  int high = to_high_number(low);
  EXPECT_GE(high, 960);
  EXPECT_FALSE(is_open(low));
  EXPECT_EQ(FD_CLOEXEC, fcntl(high, F_GETFD));
  close(high);
  EXPECT_EQ(-1, to_high_number(-1));
}

}  // namespace
}  // namespace coro
