// SPDX-License-Identifier: Apache-2.0
//
// Waiting for readiness: poll, select and epoll_wait in all their forms. The kernel's own call with time-out 0 gives
// the answer (exact revents, exact errors); when it is "nothing yet" the fiber waits on all descriptors at once and asks
// again. libev knows readable and writable only: what asks for more (POLLPRI, POLLRDHUP alone) waits on a private epoll
// descriptor that the loop watches. An epoll descriptor is itself readable when it has events, so epoll_wait is a wait
// on one descriptor.
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "hooks/retry.h"
#include "hooks/signal_table.h"
#include "hooks/signals.h"
#include "hooks/user_memory.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

constexpr short readable = POLLIN | POLLRDNORM;
constexpr short writable = POLLOUT | POLLWRNORM;
constexpr short special = POLLPRI | POLLRDBAND | POLLRDHUP;

uint8_t ways_of(const pollfd& one) {
  uint8_t ways = 0;
  if (one.events & readable) ways |= way_in;
  if (one.events & writable) ways |= way_out;
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

// Whether a plain wait on descriptor and way says enough. events == 0 asks for errors and hang-ups only: data would
// make libev report for ever what is of no interest.
bool needs_nesting(const pollfd* fds, nfds_t count) {
  for (nfds_t i = 0; i < count; i++)
    if (fds[i].fd >= 0 && (fds[i].events & special || !ways_of(fds[i]))) return true;
  return false;
}

// The heart of poll and select: attempt() answers as with time-out 0; between attempts the fiber waits on fds.
// `skip`: the first attempt is known to find nothing.
template <class Attempt>
int until_any(Call call, Fiber* fiber, const pollfd* fds, nfds_t count, const Deadline& deadline,
              bool skip, Attempt attempt) {
  int saved = errno;
  if (!skip) {
    int result = attempt();
    if (result != 0) return result;
  }
  bool nests = needs_nesting(fds, count);
  for (;;) {
    Woken woken;
    {
      Sources sources(count);
      if (!sources.get()) return static_cast<int>(failed(ENOMEM));
      int nested = nests ? nest(fds, count) : -1;
      woken = park_on_all(call, fds, count, sources.get(), nested, deadline);
      unnest(nested);
    }
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

// recv(MSG_DONTWAIT) that found nothing, then poll for input: the answer is known to be "not yet". Only for an array on
// the caller's own stack: the kernel has not yet told whether the pointer is good.
bool is_known_empty(const pollfd* fds, nfds_t count) {
  if (count != 1 || !is_on_own_stack(fds)) return false;
  Descriptor* d = descriptor(fds->fd);
  return d && fds->events == POLLIN && d->drained & way_in && d->is_private();
}

int poll_on_fiber(Call call, Fiber* fiber, pollfd* fds, nfds_t count, const Deadline& deadline) {
  test_cancel(fiber);
  bool skip = is_known_empty(fds, count);
  int result = until_any(call, fiber, fds, count, deadline, skip,
                         [&] { return real.poll(fds, count, 0); });
  if (result == 0 && skip) fds->revents = 0;
  if (result > 0 && count == 1)
    if (Descriptor* d = descriptor(fds->fd)) d->drained = 0;
  return result;
}

// Runs body() with another signal mask, as ppoll and its relatives do: what becomes deliverable counts as an
// interruption. A null set leaves the mask.
template <class Body>
int with_mask(Fiber* fiber, const sigset_t* set, Body body) {
  if (!set) return body();
  uint64_t before = fiber->blocked;
  set_blocked(*fiber, to_mask(*set));
  int result = run_handlers(fiber) != Handled::none ? static_cast<int>(failed(EINTR)) : body();
  KeepErrno keep;
  set_blocked(*fiber, before);
  Critical::deliver_deferred(fiber);
  return result;
}

// Reads a relative time-out. False: the kernel is to refuse it.
bool read_timeout(const timespec* timeout, Deadline& deadline) {
  timespec t;
  if (!timeout) return true;
  if (!read_user(timeout, t) || t.tv_sec < 0 || t.tv_nsec < 0 || t.tv_nsec >= 1'000'000'000) return false;
  deadline = Deadline::in(to_nanoseconds(t));
  return true;
}

// poll(..., 0) in a loop is somebody spinning.
template <class Result>
Result spin_watch_zero(Fiber* fiber, Result result) {
  if (result == 0)
    note_fruitless(fiber);
  else
    fiber->fruitless = 0;
  return result;
}

}  // namespace

// poll(2): parks until a descriptor is ready, the time-out, or a signal (never restarted).
HOOK(int, poll, (pollfd * fds, nfds_t count, int timeout)) {
  Fiber* fiber = gate<Call::poll>();
  if (!fiber) return real.poll(fds, count, timeout);
  if (timeout == 0) return spin_watch_zero(fiber, real.poll(fds, count, 0));
  Deadline deadline = timeout < 0 ? Deadline::never() : Deadline::in(int64_t{timeout} * 1'000'000);
  return poll_on_fiber(Call::poll, fiber, fds, count, deadline);
}
HOOK_ALIAS(__poll, poll);

// ppoll(2): as poll, with a mask; the time-out is not written.
HOOK(int, ppoll, (pollfd * fds, nfds_t count, const timespec* timeout, const sigset_t* mask)) {
  Fiber* fiber = gate<Call::ppoll>();
  Deadline deadline;
  if (!fiber || !read_timeout(timeout, deadline)) return real.ppoll(fds, count, timeout, mask);
  return with_mask(fiber, mask,
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

namespace {

// The three sets of select as an array for the wait, and copies to ask the kernel with. Sets may be larger than
// FD_SETSIZE (a program may allocate them so): sizes go by `limit`.
class Sets {
 public:
  Sets(int limit, fd_set* in, fd_set* out, fd_set* except) : limit_(limit) {
    fd_set* given[] = {in, out, except};
    words_ = (static_cast<size_t>(limit) + bits - 1) / bits;
    memory_ = static_cast<unsigned long*>(malloc(3 * words_ * sizeof(long) + 1 + sizeof(pollfd) * static_cast<size_t>(limit)));
    if (!memory_) return;
    fds_ = reinterpret_cast<pollfd*>(memory_ + 3 * words_);
    for (int i = 0; i < 3; i++) {
      given_[i] = given[i];
      unsigned long* copy = memory_ + i * words_;
      if (given[i] && !read_user_bytes(given[i], copy, words_ * sizeof(long))) bad_ = true;
    }
    if (bad_) return;
    for (int fd = 0; fd < limit; fd++) note(fd);
  }
  ~Sets() { free(memory_); }
  Sets(const Sets&) = delete;

  // 0, or the errno of a select that cannot begin.
  int trouble() const { return !memory_ ? ENOMEM : bad_ ? EFAULT : 0; }
  const pollfd* fds() const { return fds_; }
  nfds_t count() const { return count_; }

  // select with time-out 0 on fresh copies: the caller's sets are written by the answer, or not at all.
  int attempt() {
    for (int i = 0; i < 3; i++)
      if (given_[i]) memcpy(given_[i], memory_ + i * words_, words_ * sizeof(long));
    timeval none{};
    int result = real.select(limit_, given_[0], given_[1], given_[2], &none);
    return result;
  }
  // A failing select leaves the sets as they were given.
  void put_back() {
    for (int i = 0; i < 3; i++)
      if (given_[i]) memcpy(given_[i], memory_ + i * words_, words_ * sizeof(long));
  }

 private:
  static constexpr size_t bits = 8 * sizeof(long);
  bool has(int set, int fd) const {
    auto at = static_cast<size_t>(fd);
    return given_[set] && memory_[static_cast<size_t>(set) * words_ + at / bits] >> at % bits & 1;
  }
  void note(int fd) {
    int events = 0;
    if (has(0, fd)) events |= POLLIN;
    if (has(1, fd)) events |= POLLOUT;
    if (has(2, fd)) events |= POLLPRI;
    if (events) fds_[count_++] = {fd, static_cast<short>(events), 0};
  }

  int limit_;
  size_t words_;
  fd_set* given_[3] = {};
  unsigned long* memory_ = nullptr;
  pollfd* fds_ = nullptr;
  nfds_t count_ = 0;
  bool bad_ = false;
};

int select_on_fiber(Call call, Fiber* fiber, int limit, fd_set* in, fd_set* out, fd_set* except, const Deadline& deadline) {
  test_cancel(fiber);
  Sets* sets = static_cast<Sets*>(alloca(sizeof(Sets)));
  new (sets) Sets(limit, in, out, except);
  int result;
  if (int error = sets->trouble()) {
    result = static_cast<int>(failed(error));
  } else {
    result = until_any(call, fiber, sets->fds(), sets->count(), deadline, false, [&] { return sets->attempt(); });
    if (result < 0) sets->put_back();
  }
  KeepErrno keep;
  sets->~Sets();
  return result;
}

}  // namespace

// select(2): as poll; on Linux the time that was left is written back, also by EINTR.
HOOK(int, select, (int limit, fd_set* in, fd_set* out, fd_set* except, timeval* timeout)) {
  Fiber* fiber = gate<Call::select>();
  if (!fiber) return real.select(limit, in, out, except, timeout);
  timeval t{};
  bool bad = limit < 0 || limit > 1 << 20 || (timeout && !read_user(timeout, t)) || t.tv_sec < 0 || t.tv_usec < 0;
  bool zero = timeout && t.tv_sec == 0 && t.tv_usec == 0;
  if (bad) return real.select(limit, in, out, except, timeout);
  if (zero) return spin_watch_zero(fiber, real.select(limit, in, out, except, timeout));
  Deadline deadline = Deadline::never();
  if (timeout) deadline = Deadline::in(to_nanoseconds({t.tv_sec, 0}) + t.tv_usec * int64_t{1000});
  int result = select_on_fiber(Call::select, fiber, limit, in, out, except, deadline);
  if (timeout && (result >= 0 || errno == EINTR)) {
    timespec rest = to_timespec(deadline.left());
    *timeout = {rest.tv_sec, rest.tv_nsec / 1000};
  }
  return result;
}
HOOK_ALIAS(__select, select);

// pselect(2): as select, with a mask; the time-out is not written.
HOOK(int, pselect, (int limit, fd_set* in, fd_set* out, fd_set* except, const timespec* timeout, const sigset_t* mask)) {
  Fiber* fiber = gate<Call::pselect>();
  Deadline deadline;
  if (!fiber || limit < 0 || limit > 1 << 20 || !read_timeout(timeout, deadline))
    return real.pselect(limit, in, out, except, timeout, mask);
  return with_mask(fiber, mask, [&] { return select_on_fiber(Call::pselect, fiber, limit, in, out, except, deadline); });
}

namespace {

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
  if (!fiber) return real.epoll_wait(epoll, events, most, timeout);
  if (timeout == 0) return spin_watch_zero(fiber, real.epoll_wait(epoll, events, most, 0));
  Deadline deadline = timeout < 0 ? Deadline::never() : Deadline::in(int64_t{timeout} * 1'000'000);
  return epoll_on_fiber(Call::epoll_wait, fiber, epoll, events, most, deadline);
}

// epoll_pwait(2): with a mask.
HOOK(int, epoll_pwait, (int epoll, epoll_event* events, int most, int timeout, const sigset_t* mask)) {
  Fiber* fiber = gate<Call::epoll_pwait>();
  if (!fiber) return real.epoll_pwait(epoll, events, most, timeout, mask);
  Deadline deadline = timeout < 0 ? Deadline::never() : Deadline::in(int64_t{timeout} * 1'000'000);
  return with_mask(fiber, mask, [&] { return epoll_on_fiber(Call::epoll_pwait, fiber, epoll, events, most, deadline); });
}

// epoll_pwait2(2): with a time-out in nanoseconds.
HOOK(int, epoll_pwait2, (int epoll, epoll_event* events, int most, const timespec* timeout, const sigset_t* mask)) {
  Fiber* fiber = gate<Call::epoll_pwait2>();
  Deadline deadline;
  if (!fiber || !read_timeout(timeout, deadline)) return real.epoll_pwait2(epoll, events, most, timeout, mask);
  return with_mask(fiber, mask, [&] { return epoll_on_fiber(Call::epoll_pwait2, fiber, epoll, events, most, deadline); });
}

}  // namespace coro
