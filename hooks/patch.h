// SPDX-License-Identifier: Apache-2.0
//
// Places in libc that trapped once no longer trap: the instruction before the syscall is replaced by a jump to us.
#pragma once

#include <cstdint>

namespace coro {

// An executable segment of a loaded file.
struct Code {
  uintptr_t begin = 0, end = 0;
  bool holds(uintptr_t at) const { return at >= begin && at < end; }
};

// The one that holds this address; empty: none does.
Code code_around(const void* inside);

// Finds libc's code. False: nothing will be patched.
bool prepare_patches();

// The site is the address behind a syscall instruction that trapped with this number. False: code may not be changed here.
bool patch_site(uintptr_t site, long number);

// What a patched site calls: libc's value or -errno. trap.cc.
long enter_patched(uintptr_t site, long number, const long* a);

}  // namespace coro
