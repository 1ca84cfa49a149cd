// SPDX-License-Identifier: Apache-2.0
//
// clone and clone3 by an instruction of the program's or inside libc (another way to libc's pthread_create or fork than by our
// names: dlsym, jemalloc). What they make on a carrier would inherit its filter, so they are made on a clean helper:
//  - a thread, or whatever has a stack of its own, begins behind the syscall instruction with the caller's registers, as the
//    kernel would have it; they are left for it below its stack pointer;
//  - a process on a copy of the caller's stack returns from the handler as its parent does. vfork's kind is a fork.
// A thread made so is a plain kernel thread for us: hooks pass through on it.
#include <linux/sched.h>
#include <string.h>
#include <ucontext.h>

#include "hooks/hook.h"
#include "hooks/identity.h"
#include "hooks/process.h"
#include "hooks/signal_table.h"
#include "hooks/trap.h"
#include "hooks/user_memory.h"
#include "scheduler/carrier.h"
#include "scheduler/offload.h"

namespace coro {
namespace {

struct Request {
  long number;
  long a[6];
  uint64_t flags = 0, stack_top = 0;
  clone_args changed{};  // of clone3
};

// False: the kernel will say why not.
bool read_request(Request& request) {
  long* a = request.a;
  if (request.number == SYS_clone) {
    request.flags = static_cast<uint64_t>(a[0]);
    request.stack_top = static_cast<uint64_t>(a[1]);
    return true;
  }
  auto size = static_cast<size_t>(a[1]);
  if (size < CLONE_ARGS_SIZE_VER0 || size > sizeof request.changed) return false;
  if (!read_user_bytes(reinterpret_cast<const void*>(a[0]), &request.changed, size)) return false;
  request.flags = request.changed.flags;
  if (request.changed.stack) request.stack_top = request.changed.stack + request.changed.stack_size;
  return true;
}

// The child's registers where the stub finds them: r8 to r15, rdi, rsi, rbp, rbx, rdx, and where it goes on.
constexpr int order[] = {REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14,
                         REG_R15, REG_RDI, REG_RSI, REG_RBP, REG_RBX, REG_RDX, REG_RIP};

extern "C" __attribute__((visibility("hidden"))) long coro_clone(long number, const long* a, void* registers, bool is_process);
extern "C" __attribute__((used, visibility("hidden"))) void coro_begin_process() { go_on_in_bare_child(); }

// clang-format off
__asm__(
    ".text\n.globl coro_clone\n.hidden coro_clone\n.type coro_clone,@function\ncoro_clone:\n"
    ".cfi_startproc\n"
    " push %rbx\n .cfi_adjust_cfa_offset 8\n .cfi_offset rbx, -16\n"
    " push %rbp\n .cfi_adjust_cfa_offset 8\n .cfi_offset rbp, -24\n"
    " mov %rdx, %rbx\n mov %ecx, %ebp\n mov %rdi, %rax\n mov %rsi, %r11\n"
    " mov (%r11), %rdi\n mov 8(%r11), %rsi\n mov 16(%r11), %rdx\n mov 24(%r11), %r10\n mov 32(%r11), %r8\n mov 40(%r11), %r9\n"
    " syscall\n"
    " test %rax, %rax\n je 1f\n"
    " pop %rbp\n .cfi_adjust_cfa_offset -8\n .cfi_restore rbp\n"
    " pop %rbx\n .cfi_adjust_cfa_offset -8\n .cfi_restore rbx\n"
    " ret\n"
    "1: .cfi_undefined rip\n"
    " test %ebp, %ebp\n je 2f\n"
    " mov %rsp, %rbp\n lea -256(%rsp), %rsp\n and $-64, %rsp\n call coro_begin_process\n mov %rbp, %rsp\n"
    "2: mov (%rbx), %r8\n mov 8(%rbx), %r9\n mov 16(%rbx), %r10\n mov 24(%rbx), %r11\n mov 32(%rbx), %r12\n"
    " mov 40(%rbx), %r13\n mov 48(%rbx), %r14\n mov 56(%rbx), %r15\n mov 64(%rbx), %rdi\n mov 72(%rbx), %rsi\n"
    " mov 80(%rbx), %rbp\n mov 96(%rbx), %rdx\n mov 104(%rbx), %rcx\n mov 88(%rbx), %rbx\n"
    " xor %eax, %eax\n jmp *%rcx\n"
    ".cfi_endproc\n.size coro_clone,.-coro_clone\n");
// clang-format on

// Below what the child's first steps may use; where the child has a copy of our memory, it has one of this, too.
constexpr uint64_t room_below = 256;

long clone_with_stack(const Request& request, const ucontext_t& frame, bool is_process) {
  long registers[std::size(order)];
  for (size_t i = 0; i < std::size(order); i++) registers[i] = frame.uc_mcontext.gregs[order[i]];
  uint64_t at = (request.stack_top - room_below) & ~uint64_t{63};
  auto* place = reinterpret_cast<void*>(at);
  if (!write_user_bytes(place, registers, sizeof registers)) return -EFAULT;
  return coro_clone(request.number, request.a, place, is_process);
}

// On the fiber's own stack or a copy of it.
long clone_in_place(Request& request) {
  constexpr auto shared = static_cast<uint64_t>(CLONE_VM | CLONE_VFORK);
  long* a = request.a;
  request.changed.flags &= ~shared;
  if (request.number == SYS_clone) a[0] &= static_cast<long>(~shared);
  if (request.number == SYS_clone3) a[0] = sys::as_long(&request.changed);
  return sys::call(request.number, a[0], a[1], a[2], a[3], a[4]);
}

long clone_clean(Request& request, const ucontext_t& frame) {
  bool is_process = !request.stack_top || !(request.flags & CLONE_VM);
  Fiber* fiber = current;
  if (!is_process) {
    assume_identity_on_helper(*fiber);
    // libc may have blocked more than the fiber has.
    Critical inside;
    uint64_t mask = sys::set_exact_signal_mask(fiber->blocked | to_mask(frame.uc_sigmask));
    long child = clone_with_stack(request, frame, false);
    sys::set_exact_signal_mask(mask);
    return child;
  }
  before_fork();
  long child = request.stack_top ? clone_with_stack(request, frame, true) : clone_in_place(request);
  if (child == 0)
    go_on_in_bare_child();
  else
    after_fork_in_parent();
  return child;
}

}  // namespace

long clone_past_hooks(Fiber* fiber, long number, const long* a, const ucontext_t& frame) {
  Request request{number, {a[0], a[1], a[2], a[3], a[4], a[5]}};
  bool is_sane = read_request(request) && (request.stack_top || !(request.flags & CLONE_THREAD));
  if (!is_sane) return number == SYS_clone ? -EINVAL : sys::call(number, a[0], a[1], a[2], a[3], a[4]);
  request.a[5] = sys::cookie;  // neither call has so many
  if (!fiber) return request.stack_top ? clone_with_stack(request, frame, false) : clone_in_place(request);
  Away away(to_reason(Call::syscall), Helpers::clean);
  if (is_filtered_here()) return -EAGAIN;
  return clone_clean(request, frame);
}

}  // namespace coro
