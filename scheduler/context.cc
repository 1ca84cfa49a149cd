// SPDX-License-Identifier: Apache-2.0
//
// The only file with Boost.Context and with wrfsbase.
//
// What is NOT saved by the switch, and why that is sound:
//  - the signal mask: masks of fibers are virtual (hooks/signals.cc); the kernel's mask belongs to the carrier;
//  - caller-saved registers, vector registers: a switch is a function call, the ABI lets it clobber them
//    (Boost.Context keeps mxcsr and the x87 control word, which the ABI calls callee-saved);
//  - errno, exception state, locale, every __thread: they live behind the FS base, which is switched.
//
// Between the FS base's change and the jump, code of the old stack runs with the new thread block: those are two
// instructions without a memory access through %fs, and a signal handler that lands there sees a fiber in a critical
// section (or no fiber: a hub) and defers. This file is compiled without stack protector.
//
// ASan: it finds its thread, and with it the stack's bounds, by thread-specific data, that is, behind the FS base. A
// switch therefore brings the right thread along, or none on a fiber; __sanitizer_start_switch_fiber would give main's
// thread a fiber's bounds. All that is left to say is that a stack begins anew.
//
// TSan: its thread is a thread-local pointer, so it too lies behind the FS base. Each block gets a pointer to a TSan fiber
// of its own, and each switch is announced while the old base still holds. Needs -static-libtsan, for the pointer's name.
#include "scheduler/context.h"

#include <asm/prctl.h>
#include <immintrin.h>
#include <sys/auxv.h>

#include <boost/context/detail/fcontext.hpp>

#include "scheduler/check.h"
#include "scheduler/sys.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
namespace __tsan {
extern __thread char cur_thread_placeholder[] __attribute__((tls_model("initial-exec")));
}
#endif

namespace coro {
namespace {

namespace fc = boost::context::detail;

bool has_fsgsbase = false;

struct Departure {
  Context* from;
  Context* to;
  After after;
};

#if defined(__SANITIZE_THREAD__)
#define CORO_NO_TSAN __attribute__((no_sanitize_thread))

// Where in the placeholder the pointer is: on a thread that never switched, the word that is its own address.
ptrdiff_t tsan_pointer_at = -1;

void find_tsan_pointer() {
  for (ptrdiff_t at = 0; at < 64; at += 8)
    if (*reinterpret_cast<char**>(__tsan::cur_thread_placeholder + at) == __tsan::cur_thread_placeholder)
      tsan_pointer_at = at;
  CHECK(tsan_pointer_at >= 0);
}

CORO_NO_TSAN void*& tsan_pointer_of(void* block) {
  auto distance = __tsan::cur_thread_placeholder + tsan_pointer_at - static_cast<char*>(this_thread_block());
  return *reinterpret_cast<void**>(static_cast<char*>(block) + distance);
}

void give_tsan_fiber(Context& context) {
  if (context.tsan_fiber) __tsan_destroy_fiber(context.tsan_fiber);
  context.tsan_fiber = __tsan_create_fiber(0);
  tsan_pointer_of(context.thread_block) = context.tsan_fiber;
}

// TSan writes the new pointer to the block that is being left: there the old one comes back.
CORO_NO_TSAN inline void announce_switch(void* to_block) {
  void*& mine = tsan_pointer_of(this_thread_block());
  void* old = mine;
  __tsan_switch_to_fiber(tsan_pointer_of(to_block), 0);
  mine = old;
}
#else
#define CORO_NO_TSAN
inline void announce_switch(void*) {}
#endif

__attribute__((target("fsgsbase"))) CORO_NO_TSAN inline void set_fs_base(void* block) {
  if (__builtin_expect(has_fsgsbase, 1))
    _writefsbase_u64(reinterpret_cast<unsigned long long>(block));
  else
    sys::call(SYS_arch_prctl, ARCH_SET_FS, sys::as_long(block));
}

CORO_NO_TSAN inline Departure arrive(fc::transfer_t transfer) {
  Departure departure = *static_cast<Departure*>(transfer.data);
  departure.from->stack_pointer = transfer.fctx;
  return departure;
}

CORO_NO_TSAN void first_entry(fc::transfer_t transfer) {
  // The unwinder and debuggers stop here: this frame has no caller.
  __asm__ volatile(".cfi_undefined rip");
  Departure departure = arrive(transfer);
  Context* here = departure.to;
  if (departure.after.act) departure.after.act(departure.after.argument);
  here->entry(here->argument);
  check_failed("a context's entry never returns", __FILE__, __LINE__);
}

}  // namespace

void choose_switch() {
  has_fsgsbase = getauxval(AT_HWCAP2) & 2;
#if defined(__SANITIZE_THREAD__)
  find_tsan_pointer();
#endif
}

CORO_NO_TSAN void* this_thread_block() {
  void* block;
  __asm__("mov %%fs:0x10, %0" : "=r"(block));  // tcbhead_t.self
  return block;
}

void make_context(Context& context, void* bottom, size_t size, void* thread_block,
                  void (*entry)(void*), void* argument) {
  context.thread_block = thread_block;
  context.entry = entry;
  context.argument = argument;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(bottom, size);  // of the frames of the last life, which never returned
#endif
#if defined(__SANITIZE_THREAD__)
  give_tsan_fiber(context);
#endif
  context.stack_pointer = fc::make_fcontext(static_cast<char*>(bottom) + size, size, first_entry);
}

CORO_NO_TSAN __attribute__((noinline)) void switch_context(Context& from, Context& to, After after) {
  Departure departure{&from, &to, after};
  announce_switch(to.thread_block);
  set_fs_base(to.thread_block);
  fc::transfer_t transfer = fc::jump_fcontext(to.stack_pointer, &departure);
  Departure arrival = arrive(transfer);
  if (arrival.after.act) arrival.after.act(arrival.after.argument);
}

CORO_NO_TSAN __attribute__((noinline)) void call_as_thread(void* block, void (*act)(void*), void* argument) {
  void* mine = this_thread_block();
  announce_switch(block);
  set_fs_base(block);
  act(argument);
  announce_switch(mine);
  set_fs_base(mine);
}

}  // namespace coro
