// SPDX-License-Identifier: Apache-2.0
#include "scheduler/check.h"

#include <signal.h>

#include "scheduler/sys.h"

namespace coro {
namespace {
std::atomic<bool> strict_{false};
}

std::atomic<bool> tracing{false};

Decimal::Decimal(int64_t value) : begin_(sizeof digits_) {
  uint64_t rest = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  do {
    digits_[--begin_] = static_cast<char>('0' + rest % 10);
    rest /= 10;
  } while (rest);
  if (value < 0) digits_[--begin_] = '-';
}

namespace {

// "coro: <head><parts>\n", in one write(2).
void put_line(std::string_view head, size_t head_width, std::initializer_list<std::string_view> parts) {
  char line[1024];
  size_t used = 0;
  auto add = [&](std::string_view text) {
    for (char c : text)
      if (used < sizeof line - 1) line[used++] = c;
  };
  add("coro: ");
  add(head);
  for (size_t i = head.size(); i < head_width; i++) add(" ");
  for (std::string_view part : parts) add(part);
  line[used++] = '\n';
  sys::write(2, line, used);
}

// "room/file.cc" out of whatever path the compiler was given.
std::string_view in_its_room(std::string_view path) {
  size_t at = path.size();
  for (int slashes = 0; at > 0; at--)
    if (path[at - 1] == '/' && ++slashes == 2) break;
  path.remove_prefix(at);
  return path;
}

}  // namespace

void message(std::initializer_list<std::string_view> parts) { put_line({}, 0, parts); }

void trace(std::initializer_list<std::string_view> parts, const char* file) {
  constexpr size_t longest = std::string_view("scheduler/offload.cc").size();
  put_line(in_its_room(file), longest + 2, parts);
}

Milliseconds::Milliseconds(int64_t nanoseconds) {
  auto add = [&](std::string_view text) {
    for (char c : text) text_[used_++] = c;
  };
  int64_t tenths = nanoseconds / 100'000;
  add(Decimal(tenths / 10));
  add(".");
  add(Decimal(tenths % 10));
  add(" ms");
}

void set_strict(bool strict) { strict_ = strict; }

static void die() {
  sys::set_signal_mask(0);
  struct {
    uint64_t handler, flags, restorer, mask;
  } fallback{};
  sys::call(SYS_rt_sigaction, SIGABRT, sys::as_long(&fallback), 0, 8);
  sys::call(SYS_tgkill, sys::getpid(), sys::gettid(), SIGABRT);
  __builtin_trap();
}

void trouble(std::initializer_list<std::string_view> parts) {
  message(parts);
  if (strict_) die();
}

void check_failed(const char* condition, const char* file, int line) {
  message({"CHECK(", condition, ") failed at ", file, ":", Decimal(line)});
  die();
  __builtin_unreachable();
}

}  // namespace coro
