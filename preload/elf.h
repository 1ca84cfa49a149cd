// SPDX-License-Identifier: Apache-2.0
//
// A small ELF reader for the launcher: what a 64-bit little-endian file says about itself before it
// is run. It trusts nothing: every offset is checked against the file, and a file that does not add
// up is reported as malformed, in words. Not linked into libcoro.so.
#pragma once

#include <string>
#include <vector>

namespace coro {

// What the launcher wants to know of a program or library.
struct Elf {
  bool executable = false;            // ET_EXEC or ET_DYN
  bool go = false;                    // carries a Go build id: its runtime drives its own threads
  std::string interpreter;            // PT_INTERP; empty: static program or library
  std::vector<std::string> needed;    // DT_NEEDED, in order
  std::vector<std::string> imports;   // undefined names of the dynamic symbol table
  std::vector<std::string> exports;   // defined names
  std::vector<std::string> versions;  // version names it defines, such as GLIBC_2.36
};

enum class ElfStatus {
  ok,
  unreadable,  // open or read failed; errno says why
  not_elf,     // some other kind of file
  foreign,     // ELF, but for another machine or word size
  malformed    // ELF, but broken
};

struct ElfReading {
  ElfStatus status = ElfStatus::unreadable;
  std::string problem;  // words, for every status but ok
  Elf elf;
};

// Reads the file at `path`.
ElfReading read_elf(const std::string& path);

}  // namespace coro
