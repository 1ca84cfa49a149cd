// SPDX-License-Identifier: Apache-2.0
//
// One hub. More than one: two_hubs_test.cc.
#include "scheduler/hub.h"

#include <unistd.h>

#include <deque>
#include <thread>

#include "tests/scheduler/testing.h"

namespace coro {
namespace {

TEST(hub, fibers_run_in_the_order_they_were_made) {
  Notes<int> order;
  std::deque<Spawned> all;
  {
    Critical inside;  // keeps the hub: they run when we park
    for (int i = 0; i < 50; i++) all.emplace_back([&, i] { order.add(i); });
    EXPECT_EQ(0u, order.size());
  }
  all.clear();
  std::vector<int> seen = order.all();
  ASSERT_EQ(50u, seen.size());
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST(hub, new_ones_begin_though_their_maker_never_parks) {
  Notes<int> order;
  std::deque<Spawned> all;
  Critical inside;
  for (int i = 0; i < 3; i++) all.emplace_back([&, i] { order.add(i); });
  EXPECT_TRUE(current->has_made_new);
  int calls = 0;
  for (; ++current->calls_in_a_row; calls++) EXPECT_EQ(0u, order.size());  // as gate() counts
  EXPECT_LE(calls, 4);
  take_turns();
  EXPECT_EQ((std::vector<int>{0, 1, 2}), order.all());
}

TEST(hub, new_ones_go_before_those_who_have_run_and_their_maker_behind_them) {
  Notes<std::string> order;
  auto life = [&](const char* name) {
    Critical inside;
    order.add(name);
    yield_to_others();
    order.add(name);
  };
  Critical inside;
  Spawned old([&] { life("old"); });
  take_turns();
  Spawned fresh([&] { life("new"); });
  take_turns();
  order.add("maker");
  fresh.join(), old.join();
  EXPECT_EQ((std::vector<std::string>{"old", "new", "maker", "old", "new"}), order.all());
}

// Each makes the next, for ever, or until it is told to stop.
struct Chain {
  std::atomic<bool> stop{false}, ended{false};
  std::atomic<int> links{0};
  void grow() {
    FiberSpec spec;
    spec.stack_size = testing_stack();
    spec.detached = true;
    spec.argument = this;
    spec.start = [](void* chain) -> void* {
      static_cast<Chain*>(chain)->grow();
      return nullptr;
    };
    if (stop || links++ == 100'000)
      ended = true;
    else
      make_fiber(spec, nullptr);
  }
};

TEST(hub, a_chain_of_new_ones_keeps_nobody_out) {
  Chain chain;
  chain.grow();
  for (int i = 0; i < 10; i++) yield_to_others();
  chain.stop = true;
  EXPECT_TRUE(soon([&] { return chain.ended.load(); }));
  EXPECT_LT(chain.links, 100'000);
}

TEST(hub, a_yield_lets_the_others_run_and_comes_back) {
  Notes<int> order;
  auto life = [&](int number) {
    Critical inside;
    for (int i = 0; i < 3; i++) order.add(number), yield_to_others();
  };
  {
    Critical inside;
    Spawned a([&] { life(1); });
    Spawned b([&] { life(2); });
    a.join(), b.join();
  }
  EXPECT_EQ((std::vector<int>{1, 2, 1, 2, 1, 2}), order.all());
}

TEST(hub, a_yield_with_nobody_ready_is_mostly_nothing) {
  int went = 0;
  for (int i = 0; i < 160; i++) went += yield_to_others();
  EXPECT_LE(went, 20);  // now and then it asks the loop
}

TEST(hub, who_yields_for_ever_starves_neither_timers_nor_descriptors) {
  std::atomic<bool> stop{false};
  std::deque<Spawned> yielders;
  for (int i = 0; i < 3; i++)
    yielders.emplace_back([&] {
      while (!stop) yield_to_others();
    });
  Stopwatch stopwatch;
  rest(5 * millisecond);
  int ends[2];
  ASSERT_EQ(0, pipe(ends));
  ASSERT_EQ(1, write(ends[1], "x", 1));
  {
    Wait wait(testing_reason, Cancellable::no);
    wait.on(ends[0], way_in);
    EXPECT_EQ(Woken::ready, wait.park());
  }
  EXPECT_TRUE(stopwatch.took_between(5, 2000));
  stop = true;
  for (int fd : ends) forget_descriptor(fd), close(fd);
}

TEST(hub, a_lonely_yielder_hears_of_time) {
  std::atomic<bool> over{false};
  Spawned timer([&] {
    rest(2 * millisecond);
    over = true;
  });
  Stopwatch stopwatch;
  while (!over) yield_to_others();
  EXPECT_TRUE(stopwatch.took_between(0, 5000));
}

TEST(hub, who_computes_loses_the_hub_to_the_others) {
  std::atomic<bool> other_ran{false};
  uint64_t before = hub(0).counters.hand_offs;
  Spawned other([&] { other_ran = true; });
  Stopwatch stopwatch;
  while (!other_ran) __builtin_ia32_pause();  // no call at all
  EXPECT_TRUE(stopwatch.took_between(0, 5000));
  other.join();
  EXPECT_GT(hub(0).counters.hand_offs, before);
  EXPECT_EQ(0, current->orphan_tid);
}

TEST(hub, several_who_compute_all_get_on) {
  std::atomic<int> arrived{0};
  std::deque<Spawned> all;
  for (int i = 0; i < 4; i++)
    all.emplace_back([&] {
      arrived++;
      while (arrived < 4) __builtin_ia32_pause();
      rest(millisecond);
    });
  all.clear();
  EXPECT_EQ(4, arrived);
}

TEST(hub, wakes_of_foreign_threads_all_arrive) {
  constexpr int fibers = 20, threads = 3, wakes = 500;
  int keys[fibers] = {};
  std::atomic<int> heard{0}, given{0};
  std::atomic<bool> stop{false};
  std::deque<Spawned> all;
  for (int i = 0; i < fibers; i++)
    all.emplace_back([&, i] {
      while (!stop) heard += park_on(&keys[i], Deadline::in(20 * millisecond)) == Woken::ready;
    });
  std::deque<std::thread> wakers;
  for (int t = 0; t < threads; t++)
    wakers.emplace_back([&, t] {
      for (int n = 0; n < wakes; n++) {
        given += wake_queue(&keys[(n * 7 + t) % fibers], 1);
        if (n % 10 == 0) usleep(100);
      }
      // Until here nobody joins us: that would hold up the hub.
      stop = stop || t == 0;
    });
  all.clear();
  for (std::thread& waker : wakers) waker.join();
  EXPECT_EQ(given, heard);
  EXPECT_GT(heard, 0);
}

TEST(hub, a_ring_is_heard_while_it_sleeps) {
  int key = 0;
  Stopwatch stopwatch;
  std::thread waker([&] {
    usleep(5000);
    while (!wake_queue(&key, 1)) usleep(100);
  });
  EXPECT_EQ(Woken::ready, park_on(&key));
  EXPECT_TRUE(stopwatch.took_between(4, 5000));
  waker.join();
}

TEST(hub, sleeps_when_there_is_nothing_to_do) {
  rest(millisecond);
  uint64_t turns = hub(0).counters.turns;
  rest(20 * millisecond);
  EXPECT_LT(hub(0).counters.turns - turns, 30u);
}

TEST(hub, counts_parks_and_switches) {
  Counters before = hub(0).counters;
  for (int i = 0; i < 10; i++) rest(1);
  EXPECT_EQ(10u, hub(0).counters.parks - before.parks);
  EXPECT_GE(hub(0).counters.switches - before.switches, 10u);
}

TEST(hub, the_carriers_mask_is_set_at_once) {
  uint64_t before = carrier_mask();
  set_carrier_mask(before | 1 << 9);
  EXPECT_EQ(before | 1 << 9, sys::signal_mask());
  rest(millisecond);
  EXPECT_EQ(before | 1 << 9, sys::signal_mask());
  set_carrier_mask(before);
  EXPECT_EQ(before, sys::signal_mask());
}

}  // namespace
}  // namespace coro
