// SPDX-License-Identifier: Apache-2.0
//
// A fiber: a user-level thread with its own stack and its own glibc thread block. It carries its whole identity with
// it, so any carrier can run it: moving a fiber is resuming it elsewhere.
//
//            make_fiber            resume                 Wait::park
//   (pool) ------------> ready ------------> running ---------------> parked
//      ^                   ^                    |                        |
//      |                   +--- yield ----------+                        |
//      |                   +---------------------- wake, delivered ------+
//      +--- joined/detached --- done <----------+ finish
#pragma once

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cstdint>

#include "scheduler/context.h"
#include "scheduler/deadline.h"
#include "scheduler/reason.h"
#include "scheduler/stack.h"

namespace coro {

class Hub;
class Wait;
struct Carrier;
struct Guardian;
struct Helper;

enum class State : uint8_t {
  ready,     // in its hub's ready queue or inbox; moved by the hub
  running,   // on a carrier's CPU; moved by the hub, or by the fiber that switched directly to it
  parked,    // in a Wait; moved by itself
  away,      // on an offload thread, not on any hub; moved by itself
  done,      // its start routine is over and its stack is left; moved by the hub (bury)
};

// How a parked fiber came to run again. The values above `signal` are decided by who called wake().
enum class Woken : uint8_t {
  ready,      // the descriptor is ready, the queue chose us, the event happened
  timed_out,  // the deadline passed first
  signal,     // a signal is pending for the fiber
  cancelled,  // pthread_cancel
  closed,     // the descriptor was closed by another fiber
};

// What the program set for a thread and may ask back; the engine does not look at it. A new thread has its maker's.
struct Traits {
  char name[16] = {};
  const void* affinity = nullptr;  // a cpu_set_t (hooks/thread_schedule.cc); null: the process's
  int policy = 0;
  int priority = 0;
  bool explicit_schedule = false;  // by the attributes, not the maker's
  int nice = 0;
};

struct Fiber {
  Context context;
  std::atomic<Hub*> hub{nullptr};  // where wakes are delivered; null while away
  State state = State::ready;
  bool is_main = false;
  bool c11 = false;  // start routine returns int

  // Inside the engine, or about to be: no signal handler may run, nothing may park. Counts nesting.
  std::atomic<int> critical{0};

  // --- waiting (wait.cc) ---
  // epoch << 8 | what. what: 0 not waiting, 1 armed, 0xfe armed in a cancellation point, 2 + Woken: woken. Fibers are never freed, so a
  // stale (fiber, epoch) is always safe to test.
  std::atomic<uint64_t> wake_word{0};
  Wait* wait = nullptr;              // its present Wait, between arming and delivery
  Reason reason = 0;                 // why it is parked, or the last call it parked in
  int64_t parked_since = 0;          // steady ns, only when tracing

  Fiber* next = nullptr;  // link in the ready queue, inbox, offload queue or pool: it is in one at a time

  // --- timer (timers.h): lazily kept in its hub's heap ---
  Deadline deadline;         // of the present wait
  int64_t timer_due = 0;     // when the heap will look, <= deadline
  // Place in the heap, -1 not there. A waker on another hub looks whether it is there (wait.cc).
  std::atomic<int32_t> timer_index{-1};
  Hub* timer_hub = nullptr;

  // --- life (fiber.cc, fiber_pool.cc) ---
  void* (*start)(void*) = nullptr;
  void* argument = nullptr;
  void* result = nullptr;
  bool ended = false;                 // no longer among the living
  uint32_t living_in = 0;             // the generation of processes in which it lives (fiber_pool.cc); 0: none
  bool exited = false;                // by pthread_exit, with result set
  // joined_from_afar: a kernel thread that is not on a hub waits for flag_done in the kernel.
  enum : uint32_t { flag_done = 1, flag_detached = 2, flag_joined_from_afar = 4 };
  std::atomic<uint32_t> life{0};  // also a futex
  Stack stack;
  bool stack_is_users = false;
  uint32_t number = 0;                // 1 is main; for people
  Fiber* live_next = nullptr;         // list of live fibers, under the engine's lock
  Fiber* live_previous = nullptr;

  // --- signals (hooks/signals.cc owns the meaning; masks are one bit a signal, bit n-1) ---
  std::atomic<uint64_t> pending_signals{0};  // directed at this fiber, not yet delivered
  uint64_t blocked = 0;                      // the virtual signal mask
  uint64_t counted = 0;                      // the mask as last counted for the carriers' kernel mask
  uint64_t awaited = 0;                      // what it is in sigwait for
  uint32_t handlers_run = 0;                 // how many handlers have been begun on it
  uint32_t handlers_mark = 0;                // with handlers_end_waits: a wait ends if handlers_run is another
  bool handlers_end_waits = false;
  bool shielded = false;  // cancellation is disabled for the length of a call (hooks/hook.h, NoCancellationPoint)
  bool was_handled() const { return handlers_end_waits && handlers_run != handlers_mark; }
  Fiber* joiner = nullptr;                   // who is in pthread_join on it (hooks/thread.cc)
  stack_t alternate_stack{};                 // sigaltstack(2) as the program sees it
  Carrier* carrier = nullptr;                // the kernel thread it was last resumed on by a hub
  std::atomic<int> orphan_tid{0};            // that kernel thread's tid while the fiber has lost its hub, else 0
  std::atomic<int> helper_tid{0};            // kernel thread while away (offload.cc), else 0
  Helper* helper = nullptr;                  // and what the engine knows of it
  bool wants_clean = false;                  // which kind of helper it goes to (offload.h)
  Hub* home = nullptr;                       // the hub to come home to

  Guardian* guardian = nullptr;  // see guardian.h
  Traits traits;
  uint8_t calls_in_a_row = 0;         // hooks called since it last stopped running
  bool has_made_new = false;          // others, who are ready on this hub and have not run yet
  bool is_new = false;                // has not run yet
  uint8_t wakes_at_home = 0;     // see balance.cc
  uint8_t fruitless = 0;         // runs of non-blocking calls that found nothing (spin-then-wait code)

  int* cancel_word = nullptr;         // libc's cancelhandling in the thread block

  // A cancellation is requested and enabled (thread_block.h, nptl/descr.h CANCELED_BITMASK and CANCELSTATE_BITMASK).
  bool is_cancelled() const {
    return (__atomic_load_n(cancel_word, __ATOMIC_RELAXED) & (8 | 1 | 16)) == 8;
  }

  // In one of libc's cancellation points, or by pthread_setcanceltype.
  bool is_asynchronous() const { return __atomic_load_n(cancel_word, __ATOMIC_SEQ_CST) & 2; }

  pthread_t id() const { return reinterpret_cast<pthread_t>(context.thread_block); }
};

// The fiber whose thread block the FS base points to; null on hubs, offload threads and foreign kernel threads. The
// only thread_local of ours. In a fiber's block it never changes.
extern thread_local constinit Fiber* current __attribute__((tls_model("initial-exec")));

// The running fiber if it may park here: it is on a hub. Null: pass through.
inline Fiber* on_hub() {
  Fiber* fiber = current;
  return fiber && fiber->hub.load(std::memory_order_relaxed) ? fiber : nullptr;
}

// The fiber that a pthread_t names; null for a foreign kernel thread. A garbage id crashes, as natively.
Fiber* fiber_of(pthread_t id);

// Marks the running fiber as being inside the engine; program signal handlers are deferred meanwhile. Works (and does
// nothing) when there is no fiber.
class Critical {
 public:
  Critical() : fiber_(current) {
    if (fiber_) enter(fiber_);
  }
  // Handlers that were deferred run here, when the outermost section ends.
  ~Critical() {
    if (!fiber_) return;
    leave(fiber_);
    deliver_deferred(fiber_);
  }
  static void deliver_deferred(Fiber* fiber) {
    if (__builtin_expect(fiber->pending_signals.load(std::memory_order_relaxed) & ~fiber->blocked, 0))
      run_deferred(fiber);
  }
  Critical(const Critical&) = delete;
  // Entering from the program's code claims the fiber's hub, leaving lends it out again (carrier.h). The count is the
  // outer of the two, so a signal handler never sees a hub that is neither claimed nor lent.
  static void enter(Fiber* fiber) {
    int before = fiber->critical.load(std::memory_order_relaxed);
    fiber->critical.store(before + 1, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (before == 0 && fiber->hub.load(std::memory_order_relaxed)) claim_hub(fiber);
  }
  static void leave(Fiber* fiber) {
    int after = fiber->critical.load(std::memory_order_relaxed) - 1;
    if (after == 0 && fiber->hub.load(std::memory_order_relaxed)) lend_hub(fiber);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    fiber->critical.store(after, std::memory_order_relaxed);
  }

 private:
  static void run_deferred(Fiber* fiber);
  static void claim_hub(Fiber* fiber);
  static void lend_hub(Fiber* fiber);
  Fiber* fiber_;
};

struct FiberSpec {
  void* (*start)(void*) = nullptr;
  void* argument = nullptr;
  size_t stack_size = 0;
  size_t guard = 4096;
  void* users_stack = nullptr;  // lowest address; stack_size bytes
  bool detached = false;
  bool c11 = false;
  uint64_t blocked = 0;  // signal mask
  Traits traits;
};

// Makes a fiber and makes it ready. Null: no memory (EAGAIN). Any fiber. `*id` is set before it can run.
Fiber* make_fiber(const FiberSpec& spec, pthread_t* id);

// What join and detach need. finish_join frees the fiber for reuse; only after it is done, once.
bool is_done(const Fiber& fiber);
// For a kernel thread that is not on a hub: sleeps in the kernel until the fiber is done. False: the deadline passed, or
// a signal came.
bool sleep_until_done(Fiber& fiber, const Deadline& deadline);
void forget_fiber(Fiber& fiber);  // joined: recycle
// Sets flag_detached; false if it was already detached. Recycles a fiber that is done.
bool detach_fiber(Fiber& fiber);

// The main fiber ends, by pthread_exit or cancellation, like any other: its stack is unwound, its kernel thread goes on
// carrying hubs. Before libc would end the kernel thread: see hooks/thread_end.cc.
[[noreturn]] void end_main_fiber();

// A live fiber that does not block, or waits for, the signal of this bit; null: none. Any context, a handler's too.
Fiber* any_fiber_accepting(uint64_t signal_bit);
bool is_ended(const Fiber& fiber);  // it has left the list of the living

int live_fibers();  // including main, until it has ended
// Calls see(fiber) for every live fiber under the engine's lock: no parking in it.
void each_live_fiber(void (*see)(Fiber&, void*), void* argument);

}  // namespace coro
