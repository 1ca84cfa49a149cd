// SPDX-License-Identifier: Apache-2.0
#include "scheduler/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <algorithm>

#include "scheduler/balance.h"
#include "scheduler/carrier.h"
#include "scheduler/check.h"
#include "scheduler/memory.h"
#include "scheduler/offload.h"
#include "scheduler/setxid.h"
#include "scheduler/spinlock.h"
#include "scheduler/supervisor.h"
#include "scheduler/sys.h"
#include "scheduler/thread_block.h"
#include "scheduler/wait_queue.h"

namespace coro {

void adopt_main_fiber(Fiber& fiber, Hub& hub);
int new_tid();
void forget_other_fibers(Fiber& survivor);
EngineNumbers fiber_numbers();

namespace {

EngineConfig config_;
std::atomic<bool> started{false};
Hub* hubs[most_hubs];
std::atomic<int> hubs_open{0};    // that take part
std::atomic<int> hubs_begun{0};   // one more while one is being opened
std::atomic<int> hubs_wanted{0};
std::atomic<bool> is_hub_wanted{false};
Fiber first_fiber;
Fiber* main_ = nullptr;
bool base_is_intact = true;  // in a fork's child: hub 0 was lent to the fiber that forked
int hubs_in_parent = 0;
constexpr uint64_t sigsys_bit = uint64_t{1} << 30;
std::atomic<uint64_t> carrier_mask_{0};
std::atomic<int> kernel_threads{1}, kernel_threads_most{1};

// The carrier under the first kernel thread: the program's stack and thread block there belong to the main fiber, so
// its hub gets a stack and a block of its own.
const char* give_base(Hub& hub, void (*entry)(void*)) {
  Stack stack;
  if (!take_stack((256 << 10) + thread_block::size(), 4096, stack)) return "no memory for the hub's stack";
  void* block = thread_block::make(stack.top(), new_tid());
  if (!block) return "no memory for the hub's thread block";
  thread_block::link(block);
  size_t usable = stack.size - thread_block::size() - thread_block::alignment();
  make_context(hub.base_, stack.bottom, usable, block, entry, &hub);
  return nullptr;
}

// Their descriptors, four each, are at most a quarter of those that the program may have.
int how_many_hubs() {
  rlimit limit{};
  sys::call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, sys::as_long(&limit));
  uint64_t most = std::max<uint64_t>(limit.rlim_cur / 16, 1);
  return static_cast<int>(std::min({most, static_cast<uint64_t>(config_.hubs), uint64_t{most_hubs}}));
}

void run_hub(void* hub) { static_cast<Hub*>(hub)->run(); }

const char* make_hub(int index) {
  // In a fork's child the parent's are used again.
  if (void* memory = hubs[index] ? nullptr : resize_memory(nullptr, sizeof(Hub))) hubs[index] = new (memory) Hub;
  return hubs[index] ? nullptr : "no memory for a hub";
}

// Fewer hubs are slower, not wrong.
void open_no_more(const char* trouble) {
  hubs_begun.store(hubs_open);
  hubs_wanted.store(hubs_open);
  message({"running with ", Decimal(hubs_open), hubs_open == 1 ? " hub: " : " hubs: ", trouble});
}

// As many as fibers.
void want_hub() {
  if (hubs_open >= hubs_wanted || hubs_begun > hubs_open || live_fibers() <= hubs_open) return;
  is_hub_wanted = true;
  call_supervisor();
}

// The base of a hub but the first. libev must see no fiber, so the hub opens its loop itself.
void run_later_hub(void* argument) {
  Hub& hub = *static_cast<Hub*>(argument);
  const char* trouble = hub.open(hubs_open, config_.loop);
  if (trouble) {
    open_no_more(trouble);
    switch_context(hub.base_, hub.carrier()->base);
  }
  hubs_open++;
  want_hub();
  hub.run();
}

}  // namespace

void open_wanted_hub() {
  if (!is_hub_wanted.exchange(false)) return;
  int open = hubs_open;
  if (open >= hubs_wanted || !hubs_begun.compare_exchange_strong(open, open + 1)) return;
  const char* trouble = make_hub(open);
  if (!trouble) trouble = give_base(*hubs[open], run_later_hub);
  Carrier* carrier = trouble ? nullptr : reserve_carrier();
  if (!trouble && !carrier) trouble = "cannot create a kernel thread";
  if (trouble) return open_no_more(trouble);
  give(*carrier, *hubs[open]);
}

const char* start_engine(const EngineConfig& config) {
  config_ = config;
  tracing = config.is_traced != nullptr;
  choose_switch();
  prepare_queues();
  if (const char* trouble = thread_block::prepare(config.create_thread)) return trouble;
  wrap_setxid_handler();
  choose_stack_protection();
  if (const char* trouble = make_hub(0)) return trouble;
  if (const char* trouble = hubs[0]->open(0, config_.loop)) return trouble;
  if (const char* trouble = give_base(*hubs[0], run_hub)) return trouble;
  hubs_open = hubs_begun = 1;
  hubs_wanted = how_many_hubs();
  main_ = &first_fiber;
  carrier_mask_ = sys::signal_mask() & ~sigsys_bit;
  if (const char* trouble = adopt_kernel_thread(*hubs[0])) return trouble;
  adopt_main_fiber(first_fiber, *hubs[0]);
  first_fiber.carrier = hubs[0]->carrier();
  hubs[0]->lend(first_fiber);
  if (config_.load_filter) ensure_supervisor();  // before there is a filter that it would inherit
  load_filter(*first_fiber.carrier);
  started.store(true, std::memory_order_release);
  return nullptr;
}

bool engine_started() { return started.load(std::memory_order_acquire); }
const EngineConfig& engine_config() { return config_; }
int hub_count() { return hubs_open.load(std::memory_order_acquire); }
Hub& hub(int index) { return *hubs[index]; }

bool is_hub_block(const void* block) {
  for (int i = 0; i < hubs_begun; i++)
    if (hubs[i] && hubs[i]->base_.thread_block == block) return true;
  return false;
}

Fiber* main_fiber() { return main_; }

// The locks of the modules, in an order that is free because no module takes another's while it holds its own.
Spinlock& lock_of_fibers();
Spinlock& lock_of_stacks();
namespace thread_block {
Spinlock& lock_of_list();
}
Spinlock& lock_of_helpers();
Spinlock& lock_of_memory();

void hold_engine() {
  lock_of_fibers().lock();
  lock_of_stacks().lock();
  thread_block::lock_of_list().lock();
  lock_of_helpers().lock();
  lock_of_memory().lock();
}

void release_engine() {
  lock_of_memory().unlock();
  lock_of_helpers().unlock();
  thread_block::lock_of_list().unlock();
  lock_of_stacks().unlock();
  lock_of_fibers().unlock();
}

// Runs before the fork handlers of the program's allocator, whose locks are still held: nothing here may allocate or
// free. What needs memory waits for reopen_in_child().
void restart_engine_in_child() {
  Fiber* self = current;
  if (!started || !self) return;
  // A child that forks before it has opened anything hands on what it found itself.
  if (!hubs[0]->is_stale()) {
    base_is_intact = self->hub.load() == hubs[0];
    hubs_in_parent = hubs_begun;
  }
  reset_queues();
  forget_closers();
  forget_helpers_in_child();
  forget_carriers_in_child();
  forget_supervisor_in_child();
  forget_other_fibers(*self);
  if (self != main_) main_ = nullptr;
  kernel_threads = kernel_threads_most = 1;
  for (int i = 0; i < hubs_begun; i++)
    if (hubs[i]) hubs[i]->forget_in_child();
  hubs_open = hubs_begun = 1;
  is_hub_wanted = false;
  idle_hubs = 0;
  self->timer_index = -1;
  self->hub = hubs[0];
  self->carrier->mask = sys::signal_mask();
  hubs[0]->goes_on_with(*self->carrier);
  self->helper_tid = 0;  // it may have been away
  self->orphan_tid = 0;
  self->carrier->has_filter = false;
}

// The part that needs memory and descriptors: when the child first parks or makes a fiber. Most children never do.
bool reopen_in_child() {
  Fiber* self = current;
  int saved = errno;  // libev's calls are made on the fiber's thread block
  // libev must see no fiber: its calls come back through our hooks.
  current = nullptr;
  for (int i = 1; i < hubs_in_parent; i++) {
    if (!hubs[i]) continue;
    hubs[i]->close_in_child(false);
    hubs[i]->note_fresh();
  }
  hubs_in_parent = 1;
  drop_reserved_loops();
  hubs_wanted = how_many_hubs();
  hubs[0]->close_in_child(base_is_intact);
  const char* trouble = hubs[0]->open(0, config_.loop);
  // The first hub's base is the one that this kernel thread left, or another's, which was running.
  if (!trouble && !base_is_intact) trouble = give_base(*hubs[0], run_hub);
  base_is_intact = base_is_intact || !trouble;
  if (!trouble) trouble = adopt_kernel_thread(*hubs[0]);
  current = self;
  errno = saved;
  if (trouble) return false;
  hubs[0]->note_fresh();
  self->carrier = hubs[0]->carrier();
  return true;
}

void open_hub_if_wanted() {
  if (hubs_open >= hubs_wanted) return;
  reserve_loops(hubs_wanted, config_.loop == LoopKind::automatic || config_.loop == LoopKind::epoll);
  want_hub();
}

void nudge_descriptor(int fd) {
  if (!engine_started()) return;
  Critical inside;
  for (uint64_t left = hubs_that_know(fd); left; left &= left - 1)
    if (int index = __builtin_ctzll(left); index < hub_count()) hubs[index]->nudge_descriptor(fd);
}

static void tell_hubs_of_end(int fd) {
  EndedLife ended = end_generation(fd);
  for (uint64_t left = ended.hubs; left; left &= left - 1) {
    int index = __builtin_ctzll(left);
    if (index < hubs_open) hubs[index]->forget_descriptor(fd, ended.generation);
  }
}

void forget_descriptor(int fd) {
  if (!engine_started()) return;
  Critical inside;
  tell_hubs_of_end(fd);
}

void forget_own_descriptor(int fd) {
  Critical::enter(current);
  tell_hubs_of_end(fd);
  Critical::leave(current);
}

void set_carrier_mask(uint64_t mask) {
  mask &= ~sigsys_bit;  // see sys::set_signal_mask
  if (carrier_mask_.exchange(mask) == mask) return;
  Hub* mine = current ? current->hub.load(std::memory_order_relaxed) : nullptr;
  if (mine) mine->lend_mask(mask);
  tell_carriers_mask();
  // What was let in again is let in by one at once, by the others at their next turn.
  if (!mine) hubs[0]->ring();
}

uint64_t carrier_mask() { return carrier_mask_.load(std::memory_order_relaxed); }

void count_kernel_thread(int change) {
  int present = kernel_threads.fetch_add(change) + change;
  int most = kernel_threads_most.load();
  while (present > most && !kernel_threads_most.compare_exchange_weak(most, present)) {
  }
}

EngineNumbers engine_numbers() {
  EngineNumbers result = fiber_numbers();
  result.kernel_threads = kernel_threads;
  result.kernel_threads_most = kernel_threads_most;
  return result;
}

}  // namespace coro
