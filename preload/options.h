// SPDX-License-Identifier: Apache-2.0
//
// The settings, from the CORO_* variables: parsed once at start, const afterwards. Until then every
// option has its default, so a hook called before our constructor finds sane values. Linked into
// libcoro.so and into the launcher: no libstdc++ at run time, no malloc, no stdio.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace coro {

// The parts of CORO_PATCH (switches.def). `always` is what no switch turns off.
enum class Switch : uint8_t {
#define SWITCH(name, covers) name,
#include "preload/switches.def"
#undef SWITCH
  always
};

// The families of symbols.def, and the switch that each obeys.
enum class Family : uint8_t {
#define FAMILY(name, obeys, holds) name,
#include "preload/switches.def"
#undef FAMILY
};
constexpr Switch switch_of(Family family) {
  constexpr Switch switches[] = {
#define FAMILY(name, obeys, holds) Switch::obeys,
#include "preload/switches.def"
#undef FAMILY
  };
  return switches[static_cast<int>(family)];
}

// One row of options.def, as text and numbers.
struct OptionRow;

// 1, yes, on, true; 0, no, off, false.
class Flag {
 public:
  constexpr operator bool() const { return value_; }
  constexpr bool parse(std::string_view text, const OptionRow& row);

 private:
  bool value_ = false;
};

// A decimal number from min to max.
class Integer {
 public:
  constexpr operator int() const { return value_; }
  constexpr bool parse(std::string_view text, const OptionRow& row);

 private:
  int value_ = 0;
};

// A number of bytes from min to max; k, M and G stand for 2^10, 2^20 and 2^30.
class Bytes {
 public:
  constexpr operator size_t() const { return value_; }
  constexpr bool parse(std::string_view text, const OptionRow& row);

 private:
  size_t value_ = 0;
};

// One of the words of the row's unit column.
class Choice {
 public:
  constexpr operator std::string_view() const { return value_; }
  constexpr bool parse(std::string_view text, const OptionRow& row);

 private:
  std::string_view value_;
};

// Any text. The environment may be overwritten later (setproctitle), so parse_options() keeps a
// copy.
class Text {
 public:
  constexpr operator std::string_view() const { return value_; }
  constexpr bool parse(std::string_view text, const OptionRow& row);

 private:
  std::string_view value_;
};

// The parts that are switched on: a list of parts takes only these, a list of no-PART all but
// these.
class Patch {
 public:
  constexpr bool covers(Switch part) const { return bits_ >> static_cast<int>(part) & 1; }
  constexpr bool parse(std::string_view text, const OptionRow& row);

 private:
  uint32_t bits_ = 0;
};

// The traced calls, by row of symbols.def counted from 0.
class Trace {
 public:
  static constexpr size_t most = 1024;
  constexpr bool covers(size_t symbol) const { return bits_[symbol / 64] >> symbol % 64 & 1; }
  constexpr bool any() const { return any_; }
  constexpr bool parse(std::string_view text, const OptionRow& row);

 private:
  uint64_t bits_[most / 64] = {};
  bool any_ = false;
};

// Every option, a field each. The constructor sets the defaults of the table.
struct Options {
  constexpr Options();
#define OPTION(name, type, fallback, min, max, unit, help) type name;
#include "preload/options.def"
#undef OPTION
};

struct OptionRow {
  std::string_view name;  // as in options.def; the variable is CORO_ and this in capitals
  std::string_view type, fallback;
  int64_t min, max;
  std::string_view unit, help;
  bool (*set)(Options&, std::string_view text, const OptionRow&);  // false: not allowed
};

// The rows of options.def, in its order.
std::span<const OptionRow> option_rows();

// A sentence part that says what the option takes ("a number from 1 to 64"), written into `room`.
std::string_view allowed_values(const OptionRow& row, std::span<char> room);

// Whether the option takes this value.
bool is_allowed(const OptionRow& row, std::string_view text);

// Reads the CORO_* variables of an environment (as in environ). Complains in one line about each
// that is unknown or has a bad value, which then keeps its default; aborts instead under
// CORO_STRICT=1.
void parse_options(const char* const* environment);

namespace detail {
extern Options settings;
}

// The settings in force. Any thread; a plain load.
inline const Options& options() { return detail::settings; }

}  // namespace coro
