// SPDX-License-Identifier: Apache-2.0
#include "preload/examine.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "preload/machine.h"
#include "preload/profile.h"
#include "preload/program.h"
#include "preload/tables.h"

namespace coro {
namespace {

using Names = std::set<std::string>;

void print_row(const char* what, const std::string& text) {
  std::printf("%-12s%s\n", what, text.c_str());
}

// Those of `names` that libcoro interposes.
Names covered(const std::vector<std::string>& names) {
  Names found;
  for (const SymbolRow& row : symbol_rows())
    if (std::ranges::find(names, row.name) != names.end()) found.emplace(row.name);
  return found;
}

// One line a family, names broken at 100 columns.
void print_by_family(const Names& names) {
  for (const FamilyRow& family : family_rows()) {
    size_t count = 0;
    std::string list, line;
    for (const SymbolRow& row : symbol_rows()) {
      if (row.family != family.family || !names.contains(std::string(row.name))) continue;
      if (line.size() + row.name.size() > 80) {
        list += line + "\n" + std::string(19, ' ');
        line.clear();
      }
      (line += " ") += row.name;
      ++count;
    }
    if (count)
      std::printf("  %-11s%5zu%s\n", std::string(family.name).c_str(), count,
                  (list + line).c_str());
  }
}

bool is_glibc_itself(const std::string& name) {
  for (const char* own :
       {"libc.so", "libpthread.so", "librt.so", "libdl.so", "libm.so", "ld-linux"})
    if (name.find(own) != name.npos) return true;
  return false;
}

void print_imports(const Program& program, const std::vector<Library>& libraries) {
  Names own = covered(program.elf.imports);
  print_row("imports", std::to_string(own.size()) + " of our calls");
  print_by_family(own);
  Names more;
  size_t users = 0;
  for (const Library& library : libraries) {
    if (is_glibc_itself(library.name)) continue;
    Names names = covered(read_elf(library.path).elf.imports);
    users += !names.empty();
    more.insert(names.begin(), names.end());
  }
  if (!users) return;
  print_row("libraries", std::to_string(more.size()) + " of our calls, imported by " +
                             std::to_string(users) + " of the " + std::to_string(libraries.size()) +
                             " libraries it loads at start");
  print_by_family(more);
}

void print_machine() {
  Machine machine = probe_machine();
  print_row("kernel", machine.kernel);
  print_row("FSGSBASE", machine.fsgsbase ? "yes: a switch makes no system call"
                                         : "no: every switch costs one system call (arch_prctl)");
  print_row("backstop", machine.seccomp ? "yes: calls that block inside libc are caught (seccomp)"
                                        : "seccomp is denied: a call that blocks inside libc costs a hand-off");
  print_row("guards", machine.light_guards
                          ? "MADV_GUARD_INSTALL: guard pages cost no memory mapping"
                          : "mprotect: two mappings a stack (Linux 6.13 has a lighter way)");
}

// As the library will choose it, unless the program opens a library with that sign later than its first thread.
void print_profile(const Program& program, const std::vector<Library>& libraries) {
  std::vector<std::string> exports = program.elf.exports;
  for (const Library& library : libraries) {
    std::vector<std::string> more = read_elf(library.path).elf.exports;
    exports.insert(exports.end(), more.begin(), more.end());
  }
  const char* asked = std::getenv("CORO_PROFILE");
  const ProfileRow& row = choose_profile(
      asked ? asked : "auto", [&](std::string_view sign) { return std::ranges::find(exports, sign) != exports.end(); });
  int hubs = row.hubs ? row.hubs : usable_cpus();
  print_row("profile", std::string(row.name) + ": " + std::to_string(hubs) + (hubs == 1 ? " hub; " : " hubs; ") +
                           std::string(row.help));
}

}  // namespace

int examine(const std::string& name) {
  Program program = inspect_program(name);
  print_row("program", program.path.empty() ? name : program.path);
  if (!program.scripts.empty() && !program.binary.empty()) print_row("run by", program.binary);
  if (program.refusal) {
    print_row("verdict", "cannot run: " + program.why);
    return program.refusal;
  }
  print_row("verdict", program.keeps_threads
                           ? "can run, but as a Go program it keeps its kernel threads"
                       : program.unread ? "can run, as far as can be told: it may be executed, but not read"
                                        : "can run");
  if (program.unread) {
    print_machine();
    return 0;
  }
  std::vector<Library> libraries = libraries_of(program);
  print_profile(program, libraries);
  for (const Library& library : libraries)
    if (library.name == "libc.so.6") print_row("glibc", glibc_version(read_elf(library.path).elf));
  print_machine();
  print_imports(program, libraries);
  return 0;
}

}  // namespace coro
