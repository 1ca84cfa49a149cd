// SPDX-License-Identifier: Apache-2.0
#include "hooks/retry.h"

#include <string.h>

#include "hooks/signals.h"

namespace coro {

Outcome settle(Woken woken, Fiber* fiber, Rule rule) {
  switch (woken) {
    case Woken::ready: return Outcome::ready;
    case Woken::timed_out: return Outcome::timed_out;
    case Woken::closed: return Outcome::closed;
    case Woken::cancelled: test_cancel(fiber); return Outcome::again;
    case Woken::signal: break;
  }
  switch (run_handlers(fiber)) {
    case Handled::none: return fiber->was_handled() ? Outcome::interrupted : Outcome::again;
    case Handled::restart:
      if (rule == Rule::restarts) return Outcome::again;
      break;
    case Handled::interrupt: break;
  }
  return Outcome::interrupted;
}

Outcome wait_descriptor(Call call, Fiber* fiber, int fd, uint8_t ways, const Deadline& deadline,
                        Rule rule) {
  for (;;) {
    Woken woken;
    {
      Wait wait(to_reason(call), Cancellable::yes);
      wait.on(fd, ways);
      wait.until(deadline);
      woken = wait.park();
    }
    Outcome outcome = settle(woken, fiber, rule);
    if (outcome != Outcome::again) return outcome;
  }
}

int error_of_sender(int fd, bool started) {
  pollfd one{fd, POLLOUT, 0};
  if (real.poll(&one, 1, 0) != 1 || !(one.revents & POLLERR)) return 0;
  if (started) return EPIPE;
  int error = 0;
  socklen_t length = sizeof error;
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 ? 0 : error;
}

Outcome wait_until(Call call, Fiber* fiber, const Deadline& deadline, Rule rule) {
  for (;;) {
    Woken woken;
    {
      Wait wait(to_reason(call), Cancellable::yes);
      wait.until(deadline);
      woken = wait.park();
    }
    Outcome outcome = settle(woken, fiber, rule);
    if (outcome != Outcome::again) return outcome;
  }
}

void tell_attempt(Call call, int fd, long result, const char* file) {
  Decimal number(fd), value(result);
  std::string_view answer = value;
  if (result < 0) answer = strerrorname_np(errno);
  if (result < 0 && errno == EAGAIN)
    trace({name_of(call), "(fd ", number, "): the attempt would block"}, file);
  else
    trace({name_of(call), "(fd ", number, ") = ", answer}, file);
}

void note_fruitless(Fiber* fiber) {
  if (++fiber->fruitless < 16) return;
  fiber->fruitless = 0;
  KeepErrno keep;
  yield_to_others();
}

}  // namespace coro
