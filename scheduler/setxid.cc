// SPDX-License-Identifier: Apache-2.0
#include "scheduler/setxid.h"

#include <signal.h>

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

void on_setxid(int signal, siginfo_t* info, void* context) {
  if (info->si_code == new_mask && info->si_pid == sys::getpid())
    return hear_mask(*static_cast<Carrier*>(info->si_value.sival_ptr), context);
  if (info->si_code != SI_TKILL || info->si_pid != sys::getpid()) return;  // not libc's
  Arrival arrival{signal, info, context};
  if (void* meant = thread_block::block_marked_for_setxid(sys::gettid()))
    call_as_thread(meant, handle, &arrival);
  else
    handle(&arrival);  // a kernel thread that is none of ours, on a stack of its own
}

}  // namespace

void wrap_setxid_handler() {
  KernelAction action{};
  if (sys::call(SYS_rt_sigaction, sigsetxid, 0, sys::as_long(&action), sizeof action.mask) < 0) return;
  if (!(action.flags & SA_SIGINFO) || !action.handler) return;
  libcs_handler = action.handler;
  action.handler = on_setxid;
  action.mask = ~uint64_t{0};  // with another FS base nothing of the program's may run
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
