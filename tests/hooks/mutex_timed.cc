// SPDX-License-Identifier: Apache-2.0
//
// pthread_mutex_timedlock and pthread_mutex_clocklock on both clocks and for every type: time-outs
// not early, past deadlines, the rules for invalid times (checked only where the lock must wait),
// invalid clocks, deadlock answers for the owner, success while waiting; a time-out leaves the
// mutex to others.
#include "thread_testing.h"

using Lock = std::function<int(pthread_mutex_t*, const timespec*)>;

static void one_kind(int type, int protocol, clockid_t clock, const Lock& lock) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, type);
  pthread_mutexattr_setprotocol(&attributes, protocol);
  pthread_mutex_t mutex;
  EXPECT_EQ(0, pthread_mutex_init(&mutex, &attributes));
  pthread_mutexattr_destroy(&attributes);

  // Free: taken without a look at the time.
  timespec const nonsense{0, 2000000000};
  EXPECT_EQ(0, lock(&mutex, &nonsense));
  EXPECT_EQ(0, pthread_mutex_unlock(&mutex));
  timespec deadline = from_now(-5, clock);
  EXPECT_EQ(0, lock(&mutex, &deadline));

  // The owner again.
  deadline = from_now(15, clock);
  if (type == PTHREAD_MUTEX_RECURSIVE) {
    EXPECT_EQ(0, lock(&mutex, &deadline));
    EXPECT_EQ(0, pthread_mutex_unlock(&mutex));
  } else if (type == PTHREAD_MUTEX_ERRORCHECK) {
    EXPECT_EQ(EDEADLK, lock(&mutex, &deadline));
  } else if (protocol == PTHREAD_PRIO_NONE) {
    long long const start = now_ms();
    EXPECT_EQ(ETIMEDOUT, lock(&mutex, &deadline));
    EXPECT(now_ms() - start >= 14);
  }

  std::atomic<int> step{0};
  Pthread other([&] {
    errno = 77;
    timespec until = from_now(20, clock);
    timespec const copy = until;
    long long const start = now_us();
    while_others_tick([&] { EXPECT_EQ(ETIMEDOUT, lock(&mutex, &until)); });
    EXPECT(now_us() - start >= 19000);
    EXPECT(until.tv_sec == copy.tv_sec && until.tv_nsec == copy.tv_nsec);
    until = from_now(-1000, clock);
    EXPECT_EQ(ETIMEDOUT, lock(&mutex, &until));
    until = {-1, 0};  // with priority inheritance the kernel is asked, and refuses it
    EXPECT_EQ(protocol == PTHREAD_PRIO_NONE ? ETIMEDOUT : EINVAL, lock(&mutex, &until));
    for (long wrong : {-1L, 1000000000L}) {
      until = from_now(1000, clock);
      until.tv_nsec = wrong;
      EXPECT_EQ(EINVAL, lock(&mutex, &until));
    }
    step = 1;
    until = from_now(4000, clock);
    while_others_tick([&] { EXPECT_EQ(0, lock(&mutex, &until)); });
    EXPECT_EQ(0, pthread_mutex_unlock(&mutex));
    EXPECT_EQ(77, errno);
  });
  EXPECT(comes_true([&] { return step == 1; }));
  nap(15);
  EXPECT_EQ(0, pthread_mutex_unlock(&mutex));
  other.join();
  EXPECT_EQ(0, pthread_mutex_trylock(&mutex));
  EXPECT_EQ(0, pthread_mutex_unlock(&mutex));
  EXPECT_EQ(0, pthread_mutex_destroy(&mutex));
}

static int clock_lock_realtime(pthread_mutex_t* mutex, const timespec* deadline) {
  return pthread_mutex_clocklock(mutex, CLOCK_REALTIME, deadline);
}
static int clock_lock_monotonic(pthread_mutex_t* mutex, const timespec* deadline) {
  return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, deadline);
}

static void wrong_clocks() {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  timespec const deadline = from_now(1000);
  for (clockid_t clock : {CLOCK_PROCESS_CPUTIME_ID, CLOCK_BOOTTIME, clockid_t{99}}) {
    EXPECT_EQ(EINVAL, pthread_mutex_clocklock(&mutex, clock, &deadline));
  }
  EXPECT_EQ(0, pthread_mutex_trylock(&mutex));
  EXPECT_EQ(0, pthread_mutex_unlock(&mutex));
}

static void a_time_out_is_not_a_theft() {
  // Of many waiters half give up; the others all get their turn.
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  static std::atomic<int> got{0};
  static std::atomic<int> gave_up{0};
  pthread_mutex_lock(&mutex);
  Pthread* threads[20];
  for (int i = 0; i < 20; ++i) {
    threads[i] = new Pthread([i] {
      timespec const deadline = from_now(i % 2 == 0 ? 20 : 4000);
      if (pthread_mutex_timedlock(&mutex, &deadline) == 0) {
        ++got;
        pthread_mutex_unlock(&mutex);
      } else {
        ++gave_up;
      }
    });
  }
  EXPECT(comes_true([] { return gave_up == 10; }));
  EXPECT_EQ(0, got);
  pthread_mutex_unlock(&mutex);
  for (Pthread* thread : threads) delete thread;
  EXPECT_EQ(10, got);
}

int main() {
  for (int type : {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK,
                   PTHREAD_MUTEX_ADAPTIVE_NP}) {
    one_kind(type, PTHREAD_PRIO_NONE, CLOCK_REALTIME, pthread_mutex_timedlock);
    one_kind(type, PTHREAD_PRIO_NONE, CLOCK_REALTIME, clock_lock_realtime);
    one_kind(type, PTHREAD_PRIO_NONE, CLOCK_MONOTONIC, clock_lock_monotonic);
  }
  one_kind(PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_INHERIT, CLOCK_REALTIME, pthread_mutex_timedlock);
  wrong_clocks();
  a_time_out_is_not_a_theft();
  return finish();
}
