// SPDX-License-Identifier: Apache-2.0
#include "scheduler/timers.h"

#include "scheduler/check.h"
#include "scheduler/fiber.h"
#include "scheduler/memory.h"

namespace coro {

Timers::~Timers() { resize_memory(heap_, 0); }

void Timers::forget_in_child() {
  heap_ = nullptr;
  size_ = capacity_ = 0;
  settle();
}

void Timers::place(int at, Fiber* fiber) {
  heap_[at] = fiber;
  fiber->timer_index.store(at, std::memory_order_relaxed);
}

void Timers::rise(int at) {
  Fiber* moving = heap_[at];
  while (at > 0) {
    int parent = (at - 1) / 4;
    if (heap_[parent]->timer_due <= moving->timer_due) break;
    place(at, heap_[parent]);
    at = parent;
  }
  place(at, moving);
}

void Timers::sink(int at) {
  Fiber* moving = heap_[at];
  for (;;) {
    int first = at * 4 + 1, least = -1;
    for (int child = first; child < first + 4 && child < size_; child++)
      if (least < 0 || heap_[child]->timer_due < heap_[least]->timer_due) least = child;
    if (least < 0 || heap_[least]->timer_due >= moving->timer_due) break;
    place(at, heap_[least]);
    at = least;
  }
  place(at, moving);
}

bool Timers::watch(Fiber& fiber, int64_t due) {
  if (int at = fiber.timer_index.load(std::memory_order_relaxed); at >= 0) {
    if (due < fiber.timer_due) {
      fiber.timer_due = due;
      rise(at);
      settle();
    }
    return true;
  }
  if (size_ == capacity_) {
    int capacity = capacity_ ? capacity_ * 2 : 64;
    auto* bigger = static_cast<Fiber**>(resize_memory(heap_, sizeof(Fiber*) * capacity));
    if (!bigger) return false;
    heap_ = bigger;
    capacity_ = capacity;
  }
  fiber.timer_due = due;
  place(size_++, &fiber);
  rise(size_ - 1);
  settle();
  return true;
}

void Timers::remove(Fiber& fiber) {
  int at = fiber.timer_index.load(std::memory_order_relaxed);
  if (at < 0) return;
  CHECK(heap_[at] == &fiber);
  Fiber* last = heap_[--size_];
  if (last != &fiber) {
    place(at, last);
    rise(at);
    sink(last->timer_index.load(std::memory_order_relaxed));
  }
  // From here on the fiber, once woken, may run on another hub.
  fiber.timer_index.store(-1, std::memory_order_release);
  settle();
}

int64_t Timers::next_due() const { return size_ ? heap_[0]->timer_due : INT64_MAX; }

void Timers::expire(int64_t now, void (*fire)(Fiber&)) {
  while (size_ && heap_[0]->timer_due <= now) {
    Fiber& fiber = *heap_[0];
    int64_t due = fiber.deadline.on_steady_clock();
    if (due == INT64_MAX) {
      remove(fiber);
    } else if (due <= now) {
      fire(fiber);  // first: once it is off the heap its waker may have taken it to another hub, into its next wait
      remove(fiber);
    } else {
      fiber.timer_due = due;
      sink(0);
    }
  }
  settle();
}

void Timers::clock_was_set() {
  for (int i = 0; i < size_; i++)
    if (heap_[i]->deadline.realtime) heap_[i]->timer_due = heap_[i]->deadline.on_steady_clock();
  for (int i = size_ / 4; i >= 0 && size_; i--) sink(i);
  settle();
}

}  // namespace coro
