// SPDX-License-Identifier: Apache-2.0
//
// A hub: run queue, timers and event loop, run by one carrier (kernel thread) at a time.
//
//      any thread                         the hub's carrier
//   wake(fiber) ──► inbox ──► deliver: disarm its Wait, push ──► ready queue ──► resume
//        │                                                           ▲             │
//        └─ ring, if the hub sleeps           loop: descriptors, timers           park, yield: straight to the
//                                             (wakes drop into the inbox too)     next ready fiber, or to base_
//
// Every wake is delivered by the owner: nothing can fire between arming and leaving the stack, because delivery
// happens on the same kernel thread, later.
#pragma once

#include <atomic>
#include <cstdint>

#include "scheduler/count.h"
#include "scheduler/fiber.h"
#include "scheduler/loop.h"
#include "scheduler/timers.h"

namespace coro {

constexpr int most_hubs = 64;
constexpr int most_reasons = 512;

struct Counters {
#define COUNTER(name, help) Count<uint64_t> name;
#include "scheduler/counters.def"
#undef COUNTER
};

struct CallCounters {
  Count<uint32_t> calls, parks, passed;
};

struct Carrier;
bool reopen_in_child();  // engine.cc

// A child of _Fork: any lock of libc's may be held in it for ever. Until it makes a thread it waits in the kernel.
// Written while there is one thread; who reads it later may be on any carrier.
inline constinit std::atomic<bool> bare_child = false;
inline bool in_bare_child() { return bare_child.load(std::memory_order_relaxed); }

class Hub {
 public:
  // Null, or why not.
  const char* open(int index, LoopKind kind);

  // The carrier's life; on its base context. Never returns.
  [[noreturn]] void run();

  // --- on the running fiber, in a critical section ---
  void park(Wait& wait);
  bool yield(Fiber& fiber);                  // false: nobody else was ready
  void let_new_begin(Fiber& fiber);          // those who have never run get their first turn, then fiber goes on
  void leave(Fiber& fiber, After after = {});  // to the next ready fiber or to base_

  // --- the owner word, see carrier.h ---
  bool claim(Fiber& fiber) {
    Fiber* expected = &fiber;
    if (lent_.compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel)) return true;
    return expected == visited(&fiber) && claim_after_visit(fiber);
  }
  void lend(Fiber& fiber) { lent_.store(&fiber, std::memory_order_release); }
  Carrier* carrier() { return carrier_; }
  void taken_over_by(Carrier& carrier);  // on the carrier's kernel thread, before it continues base_

  // --- the supervisor ---
  // Null also while another hub visits.
  Fiber* lent_to() const {
    Fiber* out = lent_.load(std::memory_order_relaxed);
    return is_visited(out) ? nullptr : out;
  }
  // The fiber is out in the program's code on our carrier, whether another hub visits or not. Any thread.
  bool has_out(const Fiber& fiber) const {
    Fiber* out = lent_.load(std::memory_order_relaxed);
    return out == &fiber || out == visited(const_cast<Fiber*>(&fiber));
  }
  bool has_queue() const { return load() > 0 || inbox_.load(std::memory_order_relaxed); }
  uint64_t switches_so_far() const { return counters.switches; }
  bool is_sleeping() const { return sleeping_.load(std::memory_order_seq_cst); }
  bool has_others_waiting();
  // Takes the hub away from `out` and gives it to another carrier, or the fiber was faster. False: there is no other.
  bool hand_over(Fiber& out);

  // --- hub's kernel thread (loop callbacks, wakes among its own fibers) ---
  void wake_local(Wait& wait, Woken how);
  void hear_of_closes();
  void note_awake() { sleeping_.store(false, std::memory_order_relaxed); }
  void clock_was_set() { timers_.clock_was_set(); }
  void forget_timer(Fiber& fiber) { timers_.remove(fiber); }

  // The kernel's mask of this carrier; the next turn makes it carrier_mask() again.
  void lend_mask(uint64_t mask);

  // --- any thread ---
  void drop_in(Fiber& fiber);  // into the inbox; the fiber must not be in any list
  // The descriptor's generation ended: whoever waits for it here hears of it.
  void forget_descriptor(int fd, uint32_t generation);
  // Whoever waits for the descriptor here looks again (Woken::ready).
  void nudge_descriptor(int fd);
  void ring() { loop_.ring(); }
  // False: it was awake. Of several who call, one rings.
  bool ring_if_sleeping() {
    if (!is_sleeping()) return false;
    if (sleeping_.exchange(false)) ring();
    return true;
  }
  int load() const { return load_.load(std::memory_order_relaxed); }
  // Fibers that are to run here, the running one included; a guess.
  int crowd() const { return load() + newcomers_.load(std::memory_order_relaxed) + !is_sleeping(); }
  void expect_newcomer() { newcomers_.fetch_add(1, std::memory_order_relaxed); }
  // A hub with nothing to do, if there is one, is told to look around for work. False: there is none.
  static bool call_idle_hub();
  int index() const { return index_; }
  bool owns(int fd) const { return loop_.owns(fd); }

  Loop& loop() { return loop_; }

  // In a fork's child: empties everything without allocating or freeing; the loop is the parent's until
  // close_in_child() (with `current` null). intact: no other kernel thread was in the middle of a turn.
  void forget_in_child();
  void close_in_child(bool intact);
  void note_fresh() { is_stale_ = false; }
  // On a fiber, before anything that needs the loop or base_: opens both anew in a fork's child. False: that child has no
  // descriptor or memory for them. Then its one fiber stays alone, and waits in the kernel.
  bool refresh() { return __builtin_expect(!is_stale_, 1) || (!in_bare_child() && reopen_in_child()); }
  void goes_on_with(Carrier& carrier) { carrier_ = &carrier; }  // in a fork's child, until refresh()
  bool is_stale() const { return is_stale_; }

  Context base_;  // the carrier's own context while a fiber runs
  Counters counters;
  CallCounters calls[most_reasons];

 private:
  friend class Wait;
  void deliver_inbox();
  void push_ready(Fiber& fiber);
  void push_after_new(Fiber& fiber);
  Fiber* pop_ready();
  Fiber* next_ready();
  void resume(Fiber& fiber);
  void expire_timers();
  bool prepare_to_sleep();
  void call_for_help();
  bool find_work();
  bool outlasts_a_look(Hub& other);
  bool take_from(Hub& other);
  bool begin_visit();
  void end_visit();
  bool claim_after_visit(Fiber& fiber);
  // The owner word while another hub takes fibers out of the queue: the fiber that is out, marked.
  static Fiber* visited(Fiber* out) { return reinterpret_cast<Fiber*>(reinterpret_cast<uintptr_t>(out) | 1); }
  static bool is_visited(Fiber* word) { return reinterpret_cast<uintptr_t>(word) & 1; }
  uint64_t bit() const { return uint64_t{1} << index_; }
  void tell_sleep();
  void wait_in_place(Wait& wait);

  int index_ = 0;
  Fiber* first_ready_ = nullptr;
  Fiber* last_ready_ = nullptr;
  Fiber* last_new_ = nullptr;  // first_ready_ to here: new ones that go first. Null: there are none
  int new_this_turn_ = 0;
  std::atomic<Fiber*> inbox_{nullptr};
  struct Closed {
    Closed* next;
    int fd;
    uint32_t generation;
    bool nudge;  // it lives on
  };
  void tell(int fd, uint32_t generation, bool nudge);
  std::atomic<Closed*> closed_{nullptr};  // told by other kernel threads
  Closed last_note_{};  // when there is no memory for one: look at all
  std::atomic<bool> last_note_used_{false};
  std::atomic<bool> sleeping_{false};
  std::atomic<int> load_{0};  // fibers ready here
  std::atomic<int> newcomers_{0};  // new fibers in the inbox
  std::atomic<uint32_t> calm_{0};      // so many occasions to call an idle hub are let pass, ...
  std::atomic<uint32_t> patience_{0};  // ... more after each call, none after one that was of use
  int budget_ = 0;            // switches before the event loop gets its turn
  int lonely_yields_ = 0;
  bool tells_sleep_ = false;  // CORO_TRACE: a traced fiber has parked since the hub last slept
  bool is_stale_ = false;  // in a fork's child, until refresh()
  std::atomic<Fiber*> lent_{nullptr};  // the fiber that is out in the program's code on our carrier
  Carrier* carrier_ = nullptr;
  Loop loop_;
  Timers timers_;
};

}  // namespace coro
