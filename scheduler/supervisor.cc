// SPDX-License-Identifier: Apache-2.0
#include "scheduler/supervisor.h"

#include <poll.h>

#include "scheduler/carrier.h"
#include "scheduler/check.h"
#include "scheduler/engine.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

constexpr long tick_nanoseconds = 4'000'000;
constexpr int patience_ticks = 2;   // out for longer than this many whole ticks: stuck, if others wait
constexpr int idle_ticks = 25;      // all hubs asleep for so long: sleep too

std::atomic<bool> running{false};
std::atomic<uint32_t> asleep{0};  // futex: 1 while the supervisor sleeps without end

struct Seen {
  Fiber* out = nullptr;
  uint64_t switches = 0;
  int ticks = 0;
};

void look_at(Hub& hub, Seen& seen) {
  Fiber* out = hub.lent_to();
  uint64_t switches = hub.switches_so_far();
  if (!out || out != seen.out || switches != seen.switches) {
    seen = {out, switches, 0};
    return;
  }
  if (++seen.ticks < patience_ticks || !hub.has_others_waiting()) return;
  seen = {};
  if (const char* trouble = hub.hand_over(*out)) message({"a fiber keeps its hub: ", trouble});
}

void sleep_until_busy() {
  asleep.store(1, std::memory_order_seq_cst);
  for (int i = 0; i < hub_count(); i++)
    if (!hub(i).is_sleeping()) asleep = 0;
  while (asleep.load()) sys::futex_wait(&asleep, 1);
}

void* supervise(void*) {
  Seen seen[most_hubs];
  int idle = 0;
  for (;;) {
    bool busy = false;
    for (int i = 0; i < hub_count(); i++) {
      if (hub(i).is_sleeping()) continue;
      busy = true;
      look_at(hub(i), seen[i]);
    }
    idle = busy ? 0 : idle + 1;
    if (idle >= idle_ticks) {
      sleep_until_busy();
      idle = 0;
    }
    timespec tick{0, tick_nanoseconds};
    sys::call(SYS_nanosleep, sys::as_long(&tick), 0);
  }
}

}  // namespace

void ensure_supervisor() {
  if (running.load(std::memory_order_relaxed) || running.exchange(true)) return;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 128 << 10);
  pthread_t id;
  uint64_t mask = sys::set_signal_mask(~uint64_t{0});
  int failed = engine_config().create_thread(&id, &attributes, supervise, nullptr);
  sys::set_signal_mask(mask);
  pthread_attr_destroy(&attributes);
  if (failed)
    running = false;  // the next fiber tries again
  else
    count_kernel_thread(+1);
}

void note_busy() {
  if (!asleep.load(std::memory_order_seq_cst) || !asleep.exchange(0)) return;
  sys::futex_wake(&asleep, 1);
}

void forget_supervisor_in_child() {
  running = false;
  asleep = 0;
}

}  // namespace coro
