// SPDX-License-Identifier: Apache-2.0
//
// What this machine gives us, for `coro check`.
#pragma once

#include <string>

namespace coro {

struct Machine {
  std::string kernel;  // "6.1.0-37-amd64"
  bool fsgsbase;       // wrfsbase may be used: a switch needs no system call
  bool seccomp;        // a filter can be loaded: the backstop can work
  bool light_guards;   // MADV_GUARD_INSTALL: guard pages that cost no mapping
};

// Tries each in turn; nothing that it does outlives the call.
Machine probe_machine();

}  // namespace coro
