// SPDX-License-Identifier: Apache-2.0
//
// The joins that may give up: pthread_tryjoin_np (EBUSY), pthread_timedjoin_np (ETIMEDOUT on
// CLOCK_REALTIME), pthread_clockjoin_np (both clocks, EINVAL for others), results written only when
// the join succeeds, the thread still joinable afterwards, EDEADLK and EINVAL as in pthread_join,
// and a joiner that is cancelled leaves its thread joinable.
#include "threads.h"

static void* const kUntouched = reinterpret_cast<void*>(0x55);

static void try_join() {
  std::atomic<bool> go{false};
  Thread worker([&]() -> void* {
    while (!go) nap(1);
    return reinterpret_cast<void*>(7);
  });
  void* result = kUntouched;
  errno = 77;
  EXPECT_EQ(pthread_tryjoin_np(worker.id(), &result), EBUSY);
  EXPECT(result == kUntouched);
  go = true;
  int answer = EBUSY;
  EXPECT(comes_true([&] { return (answer = pthread_tryjoin_np(worker.id(), &result)) != EBUSY; }));
  worker.release();
  EXPECT_EQ(answer, 0);
  EXPECT(result == reinterpret_cast<void*>(7));
  EXPECT_EQ(pthread_tryjoin_np(pthread_self(), nullptr), EBUSY);
}

template <class Join>
static void gives_up_and_succeeds(Join join, clockid_t clock) {
  std::atomic<bool> go{false};
  Thread worker([&]() -> void* {
    while (!go) nap(1);
    return reinterpret_cast<void*>(9);
  });
  void* result = kUntouched;

  timespec deadline = after(30, clock);
  errno = 77;
  long long const start = now_ms();
  while_others_tick([&] { EXPECT_EQ(join(worker.id(), &result, &deadline), ETIMEDOUT); });
  EXPECT(now_ms() - start >= 29 && now_ms() - start < 1000);
  EXPECT(result == kUntouched);
  EXPECT_EQ(errno, 77);

  deadline = after(-1000, clock);  // in the past: at once
  EXPECT_EQ(join(worker.id(), &result, &deadline), ETIMEDOUT);
  deadline = {0, 0};
  EXPECT_EQ(join(worker.id(), &result, &deadline), ETIMEDOUT);
  deadline = {-1, 0};
  EXPECT_EQ(join(worker.id(), &result, &deadline), ETIMEDOUT);

  deadline = after(10, clock);  // not a time: EINVAL
  deadline.tv_nsec = 1000000000;
  EXPECT_EQ(join(worker.id(), &result, &deadline), EINVAL);
  deadline.tv_nsec = -1;
  EXPECT_EQ(join(worker.id(), &result, &deadline), EINVAL);
  EXPECT(result == kUntouched);

  Thread releaser([&] {
    nap(20);
    go = true;
  });
  deadline = after(4000, clock);
  while_others_tick([&] { EXPECT_EQ(join(worker.id(), &result, &deadline), 0); });
  EXPECT(result == reinterpret_cast<void*>(9));
  worker.release();

  EXPECT_EQ(join(pthread_self(), &result, &deadline), EDEADLK);
}

static void no_deadline_means_forever() {
  Thread worker([] { nap(20); });
  EXPECT_EQ(pthread_timedjoin_np(worker.id(), nullptr, nullptr), 0);
  worker.release();
  Thread other([] { nap(20); });
  EXPECT_EQ(pthread_clockjoin_np(other.id(), nullptr, CLOCK_MONOTONIC, nullptr), 0);
  other.release();
}

static void a_finished_thread_needs_no_time() {
  std::atomic<bool> done{false};
  Thread worker([&] { done = true; });
  EXPECT(comes_true([&] { return done.load(); }));
  nap(20);
  timespec deadline{0, 0};
  EXPECT_EQ(pthread_timedjoin_np(worker.id(), nullptr, &deadline), 0);
  worker.release();
}

static void wrong_clock() {
  Thread worker([] { nap(30); });
  timespec const deadline = after(1000, CLOCK_MONOTONIC);
  EXPECT_EQ(pthread_clockjoin_np(worker.id(), nullptr, CLOCK_PROCESS_CPUTIME_ID, &deadline),
            EINVAL);
  EXPECT_EQ(pthread_clockjoin_np(worker.id(), nullptr, 12345, &deadline), EINVAL);
}

static void a_detached_thread_is_not_joined() {
  std::atomic<bool> go{false};
  Thread worker([&] {
    while (!go) nap(1);
  });
  EXPECT_EQ(pthread_detach(worker.id()), 0);
  timespec const deadline = after(10);
  EXPECT_EQ(pthread_timedjoin_np(worker.id(), nullptr, &deadline), EINVAL);
  worker.release();
  go = true;
  nap(10);
}

static void a_cancelled_joiner_leaves_it_joinable() {
  std::atomic<bool> go{false};
  Thread worker([&]() -> void* {
    while (!go) nap(1);
    return reinterpret_cast<void*>(11);
  });
  Thread joiner([&] { pthread_join(worker.id(), nullptr); });
  nap(20);
  EXPECT_EQ(pthread_cancel(joiner.id()), 0);
  EXPECT(joiner.join() == PTHREAD_CANCELED);
  go = true;
  EXPECT(worker.join() == reinterpret_cast<void*>(11));
}

int main() {
  try_join();
  gives_up_and_succeeds(pthread_timedjoin_np, CLOCK_REALTIME);
  auto clock_join = [](clockid_t clock) {
    return [clock](pthread_t id, void** result, const timespec* deadline) {
      return pthread_clockjoin_np(id, result, clock, deadline);
    };
  };
  gives_up_and_succeeds(clock_join(CLOCK_REALTIME), CLOCK_REALTIME);
  gives_up_and_succeeds(clock_join(CLOCK_MONOTONIC), CLOCK_MONOTONIC);
  no_deadline_means_forever();
  a_finished_thread_needs_no_time();
  wrong_clock();
  a_detached_thread_is_not_joined();
  a_cancelled_joiner_leaves_it_joinable();
  puts("PASS");
}
