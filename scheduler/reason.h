// SPDX-License-Identifier: Apache-2.0
//
// A reason says which call a fiber is parked in. The engine does not know the calls: it carries the number, and asks
// the table that start.cc hands it (EngineConfig::reason_name) when a person wants to read it.
#pragma once

#include <cstdint>

namespace coro {

using Reason = uint16_t;  // the hooks' `enum class Call` cast to a number; 0 = none

}  // namespace coro
