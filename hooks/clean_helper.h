// SPDX-License-Identifier: Apache-2.0
//
// Calls that make kernel threads or processes, behind pthread_create's and fork's back or in front of it. What they make
// must not inherit a carrier's filter: they run on a clean helper; without a filter, in place.
#pragma once

#include "hooks/hook.h"
#include "scheduler/carrier.h"
#include "scheduler/offload.h"

namespace coro {

struct RefuseWithAgain {
  int operator()() const { return static_cast<int>(failed(EAGAIN)); }
};

// run(), or refuse() when there is a filter and no clean helper.
template <class Run, class Refuse = RefuseWithAgain>
auto on_clean_helper(Call call, Run run, Refuse refuse = {}) -> decltype(run()) {
  Away away(to_reason(call), Helpers::clean);
  return is_filtered_here() ? refuse() : run();
}

// The body of a hook that is no more than that.
template <Call call, class Run, class Refuse = RefuseWithAgain>
auto run_clean(Run run, Refuse refuse = {}) {
  gate<call>();
  return on_clean_helper(call, run, refuse);
}

}  // namespace coro
