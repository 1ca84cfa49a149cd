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

namespace coro {
namespace {

namespace fc = boost::context::detail;

bool has_fsgsbase = false;

struct Departure {
  Context* from;
  Context* to;
  After after;
};

__attribute__((target("fsgsbase"))) inline void set_fs_base(void* block) {
  if (__builtin_expect(has_fsgsbase, 1))
    _writefsbase_u64(reinterpret_cast<unsigned long long>(block));
  else
    sys::call(SYS_arch_prctl, ARCH_SET_FS, sys::as_long(block));
}

inline Departure arrive(fc::transfer_t transfer) {
  Departure departure = *static_cast<Departure*>(transfer.data);
  departure.from->stack_pointer = transfer.fctx;
  return departure;
}

void first_entry(fc::transfer_t transfer) {
  // The unwinder and debuggers stop here: this frame has no caller.
  __asm__ volatile(".cfi_undefined rip");
  Departure departure = arrive(transfer);
  Context* here = departure.to;
  if (departure.after.act) departure.after.act(departure.after.argument);
  here->entry(here->argument);
  check_failed("a context's entry never returns", __FILE__, __LINE__);
}

}  // namespace

void choose_switch() { has_fsgsbase = getauxval(AT_HWCAP2) & 2; }

void* this_thread_block() {
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
  context.stack_pointer = fc::make_fcontext(static_cast<char*>(bottom) + size, size, first_entry);
}

__attribute__((noinline)) void switch_context(Context& from, Context& to, After after) {
  Departure departure{&from, &to, after};
  set_fs_base(to.thread_block);
  fc::transfer_t transfer = fc::jump_fcontext(to.stack_pointer, &departure);
  Departure arrival = arrive(transfer);
  if (arrival.after.act) arrival.after.act(arrival.after.argument);
}

__attribute__((noinline)) void call_as_thread(void* block, void (*act)(void*), void* argument) {
  void* mine = this_thread_block();
  set_fs_base(block);
  act(argument);
  set_fs_base(mine);
}

}  // namespace coro
