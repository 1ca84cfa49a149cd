// SPDX-License-Identifier: Apache-2.0
//
// A hub's timers: a 4-ary heap of fibers by the time when the hub must look at them. Lazy: a wait that ends early
// leaves its entry, and the next wait with a later deadline costs nothing; when an entry comes due the fiber's true
// deadline decides (expire or sink). So a time-out that does not fire costs two comparisons. Hub only.
#pragma once

#include <atomic>
#include <cstdint>

namespace coro {

struct Fiber;
class Hub;

class Timers {
 public:
  ~Timers();
  // Makes sure that the heap looks at `fiber` not later than `due` (steady ns). False: out of memory.
  bool watch(Fiber& fiber, int64_t due);
  void remove(Fiber& fiber);
  // The earliest time anyone must be looked at; INT64_MAX: never.
  int64_t next_due() const;
  // Calls fire(fiber) for each whose own deadline has come, which must not watch it again; forgets those without one.
  void expire(int64_t now, void (*fire)(Fiber&));
  // After CLOCK_REALTIME was set: every realtime deadline gets its new place.
  void clock_was_set();
  int size() const { return size_; }
  // next_due() as last settled; any thread.
  int64_t earliest() const { return earliest_.load(std::memory_order_relaxed); }
  // A fork may have come between any two steps of another hub's: nothing here is looked at.
  void forget_in_child();

 private:
  void place(int at, Fiber* fiber);
  void settle() { earliest_.store(next_due(), std::memory_order_relaxed); }
  void rise(int at);
  void sink(int at);
  Fiber** heap_ = nullptr;
  int size_ = 0;
  int capacity_ = 0;
  std::atomic<int64_t> earliest_{INT64_MAX};
};

}  // namespace coro
