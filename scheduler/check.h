// SPDX-License-Identifier: Apache-2.0
//
// CHECK, messages and trace: how the library speaks. Everything goes out by one raw write(2) to stderr: no stdio, no
// malloc, no lock, so that it may be called from a hook, a signal handler or a half-started process.
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace coro {

// Decimal text of a number, in a buffer of its own; for message() and trace().
class Decimal {
 public:
  explicit Decimal(int64_t value);
  operator std::string_view() const { return {digits_ + begin_, sizeof digits_ - begin_}; }

 private:
  char digits_[24];
  size_t begin_;
};

// Writes "coro: <parts>\n" to stderr in one write(2). Any thread; never touches errno.
void message(std::initializer_list<std::string_view> parts);

// As message(), and aborts the process when set_strict(true) was said (CORO_STRICT=1, used by our tests).
void trouble(std::initializer_list<std::string_view> parts);
void set_strict(bool strict);

// One CHECK line and abort(3). Never returns.
[[noreturn]] void check_failed(const char* condition, const char* file, int line);

// Whether CORO_TRACE names any call. Read through is_traced() of engine.h: one relaxed load when it does not.
extern std::atomic<bool> tracing;

// One station of a traced call: "coro: <file>  <parts>", the file being the caller's. Any thread; never touches errno.
void trace(std::initializer_list<std::string_view> parts, const char* file = __builtin_FILE());

// A span of time for people, "4.1 ms", for trace().
class Milliseconds {
 public:
  explicit Milliseconds(int64_t nanoseconds);
  operator std::string_view() const { return {text_, used_}; }

 private:
  char text_[32];
  size_t used_ = 0;
};

}  // namespace coro

// An invariant of the engine, on in release builds too: a wrong scheduler must stop, not corrupt.
#define CHECK(condition) \
  (__builtin_expect(!(condition), 0) ? ::coro::check_failed(#condition, __FILE__, __LINE__) : (void)0)
