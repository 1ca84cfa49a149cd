// SPDX-License-Identifier: Apache-2.0
//
// pthread_rwlock_*: many readers or one writer, try and timed and clocked locks with their errors
// on both clocks, recursive reading, EDEADLK for an owner that locks again, the two preference
// kinds that differ (a waiting writer stops new readers only with PREFER_WRITER_NONRECURSIVE),
// waits let others run, exclusion under contention with yields, static initialisers, attributes.
#include <vector>

#include "thread_testing.h"

static pthread_rwlock_t* make(int kind) {
  auto* lock = new pthread_rwlock_t;
  pthread_rwlockattr_t attributes;
  EXPECT_EQ(0, pthread_rwlockattr_init(&attributes));
  EXPECT_EQ(0, pthread_rwlockattr_setkind_np(&attributes, kind));
  int got = -1;
  EXPECT_EQ(0, pthread_rwlockattr_getkind_np(&attributes, &got));
  EXPECT_EQ(kind, got);
  EXPECT_EQ(0, pthread_rwlock_init(lock, &attributes));
  EXPECT_EQ(0, pthread_rwlockattr_destroy(&attributes));
  return lock;
}

static void attributes() {
  pthread_rwlockattr_t a;
  int value = -1;
  EXPECT_EQ(0, pthread_rwlockattr_init(&a));
  EXPECT_EQ(0, pthread_rwlockattr_getkind_np(&a, &value));
  EXPECT_EQ(PTHREAD_RWLOCK_PREFER_READER_NP, value);
  EXPECT_EQ(0, pthread_rwlockattr_getpshared(&a, &value));
  EXPECT_EQ(PTHREAD_PROCESS_PRIVATE, value);
  EXPECT_EQ(EINVAL, pthread_rwlockattr_setkind_np(&a, 99));
  EXPECT_EQ(EINVAL, pthread_rwlockattr_setpshared(&a, 99));
  EXPECT_EQ(0, pthread_rwlockattr_destroy(&a));
}

static void who_may_enter(pthread_rwlock_t* lock) {
  errno = 77;
  EXPECT_EQ(0, pthread_rwlock_rdlock(lock));
  EXPECT_EQ(0, pthread_rwlock_rdlock(lock));  // readers may nest
  EXPECT_EQ(0, pthread_rwlock_tryrdlock(lock));
  EXPECT_EQ(EBUSY, pthread_rwlock_trywrlock(lock));
  Pthread reader([&] {
    EXPECT_EQ(0, pthread_rwlock_tryrdlock(lock));
    EXPECT_EQ(0, pthread_rwlock_rdlock(lock));
    EXPECT_EQ(EBUSY, pthread_rwlock_trywrlock(lock));
    EXPECT_EQ(0, pthread_rwlock_unlock(lock));
    EXPECT_EQ(0, pthread_rwlock_unlock(lock));
  });
  reader.join();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(0, pthread_rwlock_unlock(lock));

  EXPECT_EQ(0, pthread_rwlock_wrlock(lock));
  EXPECT_EQ(EBUSY, pthread_rwlock_trywrlock(lock));
  EXPECT_EQ(EBUSY, pthread_rwlock_tryrdlock(lock));
  EXPECT_EQ(EDEADLK, pthread_rwlock_wrlock(lock));
  EXPECT_EQ(EDEADLK, pthread_rwlock_rdlock(lock));
  timespec const deadline = from_now(1000);
  EXPECT_EQ(EDEADLK, pthread_rwlock_timedwrlock(lock, &deadline));
  EXPECT_EQ(EDEADLK, pthread_rwlock_timedrdlock(lock, &deadline));
  std::atomic<int> tried{0};
  Pthread writer([&] {
    EXPECT_EQ(EBUSY, pthread_rwlock_trywrlock(lock));
    ++tried;
    while_others_tick([&] { EXPECT_EQ(0, pthread_rwlock_wrlock(lock)); });
    nap(15);
    EXPECT_EQ(0, pthread_rwlock_unlock(lock));
  });
  Pthread late_reader([&] {
    EXPECT_EQ(EBUSY, pthread_rwlock_tryrdlock(lock));
    ++tried;
    while_others_tick([&] { EXPECT_EQ(0, pthread_rwlock_rdlock(lock)); });
    EXPECT_EQ(0, pthread_rwlock_unlock(lock));
  });
  EXPECT(comes_true([&] { return tried == 2; }));
  nap(20);
  EXPECT_EQ(0, pthread_rwlock_unlock(lock));
  writer.join();
  late_reader.join();
  EXPECT_EQ(77, errno);
}

static void a_waiting_writer(int kind, bool stops_readers) {
  pthread_rwlock_t* const lock = make(kind);
  EXPECT_EQ(0, pthread_rwlock_rdlock(lock));
  std::atomic<bool> about{false};
  std::atomic<bool> wrote{false};
  Pthread writer([&] {
    about = true;
    EXPECT_EQ(0, pthread_rwlock_wrlock(lock));
    wrote = true;
    EXPECT_EQ(0, pthread_rwlock_unlock(lock));
  });
  EXPECT(comes_true([&] { return about.load(); }));
  nap(20);
  Pthread reader([&] {
    int const answer = pthread_rwlock_tryrdlock(lock);
    EXPECT_EQ(stops_readers ? EBUSY : 0, answer);
    if (answer == 0) EXPECT_EQ(0, pthread_rwlock_unlock(lock));
  });
  reader.join();
  EXPECT(!wrote);
  EXPECT_EQ(0, pthread_rwlock_unlock(lock));
  writer.join();
  EXPECT_EQ(0, pthread_rwlock_destroy(lock));
  delete lock;
}

static void timed() {
  static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
  using Lock = int (*)(const timespec*);
  struct Kind {
    Lock lock;
    clockid_t clock;
  };
  Kind const kinds[] = {
      {[](const timespec* t) { return pthread_rwlock_timedrdlock(&lock, t); }, CLOCK_REALTIME},
      {[](const timespec* t) { return pthread_rwlock_timedwrlock(&lock, t); }, CLOCK_REALTIME},
      {[](const timespec* t) { return pthread_rwlock_clockrdlock(&lock, CLOCK_REALTIME, t); },
       CLOCK_REALTIME},
      {[](const timespec* t) { return pthread_rwlock_clockwrlock(&lock, CLOCK_REALTIME, t); },
       CLOCK_REALTIME},
      {[](const timespec* t) { return pthread_rwlock_clockrdlock(&lock, CLOCK_MONOTONIC, t); },
       CLOCK_MONOTONIC},
      {[](const timespec* t) { return pthread_rwlock_clockwrlock(&lock, CLOCK_MONOTONIC, t); },
       CLOCK_MONOTONIC}};
  for (Kind const& kind : kinds) {
    EXPECT_EQ(0, pthread_rwlock_wrlock(&lock));
    std::atomic<bool> timed_out{false};
    Pthread other([&] {
      errno = 77;
      timespec deadline = from_now(20, kind.clock);
      long long const start = now_us();
      while_others_tick([&] { EXPECT_EQ(ETIMEDOUT, kind.lock(&deadline)); });
      EXPECT(now_us() - start >= 19000);
      deadline = from_now(-1000, kind.clock);
      EXPECT_EQ(ETIMEDOUT, kind.lock(&deadline));
      for (long wrong : {-1L, 1000000000L}) {
        deadline = from_now(1000, kind.clock);
        deadline.tv_nsec = wrong;
        EXPECT_EQ(EINVAL, kind.lock(&deadline));
      }
      timed_out = true;
      deadline = from_now(4000, kind.clock);
      EXPECT_EQ(0, kind.lock(&deadline));
      EXPECT_EQ(0, pthread_rwlock_unlock(&lock));
      EXPECT_EQ(77, errno);
    });
    EXPECT(comes_true([&] { return timed_out.load(); }));
    nap(10);
    EXPECT_EQ(0, pthread_rwlock_unlock(&lock));
    other.join();
  }
  timespec const deadline = from_now(1000);
  EXPECT_EQ(EINVAL, pthread_rwlock_clockrdlock(&lock, CLOCK_PROCESS_CPUTIME_ID, &deadline));
  EXPECT_EQ(EINVAL, pthread_rwlock_clockwrlock(&lock, 99, &deadline));
  EXPECT_EQ(0, pthread_rwlock_trywrlock(&lock));
  EXPECT_EQ(0, pthread_rwlock_unlock(&lock));
}

static void contention(int kind) {
  pthread_rwlock_t* const lock = make(kind);
  std::atomic<int> readers{0};
  std::atomic<int> writers{0};
  long value = 0;
  std::vector<Pthread> threads;
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 100; ++round) {
        if ((round + i) % 4 == 0) {
          EXPECT_EQ(0, pthread_rwlock_wrlock(lock));
          EXPECT_EQ(1, ++writers);
          EXPECT_EQ(0, readers);
          long const seen = value;
          sched_yield();
          value = seen + 1;
          --writers;
        } else {
          EXPECT_EQ(0, pthread_rwlock_rdlock(lock));
          ++readers;
          EXPECT_EQ(0, writers);
          if (round % 9 == 0) sched_yield();
          if (round % 50 == 0) nap(1);
          --readers;
        }
        EXPECT_EQ(0, pthread_rwlock_unlock(lock));
      }
    });
  }
  threads.clear();
  EXPECT_EQ(300, value);
  EXPECT_EQ(0, pthread_rwlock_destroy(lock));
  delete lock;
}

int main() {
  attributes();
  static pthread_rwlock_t plain = PTHREAD_RWLOCK_INITIALIZER;
  static pthread_rwlock_t writers_first = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
  who_may_enter(&plain);
  who_may_enter(&writers_first);
  a_waiting_writer(PTHREAD_RWLOCK_PREFER_READER_NP, false);
  a_waiting_writer(PTHREAD_RWLOCK_PREFER_WRITER_NP, false);
  a_waiting_writer(PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP, true);
  timed();
  contention(PTHREAD_RWLOCK_PREFER_READER_NP);
  contention(PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  return finish();
}
