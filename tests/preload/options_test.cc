// SPDX-License-Identifier: Apache-2.0
//
// The parser of each option type, and what parse_options makes of an environment.
#include "preload/options.h"

#include <gtest/gtest.h>
#include <string.h>

#include <optional>
#include <string>

namespace coro {
namespace {

// All options at their defaults but this one; nothing when the value is not allowed.
std::optional<Options> with(std::string_view name, std::string_view text) {
  Options all = options();
  for (const OptionRow& row : option_rows())
    if (row.name == name) return row.set(all, text, row) ? std::optional(all) : std::nullopt;
  ADD_FAILURE() << "no option is called " << name;
  return {};
}

bool covers(std::string_view patch, Switch part) {
  return with("patch", patch)->patch.covers(part);
}

TEST(Options, have_their_defaults_without_any_parsing) {
  EXPECT_EQ(options().hubs, 0);
  EXPECT_EQ(options().stack_size, 0u);
  EXPECT_EQ(std::string_view(options().loop), "auto");
  EXPECT_EQ(std::string_view(options().stats), "");
  EXPECT_FALSE(options().strict);
  EXPECT_FALSE(options().trace.any());
  EXPECT_TRUE(options().patch.covers(Switch::thread));
}

TEST(Options, integers_are_plain_digits_in_range) {
  EXPECT_EQ(with("hubs", "64")->hubs, 64);
  for (const char* bad : {"00", "65", "-1", "+1", "1.5", "0x10", " 1", "1 ", "", "one"})
    EXPECT_FALSE(with("hubs", bad)) << bad;
  EXPECT_FALSE(with("hubs", "18446744073709551617"));  // 2^64 + 1
}

TEST(Options, bytes_take_a_suffix) {
  EXPECT_EQ(with("stack_size", "64k")->stack_size, 65536u);
  EXPECT_EQ(with("stack_size", "2M")->stack_size, 2u << 20);
  EXPECT_EQ(with("stack_size", "4G")->stack_size, size_t{4} << 30);
  EXPECT_EQ(with("stack_size", "16384")->stack_size, 16384u);
  for (const char* bad : {"1", "15k", "5G", "k", "64kB", "64kk", "99999999999G", "-1"})
    EXPECT_FALSE(with("stack_size", bad)) << bad;
}

TEST(Options, the_default_is_allowed_even_outside_the_range) {
  EXPECT_EQ(with("stack_size", "0")->stack_size, 0u);
}

TEST(Options, choices_and_flags_are_closed_lists) {
  EXPECT_EQ(std::string_view(with("loop", "io_uring")->loop), "io_uring");
  EXPECT_FALSE(with("loop", "epoll poll"));
  EXPECT_FALSE(with("loop", "kqueue"));
  EXPECT_TRUE(with("strict", "yes")->strict);
  EXPECT_FALSE(with("strict", "off")->strict);
  EXPECT_FALSE(with("strict", "2"));
}

TEST(Options, patch_takes_only_or_all_but) {
  EXPECT_TRUE(covers("socket,thread", Switch::socket));
  EXPECT_FALSE(covers("socket,thread", Switch::dns));
  EXPECT_TRUE(covers("no-dns,no-signal", Switch::socket));
  EXPECT_FALSE(covers("no-dns,no-signal", Switch::signal));
  EXPECT_TRUE(covers("all", Switch::subprocess));
  EXPECT_FALSE(covers("none", Switch::subprocess));
  EXPECT_TRUE(covers("none", Switch::always));
  for (const char* bad :
       {"sockets", "socket,no-dns", "no-", "no-always", "always", "all,dns", ",,"})
    EXPECT_FALSE(with("patch", bad)) << bad;
}

TEST(Options, trace_names_calls) {
  EXPECT_TRUE(with("trace", "read")->trace.any());
  EXPECT_TRUE(with("trace", "all")->trace.covers(0));
  EXPECT_TRUE(with("trace", "read,poll")->trace.any());
  EXPECT_FALSE(with("trace", "read,raed"));
}

TEST(Options, every_row_says_what_it_takes) {
  char room[512];
  for (const OptionRow& row : option_rows()) {
    EXPECT_FALSE(allowed_values(row, room).empty()) << row.name;
    EXPECT_TRUE(row.fallback.empty() || is_allowed(row, row.fallback)) << row.name;
  }
  EXPECT_EQ(allowed_values(option_rows()[1], std::span(room, 8)), "a number");  // cut, not overrun
}

TEST(Options, bad_and_unknown_variables_are_told_and_the_rest_is_taken) {
  char stats[] = "CORO_STATS=/tmp/report";  // the program may overwrite its environment later
  const char* environment[] = {
      "PATH=/bin", "CORO_HUBS=many", "CORO_TEETH=32", "CORO_LOOP=", "CORO_STACK_POOL=7",
      stats,       "CORO",           nullptr};
  testing::internal::CaptureStderr();
  parse_options(environment);
  memset(stats, 'x', sizeof stats - 1);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "coro: CORO_HUBS=many is not allowed: a number from 1 to 64, or 0; going on with 0\n"
            "coro: CORO_TEETH is not an option; `coro options` lists them\n");
  EXPECT_EQ(options().hubs, 0);
  EXPECT_EQ(options().stack_pool, 7);
  EXPECT_EQ(std::string_view(options().loop), "auto");
  EXPECT_EQ(std::string_view(options().stats), "/tmp/report");
}

TEST(Options, strict_makes_trouble_fatal_wherever_it_stands) {
  const char* environment[] = {"CORO_HUBS=many", "CORO_STRICT=1", nullptr};
  EXPECT_DEATH(parse_options(environment), "CORO_HUBS=many is not allowed");
}

}  // namespace
}  // namespace coro
