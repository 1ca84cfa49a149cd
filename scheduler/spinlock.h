// SPDX-License-Identifier: Apache-2.0
//
// A lock for a few instructions. Held only inside engine critical sections (see Fiber::critical): a fiber that holds
// one never parks and runs no signal handler, so a holder is always a running kernel thread.
#pragma once

#include <immintrin.h>
#include <sched.h>

#include <atomic>

#include "scheduler/sys.h"

namespace coro {

class Spinlock {
 public:
  void lock() {
    for (int spins = 0; taken_.exchange(true, std::memory_order_acquire);) {
      // The holder's kernel thread may have lost its CPU: after a while let it have ours.
      if (++spins < 200)
        _mm_pause();
      else
        sys::call(SYS_sched_yield), spins = 0;
    }
  }
  void unlock() { taken_.store(false, std::memory_order_release); }
  // In a fork's child. Writes only if it must: each page that the child touches is copied.
  void reset() {
    if (taken_.load(std::memory_order_relaxed)) taken_.store(false, std::memory_order_relaxed);
  }

 private:
  std::atomic<bool> taken_{false};
};

class Locked {
 public:
  explicit Locked(Spinlock& lock) : lock_(lock) { lock_.lock(); }
  ~Locked() { lock_.unlock(); }
  Locked(const Locked&) = delete;

 private:
  Spinlock& lock_;
};

}  // namespace coro
