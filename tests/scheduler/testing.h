// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the engine share. main.cc has started the engine, so a test runs on the main fiber and may park.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "scheduler/engine.h"
#include "scheduler/spinlock.h"
#include "scheduler/thread_block.h"
#include "scheduler/wait.h"

namespace coro {

constexpr Reason testing_reason = 1;
constexpr int64_t millisecond = 1'000'000;

// A sanitizer's thread-local data comes on top: with TSan most of a megabyte, so that there are fewer fibers, too.
inline size_t testing_stack() { return (256 << 10) + thread_block::size(); }
#if defined(__SANITIZE_THREAD__)
constexpr int many = 100;
constexpr bool may_pthread_exit = false;
#else
constexpr int many = 1000;
constexpr bool may_pthread_exit = true;
#endif

// Parks until somebody wakes the queue of `key`, or until the deadline.
inline Woken park_on(const void* key, Deadline deadline = Deadline::never(), uint32_t bits = ~0u) {
  Wait wait(testing_reason, Cancellable::no);
  wait.enqueue(key, bits);
  wait.until(deadline);
  return wait.park();
}

inline int wake_on(const void* key, int most = INT32_MAX, uint32_t bits = ~0u) {
  Critical inside;
  return wake_queue(key, most, bits);
}

inline int waiters_on(const void* key) {
  Critical inside;
  return count_waiters(key);
}

inline void rest(int64_t nanoseconds) {
  Wait wait(testing_reason, Cancellable::no);
  wait.until(Deadline::in(nanoseconds));
  wait.park();
}

// Lets others run until it is so; false: it was not within ten seconds.
template <class Question>
bool soon(Question is_so) {
  for (int64_t end = now() + 10'000 * millisecond; !is_so(); rest(millisecond / 5))
    if (now() > end) return false;
  return true;
}

// What fibers write down, in order. They may run on two kernel threads, even of one hub: who is slow loses it.
template <class T>
class Notes {
 public:
  void add(T note) {
    Critical inside;
    Locked hold(lock_);
    notes_.push_back(std::move(note));
  }
  std::vector<T> all() {
    Critical inside;
    Locked hold(lock_);
    return notes_;
  }
  size_t size() { return all().size(); }

 private:
  Spinlock lock_;
  std::vector<T> notes_;
};

// A fiber that runs a callable. Joined, at the latest, when the object dies.
class Spawned {
 public:
  explicit Spawned(std::function<void()> body, FiberSpec spec = {}) : body_(std::move(body)) {
    spec.start = [](void* self) -> void* {
      static_cast<Spawned*>(self)->body_();
      return nullptr;
    };
    spec.argument = this;
    if (!spec.stack_size) spec.stack_size = testing_stack();
    fiber_ = make_fiber(spec, &id_);
    if (!fiber_) ADD_FAILURE() << "no memory for a fiber";
  }
  Spawned(const Spawned&) = delete;
  ~Spawned() { join(); }

  void* join() {
    if (!fiber_) return nullptr;
    for (;;) {
      Wait wait(testing_reason, Cancellable::no);
      wait.enqueue(&fiber_->life);
      if (is_done(*fiber_)) break;
      wait.park();
    }
    void* result = fiber_->result;
    Critical inside;
    forget_fiber(*std::exchange(fiber_, nullptr));
    return result;
  }

  Fiber& fiber() { return *fiber_; }
  pthread_t id() const { return id_; }

 private:
  std::function<void()> body_;
  Fiber* fiber_ = nullptr;
  pthread_t id_ = 0;
};

// Whether the time since it was made lies between these, in milliseconds.
class Stopwatch {
 public:
  testing::AssertionResult took_between(int least, int most) const {
    int64_t took = now() - start_;
    if (took >= least * millisecond && took <= most * millisecond) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "took " << took / 1000 << " us";
  }

 private:
  int64_t start_ = now();
};

// The epoll descriptor of the last event loop that libev opened.
int last_epoll();
int loops_opened();  // how many that makes

}  // namespace coro
