// SPDX-License-Identifier: Apache-2.0
//
// The joins that may give up: pthread_tryjoin_np (EBUSY), pthread_timedjoin_np (ETIMEDOUT on
// CLOCK_REALTIME), pthread_clockjoin_np (both clocks, EINVAL for others), results written only when
// the join succeeds, the thread still joinable afterwards, EDEADLK and EINVAL as in pthread_join,
// and a joiner that is cancelled leaves its thread joinable.
#include "thread_testing.h"

static void* const kUntouched = reinterpret_cast<void*>(0x55);

static void try_join() {
  std::atomic<bool> go{false};
  Pthread worker([&]() -> void* {
    while (!go) nap(1);
    return reinterpret_cast<void*>(7);
  });
  void* result = kUntouched;
  errno = 77;
  EXPECT_EQ(EBUSY, pthread_tryjoin_np(worker.id(), &result));
  EXPECT(result == kUntouched);
  go = true;
  int answer = EBUSY;
  EXPECT(comes_true([&] { return (answer = pthread_tryjoin_np(worker.id(), &result)) != EBUSY; }));
  worker.release();
  EXPECT_EQ(0, answer);
  EXPECT(result == reinterpret_cast<void*>(7));
  EXPECT_EQ(EBUSY, pthread_tryjoin_np(pthread_self(), nullptr));
}

template <class Join>
static void gives_up_and_succeeds(Join join, clockid_t clock) {
  std::atomic<bool> go{false};
  Pthread worker([&]() -> void* {
    while (!go) nap(1);
    return reinterpret_cast<void*>(9);
  });
  void* result = kUntouched;

  timespec deadline = from_now(30, clock);
  errno = 77;
  long long const start = now_ms();
  while_others_tick([&] { EXPECT_EQ(ETIMEDOUT, join(worker.id(), &result, &deadline)); });
  EXPECT(now_ms() - start >= 29 && now_ms() - start < 1000);
  EXPECT(result == kUntouched);
  EXPECT_EQ(77, errno);

  deadline = from_now(-1000, clock);  // in the past: at once
  EXPECT_EQ(ETIMEDOUT, join(worker.id(), &result, &deadline));
  deadline = {0, 0};
  EXPECT_EQ(ETIMEDOUT, join(worker.id(), &result, &deadline));
  deadline = {-1, 0};
  EXPECT_EQ(ETIMEDOUT, join(worker.id(), &result, &deadline));

  Pthread releaser([&] {
    nap(20);
    go = true;
  });
  deadline = from_now(4000, clock);
  while_others_tick([&] { EXPECT_EQ(0, join(worker.id(), &result, &deadline)); });
  EXPECT(result == reinterpret_cast<void*>(9));
  worker.release();

  EXPECT_EQ(EDEADLK, join(pthread_self(), &result, &deadline));
}

static void no_deadline_means_forever() {
  Pthread worker([] { nap(20); });
  EXPECT_EQ(0, pthread_timedjoin_np(worker.id(), nullptr, nullptr));
  worker.release();
  Pthread other([] { nap(20); });
  EXPECT_EQ(0, pthread_clockjoin_np(other.id(), nullptr, CLOCK_MONOTONIC, nullptr));
  other.release();
}

static void a_finished_thread_needs_no_time() {
  std::atomic<bool> done{false};
  Pthread worker([&] { done = true; });
  EXPECT(comes_true([&] { return done.load(); }));
  nap(20);
  timespec deadline{0, 0};
  EXPECT_EQ(0, pthread_timedjoin_np(worker.id(), nullptr, &deadline));
  worker.release();
}

static void wrong_clock() {
  Pthread worker([] { nap(30); });
  timespec const deadline = from_now(1000, CLOCK_MONOTONIC);
  EXPECT_EQ(EINVAL,
            pthread_clockjoin_np(worker.id(), nullptr, CLOCK_PROCESS_CPUTIME_ID, &deadline));
  EXPECT_EQ(EINVAL, pthread_clockjoin_np(worker.id(), nullptr, 12345, &deadline));
}

// The kernel refuses such a time each time that libc asks: it waits to the end.
static void a_time_that_is_none() {
  for (long nanoseconds : {-1L, 1'000'000'000L}) {
    Pthread worker([] { nap(30); });
    timespec before_the_epoch{-1, nanoseconds}, none{0, nanoseconds};
    EXPECT_EQ(EDEADLK, pthread_timedjoin_np(pthread_self(), nullptr, &none));
    EXPECT_EQ(ETIMEDOUT, pthread_timedjoin_np(worker.id(), nullptr, &before_the_epoch));
    EXPECT_EQ(EINVAL, pthread_clockjoin_np(worker.id(), nullptr, CLOCK_TAI, &none));
    EXPECT_EQ(0, pthread_timedjoin_np(worker.id(), nullptr, &none));
    worker.release();
  }
}

static void a_detached_thread_is_not_joined() {
  std::atomic<bool> go{false};
  Pthread worker([&] {
    while (!go) nap(1);
  });
  EXPECT_EQ(0, pthread_detach(worker.id()));
  timespec const deadline = from_now(10);
  EXPECT_EQ(EINVAL, pthread_timedjoin_np(worker.id(), nullptr, &deadline));
  worker.release();
  go = true;
  nap(10);
}

static void a_cancelled_joiner_leaves_it_joinable() {
  std::atomic<bool> go{false};
  Pthread worker([&]() -> void* {
    while (!go) nap(1);
    return reinterpret_cast<void*>(11);
  });
  Pthread joiner([&] { pthread_join(worker.id(), nullptr); });
  nap(20);
  EXPECT_EQ(0, pthread_cancel(joiner.id()));
  EXPECT(joiner.join() == PTHREAD_CANCELED);
  go = true;
  EXPECT(worker.join() == reinterpret_cast<void*>(11));
}

// Two that join each other wait for ever, unless one of them is cancelled.
static void joining_a_cancelled_joiner() {
  pthread_t const main_thread = pthread_self();
  Pthread joiner([=] {
    EXPECT_EQ(0, pthread_join(main_thread, nullptr));
    EXPECT(false);
  });
  nap(20);
  EXPECT_EQ(0, pthread_cancel(joiner.id()));
  EXPECT(joiner.join() == PTHREAD_CANCELED);
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
  a_time_that_is_none();
  a_detached_thread_is_not_joined();
  a_cancelled_joiner_leaves_it_joinable();
  joining_a_cancelled_joiner();
  return finish();
}
