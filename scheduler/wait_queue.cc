// SPDX-License-Identifier: Apache-2.0
#include "scheduler/wait_queue.h"

#include <sys/mman.h>

#include "scheduler/check.h"
#include "scheduler/spinlock.h"
#include "scheduler/wait.h"

namespace coro {

alignas(4096) detail::Bucket detail::buckets[1 << bucket_bits];

namespace {

using detail::Bucket;
using detail::bucket_of;
using detail::buckets;

void link(Bucket& bucket, QueueNode& node) {
  node.next = nullptr;
  node.previous = bucket.last;
  (bucket.last ? bucket.last->next : bucket.first) = &node;
  bucket.last = &node;
  node.linked.store(true, std::memory_order_relaxed);
}

void take_out(Bucket& bucket, QueueNode& node) {
  (node.previous ? node.previous->next : bucket.first) = node.next;
  (node.next ? node.next->previous : bucket.last) = node.previous;
  bucket.waiters.store(bucket.waiters.load(std::memory_order_relaxed) - 1,
                       std::memory_order_relaxed);
}

void unlink(Bucket& bucket, QueueNode& node) {
  take_out(bucket, node);
  node.linked.store(false, std::memory_order_release);
}

// Takes the node out and wakes its fiber. The node is gone the moment the wake succeeds.
bool wake_node(Bucket& bucket, QueueNode& node) {
  Fiber& fiber = *node.fiber;
  uint64_t epoch = node.epoch;
  unlink(bucket, node);
  return wake(fiber, epoch, Woken::ready);
}

int wake_locked(Bucket& bucket, const void* key, int most, uint32_t bits) {
  int woken = 0;
  for (QueueNode *node = bucket.first, *next; node && woken < most; node = next) {
    next = node->next;
    if (node->key == key && (node->bits & bits)) woken += wake_node(bucket, *node);
  }
  return woken;
}

// Locks two buckets in address order.
class LockedBoth {
 public:
  LockedBoth(Bucket& a, Bucket& b) : low_(&a < &b ? a : b), high_(&a < &b ? b : a) {
    low_.lock.lock();
    if (&low_ != &high_) high_.lock.lock();
  }
  ~LockedBoth() {
    if (&low_ != &high_) high_.lock.unlock();
    low_.lock.unlock();
  }

 private:
  Bucket& low_;
  Bucket& high_;
};

}  // namespace

bool enqueue(QueueNode& node, bool (*still)(void*), void* argument) {
  Bucket& bucket = bucket_of(node.key);
  Locked hold(bucket.lock);
  // The waker changes the state and then reads `waiters` without the lock: announce first, compare second, and stay
  // announced, or he would look just between.
  bucket.waiters.fetch_add(1, std::memory_order_seq_cst);
  if (still && !still(argument)) {
    bucket.waiters.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  link(bucket, node);
  return true;
}

void dequeue(QueueNode& node) {
  while (node.linked.load(std::memory_order_acquire)) {
    const void* key = std::atomic_ref<const void*>(node.key).load(std::memory_order_relaxed);
    Bucket& bucket = bucket_of(key);
    Locked hold(bucket.lock);
    // Between the two looks it may have been requeued to another key.
    if (!node.linked.load(std::memory_order_relaxed) || &bucket_of(node.key) != &bucket) continue;
    unlink(bucket, node);
    return;
  }
}

int wake_queue(const void* key, int most, uint32_t bits) {
  if (most <= 0 || !may_have_waiters(key)) return 0;
  Bucket& bucket = bucket_of(key);
  Locked hold(bucket.lock);
  return wake_locked(bucket, key, most, bits);
}

int requeue(const void* from, const void* to, int most, int more, bool (*still)(void*),
            void* argument) {
  Bucket& source = bucket_of(from);
  Bucket& target = bucket_of(to);
  LockedBoth hold(source, target);
  target.waiters.fetch_add(1, std::memory_order_seq_cst);  // announced, as in enqueue(), until we are through
  if (still && !still(argument)) {
    target.waiters.fetch_sub(1, std::memory_order_relaxed);
    return -1;
  }
  int done = wake_locked(source, from, most, ~0u);
  for (QueueNode *node = source.first, *next; node && more > 0; node = next) {
    next = node->next;
    if (node->key != from) continue;
    // It stays `linked` on the way: dequeue() looks without the lock, and would leave with the node still in the queue.
    take_out(source, *node);
    std::atomic_ref<const void*>(node->key).store(to, std::memory_order_relaxed);
    target.waiters.fetch_add(1, std::memory_order_relaxed);
    link(target, *node);
    more--;
    done++;
    if (&source == &target && from == to) break;  // moving to itself: once round is enough
  }
  target.waiters.fetch_sub(1, std::memory_order_relaxed);
  return done;
}

int count_waiters(const void* key) {
  Bucket& bucket = bucket_of(key);
  Locked hold(bucket.lock);
  int count = 0;
  for (QueueNode* node = bucket.first; node; node = node->next) count += node->key == key;
  return count;
}

static bool wiped_by_kernel = false;

void prepare_queues() {
  wiped_by_kernel = madvise(buckets, sizeof buckets, MADV_WIPEONFORK) == 0;
}

void reset_queues() {
  if (wiped_by_kernel) return;
  for (Bucket& bucket : buckets) {
    bucket.lock.reset();
    if (bucket.waiters.load(std::memory_order_relaxed) == 0) continue;
    bucket.waiters = 0;
    bucket.first = bucket.last = nullptr;
  }
}

}  // namespace coro
