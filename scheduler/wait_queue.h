// SPDX-License-Identifier: Apache-2.0
//
// Address-keyed FIFOs of waiting fibers: what locks, conditions, semaphores, joins and futexes are made of. One hash
// table of buckets, each with a spinlock. All functions: inside a critical section, any thread, never park.
//
// Why no wake is lost: a waiter enqueues first and then tests the state once more before it parks; a waker changes the
// state first (with a locked instruction, a full barrier on x86) and then looks at the bucket.
#pragma once

#include <cstddef>
#include <cstdint>

#include "scheduler/fiber.h"
#include "scheduler/spinlock.h"

namespace coro {

// One waiter's place in a queue; lives in its Wait, on its stack.
struct QueueNode {
  const void* key = nullptr;
  Fiber* fiber = nullptr;
  uint64_t epoch = 0;
  uint32_t bits = ~0u;  // futex bitset
  uint32_t tag = 0;     // meaning is the caller's (readers and writers)
  QueueNode* next = nullptr;
  QueueNode* previous = nullptr;
  std::atomic<bool> linked{false};
};

// Adds at the end. With `still`, adds only if still(argument) is true under the bucket's lock (futex(2)'s atomic
// compare-and-block); false: not added.
bool enqueue(QueueNode& node, bool (*still)(void*) = nullptr, void* argument = nullptr);

// Takes the node out if it is still in; harmless when it is not.
void dequeue(QueueNode& node);

// Wakes up to `most` waiters on `key` whose bits overlap, first come first served. Returns how many really woke: a
// waiter that something else woke at the same moment does not count and the next one gets its turn.
int wake_queue(const void* key, int most, uint32_t bits = ~0u);

// FUTEX_REQUEUE: wakes `most`, moves up to `more` of the rest to `to`. `still` as in enqueue, under both locks: false
// returns -1. Returns woken + moved.
int requeue(const void* from, const void* to, int most, int more, bool (*still)(void*) = nullptr,
            void* argument = nullptr);

namespace detail {
struct alignas(32) Bucket {
  Spinlock lock;
  std::atomic<int> waiters{0};
  QueueNode* first = nullptr;
  QueueNode* last = nullptr;
};
constexpr int bucket_bits = 12;
extern Bucket buckets[1 << bucket_bits];
inline Bucket& bucket_of(const void* key) {
  auto hash = reinterpret_cast<uint64_t>(key) * 0x9E3779B97F4A7C15u;
  return buckets[hash >> (64 - bucket_bits)];
}
}  // namespace detail

// A hint without the lock: could somebody be waiting on `key`? Inline, because every unlock asks.
inline bool may_have_waiters(const void* key) {
  return detail::bucket_of(key).waiters.load(std::memory_order_seq_cst) != 0;
}

// Number of waiters on key, under the lock; for tests and dumps.
int count_waiters(const void* key);

// Asks the kernel to give every forked child empty queues. Once, at start.
void prepare_queues();
void reset_queues();  // in a fork's child, where the kernel did not: all waiters are gone

}  // namespace coro
