// SPDX-License-Identifier: Apache-2.0
//
// Which profile a program gets, and the look into the tables of what is loaded.
#include "preload/profile.h"

#include <gtest/gtest.h>
#include <sched.h>

#include "preload/options.h"

namespace coro {
namespace {

const ProfileRow& chosen(std::string_view asked, std::string_view exported) {
  return choose_profile(asked, [&](std::string_view sign) { return sign == exported; });
}

TEST(Profile, goes_by_what_the_program_exports) {
  EXPECT_EQ("python", chosen("auto", "PyGILState_Ensure").name);
  EXPECT_EQ("ruby", chosen("auto", "ruby_init").name);
  EXPECT_EQ("cores", chosen("auto", "main").name);
  EXPECT_EQ("cores", chosen("auto", "").name);
}

TEST(Profile, asked_for_is_taken) {
  EXPECT_EQ("single", chosen("single", "PyGILState_Ensure").name);
  EXPECT_EQ("cores", chosen("cores", "PyGILState_Ensure").name);
}

TEST(Profile, names_are_what_the_option_takes) {
  for (const OptionRow& row : option_rows()) {
    if (row.name != "profile") continue;
    std::string names = "auto";
    for (const ProfileRow& profile : profile_rows) (names += " ") += profile.name;
    EXPECT_EQ(names, row.unit);
  }
}

TEST(Profile, finds_what_is_loaded) {
  EXPECT_TRUE(is_loaded("getpid"));          // libc
  EXPECT_TRUE(is_loaded("__cxa_throw"));     // libstdc++
  EXPECT_FALSE(is_loaded("no_such_function_anywhere"));
  EXPECT_FALSE(is_loaded(""));
}

TEST(Profile, counts_the_cpus_of_the_process) {
  cpu_set_t set;
  ASSERT_EQ(0, sched_getaffinity(0, sizeof set, &set));
  EXPECT_EQ(CPU_COUNT(&set), usable_cpus());
}

}  // namespace
}  // namespace coro
