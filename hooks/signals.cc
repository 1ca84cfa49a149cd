// SPDX-License-Identifier: Apache-2.0
//
// Signals. The kernel knows kernel threads, the program knows fibers:
//  - the kernel calls our trampoline, with nothing blocked (SA_NODEFER, empty sa_mask): a handler may park, and other
//    fibers then run on that kernel thread. What the handler's sa_mask blocks is blocked in the fiber's virtual mask;
//  - the trampoline finds the fiber that the signal is for. If that fiber is running and not inside the engine, the
//    handler runs at once; otherwise the signal is marked pending for it and its wait, if any, is woken;
//  - a carrier's kernel mask blocks a signal only while every fiber blocks it, so sigwait, signalfd and sigpending see
//    in the kernel what natively would be there;
//  - sigsetjmp and siglongjmp save and restore the kernel's mask inside libc: jumps.cc lends them the virtual one;
//  - faults run in place, on the stack that the kernel chose.
// Until the engine has started nothing of this exists: every hook is one real call.
#include "hooks/signals.h"

#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "hooks/retry.h"
#include "hooks/signal_table.h"
#include "scheduler/offload.h"
#include "scheduler/sys.h"
#include "scheduler/thread_block.h"

namespace coro {
namespace {

struct sigaction actions[signal_count + 1];  // as the program set them

// --- running a handler ---

extern "C" void coro_call_on_stack(int signal, siginfo_t* info, void* context, void* handler,
                                   void* stack_top);
// Calls handler(signal, info, context) on another stack. CFA is kept in rbp, so unwinding out of a handler works.
__asm__(
    ".text\n.type coro_call_on_stack,@function\n.hidden coro_call_on_stack\ncoro_call_on_stack:\n"
    ".cfi_startproc\n push %rbp\n .cfi_def_cfa_offset 16\n .cfi_offset rbp,-16\n mov %rsp,%rbp\n"
    ".cfi_def_cfa_register rbp\n mov %r8,%rsp\n and $-16,%rsp\n call *%rcx\n mov %rbp,%rsp\n"
    " pop %rbp\n .cfi_def_cfa rsp,8\n ret\n.cfi_endproc\n.size coro_call_on_stack,.-coro_call_on_stack\n");

bool wants_alternate_stack(const Fiber& fiber, const struct sigaction& action) {
  const stack_t& alternate = fiber.alternate_stack;
  if (!(action.sa_flags & SA_ONSTACK) || alternate.ss_flags & SS_DISABLE || !alternate.ss_sp) return false;
  auto here = reinterpret_cast<char*>(__builtin_frame_address(0));
  auto low = static_cast<char*>(alternate.ss_sp);
  return here < low || here >= low + alternate.ss_size;
}

// Calls the program's handler on the running fiber with the mask that its action asks for. May not return.
void call_handler(Fiber& fiber, int signal, siginfo_t* info, ucontext_t* context) {
  struct sigaction action = actions[signal];
  if (action.sa_flags & SA_RESETHAND) set_default_action(signal);
  uint64_t before = fiber.blocked;
  uint64_t during = before | to_mask(action.sa_mask);
  if (!(action.sa_flags & SA_NODEFER)) during |= bit_of(signal);
  fiber.blocked = during & ~never_blocked;
  from_mask(before, context->uc_sigmask);
  auto* handler = reinterpret_cast<void*>(action.sa_sigaction);
  int saved = errno;
  if (wants_alternate_stack(fiber, action)) {
    char* top = static_cast<char*>(fiber.alternate_stack.ss_sp) + fiber.alternate_stack.ss_size;
    coro_call_on_stack(signal, info, context, handler, top);
  } else {
    reinterpret_cast<void (*)(int, siginfo_t*, void*)>(handler)(signal, info, context);
  }
  errno = saved;
  // A handler may change the mask of what it interrupted through its ucontext.
  set_blocked(fiber, to_mask(context->uc_sigmask));
}

bool has_handler(int signal) {
  auto handler = actions[signal].sa_handler;
  return handler != SIG_DFL && handler != SIG_IGN;
}

// Acts on one pending signal of the running fiber whose disposition is not a handler: the kernel's default action.
void default_action(int signal) {
  if (actions[signal].sa_handler == SIG_IGN) return;
  uint64_t old = sys::set_signal_mask(sys::signal_mask() & ~bit_of(signal));
  sys::call(SYS_tgkill, sys::getpid(), sys::gettid(), signal);
  sys::set_signal_mask(old);
}

}  // namespace

Handled run_handlers(Fiber* fiber) {
  Handled result = Handled::none;
  while (uint64_t deliverable = fiber->pending_signals.load() & ~fiber->blocked) {
    int signal = __builtin_ctzll(deliverable) + 1;
    siginfo_t info;
    if (!dequeue_info(*fiber, signal, info)) continue;
    if (!has_handler(signal)) {
      default_action(signal);
      continue;
    }
    bool restarts = actions[signal].sa_flags & SA_RESTART;
    ucontext_t context;
    memset(&context, 0, sizeof context);
    context.uc_stack = fiber->alternate_stack;
    call_handler(*fiber, signal, &info, &context);
    if (!restarts)
      result = Handled::interrupt;
    else if (result == Handled::none)
      result = Handled::restart;
  }
  return result;
}

void deliver_signals_here() {
  Fiber* fiber = current;
  if (fiber && !fiber->critical.load(std::memory_order_relaxed)) run_handlers(fiber);
}

namespace {

// The kernel thread that a fiber has for itself: a helper, or what it kept when it lost its hub. 0: it is on a hub.
int kernel_thread_of(const Fiber& fiber) {
  int helper = away_on(fiber);
  return helper ? helper : fiber.orphan_tid.load(std::memory_order_relaxed);
}

}  // namespace

int send_to_fiber(Fiber& fiber, int signal, const siginfo_t& info) {
  uint64_t bit = bit_of(signal);
  bool queues = signal >= 34;  // real-time signals; the others coalesce
  if (queues || !(fiber.pending_signals.load() & bit)) {
    if (!enqueue_info(fiber, signal, info)) return EAGAIN;
    fiber.pending_signals.fetch_or(bit);
  }
  if (fiber.blocked & bit) {
    if (fiber.awaited & bit) wake_present_wait(fiber, Woken::signal);
    return 0;
  }
  if (int helper = kernel_thread_of(fiber)) {
    // The trampoline on that kernel thread finds the pending bit.
    if (&fiber != current) sys::call(SYS_tgkill, sys::getpid(), helper, signal);
  } else {
    wake_present_wait(fiber, Woken::signal);
  }
  return 0;
}

namespace {

bool accepts(const Fiber& fiber, uint64_t bit) { return !(fiber.blocked & bit) || fiber.awaited & bit; }

// Whom a process-directed signal is for (signal(7)): the main thread if it does not block it, else any that does not.
Fiber* choose(uint64_t bit) {
  if (Fiber* main = main_fiber())
    if (!is_ended(*main) && accepts(*main, bit)) return main;
  if (Fiber* self = current)
    if (accepts(*self, bit)) return self;
  return any_fiber_accepting(bit);
}

bool is_fault(int signal, const siginfo_t* info) {
  return info->si_code > 0 && (signal == SIGSEGV || signal == SIGBUS || signal == SIGILL ||
                               signal == SIGFPE || signal == SIGTRAP || signal == SIGSYS);
}

// It is for the fiber that runs here: tgkill(2), or what its own system call brought upon it.
bool is_directed(int signal, const siginfo_t* info) {
  bool by_own_call = (signal == SIGPIPE || signal == SIGXFSZ) && info->si_code == SI_USER && info->si_pid == sys::getpid();
  return info->si_code == SI_TKILL || by_own_call;
}

void trampoline(int signal, siginfo_t* info, void* context) {
  int saved = errno;
  Fiber* self = current;
  auto* interrupted = static_cast<ucontext_t*>(context);
  sigset_t kernel_mask = interrupted->uc_sigmask;
  if (self && is_fault(signal, info)) {
    call_handler(*self, signal, info, interrupted);
  } else {
    Fiber* target = self && is_directed(signal, info) ? self : choose(bit_of(signal));
    if (!target) target = main_fiber();
    bool here = target == self && target && !self->critical.load(std::memory_order_relaxed);
    bool announced = here && self->pending_signals.load() & bit_of(signal) && kernel_thread_of(*self);
    if (here && announced) {
      run_handlers(self);  // sent here by send_to_fiber
    } else if (here && !(self->blocked & bit_of(signal))) {
      call_handler(*self, signal, info, interrupted);
    } else if (target) {
      send_to_fiber(*target, signal, *info);
    }
  }
  interrupted->uc_sigmask = kernel_mask;
  if (self && !away_on(*self)) from_mask(carrier_mask(), interrupted->uc_sigmask);
  if (self && away_on(*self)) from_mask(self->blocked, interrupted->uc_sigmask);
  errno = saved;
}

}  // namespace

void set_default_action(int signal) {
  actions[signal] = {};
  struct sigaction plain {};
  real.sigaction(signal, &plain, nullptr);
}

const struct sigaction& action_of(int signal) { return actions[signal]; }

int install_action(int signal, const struct sigaction& action) {
  struct sigaction ours = action;
  auto handler = action.sa_handler;
  if (handler != SIG_DFL && handler != SIG_IGN) {
    ours.sa_sigaction = trampoline;
    ours.sa_flags = (action.sa_flags & (SA_RESTART | SA_NOCLDSTOP | SA_NOCLDWAIT)) | SA_SIGINFO | SA_NODEFER;
    bool fault = signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE;
    if (fault) ours.sa_flags |= action.sa_flags & SA_ONSTACK;
    sigemptyset(&ours.sa_mask);
  }
  if (real.sigaction(signal, &ours, nullptr) < 0) return -1;
  actions[signal] = action;
  return 0;
}

void adopt_signals() {
  Fiber* main = current;
  for (int signal = 1; signal <= signal_count; signal++) {
    if (signal == 32 || signal == 33) continue;  // libc's own
    struct sigaction present;
    if (real.sigaction(signal, nullptr, &present) < 0) continue;
    actions[signal] = present;
    if (has_handler(signal)) install_action(signal, present);
  }
  real.sigaltstack(nullptr, &main->alternate_stack);
  Critical inside;
  fiber_born(*main);
}

void forget_signals_in_child(Fiber* survivor) {
  drop_queued_signals();
  survivor->pending_signals = 0;
  recount_in_child(*survivor);
}

}  // namespace coro
