// SPDX-License-Identifier: Apache-2.0
//
// What poll.cc, poll_select.cc and poll_epoll.cc share: the wait on many descriptors, and the ways to say how long.
#pragma once

#include <poll.h>

#include "hooks/retry.h"
#include "hooks/signal_table.h"
#include "hooks/signals.h"

namespace coro {

// Whether a plain wait on descriptor and way says too little. events == 0 asks for errors and hang-ups only: data would
// make libev report for ever what is of no interest.
bool needs_nesting(const pollfd* fds, nfds_t count);

// Parks until one of the descriptors may have news. False: there is no memory for it.
bool park_until_any(Call call, const pollfd* fds, nfds_t count, bool nests, const Deadline& deadline, Woken& woken);

// The heart of poll and select: attempt() answers as with time-out 0; between attempts the fiber waits on fds.
// The first attempt has found nothing.
template <class Attempt>
int until_any(Call call, Fiber* fiber, const pollfd* fds, nfds_t count, const Deadline& deadline,
              Attempt attempt) {
  int saved = errno;
  bool nests = needs_nesting(fds, count);
  for (;;) {
    Woken woken;
    if (!park_until_any(call, fds, count, nests, deadline, woken)) return static_cast<int>(failed(ENOMEM));
    Outcome outcome = settle(woken, fiber, Rule::interrupts);
    if (outcome == Outcome::interrupted) return static_cast<int>(failed(EINTR));
    int result = attempt();
    if (result != 0) return result;
    if (outcome == Outcome::timed_out || deadline.passed()) {
      errno = saved;
      return 0;
    }
  }
}

// Runs body() with another signal mask, as ppoll and its relatives do: a handler that runs under it ends the call, but what
// the first attempt finds comes before any handler. `late`: one that is pending when the time is over ends the call, too (poll,
// select, but not epoll). A null set leaves the mask.
template <class Body>
int with_mask(Fiber* fiber, const sigset_t* set, bool late, Body body) {
  if (!set) return body();
  uint64_t before = fiber->blocked;
  int result;
  {
    UntilHandled end_waits(fiber);
    set_blocked(*fiber, to_mask(*set));
    result = body();
    if (late && result == 0 && (run_handlers(fiber) != Handled::none || fiber->was_handled())) result = static_cast<int>(failed(EINTR));
  }
  KeepErrno keep;
  set_blocked(*fiber, before);
  Critical::deliver_deferred(fiber);
  return result;
}

// poll's and epoll_wait's time-out: milliseconds, negative for ever.
inline Deadline deadline_in_milliseconds(int timeout) {
  return timeout < 0 ? Deadline::never() : Deadline::in(int64_t{timeout} * 1'000'000);
}

// Reads a relative time-out. False: the kernel is to refuse it.
bool read_timeout(const timespec* timeout, Deadline& deadline);

// poll(..., 0) in a loop is somebody spinning.
template <class Result>
Result spin_watch_zero(Fiber* fiber, Result result) {
  if (result == 0)
    note_fruitless(fiber);
  else
    fiber->fruitless = 0;
  return result;
}

}  // namespace coro
