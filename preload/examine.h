// SPDX-License-Identifier: Apache-2.0
//
// `coro check program`: what libcoro makes of a program, on standard output.
#pragma once

#include <string>

namespace coro {

// Prints the report; returns the exit status: 0 when the program can run, else the refusal's.
int examine(const std::string& name);

}  // namespace coro
