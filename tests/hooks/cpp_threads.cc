// SPDX-License-Identifier: Apache-2.0
//
// C++20's own: std::thread, jthread with stop_token and stop_callback, sleep_for/until, mutexes of
// all kinds, shared_mutex, condition_variable and condition_variable_any (with a stop_token),
// call_once, latch, barrier with a completion, counting_semaphore, atomic wait/notify, atomic_flag.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 on every jthread

#include <barrier>
#include <chrono>
#include <condition_variable>
#include <latch>
#include <mutex>
#include <semaphore>
#include <set>
#include <shared_mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "thread_testing.h"

using namespace std::chrono_literals;

static void threads() {
  std::vector<std::thread> all;
  std::atomic<int> sum{0};
  std::mutex mutex;
  std::set<std::thread::id> ids;
  for (int i = 1; i <= 50; ++i) {
    all.emplace_back([&, i] {
      std::this_thread::sleep_for(2ms);
      sum += i;
      std::scoped_lock const lock(mutex);
      ids.insert(std::this_thread::get_id());
    });
  }
  for (auto& thread : all) {
    EXPECT(thread.joinable());
    thread.join();
    EXPECT(!thread.joinable());
  }
  EXPECT_EQ(50 * 51 / 2, sum);
  std::atomic<bool> done{false};
  std::thread([&] { done = true; }).detach();
  EXPECT(comes_true([&] { return done.load(); }));
}

static void stopping() {
  std::atomic<int> callbacks{0};
  std::atomic<int> rounds{0};
  {
    std::jthread worker([&](std::stop_token token) {
      std::stop_callback const callback(token, [&] { ++callbacks; });
      while (!token.stop_requested()) {
        std::this_thread::sleep_for(1ms);
        ++rounds;
      }
    });
    while_others_tick([] { std::this_thread::sleep_for(20ms); });
  }  // asks it to stop and joins
  EXPECT_EQ(1, callbacks);
  EXPECT(rounds > 0);

  std::mutex mutex;
  std::condition_variable_any condition;
  bool woken_by_stop = false;
  {
    std::jthread waiter([&](std::stop_token token) {
      std::unique_lock lock(mutex);
      woken_by_stop = !condition.wait(lock, token, [] { return false; });
    });
    std::this_thread::sleep_for(10ms);
  }
  EXPECT(woken_by_stop);
}

static void timed_locks() {
  std::timed_mutex timed;
  std::recursive_timed_mutex recursive;
  std::shared_timed_mutex shared;
  timed.lock();
  recursive.lock();
  EXPECT(recursive.try_lock());
  shared.lock();
  std::thread other([&] {
    auto const start = std::chrono::steady_clock::now();
    while_others_tick([&] { EXPECT(!timed.try_lock_for(15ms)); });
    EXPECT(!recursive.try_lock_until(std::chrono::steady_clock::now() + 15ms));
    EXPECT(!shared.try_lock_for(15ms));
    EXPECT(!shared.try_lock_shared_until(std::chrono::system_clock::now() + 15ms));
    EXPECT(std::chrono::steady_clock::now() - start >= 58ms);
  });
  other.join();
  timed.unlock();
  recursive.unlock();
  recursive.unlock();
  shared.unlock();
  std::thread later([&] {
    EXPECT(timed.try_lock_for(1s));
    EXPECT(shared.try_lock_shared_for(1s));
    timed.unlock();
    shared.unlock_shared();
  });
  later.join();
}

static void shared_locks() {
  std::shared_mutex mutex;
  long value = 0;
  std::vector<std::jthread> all;
  for (int i = 0; i < 8; ++i) {
    all.emplace_back([&, i] {
      for (int k = 0; k < 100; ++k) {
        if ((i + k) % 3 == 0) {
          std::unique_lock const lock(mutex);
          long const seen = value;
          if (k % 5 == 0) std::this_thread::yield();
          value = seen + 1;
        } else {
          std::shared_lock const lock(mutex);
          (void)value;
        }
      }
    });
  }
  all.clear();
  EXPECT(value >= 8 * 33 && value <= 8 * 34);
}

static void conditions() {
  std::mutex mutex;
  std::condition_variable condition;
  int stage = 0;
  std::unique_lock lock(mutex);
  auto const start = std::chrono::steady_clock::now();
  while_others_tick([&] { EXPECT(!condition.wait_for(lock, 20ms, [&] { return stage > 0; })); });
  EXPECT(std::chrono::steady_clock::now() - start >= 20ms);
  EXPECT(condition.wait_until(lock, std::chrono::system_clock::now() + 5ms) ==
         std::cv_status::timeout);
  std::jthread other([&] {
    std::this_thread::sleep_for(15ms);
    std::unique_lock inner(mutex);
    stage = 1;
    std::notify_all_at_thread_exit(condition, std::move(inner));
  });
  condition.wait(lock, [&] { return stage == 1; });
}

static void latch_and_barrier() {
  std::latch latch(5);
  int completions = 0;
  std::barrier barrier(5, [&]() noexcept { ++completions; });
  std::atomic<int> past{0};
  std::vector<std::jthread> all;
  for (int i = 0; i < 5; ++i) {
    all.emplace_back([&] {
      std::this_thread::sleep_for(5ms);
      latch.arrive_and_wait();
      ++past;
      for (int round = 1; round <= 20; ++round) {
        barrier.arrive_and_wait();
        EXPECT_EQ(2 * round - 1, completions);
        barrier.arrive_and_wait();  // nobody completes the next one before all have looked
      }
    });
  }
  latch.wait();
  all.clear();
  EXPECT_EQ(5, past);
  EXPECT_EQ(40, completions);
}

static void semaphores() {
  std::counting_semaphore<4> slots(4);
  std::binary_semaphore go(0);
  std::atomic<int> inside{0};
  std::vector<std::jthread> all;
  for (int i = 0; i < 16; ++i) {
    all.emplace_back([&] {
      slots.acquire();
      EXPECT(++inside <= 4);
      std::this_thread::sleep_for(1ms);
      --inside;
      slots.release();
    });
  }
  all.clear();
  EXPECT(!go.try_acquire());
  while_others_tick([&] { EXPECT(!go.try_acquire_for(20ms)); });
  std::jthread other([&] {
    std::this_thread::sleep_for(20ms);
    go.release();
  });
  while_others_tick([&] { go.acquire(); });
}

template <class T>
static void atomic_wait() {
  std::atomic<T> word{0};
  std::jthread other([&] {
    std::this_thread::sleep_for(25ms);
    word = 1;
    word.notify_one();
  });
  while_others_tick([&] { word.wait(0); });
  EXPECT_EQ(1, word.load());
  other.join();

  std::atomic<int> back{0};
  std::vector<std::jthread> all;
  for (int i = 0; i < 10; ++i) {
    all.emplace_back([&] {
      word.wait(1);
      ++back;
    });
  }
  std::this_thread::sleep_for(10ms);
  EXPECT_EQ(0, back);
  word = 2;
  word.notify_all();
  all.clear();
  EXPECT_EQ(10, back);
}

static void flag_wait() {
  std::atomic_flag flag;
  std::jthread other([&] {
    std::this_thread::sleep_for(15ms);
    flag.test_and_set();
    flag.notify_all();
  });
  flag.wait(false);
  EXPECT(flag.test());
}

int main() {
  threads();
  stopping();
  timed_locks();
  shared_locks();
  conditions();
  latch_and_barrier();
  semaphores();
  atomic_wait<int>();   // waits on the word itself
  atomic_wait<long>();  // waits on a word of libstdc++'s pool
  atomic_wait<char>();
  flag_wait();
  return finish();
}
