// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fiber.h"

#include <errno.h>
#include <string.h>

#include <deque>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "scheduler/thread_block.h"
#include "tests/scheduler/testing.h"

namespace coro {
namespace {

TEST(fiber, errno_is_its_own) {
  errno = 7;
  auto life = [](int number) {
    EXPECT_EQ(0, errno);
    errno = number;
    rest(millisecond);
    EXPECT_EQ(number, errno);
  };
  Spawned a([&] { life(1); });
  Spawned b([&] { life(2); });
  a.join(), b.join();
  EXPECT_EQ(7, errno);
}

thread_local int own_number = 41;
thread_local std::string own_text = "fresh";

TEST(fiber, thread_locals_are_its_own) {
  own_number = 1;
  auto life = [](int number) {
    EXPECT_EQ(41, own_number);
    EXPECT_EQ("fresh", own_text);
    own_number = number;
    own_text = std::to_string(number);
    rest(millisecond);
    EXPECT_EQ(number, own_number);
    EXPECT_EQ(std::to_string(number), own_text);
  };
  Spawned a([&] { life(100); });
  Spawned b([&] { life(200); });
  a.join(), b.join();
  EXPECT_EQ(1, own_number);
}

TEST(fiber, a_pooled_one_begins_as_new) {
  Fiber *first, *second;
  {
    Spawned a([] { own_number = 5, own_text = "used", errno = 9; });
    first = &a.fiber();
  }
  Spawned b([] {
    EXPECT_EQ(41, own_number);
    EXPECT_EQ("fresh", own_text);
  });
  second = &b.fiber();
  EXPECT_EQ(first, second);
}

TEST(fiber, prints_floating_point) {
  Spawned a([] {
    char text[64];
    snprintf(text, sizeof text, "%f %.3e %Lg", 3.25, 1e100, 2.5L);
    EXPECT_STREQ("3.250000 1.000e+100 2.5", text);
    EXPECT_EQ(9, printf("%f\n", 1.5));
  });
}

TEST(fiber, exceptions_stay_with_their_fiber_across_parks) {
  auto life = [](const std::string& name) {
    try {
      throw std::runtime_error(name);
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(0, std::uncaught_exceptions());
      rest(millisecond);
      EXPECT_EQ(name, error.what());
      try {
        throw;  // the one that this fiber is handling
      } catch (const std::exception& again) {
        EXPECT_EQ(name, again.what());
      }
    }
  };
  std::deque<Spawned> all;
  for (int i = 0; i < 20; i++) all.emplace_back([&, i] { life(std::to_string(i)); });
}

TEST(fiber, tids_are_unique) {
  std::set<int> tids;
  std::deque<Spawned> all;
  for (int i = 0; i < 1000; i++)
    all.emplace_back([&] { tids.insert(thread_block::tid(this_thread_block())); });
  all.clear();
  EXPECT_EQ(1000u, tids.size());
}

}  // namespace
}  // namespace coro
