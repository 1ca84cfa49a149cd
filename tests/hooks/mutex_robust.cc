// SPDX-License-Identifier: Apache-2.0
//
// Robust mutexes: the owner ends (by return, pthread_exit, cancellation) with the lock held; the
// next lock, trylock or timedlock says EOWNERDEAD and has it; consistent makes it whole again;
// unlocking without that makes it ENOTRECOVERABLE for everybody for good; a waiter blocked at the
// time of the death is woken with EOWNERDEAD; several mutexes of one owner; normal use.
#include "thread_testing.h"

struct Robust {
  pthread_mutex_t mutex;
  explicit Robust(int type = PTHREAD_MUTEX_NORMAL, int protocol = PTHREAD_PRIO_NONE) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    EXPECT_EQ(0, pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST));
    int value = -1;
    EXPECT_EQ(0, pthread_mutexattr_getrobust(&attributes, &value));
    EXPECT_EQ(PTHREAD_MUTEX_ROBUST, value);
    pthread_mutexattr_settype(&attributes, type);
    pthread_mutexattr_setprotocol(&attributes, protocol);
    EXPECT_EQ(0, pthread_mutex_init(&mutex, &attributes));
    pthread_mutexattr_destroy(&attributes);
  }
};

enum class End { by_return, by_exit, by_cancel };

static void dies_with(std::initializer_list<pthread_mutex_t*> mutexes, End how) {
  Pthread owner([&] {
    for (pthread_mutex_t* mutex : mutexes) EXPECT_EQ(0, pthread_mutex_lock(mutex));
    if (how == End::by_exit) pthread_exit(nullptr);
    if (how == End::by_cancel) {
      pthread_cancel(pthread_self());
      pthread_testcancel();
    }
  });
  owner.join();
}

static void owner_dies_and_next_recovers() {
  for (End how : {End::by_return, End::by_exit, End::by_cancel}) {
    for (int type : {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK}) {
      for (int protocol : {PTHREAD_PRIO_NONE, PTHREAD_PRIO_INHERIT}) {
        Robust own(type, protocol);
        dies_with({&own.mutex}, how);
        errno = 77;
        EXPECT_EQ(EOWNERDEAD, pthread_mutex_lock(&own.mutex));
        EXPECT_EQ(0, pthread_mutex_consistent(&own.mutex));
        EXPECT_EQ(EINVAL, pthread_mutex_consistent(&own.mutex));
        EXPECT_EQ(0, pthread_mutex_unlock(&own.mutex));
        EXPECT_EQ(0, pthread_mutex_lock(&own.mutex));  // whole again
        EXPECT_EQ(0, pthread_mutex_unlock(&own.mutex));
        EXPECT_EQ(77, errno);
        EXPECT_EQ(0, pthread_mutex_destroy(&own.mutex));
      }
    }
  }
}

static void try_and_timed_locks_hear_it_too() {
  Robust own;
  dies_with({&own.mutex}, End::by_return);
  EXPECT_EQ(EOWNERDEAD, pthread_mutex_trylock(&own.mutex));
  EXPECT_EQ(0, pthread_mutex_consistent(&own.mutex));
  EXPECT_EQ(0, pthread_mutex_unlock(&own.mutex));
  dies_with({&own.mutex}, End::by_return);
  timespec const deadline = from_now(1000);
  EXPECT_EQ(EOWNERDEAD, pthread_mutex_timedlock(&own.mutex, &deadline));
  EXPECT_EQ(0, pthread_mutex_consistent(&own.mutex));
  EXPECT_EQ(0, pthread_mutex_unlock(&own.mutex));
}

static void given_up_it_is_not_recoverable() {
  Robust own;
  dies_with({&own.mutex}, End::by_return);
  EXPECT_EQ(EOWNERDEAD, pthread_mutex_lock(&own.mutex));
  EXPECT_EQ(0, pthread_mutex_unlock(&own.mutex));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(ENOTRECOVERABLE, pthread_mutex_lock(&own.mutex));
    Pthread other([&] {
      timespec const deadline = from_now(1000);
      EXPECT_EQ(ENOTRECOVERABLE, pthread_mutex_lock(&own.mutex));
      EXPECT_EQ(ENOTRECOVERABLE, pthread_mutex_timedlock(&own.mutex, &deadline));
    });
  }
  // Last, because glibc 2.36's trylock keeps the lock word when it says so.
  EXPECT_EQ(ENOTRECOVERABLE, pthread_mutex_trylock(&own.mutex));
  EXPECT_EQ(0, pthread_mutex_destroy(&own.mutex));
}

static void a_blocked_waiter_is_woken() {
  for (int protocol : {PTHREAD_PRIO_NONE, PTHREAD_PRIO_INHERIT}) {
    Robust own(PTHREAD_MUTEX_NORMAL, protocol);
    std::atomic<bool> locked{false};
    Pthread owner([&] {
      EXPECT_EQ(0, pthread_mutex_lock(&own.mutex));
      locked = true;
      nap(30);
    });
    EXPECT(comes_true([&] { return locked.load(); }));
    EXPECT_EQ(EBUSY, pthread_mutex_trylock(&own.mutex));
    while_others_tick([&] { EXPECT_EQ(EOWNERDEAD, pthread_mutex_lock(&own.mutex)); });
    EXPECT_EQ(0, pthread_mutex_consistent(&own.mutex));
    EXPECT_EQ(0, pthread_mutex_unlock(&own.mutex));
    owner.join();
    EXPECT_EQ(0, pthread_mutex_lock(&own.mutex));
    EXPECT_EQ(0, pthread_mutex_unlock(&own.mutex));
  }
}

static void all_mutexes_of_the_dead() {
  Robust a;
  Robust b(PTHREAD_MUTEX_RECURSIVE);
  Robust c;
  dies_with({&a.mutex, &b.mutex, &b.mutex, &c.mutex}, End::by_exit);
  for (Robust* each : {&c, &a, &b}) {
    EXPECT_EQ(EOWNERDEAD, pthread_mutex_lock(&each->mutex));
    EXPECT_EQ(0, pthread_mutex_consistent(&each->mutex));
    EXPECT_EQ(0, pthread_mutex_unlock(&each->mutex));
  }
}

static void ordinary_use() {
  Robust own(PTHREAD_MUTEX_ERRORCHECK);
  long sum = 0;
  {
    Pthread* threads[8];
    for (auto& thread : threads) {
      thread = new Pthread([&] {
        for (int i = 0; i < 100; ++i) {
          EXPECT_EQ(0, pthread_mutex_lock(&own.mutex));
          long const seen = sum;
          if (i % 10 == 0) sched_yield();
          sum = seen + 1;
          EXPECT_EQ(0, pthread_mutex_unlock(&own.mutex));
        }
      });
    }
    for (Pthread* thread : threads) delete thread;
  }
  EXPECT_EQ(800, sum);
  EXPECT_EQ(0, pthread_mutex_lock(&own.mutex));
  EXPECT_EQ(EDEADLK, pthread_mutex_lock(&own.mutex));
  Pthread other([&] { EXPECT_EQ(EPERM, pthread_mutex_unlock(&own.mutex)); });
  other.join();
  EXPECT_EQ(0, pthread_mutex_unlock(&own.mutex));
  EXPECT_EQ(EINVAL, pthread_mutex_consistent(&own.mutex));
}

int main() {
  owner_dies_and_next_recovers();
  try_and_timed_locks_hear_it_too();
  given_up_it_is_not_recoverable();
  a_blocked_waiter_is_woken();
  all_mutexes_of_the_dead();
  ordinary_use();
  return finish();
}
