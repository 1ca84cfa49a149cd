// SPDX-License-Identifier: Apache-2.0
//
// How a thread ends and who hears of it: join, detach, exit, cancel.
//  - A joiner is a fiber on a hub, which parks; or a kernel thread that is not on one (a fiber that is away, a thread of
//    libc's own), which sleeps in the kernel;
//  - main, unwound by pthread_exit or a cancellation, would end in libc's frame below main(), which ends the process or
//    its kernel thread (sysdeps/nptl/libc_start_call_main.h). The last thing that libc does before that is to run the
//    destructors of thread-specific data: ours takes over there, and never comes back;
//  - nothing unwinds our own frames' objects (-fno-exceptions): a cancellation is acted on only when they are gone.
#include "hooks/retry.h"
#include "hooks/thread.h"
#include "hooks/trap.h"
#include "scheduler/carrier.h"
#include "scheduler/offload.h"
#include "scheduler/sys.h"
#include "scheduler/thread_block.h"

namespace coro {
namespace {

Fiber foreign_joiner;  // stands for whoever joins and is no fiber

// Whether the caller may become the joiner of the target (nptl/pthread_join_common.c). 0 or an error number.
int begin_join(Fiber* self, Fiber& target) {
  constexpr int ends = thread_block::cancel_requested | thread_block::cancel_exiting;
  if (target.life.load() & Fiber::flag_detached) return EINVAL;
  bool joins_us = self->joiner == &target && !(__atomic_load_n(target.cancel_word, __ATOMIC_SEQ_CST) & ends);
  if ((&target == self || joins_us) && !self->is_cancelled()) return EDEADLK;
  Fiber* nobody = nullptr;
  return std::atomic_ref<Fiber*>(target.joiner).compare_exchange_strong(nobody, self) ? 0 : EINVAL;
}

// Acts on a cancellation of the joiner: the target can be joined by another.
void test_cancel_of_joiner(Fiber* self, Fiber& target) {
  if (!self->is_cancelled()) return;
  target.joiner = nullptr;
  test_cancel(self);
}

// Parks until the target is done. 0 or ETIMEDOUT.
int wait_done(Call call, Fiber* self, Fiber& target, const Deadline& deadline) {
  while (!is_done(target)) {
    Woken woken;
    {
      Wait wait(to_reason(call), Cancellable::yes);
      wait.enqueue(&target.life);
      if (is_done(target)) break;
      wait.until(deadline);
      woken = wait.park();
    }
    if (woken == Woken::timed_out && !is_done(target)) return ETIMEDOUT;
    test_cancel_of_joiner(self, target);
    settle(woken, self, Rule::restarts);
  }
  return 0;
}

// As wait_done, in the kernel. Of a fiber that is away a cancellation may come just before it sleeps: it looks up.
int wait_done_from_afar(Fiber* self, Fiber& target, const Deadline& deadline) {
  constexpr int64_t between_looks = 50'000'000;
  bool is_fiber = self != &foreign_joiner;
  while (!sleep_until_done(target, is_fiber && deadline.left() > between_looks ? Deadline::in(between_looks) : deadline)) {
    if (deadline.passed()) return is_done(target) ? 0 : ETIMEDOUT;
    test_cancel_of_joiner(self, target);
  }
  return 0;
}

int join_fiber(Call call, Fiber& target, void** result, const Deadline& deadline) {
  Fiber* self = current ? current : &foreign_joiner;
  if (int error = begin_join(self, target)) return error;
  if (current && !is_done(target)) test_cancel_of_joiner(self, target);
  int error = on_hub() ? wait_done(call, self, target, deadline) : wait_done_from_afar(self, target, deadline);
  if (error) {
    target.joiner = nullptr;
    return error;
  }
  if (result) *result = target.result;
  Critical inside;
  forget_fiber(target);
  return 0;
}

// join_real(): libc's function, for a thread that is no fiber.
template <Call call, class Real>
int join(pthread_t id, void** result, const Deadline& deadline, Real join_real) {
  gate<call>();
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target) {
    Away away(to_reason(call));
    return join_real();
  }
  KeepErrno keep;
  return join_fiber(call, *target, result, deadline);
}

// A time that the kernel refuses does not end libc's loop (sysdeps/nptl/pthread_join_common.c): it waits to the end.
Deadline to_deadline(clockid_t clock, const timespec* time) {
  if (!time) return Deadline::never();
  if (time->tv_sec < 0) return Deadline::at_time(clock, {});
  bool valid = time->tv_nsec >= 0 && time->tv_nsec < 1'000'000'000;
  return valid ? Deadline::at_time(clock, *time) : Deadline::never();
}

}  // namespace

// pthread_join(3): parks until the thread ends.
HOOK(int, pthread_join, (pthread_t id, void** result)) {
  return join<Call::pthread_join>(id, result, Deadline::never(), [&] { return real.pthread_join(id, result); });
}

// pthread_clockjoin_np(3), pthread_timedjoin_np(3): until an absolute time.
HOOK(int, pthread_clockjoin_np, (pthread_t id, void** result, clockid_t clock, const timespec* time)) {
  bool known = clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
  if (!known && engine_started() && fiber_of(id)) return EINVAL;
  return join<Call::pthread_clockjoin_np>(id, result, to_deadline(clock, time), [&] {
    return real.pthread_clockjoin_np(id, result, clock, time);
  });
}
HOOK(int, pthread_timedjoin_np, (pthread_t id, void** result, const timespec* time)) {
  return join<Call::pthread_timedjoin_np>(id, result, to_deadline(CLOCK_REALTIME, time),
                                          [&] { return real.pthread_timedjoin_np(id, result, time); });
}

// pthread_tryjoin_np(3): EBUSY while it runs.
HOOK(int, pthread_tryjoin_np, (pthread_t id, void** result)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target) return real.pthread_tryjoin_np(id, result);
  Fiber* self = gate<Call::pthread_tryjoin_np>();
  if (is_done(*target)) return join_fiber(Call::pthread_tryjoin_np, *target, result, Deadline::never());
  if (self) note_fruitless(self);
  return EBUSY;
}

// thrd_join(3).
HOOK(int, thrd_join, (thrd_t id, int* result)) {
  void* value = nullptr;
  if (join<Call::thrd_join>(id, &value, Deadline::never(), [&] { return real.pthread_join(id, &value); }))
    return thrd_error;
  if (result) *result = static_cast<int>(reinterpret_cast<intptr_t>(value));
  return thrd_success;
}

// pthread_detach(3).
HOOK(int, pthread_detach, (pthread_t id)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target) return real.pthread_detach(id);
  gate<Call::pthread_detach>();
  Critical inside;
  return detach_fiber(*target) ? 0 : EINVAL;
}
HOOK(int, thrd_detach, (thrd_t id)) {
  return hook_pthread_detach(id) ? thrd_error : thrd_success;
}

namespace {

void end_of_main(void*) {
  if (current && current->is_main) end_main_fiber();
}

}  // namespace

void watch_end_of_main() {
  pthread_key_t key;
  if (pthread_key_create(&key, end_of_main) == 0) pthread_setspecific(key, current);
}

// pthread_exit(3): unwinds the fiber, running cleanup handlers and destructors.
HOOK(void, pthread_exit, (void* result)) {
  if (Fiber* self = current) {
    gate<Call::pthread_exit>();
    self->exited = true;
    self->result = result;
  }
  real.pthread_exit(result);
  __builtin_unreachable();
}
HOOK(void, thrd_exit, (int result)) { hook_pthread_exit(reinterpret_cast<void*>(static_cast<intptr_t>(result))); }

namespace {

// A fiber that is away, or has lost its hub, blocks in the kernel like any thread. libc marks its cancellation points by
// the asynchronous bit while it is in one (nptl/cancellation.c); SIGCANCEL interrupts it, and ours acts as libc's own
// handler does. What is no cancellation point must not hear of it: flock would say EINTR.
void on_cancel_signal(int, siginfo_t*, void*) {
  Fiber* self = current;
  if (!self || !self->is_cancelled() || self->critical.load(std::memory_order_relaxed)) return;
  if (self->is_asynchronous()) pthread_testcancel();
}

// The kernel's struct sigaction. libc refuses to install a handler for SIGCANCEL, so we do it ourselves, with the
// restorer that libc gives to every handler (its unwind information makes pthread_exit out of a handler work).
struct KernelAction {
  void (*handler)(int, siginfo_t*, void*);
  unsigned long flags;
  void* restorer;
  uint64_t mask;
};
constexpr unsigned long has_restorer = 0x04000000;
constexpr int sigcancel = 32;

void install_cancel_handler() {
  struct sigaction probe {}, before {};
  KernelAction model{};
  probe.sa_handler = [](int) {};
  real.sigaction(SIGRTMAX, &probe, &before);
  sys::call(SYS_rt_sigaction, SIGRTMAX, 0, sys::as_long(&model), 8);
  real.sigaction(SIGRTMAX, &before, nullptr);
  unsigned long restarts = backstop_runs() ? 0 : SA_RESTART;
  KernelAction ours{on_cancel_signal, SA_SIGINFO | has_restorer | restarts, model.restorer, 0};
  sys::call(SYS_rt_sigaction, sigcancel, sys::as_long(&ours), 0, 8);
}

// The kernel thread that may be blocked in the target's call; 0: it is parked or waits for its turn.
int kernel_thread_of(const Fiber& target) {
  if (int helper = away_on(target)) return helper;
  if (int orphan = target.orphan_tid.load()) return orphan;
  return target.state == State::running && target.carrier ? target.carrier->tid.load() : 0;
}

// A direct call (hooks/direct.h), made where the filter is, has no such mark: it must come back with EINTR.
void interrupt(Fiber& target) {
  bool may_be_direct = backstop_runs() && !away_on(target);
  if (!target.is_asynchronous() && !may_be_direct) return;
  int kernel_thread = kernel_thread_of(target);
  if (!kernel_thread) return;
  static std::atomic<bool> installed{false};
  if (!installed.exchange(true)) install_cancel_handler();
  sys::call(SYS_tgkill, sys::getpid(), kernel_thread, sigcancel);
}

void cancel(Fiber& target) {
  using namespace thread_block;
  int before = __atomic_fetch_or(target.cancel_word, cancel_requested, __ATOMIC_SEQ_CST);
  if (before & (cancel_requested | cancel_exiting | cancel_disabled)) return;
  if (&target == current) {
    if (before & cancel_asynchronous) pthread_testcancel();
    return;
  }
  Critical inside;
  wake_cancelled(target, before & cancel_asynchronous);
  interrupt(target);
}

}  // namespace

// pthread_cancel(3): deferred; acted on at the target's next cancellation point, at once if it is parked in one.
HOOK(int, pthread_cancel, (pthread_t id)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target) return real.pthread_cancel(id);
  gate<Call::pthread_cancel>();
  if (!is_ended(*target)) cancel(*target);
  return 0;
}

}  // namespace coro
