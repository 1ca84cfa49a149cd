// SPDX-License-Identifier: Apache-2.0
//
// sigsetjmp and siglongjmp save and restore the signal mask inside libc, straight from and to the kernel; a fiber's
// mask is virtual. So before libc saves, the kernel gets the fiber's mask, and before libc restores, the fiber gets
// what was saved. Without this a jump out of a handler would leave blocked what the handler's action blocked.
#include <setjmp.h>

#include "hooks/hook.h"
#include "hooks/signal_table.h"
#include "scheduler/carrier.h"
#include "scheduler/offload.h"

namespace coro {
namespace {

// What the naked door jumps to. With `saves`, the kernel's mask is the fiber's when it does.
extern "C" __attribute__((used, visibility("hidden"))) auto coro_before_sigsetjmp(__jmp_buf_tag*, int saves)
    -> decltype(real.__sigsetjmp) {
  resolve_real();
  Fiber* fiber = saves ? on_hub() : nullptr;
  Critical inside;
  if (fiber) fiber->hub.load(std::memory_order_relaxed)->lend_mask(fiber->blocked);
  return real.__sigsetjmp;
}

// A jump out of a handler is one out of whatever call the signal came in: a wait for a mask or a signal, a call on a
// helper, and, by a fault in a hook's own use of the program's memory or stack, an engine section.
void leave_engine(Fiber& fiber) {
  fiber.awaited = 0;
  fiber.handlers_end_waits = false;
  NoCancellationPoint::end(fiber);
  if (__builtin_expect(fiber.critical.load(std::memory_order_relaxed) != 0, 0)) {
    if (fiber.wait) fiber.wait->withdraw();
    fiber.critical.store(1, std::memory_order_relaxed);
    Critical::leave(&fiber);
  }
  if (away_on(fiber)) come_home();
}

// The target without its mask when fiber and kernel thread have got that, so that libc need not ask the kernel once more.
__jmp_buf_tag before_jump(const __jmp_buf_tag* target) {
  __jmp_buf_tag copy = *target;
  Fiber* fiber = current;
  if (!fiber) return copy;
  leave_engine(*fiber);
  if (!target->__mask_was_saved || !options().patch.covers(Switch::signal)) return copy;
  uint64_t mask = to_mask(target->__saved_mask);
  set_blocked(*fiber, mask);
  Critical inside;
  if (fiber->hub.load(std::memory_order_relaxed)) {
    fiber->carrier->wear(mask);  // whatever a handler's entry has made of it
    copy.__mask_was_saved = 0;
  }
  return copy;
}

// libc's check asks the kernel for the alternate stack, which has the carrier's: maybe another fiber's, maybe none.
bool on_alternate_stack() {
  if (!current) return false;
  const stack_t& stack = current->alternate_stack;
  auto here = static_cast<char*>(__builtin_frame_address(0)), low = static_cast<char*>(stack.ss_sp);
  return !(stack.ss_flags & SS_DISABLE) && low && here >= low && here < low + stack.ss_size;
}

}  // namespace

// sigsetjmp(3): returns twice, so no frame of ours may lie between it and its caller.
extern "C" __attribute__((naked)) int hook___sigsetjmp(__jmp_buf_tag*, int) __asm__("__sigsetjmp");
// lengths: a naked door, instruction by instruction
HOOK(int, __sigsetjmp, (__jmp_buf_tag*, int)) {
  __asm__(
      "push %rdi\n\t"
      ".cfi_adjust_cfa_offset 8\n\t"
      "push %rsi\n\t"
      ".cfi_adjust_cfa_offset 8\n\t"
      "subq $8, %rsp\n\t"
      ".cfi_adjust_cfa_offset 8\n\t"
      "call coro_before_sigsetjmp\n\t"
      "addq $8, %rsp\n\t"
      ".cfi_adjust_cfa_offset -8\n\t"
      "pop %rsi\n\t"
      ".cfi_adjust_cfa_offset -8\n\t"
      "pop %rdi\n\t"
      ".cfi_adjust_cfa_offset -8\n\t"
      "jmp *%rax");
}

// siglongjmp(3), longjmp(3) and what they become under _FORTIFY_SOURCE.
HOOK(void, siglongjmp, (__jmp_buf_tag * target, int value)) {
  __jmp_buf_tag wanted = before_jump(target);
  real.siglongjmp(&wanted, value);
  __builtin_unreachable();
}
HOOK(void, longjmp, (__jmp_buf_tag * target, int value)) {
  __jmp_buf_tag wanted = before_jump(target);
  real.longjmp(&wanted, value);
  __builtin_unreachable();
}
HOOK(void, _longjmp, (__jmp_buf_tag * target, int value)) {
  __jmp_buf_tag wanted = before_jump(target);
  real._longjmp(&wanted, value);
  __builtin_unreachable();
}
HOOK(void, __longjmp_chk, (__jmp_buf_tag * target, int value)) {
  __jmp_buf_tag wanted = before_jump(target);
  if (on_alternate_stack()) real.longjmp(&wanted, value);
  real.__longjmp_chk(&wanted, value);
  __builtin_unreachable();
}

}  // namespace coro
