// SPDX-License-Identifier: Apache-2.0
//
// The SIGSYS handler. It runs on the fiber's stack, with nothing blocked, at a syscall instruction: a place where the
// caller is ready to be blocked. So the hook of that call may park in it, and the fiber may go on elsewhere.
//  - libc makes a call a cancellation point by asynchronous cancellation around it; without that mark ours is none;
//  - returning from a handler gives the kernel thread the signal mask and the alternate stack that the frame holds: the
//    frame gets those of the kernel thread that the fiber is on then, with every signal blocked until the return;
//  - inside the engine, on a hub, and on kernel threads that are not the fiber's own (made by a program's clone, with the
//    maker's FS base and filter), the call is made as it is;
//  - the loader's own reads and closes are made as they are, too: it makes them with a lock held that whoever makes a kernel
//    thread takes (glibc 2.34: dl_load_tls_lock), so a fiber must get through there without its hub or a helper;
//  - a mask that libc or the program gives to the kernel goes into the frame, without SIGSYS: a filter that meets a blocked
//    SIGSYS ends the process. What the fiber's virtual mask blocks the kernel thread must not block for all.
#include "hooks/trap.h"

#include <dlfcn.h>
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
#include "hooks/user_memory.h"
#include "preload/backstop.h"
#include "scheduler/carrier.h"
#include "scheduler/offload.h"
#include "scheduler/sys.h"

namespace coro {

long enter_trapped(long number, const long* a);  // futex_doors.cc

namespace {

bool running = false, patches = false;
Code loader;
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

// Nothing comes in any more before the return gives back the frame's mask. Also not the news of a mask: what comes later
// interrupts the program's code.
void close_until_return() {
  const uint64_t all = ~bit_of(SIGSYS);
  sys::call(SYS_rt_sigprocmask, SIG_SETMASK, sys::as_long(&all), 0, sizeof all);
}

// A hub, or a fiber inside the engine, comes upon a lock of libc's: libev allocates. Who is woken in its place, or gives the
// lock up, may be a fiber that needs this very hub first. So it looks again soon; an end too early is allowed (futex(2)).
long wait_in_engine(long number, const long* a) {
  bool waits = number == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT && !a[3];
  if (!waits || (current && !current->critical.load(std::memory_order_relaxed))) return call_direct(number, a);
  const timespec pause{0, 1'000'000};
  const long bounded[] = {a[0], a[1], a[2], sys::as_long(&pause), a[4], a[5]};
  long result = call_direct(number, bounded);
  return result == -ETIMEDOUT ? 0 : result;
}

bool is_clone(long number) { return number == SYS_clone || number == SYS_clone3; }

// rt_sigprocmask with a set; `mask` is the kernel's, before and after. To libc's inside the thread's mask is what the
// fiber blocks and what the kernel does; what it sets is only the latter. The thread's mask before.
uint64_t change_kernel_mask(const Fiber* fiber, long how, uint64_t set, uint64_t& mask) {
  uint64_t fibers = fiber ? fiber->blocked : 0, carriers = fiber ? carrier_mask() : 0;
  uint64_t old = mask | fibers, wanted = how == SIG_SETMASK ? set : old | set;
  mask = ((wanted & ~fibers) | carriers) & ~bit_of(SIGSYS);
  return old;
}

long change_mask_in(ucontext_t& frame, const Fiber* fiber, const long* a) {
  uint64_t set = 0, mask = to_mask(frame.uc_sigmask);
  if (a[3] != sizeof set) return -EINVAL;
  if (!read_user_bytes(reinterpret_cast<const void*>(a[1]), &set, sizeof set)) return -EFAULT;
  close_until_return();
  uint64_t old = change_kernel_mask(fiber, a[0], set, mask);
  from_mask(mask, frame.uc_sigmask);
  if (fiber) fiber->carrier->mask.store(mask);
  return !a[2] || write_user_bytes(reinterpret_cast<void*>(a[2]), &old, sizeof old) ? 0 : -EFAULT;
}

// At a patched site, where there is no frame. It is libc's own: the addresses are good.
long change_mask_here(const Fiber* fiber, const long* a) {
  uint64_t set, mask = sys::signal_mask(), before = mask;
  if (!a[1] || a[0] == SIG_UNBLOCK || a[3] != sizeof set) return sys::call(SYS_rt_sigprocmask, a[0], a[1], a[2], a[3]);
  memcpy(&set, reinterpret_cast<const void*>(a[1]), sizeof set);
  uint64_t old = change_kernel_mask(fiber, a[0], set, mask);
  if (a[2]) memcpy(reinterpret_cast<void*>(a[2]), &old, sizeof old);
  if (mask == before) return 0;  // as a rule: swapcontext(3) among contexts alike
  sys::set_exact_signal_mask(mask);
  if (fiber) fiber->carrier->mask.store(mask);
  return 0;
}

void on_sigsys(int signal, siginfo_t* info, void* context) {
  constexpr int by_seccomp = 1;  // SYS_SECCOMP
  if (info->si_code != by_seccomp || info->si_errno != backstop_mark || info->si_arch != AUDIT_ARCH_X86_64) {
    forward_signal(signal, info, context);
    return;
  }
  auto* frame = static_cast<ucontext_t*>(context);
  greg_t* registers = frame->uc_mcontext.gregs;
  const long a[] = {registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                    registers[REG_R10], registers[REG_R8],  registers[REG_R9]};
  Fiber* fiber = current;
  bool in_loader = loader.holds(static_cast<uintptr_t>(registers[REG_RIP]));
  if (!may_enter(fiber) || in_loader || is_in_setxid(*frame) || !is_own_kernel_thread(*fiber)) fiber = nullptr;
  if (info->si_syscall == SYS_rt_sigprocmask) {
    registers[REG_RAX] = change_mask_in(*frame, fiber, a);
    if (patches) patches = patch_site(static_cast<uintptr_t>(registers[REG_RIP]), info->si_syscall);
    return;
  }
  if (!fiber) {
    registers[REG_RAX] =
        is_clone(info->si_syscall) ? clone_past_hooks(nullptr, info->si_syscall, a, *frame) : wait_in_engine(info->si_syscall, a);
    return;
  }
  note_trap(registers[REG_RIP], info->si_syscall);
  Carrier* carrier = fiber->carrier;
  uint64_t mask = carrier_mask();
  registers[REG_RAX] = is_clone(info->si_syscall) ? clone_past_hooks(fiber, info->si_syscall, a, *frame)
                                                  : enter_hook(fiber, info->si_syscall, a);
  if (patches) patches = patch_site(static_cast<uintptr_t>(registers[REG_RIP]), info->si_syscall);
  if (fiber->carrier == carrier && carrier_mask() == mask) return;
  close_until_return();
  from_mask(carrier_mask(), frame->uc_sigmask);
  if (fiber->carrier != carrier) sys::call(SYS_sigaltstack, 0, sys::as_long(&frame->uc_stack));
}

}  // namespace

long enter_patched(uintptr_t site, long number, const long* a) {
  Fiber* fiber = current;
  if (!fiber || away_on(*fiber)) return sys::call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  if (number == SYS_rt_sigprocmask) return change_mask_here(may_enter(fiber) ? fiber : nullptr, a);
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
  loader = code_around(dlsym(RTLD_DEFAULT, "__tls_get_addr"));
  call_directly();
  patches = std::string_view(options().backstop) == "on" && prepare_patches();
  return load_backstop;
}

}  // namespace coro
