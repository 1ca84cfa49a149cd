// SPDX-License-Identifier: Apache-2.0
//
// POSIX timers. The kernel sends their signals to the process or, with SIGEV_THREAD_ID, to a kernel thread. A fiber's tid
// is no kernel thread's: such a timer is made for the process, and the siginfo's timer number leads to the fiber.
// SIGEV_THREAD is libc's: its function runs on a kernel thread of libc's making.
#include <errno.h>
#include <time.h>

#include "hooks/clean_helper.h"
#include "hooks/signal_calls.h"
#include "hooks/signals.h"
#include "hooks/thread.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

// One timer for a fiber. Written under Critical by who makes and deletes it, read by the trampoline at any instruction.
struct ForFiber {
  std::atomic<int> timer{-1};  // the kernel's number; -2: being written
  std::atomic<Fiber*> fiber{nullptr};
  std::atomic<uint32_t> number{0};  // of the fiber: its memory may be another's by then
};
constexpr int most_timers = 1024;
ForFiber timers[most_timers];
std::atomic<int> timers_used{0};  // places from here on were never used

// libc's timer_t of a timer without a thread is the kernel's number (sysdeps/unix/sysv/linux/kernel-posix-timers.h).
int kernels_number(timer_t timer) { return static_cast<int>(reinterpret_cast<intptr_t>(timer)); }

ForFiber* reserve(Fiber& fiber) {
  for (int i = 0; i < most_timers; i++) {
    int nobodys = -1;
    if (!timers[i].timer.compare_exchange_strong(nobodys, -2)) continue;
    int used = timers_used.load();
    while (used <= i && !timers_used.compare_exchange_weak(used, i + 1)) {
    }
    timers[i].fiber = &fiber;
    timers[i].number = fiber.number;
    return &timers[i];
  }
  return nullptr;
}

}  // namespace

bool is_for_timers_fiber(const siginfo_t& info, Fiber*& fiber) {
  if (info.si_code != SI_TIMER) return false;
  for (int i = 0; i < timers_used.load(std::memory_order_relaxed); i++) {
    if (timers[i].timer.load() != info.si_timerid) continue;
    Fiber* named = timers[i].fiber.load();
    fiber = named->number == timers[i].number.load() && !is_ended(*named) ? named : nullptr;  // a dead thread's goes nowhere
    return true;
  }
  return false;
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
  if (!target) return real.timer_create(clock, event, timer);
  Critical inside;
  ForFiber* place = reserve(*target);
  if (!place) return static_cast<int>(failed(EAGAIN));
  sigevent for_process = *event;
  for_process.sigev_notify = SIGEV_SIGNAL;
  int result = real.timer_create(clock, &for_process, timer);
  place->timer = result == 0 ? kernels_number(*timer) : -1;
  return result;
}

// timer_delete(2).
HOOK(int, timer_delete, (timer_t timer)) {
  virtual_gate<Call::timer_delete>();
  int number = kernels_number(timer);
  if (reinterpret_cast<intptr_t>(timer) >= 0)
    for (int i = 0; i < timers_used.load(); i++)
      timers[i].timer.compare_exchange_strong(number, -1), number = kernels_number(timer);
  return real.timer_delete(timer);
}

}  // namespace coro
