// SPDX-License-Identifier: Apache-2.0
//
// Things that happen once, and barriers.
// once: libc's pthread_once runs the routine and keeps the control word, but would block the kernel thread of whoever
// comes while it runs. So only a fiber that has claimed the word calls it. The claim is a value that to libc means "begun
// in a process that forked since": pthread_once takes such a word over at once.
// barrier: libc keeps counters that waiters touch after they were let go, and pthread_barrier_destroy blocks until they
// have: it would wait for fibers of its own hub. Ours keeps the arrivals of the present round in a list on their own
// stacks; the object holds its head while a round is on, and is as new when the round is complete.
#include <threads.h>

#include "hooks/sync.h"
#include "scheduler/spinlock.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

// nptl/pthreadP.h: __PTHREAD_ONCE_INPROGRESS 1, __PTHREAD_ONCE_DONE 2, above them the fork generation.
constexpr int once_running = 1, once_done = 2;
constexpr int once_claimed = ~once_done;
constexpr int64_t shortest_look = 1'000'000, longest_look = 10'000'000;
constexpr int patience_for_claims = 20;

int now_in(pthread_once_t* control) { return __atomic_load_n(control, __ATOMIC_ACQUIRE); }

// The value of a control word whose routine runs in this process; it changes with every fork.
int running_here() {
  static std::atomic<uint64_t> remembered{0};  // pid << 32 | value
  static Spinlock looking;
  static pthread_once_t probe;
  static int seen;
  auto pid = static_cast<uint64_t>(sys::getpid());
  uint64_t known = remembered.load();
  if (known >> 32 == pid) return static_cast<int>(known);
  Critical inside;
  Locked hold(looking);
  probe = PTHREAD_ONCE_INIT;
  real.pthread_once(&probe, [] { seen = now_in(&probe); });
  remembered.store(pid << 32 | static_cast<uint32_t>(seen));
  return seen;
}

// Whether the word is free for a claim: new, or left behind by a thread of the process that forked us.
bool is_free(int value, int rounds) {
  if (value == 0) return true;
  if (value == once_claimed) return rounds > patience_for_claims;
  return value & once_running && value != running_here();
}

struct Seen {
  pthread_once_t* control;
  int value;
};

// Waits for a change, not longer than `pause`: a routine that throws or is cancelled makes libc reset the word with a
// wake that only the kernel sees.
void wait_for_once(Call call, Fiber* fiber, Seen seen, int64_t pause) {
  if (!fiber) {
    timespec time = to_timespec(pause);
    sys::call(SYS_nanosleep, sys::as_long(&time), 0);
    return;
  }
  Woken woken;
  {
    Wait wait(to_reason(call), Cancellable::no);
    auto still = [](void* argument) {
      auto* before = static_cast<Seen*>(argument);
      return now_in(before->control) == before->value;
    };
    if (!wait.enqueue(seen.control, ~0u, 0, still, &seen)) return;
    wait.until(Deadline::in(pause));
    woken = wait.park();
  }
  settle_wait(woken, fiber, Rule::restarts);
}

int once(Call call, Fiber* fiber, pthread_once_t* control, void (*routine)()) {
  int64_t pause = shortest_look;
  for (int rounds = 0;; rounds++) {
    int value = now_in(control);
    if (value & once_done) return 0;
    if (is_free(value, rounds) && __atomic_compare_exchange_n(control, &value, once_claimed, false,
                                                              __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
      int result = real.pthread_once(control, routine);
      wake_parked(control, INT32_MAX);
      return result;
    }
    wait_for_once(call, fiber, {control, value}, pause);
    if (pause < longest_look) pause *= 2;
  }
}

}  // namespace

// pthread_once(3): runs the routine, or parks until the thread that does is through.
HOOK(int, pthread_once, (pthread_once_t* control, void (*routine)())) {
  if (__builtin_expect(now_in(control) == once_done || !engine_started(), 1)) return real.pthread_once(control, routine);
  Fiber* fiber = gate<Call::pthread_once>();
  return once(Call::pthread_once, fiber, control, routine);
}
HOOK_ALIAS(__pthread_once, pthread_once);

// call_once(3): a once_flag is a pthread_once_t.
HOOK(void, call_once, (once_flag * flag, void (*routine)())) {
  auto* control = reinterpret_cast<pthread_once_t*>(flag);
  if (now_in(control) == once_done || !engine_started()) return real.call_once(flag, routine);
  Fiber* fiber = gate<Call::call_once>();
  once(Call::call_once, fiber, control, routine);
}

namespace {

// One thread at a barrier, on its own stack: gone when it has seen `passed`.
struct Arrival {
  Arrival* before = nullptr;  // who came before it
  unsigned number = 1;        // it is the number-th of its round
  bool is_fiber = true;
  std::atomic<uint32_t> passed{0};
};

struct Coming {
  Arrival* arrival;
  void** round;  // in the barrier
  unsigned count;
  bool last;
};

// Under the lock of the barrier's bucket: joins the round, or completes it and leaves the barrier as new.
bool arrive(void* argument) {
  auto& coming = *static_cast<Coming*>(argument);
  if (auto* before = static_cast<Arrival*>(*coming.round)) {
    coming.arrival->before = before;
    coming.arrival->number = before->number + 1;
  }
  coming.last = coming.arrival->number >= coming.count;
  *coming.round = coming.last ? nullptr : coming.arrival;
  return false;  // nobody waits in this bucket: each has its own
}

void let_pass(Arrival* arrival) {
  while (arrival) {
    Arrival* next = arrival->before;
    bool is_fiber = arrival->is_fiber;
    arrival->passed.store(1);
    // From here on *arrival may be gone.
    if (is_fiber)
      wake_parked(arrival, 1);
    else
      sys::futex_wake(&arrival->passed, 1);
    arrival = next;
  }
}

void wait_to_pass(Call call, Fiber* fiber, Arrival& mine) {
  while (!mine.passed.load()) {
    if (!fiber) {
      sys::futex_wait(&mine.passed, 0);
      continue;
    }
    Woken woken;
    {
      Wait wait(to_reason(call), Cancellable::no);
      wait.enqueue(&mine);
      if (mine.passed.load()) break;
      woken = wait.park();
    }
    settle_wait(woken, fiber, Rule::restarts);
  }
}

int wait_at(Fiber* fiber, pthread_barrier_t* barrier, void** round) {
  Arrival mine;
  mine.is_fiber = fiber != nullptr;
  Coming coming{&mine, round, count_of(barrier), false};
  {
    Critical inside;
    QueueNode node;
    node.key = barrier;
    enqueue(node, arrive, &coming);
  }
  if (coming.last)
    let_pass(mine.before);
  else
    wait_to_pass(Call::pthread_barrier_wait, fiber, mine);
  return coming.last ? PTHREAD_BARRIER_SERIAL_THREAD : 0;
}

}  // namespace

// pthread_barrier_wait(3): parks until `count` threads are here; one of them hears that it is the last.
HOOK(int, pthread_barrier_wait, (pthread_barrier_t* barrier)) {
  Fiber* fiber = gate<Call::pthread_barrier_wait>();
  if (!engine_started() || count_of(barrier) == 1) return real.pthread_barrier_wait(barrier);
  void** round = round_of(barrier);
  if (round && !is_shared(barrier)) return wait_at(fiber, barrier, round);
  KeepErrno keep;
  Away away(to_reason(Call::pthread_barrier_wait));
  return real.pthread_barrier_wait(barrier);
}

}  // namespace coro
