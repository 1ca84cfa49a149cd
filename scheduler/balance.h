// SPDX-License-Identifier: Apache-2.0
//
// Who has nothing to do. See balance.cc.
#pragma once

#include <atomic>
#include <cstdint>

namespace coro {

// Bit i: hub i is about to sleep, or sleeps. With one hub always 0.
extern std::atomic<uint64_t> idle_hubs;

}  // namespace coro
