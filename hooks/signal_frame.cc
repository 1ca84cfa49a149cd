// SPDX-License-Identifier: Apache-2.0
//
// Where the kernel enters with a signal, and on which stack that goes on. sigaltstack(2) is the kernel thread's: ours have
// one each of their own (scheduler/fault_stack.h), so that a fault at the end of a fiber's stack finds room whichever
// fiber runs. A fiber may park in its handler and come back on another kernel thread, so nothing may stay on that
// stack: the kernel's frame is moved to the fiber's own alternate stack, or to its plain stack if it has none, and
// sigreturn works from there. Layout: arch/x86/include/asm/sigframe.h, struct rt_sigframe; the registers of the FPU,
// uc_mcontext.fpregs, lie above it, aligned to 64.
#include <string.h>
#include <ucontext.h>

#include "hooks/signal_table.h"
#include "hooks/signals.h"

namespace coro {
namespace {

constexpr uintptr_t red_zone = 128;   // below the interrupted stack pointer (x86-64 psABI)
constexpr uintptr_t alignment = 64;   // of the saved registers

bool holds(const stack_t& stack, uintptr_t address) {
  auto low = reinterpret_cast<uintptr_t>(stack.ss_sp);
  return !(stack.ss_flags & SS_DISABLE) && low && address >= low && address < low + stack.ss_size;
}

uintptr_t top_of(const stack_t& stack) { return reinterpret_cast<uintptr_t>(stack.ss_sp) + stack.ss_size; }

// How far the frame at `frame` was moved. 0: it stays.
extern "C" __attribute__((used, visibility("hidden"))) long coro_move_frame(int signal, siginfo_t* info,
                                                                           ucontext_t* context, uintptr_t frame) {
  Fiber* self = current;
  if (!self) return 0;
  const stack_t& kernels = context->uc_stack;
  auto interrupted = static_cast<uintptr_t>(context->uc_mcontext.gregs[REG_RSP]);
  bool is_ours = holds(kernels, frame) && !holds(kernels, interrupted);
  if (!is_ours || (self->critical.load(std::memory_order_relaxed) && info->si_code <= 0)) return 0;
  bool switches = action_of(signal).sa_flags & SA_ONSTACK && !holds(self->alternate_stack, interrupted);
  bool has_one = !(self->alternate_stack.ss_flags & SS_DISABLE) && self->alternate_stack.ss_sp;
  uintptr_t top = switches && has_one ? top_of(self->alternate_stack) : interrupted - red_zone;
  uintptr_t size = top_of(kernels) - frame;
  uintptr_t to = top - size;
  to -= (to - frame) % alignment;
  // No room here: the kernel ends the process, as it does when it cannot make the frame itself.
  memcpy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(frame), size);
  auto delta = static_cast<long>(to - frame);
  auto* moved = reinterpret_cast<ucontext_t*>(reinterpret_cast<uintptr_t>(context) + static_cast<uintptr_t>(delta));
  if (moved->uc_mcontext.fpregs)
    moved->uc_mcontext.fpregs = reinterpret_cast<fpregset_t>(reinterpret_cast<uintptr_t>(moved->uc_mcontext.fpregs) +
                                                             static_cast<uintptr_t>(delta));
  return delta;
}

}  // namespace

// The kernel has put the address of libc's restorer on top of the frame, as if that had called us.
__asm__(
    ".text\n.globl coro_signal_entry\n.type coro_signal_entry,@function\n.hidden coro_signal_entry\n"
    "coro_signal_entry:\n"
    " .cfi_startproc\n"
    " push %rdi\n .cfi_adjust_cfa_offset 8\n"
    " push %rsi\n .cfi_adjust_cfa_offset 8\n"
    " push %rdx\n .cfi_adjust_cfa_offset 8\n"
    " lea 24(%rsp),%rcx\n"
    " call coro_move_frame\n"
    " pop %rdx\n .cfi_adjust_cfa_offset -8\n"
    " pop %rsi\n .cfi_adjust_cfa_offset -8\n"
    " pop %rdi\n .cfi_adjust_cfa_offset -8\n"
    " add %rax,%rsp\n add %rax,%rsi\n add %rax,%rdx\n"
    " jmp coro_trampoline\n"
    " .cfi_endproc\n.size coro_signal_entry,.-coro_signal_entry\n");

}  // namespace coro
