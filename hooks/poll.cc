// SPDX-License-Identifier: Apache-2.0
//
// Waiting for readiness: poll, and what select (poll_select.cc) needs of it. The kernel's own call with time-out 0 gives
// the answer (exact revents, exact errors); when it is "nothing yet" the fiber waits on all descriptors at once and asks
// again. For a single descriptor the loop's event is the answer, and nothing is asked again. What the loop cannot tell
// apart (no events at all, POLLRDBAND; more with another backend than epoll) waits on a private epoll descriptor that the
// loop watches.
#include "hooks/poll.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "hooks/user_memory.h"
#include "scheduler/loop.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

constexpr short readable = POLLIN | POLLRDNORM;
constexpr short writable = POLLOUT | POLLWRNORM;
// What the loop's events say exactly as poll does.
constexpr short plain = POLLIN | POLLOUT | POLLPRI | POLLRDHUP;

uint8_t ways_of(const pollfd& one) {
  uint8_t ways = 0;
  if (one.events & readable) ways |= way_in;
  if (one.events & writable) ways |= way_out;
  if (one.events & POLLPRI) ways |= way_urgent;
  if (one.events & POLLRDHUP) ways |= way_half_closed;
  return ways;
}

// Memory for a wait on many descriptors: on the stack for few, from malloc for many.
class Sources {
 public:
  explicit Sources(nfds_t count) {
    if (count <= few) return;
    sources_ = static_cast<IoSource*>(calloc(count, sizeof(IoSource)));
  }
  ~Sources() {
    if (sources_ != on_stack_) free(sources_);
  }
  Sources(const Sources&) = delete;
  IoSource* get() { return sources_; }

 private:
  static constexpr nfds_t few = 16;
  IoSource on_stack_[few];
  IoSource* sources_ = on_stack_;
};

// A private epoll descriptor with exactly the events of fds, for what libev cannot express. -1: none to be had.
int nest(const pollfd* fds, nfds_t count) {
  int nested = to_high_number(static_cast<int>(sys::call(SYS_epoll_create1, EPOLL_CLOEXEC)));
  if (nested < 0) return -1;
  for (nfds_t i = 0; i < count; i++) {
    if (fds[i].fd < 0) continue;
    epoll_event event{};
    event.events = static_cast<uint32_t>(fds[i].events);
    // The same number twice: both sets.
    if (sys::call(SYS_epoll_ctl, nested, EPOLL_CTL_ADD, fds[i].fd, sys::as_long(&event)) == -EEXIST) {
      event.events = 0;
      for (nfds_t k = 0; k <= i; k++)
        if (fds[k].fd == fds[i].fd) event.events |= static_cast<uint32_t>(fds[k].events);
      sys::call(SYS_epoll_ctl, nested, EPOLL_CTL_MOD, fds[i].fd, sys::as_long(&event));
    }
  }
  return nested;
}

void unnest(int nested) {
  if (nested < 0) return;
  forget_own_descriptor(nested);
  sys::close(nested);
}

// Parks until one of the descriptors may have news.
Woken park_on_all(Call call, const pollfd* fds, nfds_t count, IoSource* sources, int nested,
                  const Deadline& deadline) {
  Wait wait(to_reason(call), Cancellable::yes);
  if (nested >= 0) {
    wait.on(nested, way_in);
  } else {
    for (nfds_t i = 0; i < count; i++) {
      sources[i] = {};
      sources[i].fd = fds[i].fd;
      sources[i].ways = ways_of(fds[i]);
    }
    wait.on(sources, static_cast<int>(count));
  }
  wait.until(deadline);
  return wait.park();
}

}  // namespace

bool needs_nesting(const pollfd* fds, nfds_t count) {
  short special = Loop::tells_events() ? POLLRDBAND : POLLRDBAND | POLLPRI | POLLRDHUP;
  for (nfds_t i = 0; i < count; i++)
    if (fds[i].fd >= 0 && (fds[i].events & special || !ways_of(fds[i]))) return true;
  return false;
}

bool park_until_any(Call call, const pollfd* fds, nfds_t count, bool nests, const Deadline& deadline, Woken& woken) {
  Sources sources(count);
  if (!sources.get()) return false;
  int nested = nests ? nest(fds, count) : -1;
  woken = park_on_all(call, fds, count, sources.get(), nested, deadline);
  unnest(nested);
  return true;
}

bool read_timeout(const timespec* timeout, Deadline& deadline) {
  timespec t;
  if (!timeout) return true;
  if (!read_user(timeout, t) || t.tv_sec < 0 || t.tv_nsec < 0 || t.tv_nsec >= 1'000'000'000) return false;
  deadline = Deadline::in(to_nanoseconds(t));
  return true;
}

namespace {

// recv(MSG_DONTWAIT) that found nothing, then poll for input: the answer is known to be "not yet". Only for an array on
// the caller's own stack: the kernel has not yet told whether the pointer is good.
bool is_known_empty(const pollfd* fds, nfds_t count) {
  if (count != 1 || !is_on_own_stack(fds)) return false;
  Descriptor* d = descriptor(fds->fd);
  return d && fds->events & POLLIN && !(fds->events & ~(POLLIN | POLLPRI)) && d->drained & way_in && d->is_private();
}

// One descriptor, whose events the loop tells exactly.
bool is_plain(const pollfd* fds, nfds_t count) {
  return count == 1 && fds->fd >= 0 && fds->events && !(fds->events & ~plain) && Loop::tells_events();
}

// The wait of poll on one descriptor, the most frequent kind: many programs wait so before each read.
int wait_for_one(Call call, Fiber* fiber, pollfd& one, const Deadline& deadline) {
  for (;;) {
    int events;
    Woken woken;
    {
      Wait wait(to_reason(call), Cancellable::yes);
      wait.on(one.fd, ways_of(one));
      wait.until(deadline);
      woken = wait.park();
      events = wait.events();
    }
    Outcome outcome = settle(woken, fiber, Rule::interrupts);
    if (outcome == Outcome::interrupted) return static_cast<int>(failed(EINTR));
    one.revents = static_cast<short>(events & (one.events | POLLERR | POLLHUP));
    if (outcome == Outcome::ready && one.revents) return 1;
    int result = real.poll(&one, 1, 0);
    if (result != 0 || outcome == Outcome::timed_out || deadline.passed()) return result;
  }
}

int poll_on_fiber(Call call, Fiber* fiber, pollfd* fds, nfds_t count, const Deadline& deadline) {
  test_cancel(fiber);
  int saved = errno;
  int result = is_known_empty(fds, count) ? 0 : real.poll(fds, count, 0);
  if (result != 0) return result;
  if (is_plain(fds, count))
    result = wait_for_one(call, fiber, *fds, deadline);
  else
    result = until_any(call, fiber, fds, count, deadline, [&] { return real.poll(fds, count, 0); });
  if (result > 0 && count == 1)
    if (Descriptor* d = descriptor(fds->fd)) d->drained = 0;
  if (result >= 0) errno = saved;
  return result;
}

// For libev, where it waits with poll (CORO_LOOP): it ends the process when it meets a closed number. Another hub's fiber
// closed it when the set was already made, or somebody past the hooks, of whom no hub ever hears. As an error it makes
// whoever waits for that number look for himself, and libev's watcher go.
void excuse_closed_ones(pollfd* fds, nfds_t count) {
  for (nfds_t i = 0; i < count; i++)
    if (fds[i].revents & POLLNVAL) fds[i].revents = POLLERR;
}

int poll_off_hub(pollfd* fds, nfds_t count, int timeout) {
  int result = real.poll(fds, count, timeout);
  if (result > 0 && !current && is_hub_block(this_thread_block())) excuse_closed_ones(fds, count);
  return result;
}

}  // namespace

// poll(2): parks until a descriptor is ready, the time-out, or a signal (never restarted).
HOOK(int, poll, (pollfd * fds, nfds_t count, int timeout)) {
  Fiber* fiber = gate<Call::poll>();
  if (!fiber) return poll_off_hub(fds, count, timeout);
  if (timeout == 0) return spin_watch_zero(fiber, real.poll(fds, count, 0));
  Deadline deadline = deadline_in_milliseconds(timeout);
  return poll_on_fiber(Call::poll, fiber, fds, count, deadline);
}
HOOK_ALIAS(__poll, poll);

// ppoll(2): as poll, with a mask; the time-out is not written.
HOOK(int, ppoll, (pollfd * fds, nfds_t count, const timespec* timeout, const sigset_t* mask)) {
  Fiber* fiber = gate<Call::ppoll>();
  Deadline deadline;
  if (!fiber || !read_timeout(timeout, deadline)) return real.ppoll(fds, count, timeout, mask);
  return with_mask(fiber, mask, true,
                   [&] { return poll_on_fiber(Call::ppoll, fiber, fds, count, deadline); });
}

// __poll_chk, __ppoll_chk: what poll and ppoll become under _FORTIFY_SOURCE.
HOOK(int, __poll_chk, (pollfd * fds, nfds_t count, int timeout, size_t room)) {
  if (room / sizeof *fds < count) return real.__poll_chk(fds, count, timeout, room);
  return hook_poll(fds, count, timeout);
}
HOOK(int, __ppoll_chk, (pollfd * fds, nfds_t count, const timespec* timeout, const sigset_t* mask, size_t room)) {
  if (room / sizeof *fds < count) return real.__ppoll_chk(fds, count, timeout, mask, room);
  return hook_ppoll(fds, count, timeout, mask);
}

}  // namespace coro
