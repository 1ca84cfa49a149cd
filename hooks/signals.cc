// SPDX-License-Identifier: Apache-2.0
//
// Signals. The kernel knows kernel threads, the program knows fibers:
//  - the kernel calls our trampoline with everything blocked. It finds the fiber that the signal is for (signal_route.cc).
//    If that fiber is running here and not inside the engine, the handler runs at once; otherwise the signal is marked
//    pending for it and its wait, if any, is woken;
//  - while the handler runs the kernel's mask is open again: a handler may park, and other fibers then run on that kernel
//    thread. What the handler's sa_mask blocks is blocked in the fiber's virtual mask, and waits in our queue;
//  - a carrier's kernel mask blocks a signal only while every fiber blocks it, so sigwait, signalfd and sigpending see
//    in the kernel what natively would be there;
//  - sigsetjmp and siglongjmp save and restore the kernel's mask inside libc: jumps.cc lends them the virtual one;
//  - faults run in place, on the fiber's alternate stack if the action wants it (signal_frame.cc).
// Until the engine has started nothing of this exists: every hook is one real call.
#include "hooks/signals.h"

#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "hooks/retry.h"
#include "hooks/signal_table.h"
#include "scheduler/carrier.h"
#include "hooks/trap.h"
#include "scheduler/offload.h"
#include "scheduler/sys.h"
#include "scheduler/thread_block.h"

namespace coro {
namespace {

constexpr uint64_t faults = bit_of(SIGSEGV) | bit_of(SIGBUS) | bit_of(SIGILL) | bit_of(SIGFPE) | bit_of(SIGTRAP) | bit_of(SIGSYS);

// --- running a handler ---

extern "C" void coro_call_on_stack(int signal, siginfo_t* info, void* context, void* handler,
                                   void* stack_top);
// Calls handler(signal, info, context) on another stack. CFA is kept in rbp, so unwinding out of a handler works.
__asm__(
    ".text\n.type coro_call_on_stack,@function\n.hidden coro_call_on_stack\ncoro_call_on_stack:\n"
    ".cfi_startproc\n push %rbp\n .cfi_def_cfa_offset 16\n .cfi_offset rbp,-16\n mov %rsp,%rbp\n"
    ".cfi_def_cfa_register rbp\n mov %r8,%rsp\n and $-16,%rsp\n call *%rcx\n mov %rbp,%rsp\n"
    " pop %rbp\n .cfi_def_cfa rsp,8\n ret\n.cfi_endproc\n.size coro_call_on_stack,.-coro_call_on_stack\n");

bool is_on(const stack_t& stack, const char* here) {
  auto low = static_cast<const char*>(stack.ss_sp);
  return here >= low && here < low + stack.ss_size;
}

bool wants_alternate_stack(const Fiber& fiber, const struct sigaction& action) {
  const stack_t& alternate = fiber.alternate_stack;
  if (!(action.sa_flags & SA_ONSTACK) || alternate.ss_flags & SS_DISABLE || !alternate.ss_sp) return false;
  return !is_on(alternate, static_cast<char*>(__builtin_frame_address(0)));
}

// What of the kernel's mask the program's code on this fiber is to run with.
void open_kernel_mask(Fiber& fiber) {
  if (away_on(fiber))
    sys::set_exact_signal_mask(fiber.blocked);
  else
    fiber.carrier->wear(0);
}

void jump_into(const Fiber& fiber, const struct sigaction& action, int signal, siginfo_t* info, ucontext_t* context) {
  auto* handler = reinterpret_cast<void*>(action.sa_sigaction);
  if (wants_alternate_stack(fiber, action)) {
    char* top = static_cast<char*>(fiber.alternate_stack.ss_sp) + fiber.alternate_stack.ss_size;
    coro_call_on_stack(signal, info, context, handler, top);
  } else {
    reinterpret_cast<void (*)(int, siginfo_t*, void*)>(handler)(signal, info, context);
  }
}

Handled run_handlers(Fiber* fiber, bool closed);

// Calls the program's handler on the running fiber with the mask that its action asks for. May not return. `closed`: in the
// trampoline, the kernel's mask blocks everything, and does again when this returns.
void call_handler(Fiber& fiber, int signal, siginfo_t* info, ucontext_t* context, bool closed) {
  struct sigaction action = action_of(signal);
  if (action.sa_flags & SA_RESETHAND) set_default_action(signal);
  uint64_t before = fiber.blocked;
  uint64_t during = before | to_mask(action.sa_mask);
  if (!(action.sa_flags & SA_NODEFER)) during |= bit_of(signal);
  int saved = errno;
  fiber.blocked = during & ~never_blocked;
  // The kernel makes a frame for each signal that may come in before it goes back to the program: the last runs first.
  if (fiber.pending_signals.load() & ~fiber.blocked & ~faults) run_handlers(&fiber, closed);
  from_mask(before, context->uc_sigmask);
  context->uc_stack = fiber.alternate_stack;
  stack_t alternate = fiber.alternate_stack;
  constexpr auto auto_disarm = static_cast<int>(1u << 31);
  bool disarmed = alternate.ss_flags & auto_disarm && action.sa_flags & SA_ONSTACK;
  if (closed || away_on(fiber)) open_kernel_mask(fiber);
  fiber.handlers_run++;
  if (disarmed && wants_alternate_stack(fiber, action)) {
    fiber.alternate_stack = {nullptr, SS_DISABLE, 0};
    char* top = static_cast<char*>(alternate.ss_sp) + alternate.ss_size;
    coro_call_on_stack(signal, info, context, reinterpret_cast<void*>(action.sa_sigaction), top);
  } else {
    if (disarmed) fiber.alternate_stack = {nullptr, SS_DISABLE, 0};
    jump_into(fiber, action, signal, info, context);
  }
  if (disarmed) fiber.alternate_stack = alternate;
  errno = saved;
  if (closed) sys::set_signal_mask(closed_mask);
  // A handler may change the mask of what it interrupted through its ucontext.
  set_blocked(fiber, to_mask(context->uc_sigmask));
}

// Acts on a signal of the running fiber whose disposition is not a handler: the kernel's default action.
void default_action(int signal) {
  if (action_of(signal).sa_handler == SIG_IGN) return;
  uint64_t old = sys::set_signal_mask(sys::signal_mask() & ~bit_of(signal));
  sys::call(SYS_tgkill, sys::getpid(), sys::gettid(), signal);
  sys::set_signal_mask(old);
}

Handled run_handlers(Fiber* fiber, bool closed) {
  Handled result = Handled::none;
  while (uint64_t deliverable = fiber->pending_signals.load() & ~fiber->blocked) {
    int signal = __builtin_ctzll(deliverable) + 1;
    siginfo_t info;
    if (!dequeue_info(*fiber, signal, info)) continue;
    if (!has_handler(signal)) {
      default_action(signal);
      continue;
    }
    bool restarts = action_of(signal).sa_flags & SA_RESTART;
    ucontext_t context;
    memset(&context, 0, sizeof context);
    getcontext(&context);  // profilers and virtual machines walk the stack from here
    call_handler(*fiber, signal, &info, &context, closed);
    if (!restarts)
      result = Handled::interrupt;
    else if (result == Handled::none)
      result = Handled::restart;
  }
  return result;
}

}  // namespace

Handled run_handlers(Fiber* fiber) { return run_handlers(fiber, false); }

void deliver_signals_here() {
  Fiber* fiber = current;
  if (fiber && !fiber->critical.load(std::memory_order_relaxed)) run_handlers(fiber);
}

namespace {

bool is_fault(int signal, const siginfo_t* info) { return info->si_code > 0 && faults & bit_of(signal); }

void handle_fault(Fiber& self, int signal, siginfo_t* info, ucontext_t* context) {
  if (has_handler(signal) && !(self.blocked & bit_of(signal))) {
    call_handler(self, signal, info, context, true);
    return;
  }
  end_by_default(signal);  // as the kernel's force_sig(), blocked or not
}

// A signal that is no fault. True: its handler is to run here; else it is where it belongs.
bool route(Fiber& self, int signal, const siginfo_t* info) {
  bool shared;
  Fiber* target = owner_of(self, signal, info, shared);
  bool critical = self.critical.load(std::memory_order_relaxed);
  uint64_t bit = bit_of(signal);
  if (target == &self && !critical && !(self.blocked & bit) && !(self.pending_signals.load() & bit)) {
    note_overruns(*info);
    return true;
  }
  if (target)
    send_to_fiber(*target, signal, *info, shared);
  else if (shared)
    send_to_process(signal, *info);
  return false;
}

// On a hub, or on a kernel thread that is none of ours (a timer's, SIGEV_THREAD).
void handle_without_fiber(int signal, siginfo_t* info, ucontext_t* context) {
  bool foreign = !is_hub_block(this_thread_block());
  Fiber* target = nullptr;
  if (is_nudge(*info)) return;
  if (is_fault(signal, info) || (foreign && info->si_code == SI_TKILL)) {
    struct sigaction action = action_of(signal);
    if (action.sa_flags & SA_RESETHAND) set_default_action(signal);
    uint64_t during = to_mask(context->uc_sigmask) | to_mask(action.sa_mask);
    if (!(action.sa_flags & SA_NODEFER)) during |= bit_of(signal);
    sys::set_signal_mask(during);
    action.sa_sigaction(signal, info, context);
  } else if (is_for_main(info) && main_fiber()) {
    send_to_fiber(*main_fiber(), signal, *info);
  } else if (!names_fiber(*info, target)) {
    target = choose_fiber(signal);
    if (target)
      send_to_fiber(*target, signal, *info, true);
    else
      send_to_process(signal, *info);
  } else if (target) {
    send_to_fiber(*target, signal, *info);
  }
}

// What sigreturn gives back to the kernel must be this kernel thread's, if the handler parked and came back on another.
void mend_frame(Fiber& self, ucontext_t* context, const stack_t& kernel_stack, bool moved) {
  from_mask(away_on(self) ? self.blocked : carrier_mask(), context->uc_sigmask);
  context->uc_stack = kernel_stack;
  if (moved) sys::call(SYS_sigaltstack, 0, sys::as_long(&context->uc_stack));
}

}  // namespace

bool runs_here(Fiber& self, int signal, siginfo_t* info, ucontext_t* context) {
  int saved = errno;
  bool fault = is_fault(signal, info);
  bool here = fault || (!is_nudge(*info) && has_handler(signal) && route(self, signal, info));
  bool others = !self.critical.load(std::memory_order_relaxed) && self.pending_signals.load() & ~self.blocked;
  if (!here && others) mark_as_nudge(*info);
  if (!here && !others) mend_frame(self, context, context->uc_stack, false);
  errno = saved;
  return here || others;
}

void end_by_default(int signal) {
  set_default_action(signal);
  default_action(signal);
  __builtin_trap();
}

extern "C" void coro_trampoline(int signal, siginfo_t* info, void* raw) {
  int saved = errno;
  Fiber* self = current;
  auto* context = static_cast<ucontext_t*>(raw);
  if (!self) {
    if (has_handler(signal)) handle_without_fiber(signal, info, context);
    errno = saved;
    return;
  }
  stack_t kernel_stack = context->uc_stack;
  int kernel_thread = sys::gettid();
  if (is_fault(signal, info))
    handle_fault(*self, signal, info, context);
  else if (!is_nudge(*info))
    call_handler(*self, signal, info, context, true);
  if (!self->critical.load(std::memory_order_relaxed)) run_handlers(self, true);
  mend_frame(*self, context, kernel_stack, sys::gettid() != kernel_thread);
  errno = saved;
}

void forward_signal(int signal, siginfo_t* info, void* context) {
  if (has_handler(signal)) {
    sys::set_signal_mask(closed_mask);
    bool here = !current || runs_here(*current, signal, info, static_cast<ucontext_t*>(context));
    if (here) coro_trampoline(signal, info, context);
    return;
  }
  if (action_of(signal).sa_handler == SIG_IGN && info->si_code <= 0) return;
  struct sigaction plain {};
  real.sigaction(signal, &plain, nullptr);
  default_action(signal);
}

void forget_signals_in_child(Fiber* survivor) {
  drop_queued_signals();
  forget_timers_in_child();
  forget_owners_in_child();
  survivor->pending_signals = 0;
  recount_in_child(*survivor);
}

}  // namespace coro
