// SPDX-License-Identifier: Apache-2.0
#include "preload/options.h"

#include "scheduler/check.h"

namespace coro {
namespace {

constexpr int64_t operator""_KiB(unsigned long long n) { return static_cast<int64_t>(n << 10); }
constexpr int64_t operator""_GiB(unsigned long long n) { return static_cast<int64_t>(n << 30); }

constexpr std::string_view prefix = "CORO_";

constexpr std::string_view switch_names[] = {
#define SWITCH(name, covers) #name,
#include "preload/switches.def"
#undef SWITCH
};
constexpr uint32_t always_bit = 1u << static_cast<int>(Switch::always);
constexpr uint32_t every_switch = always_bit - 1;

constexpr std::string_view symbol_names[] = {
#define SYMBOL(name, family, does) #name,
#define ALIAS(name, family, of)
#include "preload/symbols.def"
#undef ALIAS
#undef SYMBOL
};
static_assert(std::size(symbol_names) <= Trace::most);

// Copies of texts out of the environment. Four paths' worth; what does not fit is refused.
char kept[16384];
size_t kept_bytes = 0;

constexpr size_t nowhere = ~size_t{0};

constexpr size_t index_of(std::span<const std::string_view> names, std::string_view name) {
  for (size_t i = 0; i < names.size(); ++i)
    if (names[i] == name) return i;
  return nowhere;
}

// substr() without its exception, which would need libstdc++ at run time.
constexpr std::string_view part_of(std::string_view text, size_t from, size_t most = nowhere) {
  text.remove_prefix(from < text.size() ? from : text.size());
  return {text.data(), most < text.size() ? most : text.size()};
}

// Takes the next word off a list; words are parted by any of `separators`.
constexpr std::string_view next_word(std::string_view& list, std::string_view separators) {
  size_t end = list.find_first_of(separators);
  std::string_view word = part_of(list, 0, end);
  list = end == list.npos ? std::string_view{} : part_of(list, end + 1);
  return word;
}

// Reads digits only; false for anything else and for what does not fit 62 bits.
constexpr bool to_number(std::string_view text, int64_t& number) {
  if (text.empty()) return false;
  number = 0;
  for (char c : text) {
    if (c < '0' || c > '9' || number >= (int64_t{1} << 62) / 10) return false;
    number = number * 10 + (c - '0');
  }
  return true;
}

constexpr int scale_of(char suffix) {
  switch (suffix) {
    case 'k':
    case 'K':
      return 10;
    case 'm':
    case 'M':
      return 20;
    case 'g':
    case 'G':
      return 30;
  }
  return 0;
}

}  // namespace

constexpr bool Flag::parse(std::string_view text, const OptionRow&) {
  constexpr std::string_view words[] = {"0", "1", "no", "yes", "off", "on", "false", "true"};
  size_t word = index_of(words, text);
  if (word != nowhere) value_ = word % 2;
  return word != nowhere;
}

constexpr bool Integer::parse(std::string_view text, const OptionRow& row) {
  int64_t number = 0;
  if (!to_number(text, number)) return false;
  if (text != row.fallback && (number < row.min || number > row.max)) return false;
  value_ = static_cast<int>(number);
  return true;
}

constexpr bool Bytes::parse(std::string_view text, const OptionRow& row) {
  int scale = text.empty() ? 0 : scale_of(text.back());
  if (scale) text.remove_suffix(1);
  int64_t number = 0;
  if (!to_number(text, number) || number > row.max >> scale) return false;
  if (text != row.fallback && number << scale < row.min) return false;
  value_ = static_cast<size_t>(number << scale);
  return true;
}

constexpr bool Choice::parse(std::string_view text, const OptionRow& row) {
  for (std::string_view choices = row.unit; !choices.empty();) {
    std::string_view choice = next_word(choices, " ");
    if (choice != text) continue;
    value_ = choice;
    return true;
  }
  return false;
}

constexpr bool Text::parse(std::string_view text, const OptionRow&) {
  if (text.empty()) {
    value_ = {};
    return true;
  }
  if (text.size() > sizeof kept - kept_bytes) return false;
  char* copy = kept + kept_bytes;
  for (char c : text) kept[kept_bytes++] = c;
  value_ = {copy, text.size()};
  return true;
}

constexpr bool Patch::parse(std::string_view text, const OptionRow&) {
  uint32_t taken = 0, left = 0;
  if (text == "all") {
    taken = every_switch;
  } else if (text == "none") {
    left = every_switch;
  } else {
    while (!text.empty()) {
      std::string_view word = next_word(text, ", ");
      bool no = word.starts_with("no-");
      size_t part = index_of(switch_names, no ? part_of(word, 3) : word);
      if (part == nowhere) return false;
      (no ? left : taken) |= 1u << part;
    }
    if (taken && left) return false;  // "socket,no-dns": which of the two was meant?
  }
  bits_ = (taken ? taken : every_switch & ~left) | always_bit;
  return true;
}

constexpr bool Trace::parse(std::string_view text, const OptionRow&) {
  Trace wanted;
  while (!text.empty()) {
    std::string_view word = next_word(text, ", ");
    size_t symbol = index_of(symbol_names, word);
    if (symbol == nowhere && word != "all") return false;
    for (size_t i = 0; i < std::size(symbol_names); ++i)
      if (word == "all" || i == symbol) wanted.bits_[i / 64] |= uint64_t{1} << i % 64;
    wanted.any_ = true;
  }
  *this = wanted;
  return true;
}

namespace {

constexpr OptionRow rows[] = {
#define OPTION(name, type, fallback, min, max, unit, help)         \
  {#name,                                                          \
   #type,                                                          \
   fallback,                                                       \
   min,                                                            \
   max,                                                            \
   unit,                                                           \
   help,                                                           \
   [](Options& all, std::string_view text, const OptionRow& row) { \
     return all.name.parse(text, row);                             \
   }},
#include "preload/options.def"
#undef OPTION
};

// Whether `variable` is CORO_ and the row's name in capitals.
bool is_variable_of(const OptionRow& row, std::string_view variable) {
  variable.remove_prefix(prefix.size());
  if (variable.size() != row.name.size()) return false;
  for (size_t i = 0; i < variable.size(); ++i) {
    char c = row.name[i];
    if (variable[i] != (c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c)) return false;
  }
  return true;
}

void parse_variable(std::string_view variable, std::string_view text) {
  for (const OptionRow& row : rows) {
    if (!is_variable_of(row, variable)) continue;
    if (text.empty() || row.set(detail::settings, text, row)) return;
    char room[512];
    std::string_view fallback = row.fallback.empty() ? "nothing" : row.fallback;
    trouble({variable, "=", part_of(text, 0, 200), " is not allowed: ", allowed_values(row, room),
             "; going on with ", fallback});
    return;
  }
  trouble({variable, " is not an option; `coro options` lists them"});
}

// Text put together in a given room; what does not fit is left off.
class Line {
 public:
  explicit Line(std::span<char> room) : room_(room) {}
  Line& operator+=(std::string_view text) {
    for (char c : text)
      if (used_ < room_.size()) room_[used_++] = c;
    return *this;
  }
  std::string_view text() const { return {room_.data(), used_}; }

 private:
  std::span<char> room_;
  size_t used_ = 0;
};

void add_bytes(Line& line, int64_t bytes) {
  int unit = 0;
  while (unit < 3 && bytes && bytes % 1024 == 0) bytes /= 1024, ++unit;
  line += Decimal(bytes);
  line += part_of(" kMG", unit, unit ? 1 : 0);
}

}  // namespace

constexpr Options::Options() {
  for (const OptionRow& row : rows)
    if (!row.set(*this, row.fallback, row)) __builtin_unreachable();
}

namespace detail {
constinit Options settings;
}

std::span<const OptionRow> option_rows() { return rows; }

std::string_view allowed_values(const OptionRow& row, std::span<char> room) {
  Line line(room);
  if (row.type == "Flag") line += "0 or 1";
  if (row.type == "Choice") (line += "one of ") += row.unit;
  if (row.type == "Text") line += "a text of at most 16000 bytes";
  if (row.type == "Trace") line += "a comma list of calls (preload/symbols.def has them), or all";
  if (row.type == "Integer") {
    ((line += "a number from ") += Decimal(row.min)) += " to ";
    line += Decimal(row.max);
    if (row.fallback == "0" && row.min > 0) line += ", or 0";
  }
  if (row.type == "Bytes") {
    add_bytes(line += "a size from ", row.min);
    add_bytes(line += " to ", row.max);
    ((line += " (k, M, G are understood), or ") += row.fallback);
  }
  if (row.type == "Patch") {
    line += "all, none, or a comma list of either PART or no-PART, where PART is one of";
    for (std::string_view name : switch_names) (line += " ") += name;
  }
  return line.text();
}

bool is_allowed(const OptionRow& row, std::string_view text) {
  Options scratch;
  return row.set(scratch, text, row);
}

void parse_options(const char* const* environment) {
  bool any = false;
  auto each = [&](auto&& visit) {
    for (const char* const* entry = environment; entry && *entry; ++entry) {
      if (__builtin_strncmp(*entry, prefix.data(), prefix.size())) continue;
      std::string_view text = *entry;
      size_t equals = text.find('=');
      if (equals == text.npos) continue;
      visit(part_of(text, 0, equals), part_of(text, equals + 1));
    }
  };
  // CORO_STRICT first: it decides what becomes of trouble with the others.
  each([&](std::string_view variable, std::string_view text) {
    any = true;
    if (variable == "CORO_STRICT") parse_variable(variable, text);
  });
  set_strict(options().strict);
  if (!any) return;
  each([&](std::string_view variable, std::string_view text) {
    if (variable != "CORO_STRICT") parse_variable(variable, text);
  });
}

}  // namespace coro
