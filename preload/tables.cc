// SPDX-License-Identifier: Apache-2.0
#include "preload/tables.h"

#include "preload/profile.h"

#include <algorithm>
#include <cctype>
#include <cstdio>

namespace coro {
namespace {

constexpr SymbolRow symbols[] = {
#define SYMBOL(name, family, does) {#name, #does, Family::family},
#define ALIAS(name, family, of) {#name, "other names", Family::family},
#include "preload/symbols.def"
#undef ALIAS
#undef SYMBOL
};

constexpr FamilyRow families[] = {
#define FAMILY(name, obeys, holds) {#name, #obeys, holds, Family::name},
#include "preload/switches.def"
#undef FAMILY
};

constexpr std::string_view switches[] = {
#define SWITCH(name, covers) #name,
#include "preload/switches.def"
#undef SWITCH
};

constexpr std::string_view switch_texts[] = {
#define SWITCH(name, covers) covers,
#include "preload/switches.def"
#undef SWITCH
};

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

std::string padded(std::string text, size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

std::string allowed(const OptionRow& row) {
  char room[512];
  return std::string(allowed_values(row, room));
}

std::string shown_default(const OptionRow& row, std::string_view quote) {
  if (row.fallback.empty()) return "nothing";
  return std::string(quote).append(row.fallback).append(quote);
}

std::string in_capitals(std::string_view text) {
  std::string capitals;
  for (char c : text) capitals += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return capitals;
}

// "=HUBS", or "[=PLACE]" where the value may be left off.
std::string placeholder_of(const OptionRow& row) {
  if (row.type == "Flag") return "";
  std::string value = "=" + (row.type == "Choice" ? "HOW" : in_capitals(row.unit));
  return value_alone(row) ? "[" + value + "]" : value;
}

// The calls of one family that do one thing: "accept, connect".
std::string names_of(Family family, std::string_view does, std::string_view quote) {
  std::string names;
  for (const SymbolRow& row : symbols) {
    if (row.family != family || row.does != does) continue;
    names.append(names.empty() ? "" : ", ").append(quote).append(row.name).append(quote);
  }
  return names;
}

// The calls of one family: "parks: accept, connect; answers: ...".
std::string calls_of(Family family, std::string_view emphasis, std::string_view quote) {
  std::string all;
  for (std::string_view does : {"parks", "offloads", "answers", "tracks", "other names"}) {
    std::string names = names_of(family, does, quote);
    if (names.empty()) continue;
    if (!all.empty()) all += "; ";
    all.append(emphasis).append(does).append(emphasis).append(": ").append(names);
  }
  return all;
}

}  // namespace

std::span<const SymbolRow> symbol_rows() { return symbols; }
std::span<const FamilyRow> family_rows() { return families; }
std::span<const std::string_view> switch_rows() { return switches; }

std::string variable_of(const OptionRow& row) { return "CORO_" + in_capitals(row.name); }

std::string switch_of(const OptionRow& row) {
  std::string name = "--" + std::string(row.name);
  std::ranges::replace(name, '_', '-');
  return name;
}

const char* value_alone(const OptionRow& row) {
  if (row.type == "Flag") return "1";
  if (row.name == "stats") return "stderr";
  if (row.name == "trace") return "all";
  return nullptr;
}

void print_help() {
  print(
      "coro runs an unmodified program with its threads as fibers.\n\n"
      "  coro run [option...] [--] program [argument...]\n"
      "  coro check program     can it run, and what of it is covered?\n"
      "  coro options           every option with its default and limits\n"
      "  coro profiles          how many hubs which programs have\n"
      "  coro calls             every call that libcoro knows\n"
      "  coro --help, coro --version\n\n"
      "Options of run (each also as a variable, see `coro options`):\n");
  for (const OptionRow& row : option_rows())
    print("  " + padded(switch_of(row) + placeholder_of(row), 29) + std::string(row.help) + "\n");
  print("  " + padded("--only PARTS", 29) + "the same as --patch=PARTS\n");
  for (size_t i = 0; i < std::size(switches); ++i)
    print("  " + padded("--no-" + std::string(switches[i]), 29) + "leave alone " +
          std::string(switch_texts[i]) + "\n");
  print(
      "\nExit status: the program's own; 125 for a wrong command line, 126 when the program cannot "
      "be\n"
      "run under libcoro, 127 when it is not found.\n");
}

void print_options(bool markdown) {
  if (markdown) print("| variable | default | allowed | meaning |\n|---|---|---|---|\n");
  for (const OptionRow& row : option_rows()) {
    std::string help(row.help);
    if (markdown) {
      print("| `" + variable_of(row) + "` | " + shown_default(row, "`") + " | " + allowed(row) +
            " | " + help + " |\n");
    } else {
      print(padded(variable_of(row), 22) + padded(switch_of(row), 20) + "default " +
            shown_default(row, "") + "\n  " + help + "\n  allowed: " + allowed(row) + "\n");
    }
  }
}

void print_profiles(bool markdown) {
  if (markdown) print("| profile | chosen when the program exports | hubs | why |\n|---|---|---|---|\n");
  for (const ProfileRow& row : profile_rows) {
    std::string name(row.name), sign(row.sign), hubs = row.hubs ? std::to_string(row.hubs) : "as CPUs", help(row.help);
    if (sign.empty()) sign = &row == profile_rows ? "none of these" : "(on request)";
    else if (markdown) sign = "`" + sign + "`";
    if (markdown)
      print("| `" + name + "` | " + sign + " | " + hubs + " | " + help + " |\n");
    else
      print(padded(name, 10) + padded(sign, 20) + padded(hubs + (row.hubs == 1 ? " hub" : ""), 10) + help + "\n");
  }
}

void print_calls(bool markdown) {
  if (markdown) print("| family | part | calls |\n|---|---|---|\n");
  for (const FamilyRow& row : families) {
    std::string name(row.name), part(row.obeys);
    if (markdown) {
      print("| " + name + " | " + part + " | " + calls_of(row.family, "*", "`") + " |\n");
    } else {
      print(name + " (part " + part + "): " + std::string(row.holds) + "\n  " +
            calls_of(row.family, "", "") + "\n");
    }
  }
}

}  // namespace coro
