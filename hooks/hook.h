// SPDX-License-Identifier: Apache-2.0
//
// What every hook begins with: HOOK() defines the exported function, gate<Call::x>() asks whether this call may park.
#pragma once

#include <errno.h>

#include "preload/options.h"
#include "preload/real.h"
#include "scheduler/engine.h"
#include "scheduler/wait.h"

// HOOK(ssize_t, recv, (int fd, ...)) { ... } exports `recv`. The function's C++ name is hook_recv, so that libc's own
// declaration (noexcept, attributes) is not redeclared, and a plain call of recv() in our code stands out: it is an
// error (tests/house/self_calls.py). Cancellation points must stay unwindable: none of ours is noexcept.
#define HOOK(result, name, arguments)                                                       \
  extern "C" __attribute__((visibility("default"))) result hook_##name arguments __asm__(#name); \
  result hook_##name arguments
// A second door to a hook of the same file (ALIAS rows of symbols.def).
#define HOOK_ALIAS(name, of)                                                                   \
  extern "C" __attribute__((visibility("default"), alias(#of))) decltype(hook_##of) hook_##name __asm__( \
      #name)

namespace coro {

// One value per row of symbols.def; as a Reason, why a fiber is parked.
enum class Call : Reason {
  none,
#define SYMBOL(name, family, does) name,
#define ALIAS(name, family, of)
#include "preload/symbols.def"
#undef SYMBOL
#undef ALIAS
  count
};
static_assert(static_cast<int>(Call::count) <= most_reasons);

constexpr Reason to_reason(Call call) { return static_cast<Reason>(call); }

constexpr Family family_of(Call call) {
  constexpr Family families[] = {
      Family::thread,  // none
#define SYMBOL(name, family, does) Family::family,
#define ALIAS(name, family, of)
#include "preload/symbols.def"
#undef SYMBOL
#undef ALIAS
  };
  return families[static_cast<int>(call)];
}

const char* name_of(Call call);

// Keeps errno as it was found, unless keep() is not wanted: for work that libc's own function would not do.
class KeepErrno {
 public:
  KeepErrno() : saved_(errno) {}
  ~KeepErrno() { errno = saved_; }
  KeepErrno(const KeepErrno&) = delete;

 private:
  int saved_;
};

// The running fiber when it may park in this call: it is on a hub and the call's family is switched on. Null: pass the
// call to real, untouched. Counts.
template <Call call>
inline Fiber* gate() {
  Fiber* fiber = on_hub();
  if (__builtin_expect(!fiber, 0)) return nullptr;
  CallCounters& counters = fiber->hub.load(std::memory_order_relaxed)->calls[to_reason(call)];
  counters.calls++;
  // Calls that never park are no way to keep the hub: after a run of them the others have their turn. Not in lock calls:
  // whoever holds a lock is best let run, and it may be that of an allocator, which everybody needs.
  if constexpr (family_of(call) != Family::lock) {
    if (__builtin_expect(++fiber->calls_in_a_row == 0, 0)) {
      KeepErrno keep;
      take_turns();
    }
  }
  // io obeys the switch of what the descriptor is: hooks/io.cc asks.
  constexpr Switch part = switch_of(family_of(call));
  if constexpr (part != Switch::always && family_of(call) != Family::io) {
    if (__builtin_expect(!options().patch.covers(part), 0)) {
      counters.passed++;
      return nullptr;
    }
  }
  return fiber;
}

inline long failed(int error) {
  errno = error;
  return -1;
}

// Acts on a pending, enabled cancellation: unwinds and does not return. What a cancellation point does at its entry.
inline void test_cancel(Fiber* fiber) {
  if (__builtin_expect(!fiber->is_cancelled(), 1)) return;
  fiber->handlers_end_waits = false;  // it unwinds out of the call that set it
  pthread_testcancel();
}

// While it lives the calls of the running fiber are no cancellation points: for calls that are none in libc and are made of
// some that are. Not under asynchronous cancellation, which may end any call. hooks/jumps.cc undoes it for who jumps out.
class NoCancellationPoint {
 public:
  NoCancellationPoint() : fiber_(current) {
    if (!fiber_ || fiber_->is_asynchronous() || fiber_->shielded) fiber_ = nullptr;
    if (!fiber_) return;
    int before = PTHREAD_CANCEL_DISABLE;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    fiber_->shielded = before == PTHREAD_CANCEL_ENABLE;
  }
  ~NoCancellationPoint() {
    if (fiber_) end(*fiber_);
  }
  NoCancellationPoint(const NoCancellationPoint&) = delete;

  static void end(Fiber& fiber) {
    if (!fiber.shielded) return;
    fiber.shielded = false;
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, nullptr);
  }

 private:
  Fiber* fiber_;
};

}  // namespace coro
