// SPDX-License-Identifier: Apache-2.0
//
// A binary of its own, whose engine has two hubs. Who gets what to do: balance_test.cc.
#include <sys/socket.h>
#include <unistd.h>

#include <deque>
#include <random>
#include <set>
#include <thread>

#include "tests/scheduler/testing.h"
#include "scheduler/offload.h"

namespace coro {
namespace {

int here() {
  Critical inside;
  Fiber* self = on_hub();
  return self ? self->hub.load()->index() : 0;
}

TEST(two_hubs, there_are_two_when_there_are_fibers_for_them) {
  Spawned second([] {});
  ASSERT_TRUE(soon([] { return hub_count() == 2; }));
  EXPECT_NE(&hub(0), &hub(1));
}

TEST(two_hubs, fibers_spread) {
  std::atomic<int> seen[2] = {};
  std::atomic<bool> stop{false};
  std::deque<Spawned> all;
  for (int i = 0; i < 20; i++)
    all.emplace_back([&] {
      while (!stop) seen[here()]++, yield_to_others();
    });
  EXPECT_TRUE(soon([&] { return seen[0] && seen[1]; }));
  stop = true;
}

TEST(two_hubs, a_fiber_that_computes_does_not_hold_up_the_others) {
  std::atomic<bool> stop{false};
  Spawned computing([&] {
    while (!stop) __builtin_ia32_pause();
  });
  for (int i = 0; i < 5; i++) rest(millisecond);
  stop = true;
}

TEST(two_hubs, fibers_of_both_play_ping_pong) {
  constexpr int rounds = 2000;
  std::atomic<int> turn{0};
  auto play = [&](int mine) {
    for (int i = 0; i < rounds; i++) {
      struct Look { std::atomic<int>& turn; int mine; } look{turn, mine};
      auto not_mine = [](void* p) { return static_cast<Look*>(p)->turn != static_cast<Look*>(p)->mine; };
      while (turn != mine) {
        Wait wait(testing_reason, Cancellable::no);
        if (wait.enqueue(&turn, ~0u, 0, not_mine, &look)) wait.park();
      }
      turn = 1 - mine;
      wake_on(&turn);
    }
  };
  Spawned a([&] { play(0); });
  Spawned b([&] { play(1); });
  a.join(), b.join();
  EXPECT_EQ(0, turn);
}

TEST(two_hubs, a_thousand_wait_and_all_are_woken) {
  int key = 0;
  std::atomic<int> woken{0};
  std::deque<Spawned> all;
  for (int i = 0; i < many; i++)
    all.emplace_back([&] { woken += park_on(&key) == Woken::ready; });
  ASSERT_TRUE(soon([&] { return waiters_on(&key) == many; }));
  EXPECT_EQ(many, wake_on(&key));
  all.clear();
  EXPECT_EQ(many, woken);
}

thread_local int own_number = 3;

TEST(two_hubs, what_is_a_fibers_own_moves_with_it) {
  std::deque<Spawned> all;
  for (int i = 0; i < 40; i++)
    all.emplace_back([i] {
      EXPECT_EQ(3, own_number);
      own_number = i;
      for (int n = 0; n < 100; n++) {
        errno = i;
        if (n % 3) yield_to_others();
        else rest(n * 1000);
        ASSERT_EQ(i, own_number);
        ASSERT_EQ(i, errno);
      }
    });
}

TEST(two_hubs, a_close_is_heard_on_the_other_hub) {
  for (int i = 0; i < 30; i++) {
    int ends[2];
    ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    std::atomic<int> waiting{0};
    std::deque<Spawned> all;
    for (int n = 0; n < 4; n++)
      all.emplace_back([&] {
        waiting++;
        Wait wait(testing_reason, Cancellable::no);
        wait.on(ends[0], way_in);
        wait.until(Deadline::in(5000 * millisecond));
        EXPECT_EQ(Woken::closed, wait.park());
      });
    ASSERT_TRUE(soon([&] { return waiting == 4; }));
    rest(millisecond);
    for (int fd : ends) forget_descriptor(fd), close(fd);
  }
}

TEST(two_hubs, numbers_used_again_on_both_are_told_apart) {
  auto life = [] {
    for (int i = 0; i < 200; i++) {
      int ends[2];
      ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
      ASSERT_EQ(1, write(ends[1], "x", 1));
      {
        Wait wait(testing_reason, Cancellable::no);
        wait.on(ends[0], way_in);
        wait.until(Deadline::in(5000 * millisecond));
        ASSERT_EQ(Woken::ready, wait.park()) << i;
      }
      for (int fd : ends) forget_descriptor(fd), close(fd);
    }
  };
  std::deque<Spawned> all;
  for (int i = 0; i < 6; i++) all.emplace_back(life);
}

TEST(two_hubs, offloaded_fibers_come_home) {
  std::atomic<int> done{0};
  std::deque<Spawned> all;
  for (int i = 0; i < 40; i++)
    all.emplace_back([&] {
      for (int n = 0; n < 10; n++) {
        {
          Away away(testing_reason);
          usleep(50);
        }
        if (on_hub()) done++;
        yield_to_others();
      }
    });
  all.clear();
  EXPECT_EQ(400, done);
}

TEST(two_hubs, random_parks_wakes_and_yields_end_well) {
  static int keys[8];
  std::atomic<bool> stop{false};
  std::atomic<long> heard{0}, given{0};
  std::thread foreign([&] {
    for (std::mt19937 random(1); !stop; usleep(50)) given += wake_queue(&keys[random() % 8], 2);
  });
  std::deque<Spawned> all;
  for (unsigned i = 0; i < 50; i++)
    all.emplace_back([&, i] {
      std::mt19937 random(i);
      for (int n = 0; n < 300; n++) switch (random() % 4) {
          case 0: yield_to_others(); break;
          case 1: given += wake_on(&keys[random() % 8], 3); break;
          default: heard += park_on(&keys[random() % 8], Deadline::in(random() % 500'000)) == Woken::ready;
        }
    });
  all.clear();
  stop = true;
  foreign.join();
  EXPECT_EQ(given, heard);
  for (int& key : keys) EXPECT_EQ(0, waiters_on(&key));
}

TEST(two_hubs, fibers_made_and_ended_all_the_time) {
  std::atomic<int> lived{0};
  auto parent = [&] {
    for (int i = 0; i < 100; i++) Spawned child([&] { lived++; });
  };
  std::deque<Spawned> all;
  for (int i = 0; i < 10; i++) all.emplace_back(parent);
  all.clear();
  EXPECT_EQ(1000, lived);
}

}  // namespace
}  // namespace coro
