// SPDX-License-Identifier: Apache-2.0
//
// The one way to stop running. A Wait lives on the waiting fiber's stack, is told what can end it (descriptors, a
// deadline, a wait queue; signals and cancellation always can), and is parked once. Whatever fires first wakes the
// fiber under the Wait's epoch; everything else is disarmed by the owner hub when it delivers the wake, so a late
// timer, a double wake and a reused fiber are not special cases.
//
//   Wait wait(reason, Cancellable::yes);
//   wait.on(fd, Ways::in);
//   wait.until(deadline);
//   switch (wait.park()) ...
//
// Caller: a fiber on a hub (on_hub()). For a queue: enqueue(), test the state again, then park() or leave scope.
#pragma once

#include "scheduler/fiber.h"
#include "scheduler/wait_queue.h"

namespace coro {

// What a descriptor can be waited for: POLLIN, POLLOUT, POLLPRI, POLLRDHUP. The last two only where
// Loop::tells_events(). Errors and hang-ups always count.
enum Ways : uint8_t { way_in = 1, way_out = 2, way_urgent = 4, way_half_closed = 8 };

enum class Cancellable : bool { no, yes };

// One descriptor of a Wait. The caller of on(IoSource*, n) supplies the memory (poll, select).
struct IoSource {
  int fd = -1;
  uint8_t ways = 0;   // asked
  uint8_t fired = 0;  // what the loop reported
  uint16_t events = 0;  // the same in full, as poll(2)'s revents; 0: this loop cannot tell
  Wait* wait = nullptr;
  IoSource* next = nullptr;  // in the loop's list for the descriptor
  IoSource** link = nullptr;
};

class Wait {
 public:
  Wait(Reason why, Cancellable cancellable);
  ~Wait();
  Wait(const Wait&) = delete;

  void on(int fd, uint8_t ways);
  void on(IoSource* sources, int count);
  void until(const Deadline& deadline) { deadline_ = deadline; }
  // Joins the queue of `key` now, before park(). With `still`: see wait_queue.h; false: not joined.
  bool enqueue(const void* key, uint32_t bits = ~0u, uint32_t tag = 0, bool (*still)(void*) = nullptr,
               void* argument = nullptr);

  // Stops running until something fires. Touches no errno. Signal handlers are not run: that is the hooks' business.
  Woken park();

  // Gives up without parking, after the second look at the state succeeded. True: a waker had already chosen us, and the
  // caller must pass that wake on to the next in the queue.
  bool withdraw();

  // Which of the given sources fired is in IoSource::fired; for on(fd): here.
  uint8_t fired() const { return one_.fired; }
  int events() const { return one_.events; }
  bool is_tied_to_hub() const {
    return source_count_ || fiber_->timer_index.load(std::memory_order_acquire) >= 0;
  }
  Reason why() const { return why_; }

 private:
  friend class Hub;
  friend class Loop;
  void arm(Hub& hub);
  void disarm(Hub& hub);
  void tell_park() const;  // CORO_TRACE
  void tell_woken() const;

  Fiber* fiber_;
  uint64_t epoch_;
  uint64_t armed_as_;  // the wake word while nobody has woken us
  Reason why_;
  Cancellable cancellable_;
  bool armed_ = false;
  int source_count_ = 0;
  IoSource* sources_ = nullptr;
  IoSource one_;
  Deadline deadline_;
  QueueNode node_;
};

// Ends the wait that `fiber` was in under `epoch`, if it still is. True: this call did it. Any thread, inside a
// critical section.
bool wake(Fiber& fiber, uint64_t epoch, Woken how);

// As wake(), whatever the epoch is: for signals.
bool wake_present_wait(Fiber& fiber, Woken how);

// Ends the fiber's present wait, if that is a cancellation point or the fiber is asynchronously cancellable. Inside a
// critical section.
void wake_cancelled(Fiber& fiber, bool asynchronous);

// Lets other ready fibers run. False, at once, when there are none.
bool yield_to_others();
// After a run of calls that did not park, on a fiber that is on a hub: others have their turn. Only the new ones if it has
// made some, so that a server that accepts keeps its place in the queue.
void take_turns();

}  // namespace coro
