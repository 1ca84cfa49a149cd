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

void message(std::initializer_list<std::string_view> parts) {
  char line[1024];
  size_t used = 0;
  auto add = [&](std::string_view text) {
    for (char c : text)
      if (used < sizeof line - 1) line[used++] = c;
  };
  add("coro: ");
  for (std::string_view part : parts) add(part);
  line[used++] = '\n';
  sys::write(2, line, used);
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
