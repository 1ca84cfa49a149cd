// SPDX-License-Identifier: Apache-2.0
//
// Futures and exceptions: std::async, promise, packaged_task, shared_future, wait_for's answers,
// broken promises, exceptions carried across threads; exceptions thrown, caught, nested and
// rethrown in many threads across calls that block; what ends the process: an exception out of a
// thread, a joinable std::thread destroyed, a noexcept function that throws (abort's status in a
// child).
#include <chrono>
#include <exception>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "thread_testing.h"

using namespace std::chrono_literals;

static void asynchronous() {
  std::vector<std::future<int>> futures;
  for (int i = 0; i < 20; ++i) {
    futures.push_back(std::async(std::launch::async, [i] {
      std::this_thread::sleep_for(5ms);
      return i * i;
    }));
  }
  int sum = 0;
  for (auto& future : futures) sum += future.get();
  EXPECT_EQ(2470, sum);

  std::atomic<bool> go{false};
  auto slow = std::async(std::launch::async, [&go] {
    while (!go) std::this_thread::sleep_for(1ms);
    std::this_thread::sleep_for(25ms);
  });
  while_others_tick([&] { EXPECT(slow.wait_for(20ms) == std::future_status::timeout); });
  go = true;
  while_others_tick([&] { slow.wait(); });
  EXPECT(slow.wait_for(0s) == std::future_status::ready);
  auto lazy = std::async(std::launch::deferred, [] { return std::this_thread::get_id(); });
  EXPECT(lazy.wait_for(0s) == std::future_status::deferred);
  EXPECT(lazy.get() == std::this_thread::get_id());

  auto throwing = std::async(std::launch::async, []() -> int {
    std::this_thread::sleep_for(2ms);
    throw std::runtime_error("carried over");
  });
  std::string text;
  try {
    throwing.get();
  } catch (const std::runtime_error& error) {
    text = error.what();
  }
  EXPECT(text == "carried over");
}

static void promises() {
  std::promise<std::string> promise;
  std::shared_future<std::string> future = promise.get_future().share();
  std::vector<std::jthread> readers;
  std::atomic<int> right{0};
  for (int i = 0; i < 8; ++i) {
    readers.emplace_back([future, &right] { right += future.get() == "value" ? 1 : 0; });
  }
  std::this_thread::sleep_for(10ms);
  promise.set_value("value");
  readers.clear();
  EXPECT_EQ(8, right);

  std::future<int> orphan;
  {
    std::promise<int> dies;
    orphan = dies.get_future();
  }
  bool broken = false;
  try {
    orphan.get();
  } catch (const std::future_error& error) {
    broken = error.code() == std::future_errc::broken_promise;
  }
  EXPECT(broken);

  std::packaged_task<int(int)> task([](int x) { return x + 1; });
  auto result = task.get_future();
  std::jthread runner(std::move(task), 41);
  EXPECT_EQ(42, result.get());

  std::promise<void> late;
  std::jthread setter([&] {
    std::this_thread::sleep_for(5ms);
    late.set_value_at_thread_exit();
  });
  late.get_future().wait();
}

struct Slow {
  explicit Slow(int& count) : count_(count) {}
  ~Slow() {
    std::this_thread::sleep_for(1ms);
    ++count_;
  }
  int& count_;
};

static int thrower(int depth, int value, int& destroyed) {
  Slow const slow(destroyed);
  if (depth == 0) throw value;
  return thrower(depth - 1, value, destroyed) + 1;
}

static void exceptions_in_many_threads() {
  std::vector<std::jthread> all;
  for (int i = 0; i < 20; ++i) {
    all.emplace_back([i] {
      for (int round = 0; round < 5; ++round) {
        int destroyed = 0;
        try {
          try {
            thrower(3, i, destroyed);
            EXPECT(false);
          } catch (int caught) {
            EXPECT_EQ(i, caught);
            std::this_thread::sleep_for(1ms);  // blocked inside a handler
            try {
              throw std::to_string(i);  // a second one inside the first's handler
            } catch (const std::string& inner) {
              nap(1);
              EXPECT(inner == std::to_string(i));
            }
            nap(1);
            throw;  // still the first one
          }
        } catch (int again) {
          EXPECT_EQ(i, again);
        }
        EXPECT_EQ(4, destroyed);
        EXPECT(std::current_exception() == nullptr);
      }
    });
  }
}

static void nested_exceptions() {
  std::jthread worker([] {
    try {
      try {
        throw std::runtime_error("inner");
      } catch (...) {
        nap(2);
        std::throw_with_nested(std::logic_error("outer"));
      }
    } catch (const std::logic_error& outer) {
      bool seen = false;
      try {
        std::rethrow_if_nested(outer);
      } catch (const std::runtime_error& inner) {
        seen = std::string(inner.what()) == "inner";
      }
      EXPECT(seen);
    }
  });
}

[[gnu::noinline]] static void throw_one() { throw 1; }

// Runs in a child whose stderr is closed, because terminate talks.
template <class Body>
static int quietly(Body body) {
  return in_child([&] {
    close(2);
    body();
  });
}

static void what_ends_the_process() {
  EXPECT(killed(quietly([] {
                  std::thread worker([] {
                    std::this_thread::sleep_for(2ms);
                    throw 1;
                  });
                  worker.join();
                }),
                SIGABRT));
  EXPECT(killed(quietly([] { std::thread worker([] { std::this_thread::sleep_for(1s); }); }),
                SIGABRT));
  EXPECT(killed(quietly([] {
                  std::jthread worker([]() noexcept { throw_one(); });
                  worker.join();
                }),
                SIGABRT));
  int const status = quietly([] {
    std::set_terminate([] { _exit(std::current_exception() != nullptr ? 44 : 45); });
    std::jthread worker([] { throw std::runtime_error("x"); });
    worker.join();
  });
  EXPECT(exited(status, 44));
}

int main() {
  asynchronous();
  promises();
  exceptions_in_many_threads();
  nested_exceptions();
  what_ends_the_process();
  return finish();
}
