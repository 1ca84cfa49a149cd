// SPDX-License-Identifier: Apache-2.0
#include "scheduler/wait_queue.h"

#include <deque>
#include <thread>

#include "tests/scheduler/testing.h"

namespace coro {
namespace {

// Fibers parked on one key, that write down their numbers as they are woken.
struct Queue {
  explicit Queue(int count, std::function<uint32_t(int)> bits = [](int) { return ~0u; }) {
    for (int i = 0; i < count; i++) add(i, bits(i));
  }
  void add(int i, uint32_t bits = ~0u, Deadline deadline = Deadline::never()) {
    int before = waiters_on(&key);
    fibers.emplace_back([=, this] {
      Critical inside;  // keeps the hub, so that the notes are in order
      if (park_on(&key, deadline, bits) == Woken::ready) order.add(i);
    });
    if (deadline.is_never()) {
      EXPECT_TRUE(soon([&] { return waiters_on(&key) == before + 1; }));
    }
  }
  bool woke(int count) {
    return soon([&] { return order.size() >= static_cast<size_t>(count); });
  }
  ~Queue() {
    wake_on(&key);
    wake_on(&other);
  }
  int key = 0, other = 0;
  Notes<int> order;
  std::deque<Spawned> fibers;
};

TEST(wait_queue, a_thousand_are_woken_first_come_first_served) {
  int key = 0;
  Notes<int> came, went;
  std::deque<Spawned> all;
  for (int i = 0; i < many; i++)
    all.emplace_back([&, i] {
      Critical inside;
      came.add(i);
      park_on(&key);
      went.add(i);
    });
  ASSERT_TRUE(soon([&] { return waiters_on(&key) == many; }));
  EXPECT_EQ(many, wake_on(&key));
  all.clear();
  EXPECT_EQ(many, std::ssize(went.all()));
  EXPECT_EQ(came.all(), went.all());
}

TEST(wait_queue, wakes_no_more_than_asked) {
  Queue queue(5);
  EXPECT_EQ(0, wake_on(&queue.key, 0));
  EXPECT_EQ(2, wake_on(&queue.key, 2));
  EXPECT_EQ(3, waiters_on(&queue.key));
  EXPECT_EQ(3, wake_on(&queue.key, 10));
  EXPECT_EQ(0, wake_on(&queue.key, 10));
  EXPECT_TRUE(queue.woke(5));
  EXPECT_EQ((std::vector<int>{0, 1, 2, 3, 4}), queue.order.all());
}

TEST(wait_queue, wakes_those_whose_bits_overlap) {
  Queue queue(6, [](int i) { return i % 2 ? 0b10u : 0b01u; });
  EXPECT_EQ(0, wake_on(&queue.key, 10, 0b100));
  EXPECT_EQ(3, wake_on(&queue.key, 10, 0b110));
  EXPECT_TRUE(queue.woke(3));
  EXPECT_EQ((std::vector<int>{1, 3, 5}), queue.order.all());
  EXPECT_EQ(3, waiters_on(&queue.key));
}

TEST(wait_queue, keys_of_one_bucket_do_not_mix) {
  static char places[1 << 16];
  const char* a = places;
  const char* b = a + 1;
  while (b < places + sizeof places && &detail::bucket_of(a) != &detail::bucket_of(b)) b++;
  ASSERT_LT(b, places + sizeof places);
  Spawned one([&] { EXPECT_EQ(Woken::ready, park_on(a)); });
  ASSERT_TRUE(soon([&] { return waiters_on(a) == 1; }));
  EXPECT_TRUE(may_have_waiters(b));  // only a hint
  EXPECT_EQ(0, waiters_on(b));
  EXPECT_EQ(0, wake_on(b));
  EXPECT_EQ(1, wake_on(a));
  EXPECT_FALSE(may_have_waiters(a));
}

TEST(wait_queue, nobody_joins_when_the_state_has_changed) {
  int key = 0;
  Wait wait(testing_reason, Cancellable::no);
  auto no = [](void*) { return false; };
  EXPECT_FALSE(wait.enqueue(&key, ~0u, 0, no));
  EXPECT_EQ(0, count_waiters(&key));
  EXPECT_FALSE(may_have_waiters(&key));
}

TEST(wait_queue, a_waker_of_another_thread_never_looks_between_test_and_joining) {
  std::atomic<uint32_t> word{0};
  std::atomic<int> parked{0};
  constexpr int rounds = 2000;
  std::thread waker([&] {
    for (int i = 1; i <= rounds; i++) {
      for (int spins = 1; parked < i; spins++)
        spins % 500 ? __builtin_ia32_pause() : std::this_thread::yield();
      word = i;
      if (may_have_waiters(&word)) wake_queue(&word, 1);
    }
  });
  struct Look {
    std::atomic<uint32_t>& word;
    uint32_t before;
  };
  for (int i = 1; i <= rounds; i++) {
    Wait wait(testing_reason, Cancellable::no);
    wait.until(Deadline::in(2000 * millisecond));
    Look look{word, static_cast<uint32_t>(i - 1)};
    parked = i;
    auto same = [](void* p) { return static_cast<Look*>(p)->word == static_cast<Look*>(p)->before; };
    bool joined = wait.enqueue(&word, ~0u, 0, same, &look);
    if (!joined || wait.park() == Woken::ready) continue;
    ADD_FAILURE() << "lost in round " << i;
    parked = rounds;
    break;
  }
  waker.join();
}

TEST(wait_queue, who_timed_out_does_not_count) {
  Queue queue(1);
  queue.add(1, ~0u, Deadline::in(millisecond));
  queue.fibers[1].join();
  queue.add(2);
  EXPECT_EQ(2, wake_on(&queue.key, 2));
  EXPECT_TRUE(queue.woke(2));
  EXPECT_EQ((std::vector<int>{0, 2}), queue.order.all());
}

TEST(wait_queue, who_was_woken_otherwise_passes_his_turn_on) {
  Queue queue(3);
  {
    Critical inside;
    wake_present_wait(queue.fibers[0].fiber(), Woken::signal);
    EXPECT_EQ(1, wake_queue(&queue.key, 1));  // the first is still linked, but taken
  }
  EXPECT_TRUE(queue.woke(1));
  EXPECT_EQ((std::vector<int>{1}), queue.order.all());
}

TEST(wait_queue, requeue_wakes_some_and_moves_some) {
  Queue queue(6);
  {
    Critical inside;
    EXPECT_EQ(4, requeue(&queue.key, &queue.other, 1, 3));
  }
  EXPECT_EQ(2, waiters_on(&queue.key));
  EXPECT_EQ(3, waiters_on(&queue.other));
  EXPECT_TRUE(queue.woke(1));
  EXPECT_EQ(3, wake_on(&queue.other));
  EXPECT_TRUE(queue.woke(4));
  EXPECT_EQ((std::vector<int>{0, 1, 2, 3}), queue.order.all());
}

TEST(wait_queue, requeue_moves_nobody_when_the_state_has_changed) {
  Queue queue(2);
  Critical inside;
  EXPECT_EQ(-1, requeue(&queue.key, &queue.other, 1, 1, [](void*) { return false; }));
  EXPECT_EQ(2, count_waiters(&queue.key));
  EXPECT_EQ(0, count_waiters(&queue.other));
  EXPECT_FALSE(may_have_waiters(&queue.other));
}

TEST(wait_queue, requeue_to_itself_ends) {
  Queue queue(3);
  Critical inside;
  EXPECT_GE(requeue(&queue.key, &queue.key, 0, INT32_MAX), 1);
  EXPECT_EQ(3, count_waiters(&queue.key));
}

TEST(wait_queue, who_was_moved_still_hears_its_deadline) {
  Queue queue(0);
  queue.add(0, ~0u, Deadline::in(5 * millisecond));
  EXPECT_TRUE(soon([&] {
    Critical inside;
    return requeue(&queue.key, &queue.other, 0, 1) == 1 || is_ended(queue.fibers[0].fiber());
  }));
  queue.fibers.clear();
  EXPECT_EQ(0, waiters_on(&queue.other));
  EXPECT_FALSE(may_have_waiters(&queue.other));
  EXPECT_EQ(0u, queue.order.size());
}

TEST(wait_queue, moves_race_with_deadlines_and_nobody_is_left) {
  static int from, to;
  std::atomic<bool> stop{false};
  std::thread mover([&] {
    while (!stop) requeue(&from, &to, 0, 5), requeue(&to, &from, 0, 5);
  });
  {
    std::deque<Spawned> all;
    for (int i = 0; i < 20; i++)
      all.emplace_back([&] {
        for (int round = 0; round < 50; round++) park_on(&from, Deadline::in(round * 2000));
      });
  }
  stop = true;
  mover.join();
  EXPECT_EQ(0, waiters_on(&from));
  EXPECT_EQ(0, waiters_on(&to));
  EXPECT_FALSE(may_have_waiters(&from));
}

}  // namespace
}  // namespace coro
