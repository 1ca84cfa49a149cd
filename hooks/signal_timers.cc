// SPDX-License-Identifier: Apache-2.0
//
// POSIX timers. The kernel sends their signals to the process or, with SIGEV_THREAD_ID, to a kernel thread. A fiber's tid
// is no kernel thread's: such a timer is made for the process, and the siginfo's timer number leads to the fiber.
// SIGEV_THREAD is libc's: its function runs on a kernel thread of libc's making.
// An expiry that waits in our queue is treated as the kernel does its own (Linux 6.13 on): setting the timer anew or
// deleting it drops it, and while it waits further ones count as overruns, which timer_getoverrun then has to tell.
#include <errno.h>
#include <time.h>

#include "hooks/clean_helper.h"
#include "hooks/signal_calls.h"
#include "hooks/signals.h"
#include "hooks/thread.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

// One timer. Written under Critical by who makes and deletes it, read by the trampoline at any instruction.
struct Timer {
  std::atomic<int> timer{-1};  // the kernel's number; -2: being written
  std::atomic<Fiber*> fiber{nullptr};  // null: it is for the process
  std::atomic<uint32_t> number{0};  // of the fiber: its memory may be another's by then
  std::atomic<int> overruns{-1};  // of the last expiry that came by way of our queue; -1: the kernel's are right
};
constexpr int most_timers = 1024;
constinit Timer timers[most_timers];
std::atomic<int> timers_used{0};  // places from here on were never used

// libc's timer_t of a timer without a thread is the kernel's number (sysdeps/unix/sysv/linux/kernel-posix-timers.h).
int kernels_number(timer_t timer) { return static_cast<int>(reinterpret_cast<intptr_t>(timer)); }

Timer* reserve(Fiber* fiber) {
  for (int i = 0; i < most_timers; i++) {
    int nobodys = -1;
    if (!timers[i].timer.compare_exchange_strong(nobodys, -2)) continue;
    int used = timers_used.load();
    while (used <= i && !timers_used.compare_exchange_weak(used, i + 1)) {
    }
    timers[i].fiber = fiber;
    timers[i].number = fiber ? fiber->number : 0;
    timers[i].overruns = -1;
    return &timers[i];
  }
  return nullptr;
}

Timer* timer_of(int number) {
  for (int i = 0; i < timers_used.load(std::memory_order_relaxed); i++)
    if (timers[i].timer.load() == number) return &timers[i];
  return nullptr;
}

}  // namespace

bool is_for_timers_fiber(const siginfo_t& info, Fiber*& fiber) {
  Timer* timer = info.si_code == SI_TIMER ? timer_of(info.si_timerid) : nullptr;
  Fiber* named = timer ? timer->fiber.load() : nullptr;
  if (!named) return false;
  fiber = named->number == timer->number.load() && !is_ended(*named) ? named : nullptr;  // a dead thread's goes nowhere
  return true;
}

void note_overruns(const siginfo_t& info) {
  if (Timer* timer = info.si_code == SI_TIMER ? timer_of(info.si_timerid) : nullptr) timer->overruns = info.si_overrun;
}

void forget_timers_in_child() {
  for (int i = 0; i < timers_used.load(); i++) timers[i].timer = -1;
}

namespace {

// libc makes a thread for it: see hooks/process_threads.cc.
int create_with_thread(clockid_t clock, sigevent* event, timer_t* timer) {
  return on_clean_helper(Call::timer_create, [&] { return real.timer_create(clock, event, timer); });
}

}  // namespace

// timer_create(2): SIGEV_THREAD_ID takes a fiber's tid as gettid(2) tells it.
HOOK(int, timer_create, (clockid_t clock, sigevent* event, timer_t* timer)) {
  Fiber* fiber = virtual_gate<Call::timer_create>();
  bool names = fiber && event && event->sigev_notify == SIGEV_THREAD_ID;
  Fiber* target = names ? fiber_with_tid(event->_sigev_un._tid) : nullptr;
  if (event && event->sigev_notify == SIGEV_THREAD) return create_with_thread(clock, event, timer);
  if (!fiber) return real.timer_create(clock, event, timer);
  Critical inside;
  Timer* place = reserve(target);
  if (!place && target) return static_cast<int>(failed(EAGAIN));
  sigevent for_process;
  if (target) for_process = *event, for_process.sigev_notify = SIGEV_SIGNAL;
  int result = real.timer_create(clock, target ? &for_process : event, timer);
  if (place) place->timer = result == 0 ? kernels_number(*timer) : -1;
  return result;
}

namespace {

// A timer without a thread of libc's; -1: one with.
int plain_number(timer_t timer) { return reinterpret_cast<intptr_t>(timer) >= 0 ? kernels_number(timer) : -1; }

}  // namespace

// timer_settime(2): an old expiry that still waits is dropped.
HOOK(int, timer_settime, (timer_t timer, int flags, const itimerspec* time, itimerspec* old)) {
  Fiber* fiber = virtual_gate<Call::timer_settime>();
  Timer* known = fiber ? timer_of(plain_number(timer)) : nullptr;
  if (!known) return real.timer_settime(timer, flags, time, old);
  Critical inside;
  int result = real.timer_settime(timer, flags, time, old);
  if (result == 0) {
    drop_pending_timer(kernels_number(timer));
    known->overruns = -1;
  }
  return result;
}

// timer_getoverrun(2): of the last expiry that was delivered.
HOOK(int, timer_getoverrun, (timer_t timer)) {
  Fiber* fiber = virtual_gate<Call::timer_getoverrun>();
  Timer* known = fiber ? timer_of(plain_number(timer)) : nullptr;
  int counted = known ? known->overruns.load() : -1;
  return counted >= 0 ? counted : real.timer_getoverrun(timer);
}

// timer_delete(2).
HOOK(int, timer_delete, (timer_t timer)) {
  Fiber* fiber = virtual_gate<Call::timer_delete>();
  Timer* known = timer_of(plain_number(timer));
  if (!known) return real.timer_delete(timer);
  Critical inside;
  known->timer = -1;
  int result = real.timer_delete(timer);
  if (fiber && result == 0) drop_pending_timer(kernels_number(timer));
  return result;
}

}  // namespace coro
