// SPDX-License-Identifier: Apache-2.0
#include "scheduler/supervisor.h"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "scheduler/carrier.h"
#include "scheduler/check.h"
#include "scheduler/engine.h"
#include "scheduler/kernel_thread.h"
#include "scheduler/offload.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

constexpr long tick_nanoseconds = 4'000'000;
constexpr int patience_ticks = 2;   // out for longer than this many whole ticks: stuck, if others wait
constexpr int idle_ticks = 25;      // all hubs asleep for so long: sleep too
// So many fibers kept a hub one after the other, and nobody else had a turn: a rush of such. The next are not waited for as long, or
// hundreds of them would keep the others for seconds.
constexpr int rush_begins = 4, flood_begins = 16;
constexpr long rush_tick_nanoseconds = 1'000'000, flood_tick_nanoseconds = 250'000;

std::atomic<bool> running{false};
std::atomic<bool> asleep{false};   // the supervisor sleeps without end
std::atomic<uint32_t> bell{0};     // futex: bumped when it is to look

struct Seen {
  Fiber* out = nullptr;
  uint64_t switches = 0;
  int ticks = 0;
  bool queue = false;
  int in_a_row = 0;              // hand-overs with nothing between them
  uint64_t after_hand_over = 0;  // switches when the next fiber has got its turn
  bool rush() const { return in_a_row >= rush_begins; }
  // Until the next look. Not a short one for a fiber that nobody waits behind.
  long next_tick() const {
    if (!rush() || ticks >= patience_ticks) return tick_nanoseconds;
    return in_a_row < flood_begins ? rush_tick_nanoseconds : flood_tick_nanoseconds;
  }
};

void look_at(Hub& hub, Seen& seen) {
  // What find_work() has missed: somebody waited in the queue at two looks.
  bool queue = hub.has_queue();
  if (std::exchange(seen.queue, queue) && queue) Hub::call_idle_hub();
  Fiber* out = hub.lent_to();
  uint64_t switches = hub.switches_so_far();
  if (switches > seen.after_hand_over) seen.in_a_row = 0;
  if (!out || out != seen.out || switches != seen.switches) {
    seen = {out, switches, 0, queue, seen.in_a_row, seen.after_hand_over};
    return;
  }
  if (++seen.ticks < (seen.rush() ? 1 : patience_ticks) || !hub.has_others_waiting()) return;
  seen = {nullptr, 0, 0, false, seen.in_a_row + 1, switches + 1};
  if (!hub.hand_over(*out)) message({"a fiber keeps its hub: no kernel thread can be made"});
  int kernel_thread = out->orphan_tid.load();
  if (kernel_thread && engine_config().handed_off) engine_config().handed_off(*out, kernel_thread);
}

void ring() {
  bell.fetch_add(1);
  sys::futex_wake(&bell, 1);
}

void sleep_until_busy(uint32_t heard) {
  asleep.store(true, std::memory_order_seq_cst);
  for (int i = 0; i < hub_count(); i++)
    if (!hub(i).is_sleeping()) asleep = false;
  while (asleep.load() && bell.load() == heard) sys::futex_wait(&bell, heard);
  asleep = false;
}

void* supervise(void*) {
  Seen seen[most_hubs];
  int idle = 0;
  int64_t next_tick = now();
  for (;;) {
    uint32_t heard = bell.load();
    bool busy = !make_helpers();
    bury_carriers();
    open_wanted_hub();
    long tick = tick_nanoseconds;
    int64_t left = next_tick - now();
    if (left > 0) {  // called in between
      timespec rest = to_timespec(left);
      sys::call(SYS_futex, sys::as_long(&bell), FUTEX_WAIT_PRIVATE, heard, sys::as_long(&rest));
      continue;
    }
    for (int i = 0; i < hub_count(); i++) {
      if (hub(i).is_sleeping()) continue;
      busy = true;
      look_at(hub(i), seen[i]);
      tick = std::min(tick, seen[i].next_tick());
    }
    idle = busy ? 0 : idle + 1;
    if (idle >= idle_ticks) {
      sleep_until_busy(heard);
      idle = 0;
    }
    next_tick = now() + tick;
  }
}

}  // namespace

void ensure_supervisor() {
  if (running.load(std::memory_order_relaxed) || running.exchange(true)) return;
  if (start_kernel_thread(supervise, nullptr))
    count_kernel_thread(+1);
  else
    running = false;  // the next fiber tries again
}

void note_busy() {
  if (asleep.load(std::memory_order_seq_cst) && asleep.exchange(false)) ring();
}

bool supervisor_runs() { return running.load(); }

bool call_supervisor() {
  if (!running.load()) return false;
  ring();
  return true;
}

void forget_supervisor_in_child() {
  running = false;
  asleep = false;
}

}  // namespace coro
