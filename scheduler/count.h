// SPDX-License-Identifier: Apache-2.0
//
// A number of one hub's statistics: whoever holds the hub adds to it, any thread may look. An addition is no locked
// instruction, so two writers at once would lose one.
#pragma once

#include <atomic>

namespace coro {

template <typename T>
class Count {
 public:
  Count() = default;
  Count(const Count& other) : value_(other) {}
  Count& operator=(const Count& other) { return set(other), *this; }
  operator T() const { return value_.load(std::memory_order_relaxed); }
  void operator++(int) { set(*this + 1); }
  void operator+=(T more) { set(*this + more); }

 private:
  void set(T value) { value_.store(value, std::memory_order_relaxed); }
  std::atomic<T> value_{0};
};

}  // namespace coro
