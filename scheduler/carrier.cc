// SPDX-License-Identifier: Apache-2.0
#include "scheduler/carrier.h"

#include <errno.h>
#include <ucontext.h>

#include "scheduler/check.h"
#include "scheduler/engine.h"
#include "scheduler/fault_stack.h"
#include "scheduler/kernel_thread.h"
#include "scheduler/memory.h"
#include "scheduler/setxid.h"
#include "scheduler/spinlock.h"
#include "scheduler/supervisor.h"
#include "scheduler/sys.h"
#include "scheduler/thread_block.h"

namespace coro {
namespace {

Spinlock lock;
Carrier* idle = nullptr;
Carrier* all = nullptr;
Carrier* gone = nullptr;  // to be joined
constexpr int idle_seconds = 10;

Carrier* new_carrier() {
  void* memory = resize_memory(nullptr, sizeof(Carrier));
  if (!memory) return nullptr;
  auto* carrier = new (memory) Carrier;
  Locked hold(lock);
  carrier->next_of_all = all;
  all = carrier;
  return carrier;
}

void drop(Carrier& carrier) {
  {
    Locked hold(lock);
    Carrier** link = &all;
    while (*link != &carrier) link = &(*link)->next_of_all;
    *link = carrier.next_of_all;
  }
  resize_memory(&carrier, 0);
}

// False: idle for so long that this carrier is to go. The first kernel thread stays for ever.
bool wait_for_hub(Carrier& carrier, bool may_go) {
  timespec patience{idle_seconds, 0};
  for (;;) {
    uint32_t seen = std::atomic_ref<uint32_t>(carrier.work).load();
    if (carrier.given.load()) return true;
    long result = sys::call(SYS_futex, sys::as_long(&carrier.work), FUTEX_WAIT_PRIVATE, seen,
                            may_go ? sys::as_long(&patience) : 0);
    if (result != -ETIMEDOUT) continue;
    Locked hold(lock);
    for (Carrier** link = &idle; *link; link = &(*link)->next) {
      if (*link != &carrier) continue;
      *link = carrier.next;
      return false;
    }
  }
}

void lie_down(Carrier& carrier) {
  carrier.wear(~uint64_t{0});
  put_back(carrier);
}

// Carries whatever hub is given, until there is none for a while.
void carry_hubs(Carrier& carrier, bool may_go) {
  while (wait_for_hub(carrier, may_go)) {
    Hub& hub = *carrier.given.exchange(nullptr);
    hub.taken_over_by(carrier);
    switch_context(carrier.base, hub.base_);
    // Here when a fiber that had lost its hub rejoined: this kernel thread has nothing to do.
    lie_down(carrier);
  }
}

// With a filter the kernel thread ends without libc: on its way out libc blocks every signal, and if it then had to wait
// for a lock (FUTEX_WAIT, which traps) the kernel would end the process. Nothing of the program's was ever kept here.
void* run_carrier(void* argument) {
  auto& carrier = *static_cast<Carrier*>(argument);
  carrier.base.thread_block = this_thread_block();
  carrier.tid = sys::gettid();
  load_filter(carrier);
  carry_hubs(carrier, true);
  count_kernel_thread(-1);
  bool has_filter = carrier.has_filter;
  {
    Locked hold(lock);
    carrier.next = gone;
    gone = &carrier;
  }
  call_supervisor();
  return has_filter ? ends_without_libc : nullptr;
}

// The base of a kernel thread that the program or a fiber's call brought with it.
void run_base(void* argument) {
  auto& carrier = *static_cast<Carrier*>(argument);
  lie_down(carrier);
  carry_hubs(carrier, false);
  check_failed("a first carrier never goes", __FILE__, __LINE__);
}

}  // namespace

const char* adopt_kernel_thread(Hub& hub) {
  Carrier* carrier = new_carrier();
  Stack stack;
  void* fault_stack = make_fault_stack();
  if (!carrier || !fault_stack || !take_stack((64 << 10) + thread_block::size(), 4096, stack))
    return "no memory for a carrier";
  void* block = thread_block::make(stack.top(), sys::gettid());
  if (!block) return "no memory for a carrier's thread block";
  size_t usable = stack.size - thread_block::size() - thread_block::alignment();
  thread_block::link(block);
  thread_block::note_first_thread(block);
  make_context(carrier->base, stack.bottom, usable, block, run_base, carrier);
  carrier->tid = sys::gettid();
  use_fault_stack(fault_stack);
  hub.taken_over_by(*carrier);
  return nullptr;
}

Carrier* reserve_carrier() {
  {
    Locked hold(lock);
    if (Carrier* carrier = idle) {
      idle = carrier->next;
      return carrier;
    }
  }
  Carrier* carrier = new_carrier();
  if (!carrier) return nullptr;
  if (start_kernel_thread(run_carrier, carrier, &carrier->thread)) {
    count_kernel_thread(+1);
    return carrier;
  }
  drop(*carrier);
  return nullptr;
}

void put_back(Carrier& carrier) {
  Locked hold(lock);
  carrier.next = idle;
  idle = &carrier;
}

void give(Carrier& carrier, Hub& hub) {
  carrier.given = &hub;
  std::atomic_ref<uint32_t>(carrier.work).fetch_add(1);
  sys::futex_wake(&carrier.work, 1);
}

// Whatever a signal handler makes of the mask between its two steps, the last look decides.
void Carrier::wear(uint64_t wanted) {
  do {
    wanted |= carrier_mask();
    sys::set_signal_mask(wanted);
    mask.store(wanted);
  } while (carrier_mask() & ~wanted);
}

void hear_mask(Carrier& carrier, void* context) {
  uint64_t& interrupted = static_cast<ucontext_t*>(context)->uc_sigmask.__val[0];
  interrupted |= carrier_mask();
  carrier.mask.store(interrupted);
}

void tell_carriers_mask() {
  uint64_t wanted = carrier_mask();
  int self = sys::gettid();
  Locked hold(lock);
  for (Carrier* carrier = all; carrier; carrier = carrier->next_of_all) {
    if (carrier->tid == self || !(wanted & ~carrier->mask.load())) continue;
    if (!send_new_mask(*carrier)) continue;  // then it hears of it at its next turn
    while (wanted & carrier_mask() & ~carrier->mask.load()) sys::call(SYS_sched_yield);
  }
}

void forget_carriers_in_child() {
  lock.reset();
  idle = all = gone = nullptr;
}

void load_filter(Carrier& carrier) {
  if (carrier.has_filter || !engine_config().load_filter || !supervisor_runs()) return;
  carrier.has_filter = engine_config().load_filter();
}

bool is_filtered_here() {
  Fiber* fiber = current;
  return fiber && !fiber->helper_tid.load(std::memory_order_relaxed) && fiber->carrier->has_filter;
}

void bury_carriers() {
  Carrier* dead;
  {
    Locked hold(lock);
    dead = gone;
    gone = nullptr;
  }
  while (Carrier* carrier = dead) {
    dead = carrier->next;
    engine_config().join_thread(carrier->thread, nullptr);
    drop(*carrier);
  }
}

namespace {

void go_home(void* argument) {
  auto& fiber = *static_cast<Fiber*>(argument);
  fiber.hub.load(std::memory_order_relaxed)->drop_in(fiber);
}

}  // namespace

void rejoin(Fiber& fiber) {
  fiber.orphan_tid = 0;
  switch_context(fiber.context, fiber.carrier->base, {go_home, &fiber});
}

}  // namespace coro
