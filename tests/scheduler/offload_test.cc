// SPDX-License-Identifier: Apache-2.0
#include "scheduler/offload.h"

#include <errno.h>
#include <unistd.h>

#include <deque>
#include <string>

#include "tests/scheduler/testing.h"

namespace coro {
namespace {

thread_local int own_number = 1;

TEST(offload, the_fiber_is_on_another_kernel_thread) {
  int home = sys::gettid();
  {
    Away away(testing_reason);
    EXPECT_NE(home, sys::gettid());
    EXPECT_EQ(nullptr, on_hub());
    EXPECT_EQ(main_fiber(), current);
    EXPECT_EQ(sys::gettid(), away_on(*current));
    EXPECT_EQ(main_fiber()->id(), pthread_self());
  }
  EXPECT_NE(nullptr, on_hub());
  EXPECT_EQ(0, away_on(*current));
  EXPECT_EQ(0, current->critical);
}

TEST(offload, errno_and_thread_locals_travel) {
  Spawned a([] {
    own_number = 5;
    errno = 6;
    std::string text = "on the stack, too long for the small string";
    {
      Away away(testing_reason);
      EXPECT_EQ(5, own_number);
      EXPECT_EQ(6, errno);
      own_number = 50;
      errno = 60;
      text += "!";
    }
    EXPECT_EQ(50, own_number);
    EXPECT_EQ(60, errno);
    EXPECT_EQ("on the stack, too long for the small string!", text);
  });
}

TEST(offload, others_run_meanwhile) {
  std::atomic<bool> other_ran{false};
  Spawned other([&] { other_ran = true; });
  Away away(testing_reason);
  for (int i = 0; i < 1000 && !other_ran; i++) usleep(10'000);  // would hold up the hub
  EXPECT_TRUE(other_ran);
}

TEST(offload, many_at_once) {
  uint64_t before = hub(0).counters.offloads;
  std::atomic<int> done{0};
  std::deque<Spawned> all;
  for (int i = 0; i < 100; i++)
    all.emplace_back([&, i] {
      for (int round = 0; round < 5; round++) {
        Away away(testing_reason);
        own_number = i, errno = i;
        usleep(200);
        if (own_number == i && errno == i) done++;
      }
    });
  all.clear();
  EXPECT_EQ(500, done);
  EXPECT_GE(hub(0).counters.offloads - before, 32u);
}

TEST(offload, without_a_helper_to_be_had_it_does_nothing) {
  std::atomic<int> away{0}, full{0};
  std::atomic<bool> stop{false};
  std::deque<Spawned> all;
  for (int i = 0; i < 33; i++)  // main.cc allows 32
    all.emplace_back([&] {
      Away trip(testing_reason);
      (on_hub() ? full : away)++;
      while (!stop && !on_hub()) usleep(500);
    });
  EXPECT_TRUE(soon([&] { return away + full == 33; }));
  EXPECT_LE(away, 32);
  EXPECT_GE(full, 1);
  stop = true;
}

TEST(offload, one_more_is_told_when_a_helper_is_free) {
  std::atomic<bool> stop{false};
  Spawned busy([&] {
    Away away(testing_reason);
    while (!stop) usleep(500);
  });
  Spawned waiter([&] {
    for (;;) {  // helpers of earlier tests may still come free
      Wait wait(testing_reason, Cancellable::no);
      wait.enqueue(spare_helper_queue());
      if (stop) break;
      EXPECT_EQ(Woken::ready, wait.park());
    }
  });
  EXPECT_TRUE(soon([&] { return away_on(busy.fiber()) != 0; }));
  rest(millisecond);
  stop = true;
}

TEST(offload, helpers_are_used_again) {
  { Away away(testing_reason); }
  int before = engine_numbers().kernel_threads;
  for (int i = 0; i < 50; i++) {
    Away away(testing_reason);
    EXPECT_LE(engine_numbers().kernel_threads, before + 1);
  }
}

TEST(offload, within_an_offload_it_does_nothing) {
  Away outer(testing_reason);
  int helper = sys::gettid();
  {
    Away inner(testing_reason);
    EXPECT_EQ(helper, sys::gettid());
  }
}

TEST(offload, an_exception_brings_the_fiber_home) {
  EXPECT_THROW(
      {
        Away away(testing_reason);
        throw 1;
      },
      int);
  EXPECT_NE(nullptr, on_hub());
  rest(millisecond);
}

TEST(offload, who_ends_out_there_is_brought_home) {
  if (!may_pthread_exit) GTEST_SKIP() << "TSan's own pthread_exit knows no fibers";
  Spawned a([] {
    Away away(testing_reason);
    current->exited = true;
    pthread_exit(nullptr);
  });
  a.join();
  come_home();  // harmless on a hub
  EXPECT_NE(nullptr, on_hub());
}

TEST(offload, the_helper_has_the_fibers_signal_mask) {
  uint64_t at_home = sys::signal_mask();
  Spawned a([] {
    current->blocked = 1 << 9;
    {
      Away away(testing_reason);
      EXPECT_EQ(uint64_t{1} << 9, sys::signal_mask());
    }
    current->blocked = 0;
  });
  a.join();
  EXPECT_EQ(at_home, sys::signal_mask());
}

}  // namespace
}  // namespace coro
