// SPDX-License-Identifier: Apache-2.0
//
// Semaphores, named ones too. glibc's sem_trywait takes the token; a fiber that finds none parks in the queue of the
// semaphore's address. Each post wakes one; a wake that is not needed goes on to the next, or its token would lie idle.
// A handler ends the wait with EINTR; with SA_RESTART only a timed one (the kernel restarts an untimed FUTEX_WAIT).
#include "hooks/sync.h"

namespace coro {
namespace {

bool take(sem_t* semaphore) {
  if (__builtin_expect(shortcuts.semaphores, 1)) return take_token(semaphore);
  look_for_shortcuts();
  KeepErrno keep;
  return real.sem_trywait(semaphore) == 0;
}

int real_wait(sem_t* semaphore, const Until& until) {
  return until.time ? real.sem_clockwait(semaphore, until.clock, until.time) : real.sem_wait(semaphore);
}

// A semaphore that other processes use: libc's own wait, on a helper.
int wait_away(Call call, Fiber* fiber, sem_t* semaphore, const Until& until) {
  Deadline deadline = until.deadline();
  auto attempt = [&] {
    if (take(semaphore)) return 0;
    return static_cast<int>(failed(deadline.passed() ? ETIMEDOUT : EAGAIN));
  };
  auto is_answer = [](int result) { return result == 0 || errno == ETIMEDOUT; };
  return attempt_then_block(call, fiber, Cancellable::yes, attempt, is_answer,
                            [&] { return real_wait(semaphore, until); });
}

// One look, and if there is no token one wait. 0, EAGAIN (look again) or the errno that ends the call.
int wait_once(Call call, Fiber* fiber, sem_t* semaphore, const Deadline& deadline) {
  Woken woken;
  {
    Wait wait(to_reason(call), Cancellable::yes);
    wait.enqueue(semaphore);
    if (take(semaphore)) {
      if (wait.withdraw()) wake_queue(semaphore, 1);
      return 0;
    }
    wait.until(deadline);
    woken = wait.park();
  }
  switch (settle_wait(woken, fiber, deadline.is_never() ? Rule::restarts : Rule::interrupts)) {
    case Outcome::timed_out: return ETIMEDOUT;
    case Outcome::interrupted: return EINTR;
    default: return take(semaphore) ? 0 : EAGAIN;
  }
}

[[gnu::noinline]] int wait_slowly(Call call, Fiber* fiber, sem_t* semaphore, const Until& until) {
  if (is_shared(semaphore)) return wait_away(call, fiber, semaphore, until);
  Deadline deadline = until.deadline();
  for (;;) {
    int error = wait_once(call, fiber, semaphore, deadline);
    if (error == 0) return 0;
    if (error != EAGAIN) return static_cast<int>(failed(error));
  }
}

int wait_for(Call call, Fiber* fiber, sem_t* semaphore, const Until& until = for_ever) {
  return take(semaphore) ? 0 : wait_slowly(call, fiber, semaphore, until);
}

}  // namespace

// sem_wait(3): takes a token, or parks until there is one.
HOOK(int, sem_wait, (sem_t * semaphore)) {
  Fiber* fiber = gate<Call::sem_wait>();
  if (!fiber) return real.sem_wait(semaphore);
  test_cancel(fiber);
  return wait_for(Call::sem_wait, fiber, semaphore);
}

// sem_trywait(3): EAGAIN when there is none.
HOOK(int, sem_trywait, (sem_t * semaphore)) {
  Fiber* fiber = gate<Call::sem_trywait>();
  if (!fiber) return real.sem_trywait(semaphore);
  return spin_watch(fiber, real.sem_trywait(semaphore));
}

// sem_timedwait(3): until a time on CLOCK_REALTIME, which is looked at first.
HOOK(int, sem_timedwait, (sem_t * semaphore, const timespec* time)) {
  Fiber* fiber = gate<Call::sem_timedwait>();
  if (!fiber || !has_valid_nanoseconds(*time)) return real.sem_timedwait(semaphore, time);
  test_cancel(fiber);
  return wait_for(Call::sem_timedwait, fiber, semaphore, {CLOCK_REALTIME, time});
}

// sem_clockwait(3): until a time on that clock. In glibc it is a cancellation point only where it waits.
HOOK(int, sem_clockwait, (sem_t * semaphore, clockid_t clock, const timespec* time)) {
  Fiber* fiber = gate<Call::sem_clockwait>();
  if (!fiber || !is_wait_clock(clock) || !has_valid_nanoseconds(*time))
    return real.sem_clockwait(semaphore, clock, time);
  if (take(semaphore)) return 0;
  test_cancel(fiber);
  return wait_slowly(Call::sem_clockwait, fiber, semaphore, {clock, time});
}

// sem_post(3): never parks; may be called in a signal handler.
HOOK(int, sem_post, (sem_t * semaphore)) {
  gate<Call::sem_post>();
  int result = real.sem_post(semaphore);
  if (result == 0) wake_parked(semaphore, 1);  // from here on the semaphore may be gone
  return result;
}

}  // namespace coro
