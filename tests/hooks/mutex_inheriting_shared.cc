// SPDX-License-Identifier: Apache-2.0
//
// A mutex with priority inheritance that other processes share excludes them and their threads,
// with a time-out or without, recursive and error-checking ones as well; a robust one is given on
// when the thread that holds it ends.
#include <sys/mman.h>

#include "thread_testing.h"

struct Shared {
  pthread_mutex_t mutex;
  long count;
  std::atomic<int> held, done;
};
static Shared* shared;

static void make(int type, int robust) {
  memset(static_cast<void*>(shared), 0, sizeof *shared);
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_settype(&a, type);
  pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
  pthread_mutexattr_setrobust(&a, robust);
  EXPECT_EQ(0, pthread_mutex_init(&shared->mutex, &a));
  pthread_mutexattr_destroy(&a);
}

static void count_up() {
  for (int i = 0; i < 30; i++) {
    EXPECT_EQ(0, pthread_mutex_lock(&shared->mutex));
    long const seen = shared->count;
    if (i % 10 == 0) nap(1);
    shared->count = seen + 1;
    EXPECT_EQ(0, pthread_mutex_unlock(&shared->mutex));
  }
}

static void counts(int type, int robust) {
  make(type, robust);
  pid_t const child = fork();
  if (child == 0) {
    failures = 0;
    Pthread other(count_up);
    count_up();
    other.join();
    _exit(failures ? 99 : 0);
  }
  {
    Pthread other(count_up);
    count_up();
  }
  int status = -1;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT(exited(status, 0));
  EXPECT_EQ(120, shared->count);
}

static void waits_for_another_process() {
  make(PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_STALLED);
  pid_t const child = fork();
  if (child == 0) {
    Pthread holder([] {
      pthread_mutex_lock(&shared->mutex);
      shared->held = 1;
      while (!shared->done) nap(1);
      nap(20);
      pthread_mutex_unlock(&shared->mutex);
    });
    holder.join();
    _exit(0);
  }
  EXPECT(comes_true([] { return shared->held == 1; }));
  EXPECT_EQ(EBUSY, pthread_mutex_trylock(&shared->mutex));
  timespec const soon = from_now(20);
  EXPECT_EQ(ETIMEDOUT, pthread_mutex_timedlock(&shared->mutex, &soon));
  EXPECT_EQ(EPERM, pthread_mutex_unlock(&shared->mutex));
  shared->done = 1;
  EXPECT_EQ(0, pthread_mutex_lock(&shared->mutex));
  EXPECT_EQ(EDEADLK, pthread_mutex_lock(&shared->mutex));
  EXPECT_EQ(0, pthread_mutex_unlock(&shared->mutex));
  int status = -1;
  EXPECT_EQ(child, waitpid(child, &status, 0));
}

static void a_dead_threads_is_given_on() {
  make(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST);
  pid_t const child = fork();
  if (child == 0) {
    Pthread([] { pthread_mutex_lock(&shared->mutex); }).join();
    shared->held = 1;
    while (!shared->done) nap(1);
    _exit(0);
  }
  EXPECT(comes_true([] { return shared->held == 1; }));
  EXPECT_EQ(EOWNERDEAD, pthread_mutex_lock(&shared->mutex));
  EXPECT_EQ(0, pthread_mutex_consistent(&shared->mutex));
  EXPECT_EQ(0, pthread_mutex_unlock(&shared->mutex));
  EXPECT_EQ(0, pthread_mutex_lock(&shared->mutex));
  EXPECT_EQ(0, pthread_mutex_unlock(&shared->mutex));
  shared->done = 1;
  int status = -1;
  EXPECT_EQ(child, waitpid(child, &status, 0));
}

int main() {
  shared = static_cast<Shared*>(
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  from_both([] {
    for (int robust : {PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_ROBUST}) {
      counts(PTHREAD_MUTEX_NORMAL, robust);
      counts(PTHREAD_MUTEX_RECURSIVE, robust);
    }
    waits_for_another_process();
    a_dead_threads_is_given_on();
  });
  return finish();
}
