// SPDX-License-Identifier: Apache-2.0
//
// attempt -> wait -> attempt, once for all I/O hooks; and the two places where the engine's outcomes become what a
// caller of libc hears.
#pragma once

#include "hooks/fd_table.h"
#include "hooks/hook.h"
#include "scheduler/offload.h"

namespace coro {

// What a signal handler does to the call (signal(7)): resumes it if the handler has SA_RESTART, or always EINTR.
enum class Rule : uint8_t { restarts, interrupts };

enum class Outcome : uint8_t { ready, timed_out, interrupted, closed, again };

// Runs what a wake calls for, outside the Wait: signal handlers, cancellation (unwinds). `again`: nothing that the
// caller should hear of; wait once more.
Outcome settle(Woken woken, Fiber* fiber, Rule rule);

// Parks until fd is ready in one of `ways` or the deadline passes.
Outcome wait_descriptor(Call call, Fiber* fiber, int fd, uint8_t ways, const Deadline& deadline,
                        Rule rule);

// Parks until the deadline, a signal or a cancellation.
Outcome wait_until(Call call, Fiber* fiber, const Deadline& deadline, Rule rule);

// errno of a blocking I/O call that ended without an attempt's answer.
inline int to_errno(Outcome outcome) {
  switch (outcome) {
    case Outcome::timed_out: return EAGAIN;  // socket(7), SO_RCVTIMEO
    case Outcome::interrupted: return EINTR;
    case Outcome::closed: return EBADF;
    default: return 0;
  }
}

// A run of calls that found nothing to do (EAGAIN, 0 of poll(0)) is somebody spinning: after a few, the others' turn.
void note_fruitless(Fiber* fiber);

// The result of a call that was told not to wait, with note_fruitless() if it found nothing.
template <class Result>
Result spin_watch(Fiber* fiber, Result result) {
  if (result < 0 && errno == EAGAIN)
    note_fruitless(fiber);
  else
    fiber->fruitless = 0;
  return result;
}

// CORO_TRACE: what an attempt on fd said. Leaves errno.
void tell_attempt(Call call, int fd, long result, const char* file);
inline void tell(Call call, int fd, long result, const char* file = __builtin_FILE()) {
  if (is_traced(to_reason(call))) tell_attempt(call, fd, result, file);
}

inline void tell_skip(Call call, int fd, const char* file = __builtin_FILE()) {
  if (is_traced(to_reason(call)))
    trace({name_of(call), "(fd ", Decimal(fd), "): nothing is left from the last time, no attempt"}, file);
}

// After a receive that was told not to wait: an EAGAIN tells a following poll that there is nothing yet.
inline ssize_t note_drained(int fd, ssize_t result) {
  Descriptor* d = result < 0 && errno == EAGAIN ? descriptor(fd) : nullptr;
  if (d && d->kind == Kind::stream && d->is_private()) d->drained |= way_in;
  return result;
}

// What a sender that was blocked hears of an error on its socket: the error itself, where a fresh call would first see
// that the peer is gone (EPIPE). `started`: part is sent, so the error is left for the next call; any value ends this one.
int error_of_sender(int fd, bool started);

// What is left of an array of buffers after the first `done` bytes; at most 64 of them, which is a valid partial call.
class VectorTail {
 public:
  VectorTail(const iovec* vectors, int count, size_t done) {
    int i = 0;
    while (i < count && done >= vectors[i].iov_len) done -= vectors[i++].iov_len;
    for (; i < count && count_ < most; i++) {
      vectors_[count_] = vectors[i];
      vectors_[count_].iov_base = static_cast<char*>(vectors[i].iov_base) + done;
      vectors_[count_++].iov_len -= done;
      done = 0;
    }
  }
  iovec* vectors() { return vectors_; }
  int count() const { return count_; }

 private:
  static constexpr int most = 64;
  iovec vectors_[most];
  int count_ = 0;
};

// The body of every I/O hook that may park. attempt(false) must not block: it answers, or fails with EAGAIN;
// attempt(true) is the call as the program made it.
// `asked`: bytes asked for on a stream; an answer that is shorter makes the next call wait before its attempt. 0: never.
// `most`: Rule::interrupts when a signal must end the call even under SA_RESTART.
template <class Attempt>
auto until_ready(Call call, Fiber* fiber, int fd, uint8_t way, size_t asked, Attempt attempt,
                 Rule most = Rule::restarts)
    -> decltype(attempt(false)) {
  test_cancel(fiber);
  int saved = errno;
  Descriptor* d = known_descriptor(fd);
  auto answer = [&](auto result) {
    if (result < 0) return result;
    errno = saved;  // an attempt may have been more than one call
    if (asked && result > 0 && static_cast<size_t>(result) < asked && d && d->is_private()) d->drained |= way;
    return result;
  };
  if (d && d->drained & way && is_blocking(fd, *d)) {
    tell_skip(call, fd);
  } else {
    auto result = attempt(false);
    tell(call, fd, result);
    if (result >= 0 || errno != EAGAIN) return answer(result);
    if (!d || !is_blocking(fd, *d)) return spin_watch(fiber, result);
  }
  Deadline deadline = deadline_of(fd, *d, way);
  Rule rule = deadline.is_never() ? most : Rule::interrupts;
  for (int fruitless = 0; fruitless < 3; fruitless++) {
    Outcome outcome = wait_descriptor(call, fiber, fd, way, deadline, rule);
    if (int error = to_errno(outcome)) return failed(error);
    d->drained &= ~way;
    if (way == way_out && d->kind == Kind::stream)
      if (int error = error_of_sender(fd, most == Rule::interrupts)) return failed(error);
    auto result = attempt(false);
    tell(call, fd, result);
    if (result >= 0 || errno != EAGAIN) return answer(result);
  }
  // "Ready" and yet nothing, again and again: readiness does not mean this here (a full unix datagram peer, a datagram
  // socket that was shut down). The call itself knows.
  errno = saved;
  Away away(to_reason(call));
  return attempt(true);
}

// The body of blocking sends of a stream, which return only when everything is queued: attempt(done, blocks) sends what is
// left after `done` bytes. A partial answer stands when a signal, a time-out or an error comes after it.
template <class Attempt>
ssize_t until_all(Call call, Fiber* fiber, int fd, size_t size, Attempt attempt, size_t done = 0) {
  bool keep_going = true;
  while (keep_going) {
    int saved = errno;
    ssize_t result = until_ready(call, fiber, fd, way_out, 0, [&](bool blocks) { return attempt(done, blocks); },
                                 done ? Rule::interrupts : Rule::restarts);
    if (result < 0) {
      if (!done) return result;
      errno = saved;
      return static_cast<ssize_t>(done);
    }
    done += static_cast<size_t>(result);
    if (done >= size || result == 0) break;
    Descriptor* d = descriptor(fd);
    keep_going = d && is_blocking(fd, *d);
  }
  return static_cast<ssize_t>(done);
}

}  // namespace coro
