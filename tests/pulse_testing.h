// SPDX-License-Identifier: Apache-2.0
//
// A ticker that must never stand still for long. Plain POSIX, as thread_testing.h.
#pragma once

#include "thread_testing.h"

// The longest pause of a thread that sleeps 10 ms at a time, over those 10 ms.
class Pulse {
 public:
  Pulse()
      : thread_([this] {
          for (int64_t last = now_us(); !stop_; last = now_us()) {
            usleep(10000);
            int64_t const late = now_us() - last - 10000;
            if (late > worst_) worst_ = late;
          }
        }) {}
  ~Pulse() {
    stop_ = true;
    thread_.join();
    if (worst_ > 500000) dprintf(2, "stood still for %lld us\n", static_cast<long long>(worst_));
    EXPECT(worst_ <= 500000);  // ten times what is expected
  }

 private:
  std::atomic<bool> stop_{false};
  int64_t worst_ = 0;
  Pthread thread_;
};
