// SPDX-License-Identifier: Apache-2.0
//
// Calls that can only block: on a helper kernel thread. When no helper is to be had (offload_threads), a call that has
// a form which does not wait must not block its hub either, because whoever would end the wait may be a fiber there:
// it is tried again and again, with pauses.
#pragma once

#include "hooks/retry.h"
#include "scheduler/offload.h"

namespace coro {

constexpr int64_t first_pause = 1'000'000;
constexpr int64_t longest_pause = 64'000'000;

// Waits until a helper is free, or for a pause. False: a handler ran that ends the call with EINTR.
inline bool pause_for(Call call, Fiber* fiber, int64_t nanoseconds, Cancellable cancellable,
                      Rule rule = Rule::restarts) {
  Woken woken;
  {
    Wait wait(to_reason(call), cancellable);
    wait.enqueue(spare_helper_queue());
    wait.until(Deadline::in(nanoseconds));
    woken = wait.park();
  }
  return settle(woken, fiber, rule) != Outcome::interrupted;
}

// attempt() never blocks; is_answer(result) tells whether it settled the call. block() is the call itself, a
// cancellation point or not. Success leaves errno alone.
template <class Attempt, class IsAnswer, class Block>
auto attempt_then_block(Call call, Fiber* fiber, Cancellable cancellable, Attempt attempt,
                        IsAnswer is_answer, Block block, Rule rule = Rule::restarts) -> decltype(attempt()) {
  int saved = errno;
  auto result = attempt();
  if (is_answer(result)) return result;
  errno = saved;
  for (int64_t pause = first_pause;; pause = pause < longest_pause ? pause * 2 : pause) {
    {
      Away away(to_reason(call));
      if (!on_hub()) return block();
    }
    if (!pause_for(call, fiber, pause, cancellable, rule)) return static_cast<decltype(result)>(failed(EINTR));
    result = attempt();
    if (is_answer(result)) return result;
    errno = saved;
  }
}

}  // namespace coro
