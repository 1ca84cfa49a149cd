// SPDX-License-Identifier: Apache-2.0
//
// What kind of program we were loaded into.
#pragma once

namespace coro {

// The program's runtime makes kernel threads by itself and knows them by their kernel ids (Go, by its ELF note): its
// C parts must keep kernel threads too.
bool drives_its_own_threads();

}  // namespace coro
