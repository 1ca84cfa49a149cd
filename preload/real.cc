// SPDX-License-Identifier: Apache-2.0
//
// Traps: dlsym may allocate and lock, so everything is resolved in one go and never inside a hook's fast path. A look-up
// that fails does allocate (its message), and a malloc like jemalloc, which locks its start-up with pthread_mutex_lock,
// may be what called us: nothing is looked up that is not there.
// pthread_cond_* exist in two versions with different code (2.2.5 for LinuxThreads' layout, 2.3.2): dlvsym names the
// one that today's programs are linked against. A "real" function that is our own hook would recurse for ever: refused.
#include "preload/real.h"

#include <string.h>

#include <atomic>

#include "scheduler/check.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

// The linker's names for where this library begins and ends in memory.
extern "C" __attribute__((visibility("hidden"))) char __ehdr_start[], _end[];

namespace coro {
namespace {

template <auto Member>
struct Stub;
template <class R, class... A, R (*Real::*Member)(A...)>
struct Stub<Member> {
  static R call(A... arguments) {
    resolve_real();
    return (real.*Member)(arguments...);
  }
};

constexpr Real stubs() {
  Real table{};
#define SYMBOL(name, family, does) table.name = Stub<&Real::name>::call;
#define ALIAS(name, family, of)
#include "preload/symbols.def"
#undef SYMBOL
#undef ALIAS
  return table;
}

// In the order of Real's members.
constexpr const char* names[] = {
#define SYMBOL(name, family, does) #name,
#define ALIAS(name, family, of)
#include "preload/symbols.def"
#undef SYMBOL
#undef ALIAS
};
static_assert(sizeof(Real) == sizeof(names));

bool has_two_versions(const char* name) {
  for (const char* one : {"pthread_cond_broadcast", "pthread_cond_destroy", "pthread_cond_init",
                          "pthread_cond_signal", "pthread_cond_timedwait", "pthread_cond_wait"})
    if (strcmp(name, one) == 0) return true;
  return false;
}

void* look_up(const char* name) {
  if (has_two_versions(name))
    if (void* found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2")) return found;
  return dlsym(RTLD_NEXT, name);
}

std::atomic<bool> resolved{false};

}  // namespace

constinit Real real = stubs();

void resolve_real() {
  if (resolved.load(std::memory_order_acquire)) return;
  auto* slots = reinterpret_cast<void**>(&real);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    void* found = look_up(names[i]);
    // libc of another release may lack a name; our own function as "real" would recurse for ever.
    if (!found || (found >= __ehdr_start && found < _end))
      trouble({"this libc has no ", names[i]});
    else
      slots[i] = found;
  }
  resolved.store(true, std::memory_order_release);
}

}  // namespace coro
