// SPDX-License-Identifier: Apache-2.0
//
// The root of everything: what happens when the library is loaded, and the report when the process ends. The engine is
// not started here but by the first pthread_create (hooks/thread.cc), so that a program without threads pays for the
// loading of one small library and for nothing else.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "hooks/audit.h"
#include "hooks/hook.h"
#include "preload/options.h"
#include "preload/real.h"
#include "scheduler/check.h"
#include "scheduler/engine.h"
#include "scheduler/sys.h"

namespace coro {

void report_at_exit();
void watch_forks();  // hooks/process.cc

namespace {

// Text of the report, written out whole with one write(2) so that processes sharing a file do not mix.
class Report {
 public:
  Report& operator<<(std::string_view part) {
    for (char c : part)
      if (used_ < sizeof text_) text_[used_++] = c;
    return *this;
  }
  Report& operator<<(uint64_t number) { return *this << Decimal(static_cast<int64_t>(number)); }
  void write_to(int fd) { sys::write(fd, text_, used_); }

 private:
  char text_[32768] = {};
  size_t used_ = 0;
};

Counters sum_counters() {
  Counters sum;
  for (int i = 0; i < hub_count(); i++) {
#define COUNTER(name, help) sum.name += hub(i).counters.name;
#include "scheduler/counters.def"
#undef COUNTER
  }
  return sum;
}

CallCounters sum_calls(int call) {
  CallCounters sum;
  for (int i = 0; i < hub_count(); i++) {
    const CallCounters& one = hub(i).calls[call];
    sum.calls += one.calls;
    sum.parks += one.parks;
    sum.passed += one.passed;
  }
  return sum;
}

bool is_used(const CallCounters& call) { return call.calls || call.parks || call.passed; }

void put_escaped(Report& out, std::string_view text) {
  for (char c : text) {
    if (c == '"' || c == '\\') out << "\\";
    if (static_cast<unsigned char>(c) >= 32) out << std::string_view(&c, 1);
  }
}

void put_json(Report& out) {
  EngineNumbers numbers = engine_numbers();
  Counters counters = sum_counters();
  out << "{\"pid\":" << static_cast<uint64_t>(sys::getpid()) << ",\"program\":\"";
  put_escaped(out, program_invocation_short_name);
  out << "\",\"fibers_made\":" << (engine_started() ? numbers.fibers_made - 1 : 0)
      << ",\"fibers_alive_most\":" << static_cast<uint64_t>(numbers.fibers_alive_most)
      << ",\"hubs\":" << static_cast<uint64_t>(hub_count())
      << ",\"kernel_threads_most\":" << static_cast<uint64_t>(engine_started() ? numbers.kernel_threads_most : 0);
#define COUNTER(name, help) out << ",\"" #name "\":" << counters.name;
#include "scheduler/counters.def"
#undef COUNTER
  out << ",\"calls\":{";
  bool first = true;
  for (int i = 1; i < static_cast<int>(Call::count); i++) {
    CallCounters call = sum_calls(i);
    if (!is_used(call)) continue;
    out << (first ? "\"" : ",\"") << name_of(static_cast<Call>(i)) << "\":{\"calls\":" << uint64_t{call.calls}
        << ",\"parks\":" << uint64_t{call.parks} << ",\"passed\":" << uint64_t{call.passed} << "}";
    first = false;
  }
  out << "}}\n";
}

void put_column(Report& out, uint64_t number) {
  Decimal text(static_cast<int64_t>(number));
  std::string_view digits = text;
  for (size_t i = digits.size(); i < 12; i++) out << " ";
  out << digits;
}

void put_text(Report& out) {
  EngineNumbers numbers = engine_numbers();
  Counters counters = sum_counters();
  out << "coro: " << program_invocation_short_name << ", pid " << static_cast<uint64_t>(sys::getpid());
  if (!engine_started()) {
    out << ": no fiber was made\n";
    return;
  }
  out << "\n  fibers made " << numbers.fibers_made - 1 << ", alive at most "
      << static_cast<uint64_t>(numbers.fibers_alive_most) << " (main included)\n  hubs "
      << static_cast<uint64_t>(hub_count()) << ", kernel threads at most "
      << static_cast<uint64_t>(numbers.kernel_threads_most) << "\n";
#define COUNTER(name, help)      \
  put_column(out, counters.name); \
  out << "  " #name ": " help "\n";
#include "scheduler/counters.def"
#undef COUNTER
  out << "       calls       parks      passed  call\n";
  for (int i = 1; i < static_cast<int>(Call::count); i++) {
    CallCounters call = sum_calls(i);
    if (!is_used(call)) continue;
    put_column(out, call.calls);
    put_column(out, call.parks);
    put_column(out, call.passed);
    out << "  " << name_of(static_cast<Call>(i)) << "\n";
  }
}

void at_unload();

#define START(function) function();

// The order matters; each line says why it stands where it does. Linked with -z initfirst: before every other library's
// constructor, libc's own included, which sets environ.
__attribute__((constructor(101))) void start(int, char**, char** environment) {
  KeepErrno keep;
  START(watch_forks)   // first: dlsym may call a malloc that registers fork handlers of its own, and ours must be before
  START(resolve_real)  // everything below may call libc through the table
  START([&] { parse_options(environment); })  // before anything that asks an option
}

__attribute__((destructor)) void at_unload() { report_at_exit(); }

#undef START

}  // namespace

namespace {

void put_noted(const Noted& noted, void* argument) {
  auto& out = *static_cast<Report*>(argument);
  put_column(out, noted.count);
  out << (noted.hand_off ? "  hand-off in " : "  past the hooks: ");
  const char* name = noted.number < 0 ? "a computation" : name_of_number(noted.number);
  if (name)
    out << name;
  else
    out << "call " << static_cast<uint64_t>(noted.number);
  Dl_info place;
  if (noted.address && dladdr(reinterpret_cast<void*>(noted.address - 1), &place) && place.dli_fname) {
    const char* slash = strrchr(place.dli_fname, '/');
    out << ", " << (slash ? slash + 1 : place.dli_fname);
    if (place.dli_sname) out << " (" << place.dli_sname << ")";
  }
  out << "\n";
}

void audit_at_exit() {
  static constinit Report out;
  out << "coro: audit of " << program_invocation_short_name << ", pid " << static_cast<uint64_t>(sys::getpid()) << "\n";
  each_noted(put_noted, &out);
  out.write_to(2);
}

}  // namespace

void report_at_exit() {
  static std::atomic<int> reported_by{0};
  std::string_view place = options().stats;
  int pid = sys::getpid();
  if ((place.empty() && !options().audit) || reported_by.exchange(pid) == pid) return;
  if (options().audit && engine_started()) audit_at_exit();
  if (place.empty()) return;
  static constinit Report out;
  if (place == "stderr") {
    put_text(out);
    out.write_to(2);
    return;
  }
  put_json(out);
  int fd = static_cast<int>(sys::call(SYS_openat, AT_FDCWD, sys::as_long(place.data()), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
  if (fd < 0) {
    message({"cannot write the statistics to ", place, " (CORO_STATS)"});
    return;
  }
  out.write_to(fd);
  sys::close(fd);
}

}  // namespace coro
