// SPDX-License-Identifier: Apache-2.0
//
// Where the kernel enters with a signal, and on which stack that goes on. sigaltstack(2) is the kernel thread's: ours have
// one each of their own (scheduler/fault_stack.h), and every signal comes in there, so that there is room whichever fiber
// runs, at the end of its stack, too. A signal that is for another fiber, or must wait, is seen to there. For one whose
// handler is to run here the kernel's frame is moved, because a fiber may park in its handler and come back on another
// kernel thread: to the fiber's own alternate stack if the action wants that, else to where the kernel would have put it;
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
constexpr uintptr_t room_of_trampoline = 4096;

bool holds(const stack_t& stack, uintptr_t address) {
  auto low = reinterpret_cast<uintptr_t>(stack.ss_sp);
  return !(stack.ss_flags & SS_DISABLE) && low && address >= low && address < low + stack.ss_size;
}

uintptr_t top_of(const stack_t& stack) { return reinterpret_cast<uintptr_t>(stack.ss_sp) + stack.ss_size; }

// Where the frame of `size` bytes goes; 0: there is no room.
uintptr_t place_for(const Fiber& self, int signal, uintptr_t interrupted, uintptr_t frame, uintptr_t size) {
  const stack_t& alternate = self.alternate_stack;
  bool has_one = !(alternate.ss_flags & SS_DISABLE) && alternate.ss_sp;
  bool switches = has_one && action_of(signal).sa_flags & SA_ONSTACK && !holds(alternate, interrupted);
  uintptr_t to = (switches ? top_of(alternate) : interrupted - red_zone) - size;
  to -= (to - frame) % alignment;
  auto bottom = reinterpret_cast<uintptr_t>(self.stack.bottom);
  if (switches || holds(alternate, interrupted)) return to > reinterpret_cast<uintptr_t>(alternate.ss_sp) ? to : 0;
  bool on_own = !self.is_main && interrupted >= bottom && interrupted < reinterpret_cast<uintptr_t>(self.stack.top());
  return on_own && to < bottom + room_of_trampoline ? 0 : to;
}

// There is no room for the frame: the kernel's force_sigsegv(). The signal itself stays pending. May not return.
void turn_into_fault(Fiber& self, int& signal, siginfo_t* info) {
  bool is_the_fault = signal == SIGSEGV && info->si_code > 0;
  if (!is_the_fault && !is_nudge(*info)) enqueue_info(self, signal, *info, false);
  if (is_the_fault || !has_handler(SIGSEGV) || self.blocked & bit_of(SIGSEGV)) end_by_default(SIGSEGV);
  signal = SIGSEGV;
  memset(info, 0, sizeof *info);
  info->si_signo = SIGSEGV;
  info->si_code = SI_KERNEL;
}

constexpr long is_done = 1;  // no distance of frames

// How far the frame at `frame` was moved, 0: it stays; or is_done: nothing is to run here.
extern "C" __attribute__((used, visibility("hidden"))) long coro_enter(int* signal, siginfo_t* info, ucontext_t* context,
                                                                      uintptr_t frame) {
  Fiber* self = current;
  if (!self) return 0;
  if (!runs_here(*self, *signal, info, context)) return is_done;
  const stack_t& kernels = context->uc_stack;
  auto interrupted = static_cast<uintptr_t>(context->uc_mcontext.gregs[REG_RSP]);
  if (!holds(kernels, frame) || holds(kernels, interrupted)) return 0;
  uintptr_t size = top_of(kernels) - frame;
  uintptr_t to = place_for(*self, *signal, interrupted, frame, size);
  if (!to) {
    turn_into_fault(*self, *signal, info);
    to = place_for(*self, *signal, interrupted, frame, size);
    if (!to) end_by_default(SIGSEGV);
  }
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
    " lea 16(%rsp),%rdi\n"
    " lea 24(%rsp),%rcx\n"
    " call coro_enter\n"
    " pop %rdx\n .cfi_adjust_cfa_offset -8\n"
    " pop %rsi\n .cfi_adjust_cfa_offset -8\n"
    " pop %rdi\n .cfi_adjust_cfa_offset -8\n"
    " cmp $1,%rax\n je 1f\n"
    " add %rax,%rsp\n add %rax,%rsi\n add %rax,%rdx\n"
    " jmp coro_trampoline\n"
    "1: ret\n"
    " .cfi_endproc\n.size coro_signal_entry,.-coro_signal_entry\n");

}  // namespace coro
