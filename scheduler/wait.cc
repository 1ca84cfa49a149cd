// SPDX-License-Identifier: Apache-2.0
#include "scheduler/wait.h"

#include "scheduler/check.h"
#include "scheduler/engine.h"
#include "scheduler/hub.h"

namespace coro {
namespace {

constexpr uint64_t word(uint64_t epoch, uint64_t what) { return epoch << 8 | what; }
constexpr uint64_t armed = 1;
constexpr uint64_t armed_cancellable = 0xfe;
constexpr bool is_armed(uint64_t word) {
  return (word & 0xff) == armed || (word & 0xff) == armed_cancellable;
}
constexpr uint64_t woken(Woken how) { return 2 + static_cast<uint64_t>(how); }

}  // namespace

Wait::Wait(Reason why, Cancellable cancellable)
    : fiber_(current), why_(why), cancellable_(cancellable) {
  Critical::enter(fiber_);
  CHECK(fiber_->wait == nullptr);
  epoch_ = (fiber_->wake_word.load(std::memory_order_relaxed) >> 8) + 1;
  fiber_->wait = this;
  fiber_->reason = why;
  armed_as_ = word(epoch_, cancellable == Cancellable::yes ? armed_cancellable : armed);
  fiber_->wake_word.store(armed_as_, std::memory_order_seq_cst);
}

Wait::~Wait() {
  withdraw();
  Critical::leave(fiber_);
  // A wait that a signal ended leaves its handlers to the hook, which must know what ran (EINTR or restart). Any other
  // may have got one on its way.
  constexpr uint64_t by_signal = woken(Woken::signal);
  if ((fiber_->wake_word.load(std::memory_order_relaxed) & 0xff) != by_signal)
    Critical::deliver_deferred(fiber_);
}

bool Wait::withdraw() {
  if (fiber_->wait != this) return false;  // parked and delivered
  uint64_t expected = armed_as_;
  if (fiber_->wake_word.compare_exchange_strong(expected, word(epoch_, 0))) {
    dequeue(node_);
    fiber_->wait = nullptr;
    return false;
  }
  // Somebody woke us: the fiber is in an inbox and must pass through delivery before it may go on.
  return park() == Woken::ready;
}

void Wait::on(int fd, uint8_t ways) {
  one_.fd = fd;
  one_.ways = ways;
  on(&one_, 1);
}

void Wait::on(IoSource* sources, int count) {
  sources_ = sources;
  source_count_ = count;
}

bool Wait::enqueue(const void* key, uint32_t bits, uint32_t tag, bool (*still)(void*),
                   void* argument) {
  node_.key = key;
  node_.fiber = fiber_;
  node_.epoch = epoch_;
  node_.bits = bits;
  node_.tag = tag;
  return coro::enqueue(node_, still, argument);
}

Woken Wait::park() {
  Hub* hub = fiber_->hub.load(std::memory_order_relaxed);
  hub->park(*this);
  uint64_t what = fiber_->wake_word.load(std::memory_order_relaxed) & 0xff;
  CHECK(what >= 2);
  return static_cast<Woken>(what - 2);
}

void Wait::arm(Hub& hub) {
  armed_ = true;
  for (int i = 0; i < source_count_; i++) {
    sources_[i].wait = this;
    sources_[i].fired = 0;
    sources_[i].events = 0;
    if (sources_[i].fd >= 0 && sources_[i].ways) hub.loop_.arm(sources_[i]);
  }
  if (deadline_.is_never()) return;
  if (deadline_.realtime) hub.loop_.follow_realtime();
  int64_t due = deadline_.on_steady_clock();
  fiber_->deadline = deadline_;
  // Without memory for a timer the wait ends at once: the caller sees a time-out, never a hang.
  if (!hub.timers_.watch(*fiber_, due)) wake(*fiber_, epoch_, Woken::timed_out);
}

void Wait::disarm(Hub& hub) {
  dequeue(node_);
  fiber_->wait = nullptr;
  if (!armed_) return;
  if (is_traced(why_)) tell_woken();
  for (int i = 0; i < source_count_; i++) hub.loop_.disarm(sources_[i]);
  fiber_->deadline = Deadline::never();
}

void Wait::tell_park() const {
  fiber_->parked_since = now();
  Decimal number(source_count_ == 1 ? sources_->fd : source_count_);
  std::string_view before, after;
  if (source_count_ == 1) before = ", fd ";
  if (source_count_ > 1) before = ", ", after = " descriptors";
  bool bounded = !deadline_.is_never();
  trace({"fiber ", Decimal(fiber_->number), " parks (", engine_config().reason_name(why_), before,
         source_count_ ? std::string_view(number) : "", after, bounded ? ", for at most " : "",
         bounded ? std::string_view(Milliseconds(deadline_.left())) : "", ")"});
}

void Wait::tell_woken() const {
  constexpr std::string_view by[] = {"", ": its time is over", ": a signal", ": cancelled", ": the descriptor was closed"};
  uint64_t what = fiber_->wake_word.load(std::memory_order_relaxed) & 0xff;
  trace({"fiber ", Decimal(fiber_->number), " is woken after ", Milliseconds(now() - fiber_->parked_since),
         what >= 2 ? by[what - 2] : ""});
}

// Instead of ringing a sleeping hub, the hub of the waker takes the fiber over, if nothing ties it to its own: the waker
// mostly parks soon, as in a game of ping-pong. When it does not, an idle hub fetches the fiber (balance.cc), and then it
// stays there for a while. Null: it stays.
static Hub* nearer_hub(Fiber& fiber, Hub& home) {
  Fiber* self = current;
  Hub* mine = self ? self->hub.load(std::memory_order_relaxed) : nullptr;
  // All fibers of a sleeping hub have left their stacks, and ours goes nowhere until it is delivered.
  if (!mine || mine == &home || fiber.wait->is_tied_to_hub()) return nullptr;
  if (fiber.wakes_at_home) {
    fiber.wakes_at_home--;
    return nullptr;
  }
  fiber.hub.store(mine, std::memory_order_relaxed);
  return mine;
}

bool wake(Fiber& fiber, uint64_t epoch, Woken how) {
  uint64_t present = fiber.wake_word.load(std::memory_order_seq_cst);
  if (!is_armed(present) || present >> 8 != epoch) return false;
  if (!fiber.wake_word.compare_exchange_strong(present, word(epoch, woken(how)))) return false;
  Hub* home = fiber.hub.load(std::memory_order_relaxed);
  if (home->is_sleeping())
    if (Hub* nearer = nearer_hub(fiber, *home)) home = nearer;
  home->drop_in(fiber);
  return true;
}

bool wake_present_wait(Fiber& fiber, Woken how) {
  return wake(fiber, fiber.wake_word.load(std::memory_order_seq_cst) >> 8, how);
}

void wake_cancelled(Fiber& fiber, bool asynchronous) {
  uint64_t present = fiber.wake_word.load(std::memory_order_seq_cst);
  bool here = asynchronous || (present & 0xff) == armed_cancellable;
  if (here) wake_present_wait(fiber, Woken::cancelled);
}

bool yield_to_others() {
  Fiber* fiber = on_hub();
  if (!fiber) return false;
  Critical inside;
  return fiber->hub.load(std::memory_order_relaxed)->yield(*fiber);
}

void take_turns() {
  Fiber* fiber = current;
  if (!fiber->has_made_new) {
    yield_to_others();
    return;
  }
  fiber->has_made_new = false;
  Critical inside;
  fiber->hub.load(std::memory_order_relaxed)->let_new_begin(*fiber);
}

void Hub::wake_local(Wait& wait, Woken how) { wake(*wait.fiber_, wait.epoch_, how); }

void Hub::park(Wait& wait) {
  Fiber& fiber = *wait.fiber_;
  bool has_loop = refresh();
  counters.parks++;
  calls[wait.why_].parks++;
  if (is_traced(wait.why_)) {
    wait.tell_park();
    tells_sleep_ = true;
  }
  if (has_loop) wait.arm(*this);
  fiber.state = State::parked;
  fiber.calls_in_a_row = 0;
  fiber.has_made_new = false;
  // A signal or a cancellation that came before the epoch was armed has found nobody to wake.
  if (wait.cancellable_ == Cancellable::yes && fiber.is_cancelled())
    wake(fiber, wait.epoch_, Woken::cancelled);
  if (fiber.pending_signals.load(std::memory_order_seq_cst) & ~fiber.blocked || fiber.was_handled())
    wake(fiber, wait.epoch_, Woken::signal);
  if (has_loop)
    leave(fiber);
  else
    wait_in_place(wait);
}

// The last resort of a forked child: see refresh(). Whoever might wake us is a signal handler, and lets the kernel's wait
// end; it comes only within that, or is seen before.
void Hub::wait_in_place(Wait& wait) {
  uint64_t mask = sys::set_signal_mask(~uint64_t{0});
  for (int i = 0; i < wait.source_count_; i++) wait.sources_[i].fired = 0, wait.sources_[i].events = 0;
  while (!inbox_.load()) {
    if (Loop::poll_in_place(wait.sources_, wait.source_count_, wait.deadline_, mask))
      wake_local(wait, Woken::ready);
    else if (wait.deadline_.passed())
      wake_local(wait, Woken::timed_out);
  }
  sys::set_signal_mask(mask);
  deliver_inbox();
  pop_ready()->state = State::running;
}

}  // namespace coro
