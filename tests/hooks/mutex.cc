// SPDX-License-Identifier: Apache-2.0
//
// pthread_mutex_*: every type (normal, recursive, error-checking, adaptive) by attribute and by
// static initialiser, priority inheritance, what lock, trylock and unlock say to the owner and to
// others (EBUSY, EDEADLK, EPERM, EAGAIN), attributes with defaults and errors, a waiter lets others
// run and is woken by the unlock, errno is left alone, destroy of a locked one.
#include <vector>

#include "thread_testing.h"

struct Mutex {
  pthread_mutex_t mutex;
  explicit Mutex(int type, int protocol = PTHREAD_PRIO_NONE) {
    pthread_mutexattr_t attributes;
    EXPECT_EQ(0, pthread_mutexattr_init(&attributes));
    EXPECT_EQ(0, pthread_mutexattr_settype(&attributes, type));
    EXPECT_EQ(0, pthread_mutexattr_setprotocol(&attributes, protocol));
    EXPECT_EQ(0, pthread_mutex_init(&mutex, &attributes));
    EXPECT_EQ(0, pthread_mutexattr_destroy(&attributes));
  }
  ~Mutex() { EXPECT_EQ(0, pthread_mutex_destroy(&mutex)); }
};

static int const kTypes[] = {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE,
                             PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ADAPTIVE_NP};

static void attributes_have_defaults_and_limits() {
  pthread_mutexattr_t a;
  int value = -1;
  EXPECT_EQ(0, pthread_mutexattr_init(&a));
  EXPECT_EQ(0, pthread_mutexattr_gettype(&a, &value));
  EXPECT_EQ(PTHREAD_MUTEX_DEFAULT, value);
  EXPECT_EQ(0, pthread_mutexattr_getpshared(&a, &value));
  EXPECT_EQ(PTHREAD_PROCESS_PRIVATE, value);
  EXPECT_EQ(0, pthread_mutexattr_getprotocol(&a, &value));
  EXPECT_EQ(PTHREAD_PRIO_NONE, value);
  EXPECT_EQ(0, pthread_mutexattr_getrobust(&a, &value));
  EXPECT_EQ(PTHREAD_MUTEX_STALLED, value);
  EXPECT_EQ(EINVAL, pthread_mutexattr_settype(&a, 99));
  EXPECT_EQ(EINVAL, pthread_mutexattr_setpshared(&a, 99));
  EXPECT_EQ(EINVAL, pthread_mutexattr_setprotocol(&a, 99));
  EXPECT_EQ(EINVAL, pthread_mutexattr_setrobust(&a, 99));
  EXPECT_EQ(EINVAL, pthread_mutexattr_setprioceiling(&a, -1));
  EXPECT_EQ(0, pthread_mutexattr_destroy(&a));
}

// What the owner and others hear, for any type.
static void owner_and_others(pthread_mutex_t* mutex, int type, int protocol = PTHREAD_PRIO_NONE) {
  errno = 77;
  EXPECT_EQ(0, pthread_mutex_lock(mutex));
  bool const recursive = type == PTHREAD_MUTEX_RECURSIVE;
  // glibc's priority-inheriting trylock tells an error-checking owner EDEADLK.
  bool const tells = protocol == PTHREAD_PRIO_INHERIT && type == PTHREAD_MUTEX_ERRORCHECK;
  int const again = recursive ? 0 : tells ? EDEADLK : EBUSY;
  EXPECT_EQ(again, pthread_mutex_trylock(mutex));
  if (recursive) {
    EXPECT_EQ(0, pthread_mutex_lock(mutex));
    EXPECT_EQ(0, pthread_mutex_unlock(mutex));
    EXPECT_EQ(0, pthread_mutex_unlock(mutex));
  }
  if (type == PTHREAD_MUTEX_ERRORCHECK) EXPECT_EQ(EDEADLK, pthread_mutex_lock(mutex));
  EXPECT_EQ(EBUSY, pthread_mutex_destroy(mutex));
  std::atomic<bool> tried{false};
  Pthread other([&] {
    errno = 66;
    EXPECT_EQ(EBUSY, pthread_mutex_trylock(mutex));
    if (recursive || type == PTHREAD_MUTEX_ERRORCHECK) {
      EXPECT_EQ(EPERM, pthread_mutex_unlock(mutex));
    }
    tried = true;
    while_others_tick([&] { EXPECT_EQ(0, pthread_mutex_lock(mutex)); });
    EXPECT_EQ(again, pthread_mutex_trylock(mutex));
    if (recursive) EXPECT_EQ(0, pthread_mutex_unlock(mutex));
    EXPECT_EQ(0, pthread_mutex_unlock(mutex));
    EXPECT_EQ(66, errno);
  });
  EXPECT(comes_true([&] { return tried.load(); }));
  nap(25);
  EXPECT_EQ(0, pthread_mutex_unlock(mutex));
  other.join();
  if (recursive || type == PTHREAD_MUTEX_ERRORCHECK) {
    EXPECT_EQ(EPERM, pthread_mutex_unlock(mutex));  // nobody's
  }
  EXPECT_EQ(0, pthread_mutex_trylock(mutex));
  EXPECT_EQ(0, pthread_mutex_unlock(mutex));
  EXPECT_EQ(77, errno);
}

static void all_types() {
  for (int type : kTypes) {
    Mutex own(type);
    owner_and_others(&own.mutex, type);
    Mutex inheriting(type, PTHREAD_PRIO_INHERIT);
    owner_and_others(&inheriting.mutex, type, PTHREAD_PRIO_INHERIT);
  }
  static pthread_mutex_t normal = PTHREAD_MUTEX_INITIALIZER;
  static pthread_mutex_t recursive = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
  static pthread_mutex_t checking = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
  static pthread_mutex_t adaptive = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
  owner_and_others(&normal, PTHREAD_MUTEX_NORMAL);
  owner_and_others(&recursive, PTHREAD_MUTEX_RECURSIVE);
  owner_and_others(&checking, PTHREAD_MUTEX_ERRORCHECK);
  owner_and_others(&adaptive, PTHREAD_MUTEX_ADAPTIVE_NP);
}

static void a_crowd_gets_it_one_by_one() {
  for (int type : kTypes) {
    Mutex own(type);
    std::atomic<int> inside{0};
    std::atomic<int> waiting{0};
    int done = 0;
    EXPECT_EQ(0, pthread_mutex_lock(&own.mutex));
    std::vector<Pthread> threads;
    for (int i = 0; i < 20; ++i) {
      threads.emplace_back([&] {
        ++waiting;
        EXPECT_EQ(0, pthread_mutex_lock(&own.mutex));
        EXPECT_EQ(1, ++inside);
        sched_yield();
        ++done;
        EXPECT_EQ(0, --inside);
        EXPECT_EQ(0, pthread_mutex_unlock(&own.mutex));
      });
    }
    EXPECT(comes_true([&] { return waiting == 20; }));
    nap(5);
    EXPECT_EQ(0, done);
    EXPECT_EQ(0, pthread_mutex_unlock(&own.mutex));
    threads.clear();
    EXPECT_EQ(20, done);
  }
}

// Mutual exclusion with waits and yields inside, two locks always taken in the same order.
static void contention() {
  static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER;
  static pthread_mutex_t second = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
  static long shared[2] = {0, 0};
  std::vector<Pthread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([i] {
      for (int round = 0; round < 60; ++round) {
        pthread_mutex_lock(&first);
        long const seen = shared[0];
        if ((round + i) % 5 == 0) sched_yield();
        if ((round + i) % 29 == 0) nap(1);
        shared[0] = seen + 1;
        pthread_mutex_lock(&second);
        long const also = shared[1];
        if ((round + i) % 7 == 0) sched_yield();
        shared[1] = also + 1;
        pthread_mutex_unlock(&first);
        pthread_mutex_unlock(&second);
      }
    });
  }
  threads.clear();
  EXPECT_EQ(16 * 60, shared[0]);
  EXPECT_EQ(16 * 60, shared[1]);
}

static void freed_right_after_the_last_unlock() {
  // The last user may destroy: an unlock must not look at the memory after it let go.
  for (int i = 0; i < 200; ++i) {
    struct Object {
      pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
      int users = 2;
    };
    auto* object = new Object;
    auto leave = [object] {
      pthread_mutex_lock(&object->mutex);
      bool const last = --object->users == 0;
      pthread_mutex_unlock(&object->mutex);
      if (last) {
        pthread_mutex_destroy(&object->mutex);
        memset(static_cast<void*>(object), 0xff, sizeof *object);
        delete object;
      }
    };
    Pthread other(leave);
    leave();
  }
}

int main() {
  attributes_have_defaults_and_limits();
  all_types();
  a_crowd_gets_it_one_by_one();
  contention();
  freed_right_after_the_last_unlock();
  return finish();
}
