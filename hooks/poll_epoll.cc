// SPDX-License-Identifier: Apache-2.0
//
// epoll_wait in all its forms. An epoll descriptor is itself readable when it has events, so epoll_wait is a wait on one
// descriptor.
#include <sys/epoll.h>

#include "hooks/poll.h"
#include "scheduler/loop.h"

namespace coro {
namespace {

// libev's epoll descriptor, when it is libev that calls, on a hub's kernel thread.
Loop* libevs(int epoll) { return current ? nullptr : Loop::of_epoll(epoll); }

int epoll_on_fiber(Call call, Fiber* fiber, int epoll, epoll_event* events, int most, const Deadline& deadline) {
  test_cancel(fiber);
  int saved = errno;
  for (;;) {
    int result = real.epoll_wait(epoll, events, most, 0);
    if (result != 0) return result;
    if (deadline.passed()) break;
    Outcome outcome = wait_descriptor(call, fiber, epoll, way_in, deadline, Rule::interrupts);
    if (outcome == Outcome::timed_out) {
      result = real.epoll_wait(epoll, events, most, 0);
      if (result != 0) return result;
      break;
    }
    if (int error = to_errno(outcome)) return static_cast<int>(failed(error));
  }
  errno = saved;
  return 0;
}

}  // namespace

// epoll_wait(2): parks until the set has events, the time-out, or a signal (never restarted).
HOOK(int, epoll_wait, (int epoll, epoll_event* events, int most, int timeout)) {
  Fiber* fiber = gate<Call::epoll_wait>();
  if (!fiber) {
    Loop* loop = libevs(epoll);
    if (loop && timeout > 0) timeout = -1;  // libev never sleeps for more than a minute; ours has nothing to look after then
    int result = real.epoll_wait(epoll, events, most, timeout);
    if (loop && result > 0) loop->note_events(events, result);
    return result;
  }
  if (timeout == 0) return spin_watch_zero(fiber, real.epoll_wait(epoll, events, most, 0));
  Deadline deadline = deadline_in_milliseconds(timeout);
  return epoll_on_fiber(Call::epoll_wait, fiber, epoll, events, most, deadline);
}

// epoll_ctl(2): the program's pass through.
HOOK(int, epoll_ctl, (int epoll, int operation, int fd, epoll_event* event)) {
  Loop* loop = libevs(epoll);
  if (!loop) return real.epoll_ctl(epoll, operation, fd, event);
  int result = loop->control(operation, fd, event);
  return result < 0 ? static_cast<int>(failed(-result)) : 0;
}

// epoll_pwait(2): with a mask.
HOOK(int, epoll_pwait, (int epoll, epoll_event* events, int most, int timeout, const sigset_t* mask)) {
  Fiber* fiber = gate<Call::epoll_pwait>();
  if (!fiber) return real.epoll_pwait(epoll, events, most, timeout, mask);
  Deadline deadline = deadline_in_milliseconds(timeout);
  return with_mask(fiber, mask, false, [&] { return epoll_on_fiber(Call::epoll_pwait, fiber, epoll, events, most, deadline); });
}

// epoll_pwait2(2): with a time-out in nanoseconds.
HOOK(int, epoll_pwait2, (int epoll, epoll_event* events, int most, const timespec* timeout, const sigset_t* mask)) {
  Fiber* fiber = gate<Call::epoll_pwait2>();
  Deadline deadline;
  if (!fiber || !read_timeout(timeout, deadline)) return real.epoll_pwait2(epoll, events, most, timeout, mask);
  return with_mask(fiber, mask, false, [&] { return epoll_on_fiber(Call::epoll_pwait2, fiber, epoll, events, most, deadline); });
}

}  // namespace coro
