// SPDX-License-Identifier: Apache-2.0
//
// The program that `coro run` is asked to run: found as execvp(3) would find it, followed through
// its #! lines to the binary that the kernel will load, and judged: can libcoro be preloaded into
// it?
#pragma once

#include <string>
#include <vector>

#include "preload/elf.h"

namespace coro {

// Exit statuses of env(1), which ours are.
enum : int { exit_usage = 125, exit_cannot_run = 126, exit_not_found = 127 };

struct Program {
  std::string path;                  // what will be executed
  std::vector<std::string> scripts;  // the files passed on the way to the binary, path first
  std::string binary;                // what the kernel will load in the end
  Elf elf;                           // of the binary
  int refusal = 0;                   // 0, or the exit status of the launcher
  std::string why;                   // one line about the refusal
  bool keeps_threads = false;        // its runtime drives its own kernel threads (Go)
  bool unread = false;               // we may execute it, but not read it: `elf` is empty
};

// A library that the loader would load with the program.
struct Library {
  std::string name, path;
};

// Finds and judges the program called `name`.
Program inspect_program(const std::string& name);

// The libraries that `program` loads at start, asked of its own loader (--list). Runs no code of
// it.
std::vector<Library> libraries_of(const Program& program);

// "2.36" out of the version names that a C library defines; empty when it is not glibc.
std::string glibc_version(const Elf& libc);

}  // namespace coro
