// SPDX-License-Identifier: Apache-2.0
//
// The launcher's view of the tables: options.def, switches.def and symbols.def printed for people,
// and as the Markdown tables that README.md contains. Nothing here is written down a second time.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "preload/options.h"

namespace coro {

// One row of symbols.def.
struct SymbolRow {
  std::string_view name, does;
  Family family;
};
std::span<const SymbolRow> symbol_rows();

// One row of the families in switches.def.
struct FamilyRow {
  std::string_view name, obeys, holds;
  Family family;
};
std::span<const FamilyRow> family_rows();

// The names of the switches, in the order of enum Switch.
std::span<const std::string_view> switch_rows();

// "CORO_STACK_SIZE" and "--stack-size" of the option "stack_size".
std::string variable_of(const OptionRow& row);
std::string switch_of(const OptionRow& row);

// The value that an option has on a command line that gives none ("--stats"); null when it needs
// one.
const char* value_alone(const OptionRow& row);

// `coro --help`, `coro options`, `coro profiles` and `coro calls` on standard output.
void print_help();
void print_options(bool markdown);
void print_profiles(bool markdown);
void print_calls(bool markdown);

}  // namespace coro
