// SPDX-License-Identifier: Apache-2.0
#include "scheduler/setxid.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <atomic>

#include "scheduler/carrier.h"
#include "scheduler/context.h"
#include "scheduler/sys.h"
#include "scheduler/thread_block.h"

namespace coro {
namespace {

constexpr int sigsetxid = 33;  // nptl/internal-signals.h
constexpr int new_mask = -0x434f;  // si_code of ours; the kernel's own are none of these

// The kernel's struct sigaction. libc refuses to change this signal's.
struct KernelAction {
  void (*handler)(int, siginfo_t*, void*);
  unsigned long flags;
  void* restorer;
  uint64_t mask;
};

void (*libcs_handler)(int, siginfo_t*, void*) = nullptr;

struct Arrival {
  int signal;
  siginfo_t* info;
  void* context;
};

void handle(void* argument) {
  auto& arrival = *static_cast<Arrival*>(argument);
  libcs_handler(arrival.signal, arrival.info, arrival.context);
}

// The caller of setuid sends to its own kernel thread: for the carrier's block, where the caller is a fiber on it. The
// signal then comes right behind the system call, whose arguments are still in the registers.
bool is_from_here(const void* context) {
  auto& registers = static_cast<const ucontext_t*>(context)->uc_mcontext.gregs;
  if (registers[REG_RDI] != sys::getpid() || registers[REG_RSI] != sys::gettid() || registers[REG_RDX] != sigsetxid)
    return false;
  auto* code = reinterpret_cast<const unsigned char*>(registers[REG_RIP]);
  return code[-2] == 0x0f && code[-1] == 0x05;  // syscall
}

// Answers for a block whose kernel thread changes its credentials by another block or by the caller's own hand. A
// second time is not the same as once (setuid(0) that gives back the effective id gives back the real one, too), so a
// kernel thread of a moment does it. Two stacks are enough, because libc holds a lock all through: one for the caller's
// kernel thread, one for the first, which is signalled for two blocks.
bool answer_by_stand_in(void* meant, bool is_second, Arrival& arrival) {
  constexpr size_t size = 16384;
  alignas(16) static char stacks[2][size];
  pid_t alive = 1;
  constexpr int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
                        CLONE_CHILD_CLEARTID;
  auto act = [](void* argument) {
    handle(argument);
    return 0;
  };
  if (clone(act, stacks[is_second] + size, flags, &arrival, nullptr, meant, &alive) < 0) return false;
  while (std::atomic_ref<pid_t>(alive).load(std::memory_order_acquire))
    sys::call(SYS_futex, sys::as_long(&alive), FUTEX_WAIT, 1, 0);
  return true;
}

void on_setxid(int signal, siginfo_t* info, void* context) {
  if (info->si_code == new_mask && info->si_pid == sys::getpid())
    return hear_mask(*static_cast<Carrier*>(info->si_value.sival_ptr), context);
  if (info->si_code != SI_TKILL || info->si_pid != sys::getpid()) return;  // not libc's
  Arrival arrival{signal, info, context};
  int saved = errno;
  thread_block::Marked marked = thread_block::block_marked_for_setxid(sys::gettid());
  if (!marked.block)
    handle(&arrival);  // a kernel thread that is none of ours, on a stack of its own
  else if (!(marked.is_second || is_from_here(context)) || !answer_by_stand_in(marked.block, marked.is_second, arrival))
    call_as_thread(marked.block, handle, &arrival);
  errno = saved;
}

}  // namespace

void wrap_setxid_handler() {
  KernelAction action{};
  if (sys::call(SYS_rt_sigaction, sigsetxid, 0, sys::as_long(&action), sizeof action.mask) < 0) return;
  if (!(action.flags & SA_SIGINFO) || !action.handler || action.handler == on_setxid) return;
  libcs_handler = action.handler;
  action.handler = on_setxid;
  // With another FS base nothing of the program's may run. But the backstop's SIGSYS may come, blocked or not, and looks
  // whether this signal is blocked, as it is only here.
  action.mask = ~(uint64_t{1} << 30);
  sys::call(SYS_rt_sigaction, sigsetxid, sys::as_long(&action), 0, sizeof action.mask);
}

bool send_new_mask(Carrier& carrier) {
  siginfo_t info{};
  info.si_signo = sigsetxid;
  info.si_code = new_mask;
  info.si_pid = sys::getpid();
  info.si_value.sival_ptr = &carrier;
  return libcs_handler && sys::call(SYS_rt_tgsigqueueinfo, info.si_pid, carrier.tid.load(), sigsetxid, sys::as_long(&info)) == 0;
}

}  // namespace coro
