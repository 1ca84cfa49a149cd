// SPDX-License-Identifier: Apache-2.0
//
// The launcher's ELF reader: what it finds in this very program, and that no damaged file harms it.
#include "preload/elf.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>

namespace coro {
namespace {

const char* const self = "/proc/self/exe";

bool has(const std::vector<std::string>& names, const char* name) {
  return std::ranges::find(names, name) != names.end();
}

// A file with the given content, gone at the end of the scope.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& content) {
    close(mkstemp(path_));
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~TemporaryFile() { unlink(path_); }
  const char* path() const { return path_; }

 private:
  char path_[32] = "/tmp/coro-elf-test-XXXXXX";
};

ElfStatus status_of(const std::string& content) {
  ElfReading reading = read_elf(TemporaryFile(content).path());
  EXPECT_EQ(reading.problem.empty(), reading.status == ElfStatus::ok);
  return reading.status;
}

std::string content_of(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Elf, a_program_names_its_loader_its_libraries_and_its_imports) {
  ElfReading reading = read_elf(self);
  ASSERT_EQ(reading.status, ElfStatus::ok) << reading.problem;
  EXPECT_TRUE(reading.elf.executable);
  EXPECT_FALSE(reading.elf.go);
  EXPECT_EQ(reading.elf.interpreter, "/lib64/ld-linux-x86-64.so.2");
  EXPECT_TRUE(has(reading.elf.needed, "libc.so.6"));
  EXPECT_TRUE(has(reading.elf.imports, "mkstemp"));
  EXPECT_FALSE(has(reading.elf.exports, "mkstemp"));
}

TEST(Elf, the_loader_exports_what_fibers_need_and_defines_versions) {
  ElfReading reading = read_elf("/lib64/ld-linux-x86-64.so.2");
  ASSERT_EQ(reading.status, ElfStatus::ok) << reading.problem;
  EXPECT_TRUE(has(reading.elf.exports, "_dl_allocate_tls"));
  EXPECT_TRUE(has(reading.elf.versions, "GLIBC_2.35"));
  EXPECT_EQ(reading.elf.interpreter, "");
}

TEST(Elf, other_files_are_told_apart) {
  std::string program = content_of(self);
  EXPECT_EQ(read_elf("/no/such/file").status, ElfStatus::unreadable);
  EXPECT_EQ(status_of(""), ElfStatus::not_elf);
  EXPECT_EQ(status_of("#!/bin/sh\n"), ElfStatus::not_elf);
  EXPECT_EQ(status_of(program.substr(0, 40)), ElfStatus::malformed);
  EXPECT_EQ(status_of(program.substr(0, 64)), ElfStatus::malformed);
  std::string other = program;
  other[4] = 1;  // EI_CLASS: 32 bits
  EXPECT_EQ(status_of(other), ElfStatus::foreign);
  other = program;
  other[18] = static_cast<char>(183);  // e_machine: AArch64
  EXPECT_EQ(status_of(other), ElfStatus::foreign);
}

TEST(Elf, damage_is_survived) {
  std::string program = content_of("/bin/true");
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string damaged = program;
    for (unsigned wounds = 1 + random() % 8; wounds; --wounds) {
      size_t most = random() % 2 ? damaged.size() : size_t{1024};  // the headers are hit more often
      damaged[random() % most] = static_cast<char>(random() % 3 ? random() : 0xff);
    }
    if (random() % 8 == 0) damaged.resize(random() % damaged.size());
    status_of(damaged);
  }
}

}  // namespace
}  // namespace coro
