// SPDX-License-Identifier: Apache-2.0
//
// The SIGSYS handler. It runs on the fiber's stack, with nothing blocked, at a syscall instruction: a place where the
// caller is ready to be blocked. So the hook of that call may park in it, and the fiber may go on elsewhere.
//  - libc makes a call a cancellation point by asynchronous cancellation around it; without that mark ours is none;
//  - returning from a handler gives the kernel thread the signal mask and the alternate stack that the frame holds: the
//    frame gets those of the kernel thread that the fiber is on then, with every signal blocked until the return;
//  - inside the engine, on a hub, and on kernel threads that are not the fiber's own (made by a program's clone, with the
//    maker's FS base and filter), the call is made as it is.
#include "hooks/trap.h"

#include <errno.h>
#include <linux/audit.h>
#include <string.h>
#include <ucontext.h>

#include "hooks/audit.h"
#include "hooks/direct.h"
#include "hooks/hook.h"
#include "hooks/patch.h"
#include "hooks/signal_table.h"
#include "hooks/signals.h"
#include "preload/backstop.h"
#include "scheduler/carrier.h"
#include "scheduler/offload.h"
#include "scheduler/sys.h"

namespace coro {

long enter_trapped(long number, const long* a);  // futex_doors.cc

namespace {

bool running = false, patches = false;
struct sigaction programs;

bool may_enter(const Fiber* fiber) {
  return fiber && !fiber->critical.load(std::memory_order_relaxed) && !away_on(*fiber);
}

// In libc's setuid handler another thread's block may be behind the FS base: scheduler/setxid.h.
bool is_in_setxid(const ucontext_t& frame) { return to_mask(frame.uc_sigmask) & bit_of(33); }

// Not so in what a program made with clone and its maker's FS base.
bool is_own_kernel_thread(const Fiber& fiber) { return fiber.carrier->tid.load(std::memory_order_relaxed) == sys::gettid(); }

// libc's value or -errno.
long enter_hook(Fiber* fiber, long number, const long* a) {
  constexpr int asynchronous = 2;  // CANCELTYPE_BITMASK of nptl/descr.h
  bool is_point = __atomic_load_n(fiber->cancel_word, __ATOMIC_RELAXED) & asynchronous;
  int state = PTHREAD_CANCEL_ENABLE;
  if (!is_point) pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
  int saved = errno;
  long result = enter_trapped(number, a);
  if (result == -1) result = -errno;
  errno = saved;
  if (!is_point) pthread_setcancelstate(state, nullptr);
  return result;
}

void on_sigsys(int signal, siginfo_t* info, void* context) {
  constexpr int by_seccomp = 1;  // SYS_SECCOMP
  if (info->si_code != by_seccomp || info->si_arch != AUDIT_ARCH_X86_64) {
    forward_signal(signal, info, context);
    return;
  }
  auto* frame = static_cast<ucontext_t*>(context);
  greg_t* registers = frame->uc_mcontext.gregs;
  const long a[] = {registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                    registers[REG_R10], registers[REG_R8],  registers[REG_R9]};
  Fiber* fiber = current;
  if (!may_enter(fiber) || is_in_setxid(*frame) || !is_own_kernel_thread(*fiber)) {
    registers[REG_RAX] = call_direct(info->si_syscall, a);
    return;
  }
  note_trap(registers[REG_RIP], info->si_syscall);
  Carrier* carrier = fiber->carrier;
  uint64_t mask = carrier_mask();
  registers[REG_RAX] = enter_hook(fiber, info->si_syscall, a);
  if (patches) patches = patch_site(static_cast<uintptr_t>(registers[REG_RIP]), info->si_syscall);
  if (fiber->carrier == carrier && carrier_mask() == mask) return;
  sys::set_signal_mask(~uint64_t{0});
  from_mask(carrier_mask(), frame->uc_sigmask);
  if (fiber->carrier != carrier) sys::call(SYS_sigaltstack, 0, sys::as_long(&frame->uc_stack));
}

}  // namespace

long enter_patched(uintptr_t site, long number, const long* a) {
  Fiber* fiber = current;
  if (!fiber || away_on(*fiber)) return sys::call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  if (!may_enter(fiber)) return call_direct(number, a);
  note_trap(static_cast<greg_t>(site), number);
  return enter_hook(fiber, number, a);
}

bool backstop_runs() { return running; }
const struct sigaction& sigsys_before_backstop() { return programs; }

bool (*start_backstop())() {
  if (std::string_view(options().backstop) == "off") return nullptr;
  if (prepare_backstop()) return nullptr;  // `coro check` says why
  struct sigaction ours {};
  ours.sa_sigaction = on_sigsys;
  ours.sa_flags = static_cast<int>(SA_SIGINFO | SA_NODEFER);
  if (real.sigaction(SIGSYS, &ours, &programs) < 0) return nullptr;
  running = true;
  call_directly();
  patches = std::string_view(options().backstop) == "on" && prepare_patches();
  return load_backstop;
}

}  // namespace coro
