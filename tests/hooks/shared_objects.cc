// SPDX-License-Identifier: Apache-2.0
//
// Process-shared objects in MAP_SHARED memory, used by this process's threads and a forked child's
// at the same time: mutex (exclusion, robust: the child dies with it), condition in both
// directions, semaphore, rwlock, barrier, spin lock. The parent's other threads tick while it waits
// for the child.
#include <semaphore.h>
#include <sys/mman.h>

#include <new>
#include <vector>

#include "thread_testing.h"

struct Shared {
  pthread_mutex_t mutex;
  pthread_mutex_t robust;
  pthread_cond_t condition;
  pthread_rwlock_t rwlock;
  pthread_barrier_t barrier;
  pthread_spinlock_t spin;
  sem_t to_child;
  sem_t to_parent;
  int turn = 0;
  long counter = 0;
  long spun = 0;
  long written = 0;
  std::atomic<int> serial{0};
};
static Shared* shared;

constexpr unsigned kThreads = 4;  // in each of the two processes

static void make() {
  pthread_mutexattr_t mutex;
  pthread_mutexattr_init(&mutex);
  EXPECT_EQ(0, pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED));
  EXPECT_EQ(0, pthread_mutex_init(&shared->mutex, &mutex));
  EXPECT_EQ(0, pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST));
  EXPECT_EQ(0, pthread_mutex_init(&shared->robust, &mutex));
  pthread_condattr_t condition;
  pthread_condattr_init(&condition);
  EXPECT_EQ(0, pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED));
  EXPECT_EQ(0, pthread_cond_init(&shared->condition, &condition));
  pthread_rwlockattr_t rwlock;
  pthread_rwlockattr_init(&rwlock);
  EXPECT_EQ(0, pthread_rwlockattr_setpshared(&rwlock, PTHREAD_PROCESS_SHARED));
  EXPECT_EQ(0, pthread_rwlock_init(&shared->rwlock, &rwlock));
  pthread_barrierattr_t barrier;
  pthread_barrierattr_init(&barrier);
  EXPECT_EQ(0, pthread_barrierattr_setpshared(&barrier, PTHREAD_PROCESS_SHARED));
  EXPECT_EQ(0, pthread_barrier_init(&shared->barrier, &barrier, 2 * kThreads));
  EXPECT_EQ(0, pthread_spin_init(&shared->spin, PTHREAD_PROCESS_SHARED));
  EXPECT_EQ(0, sem_init(&shared->to_child, 1, 0));
  EXPECT_EQ(0, sem_init(&shared->to_parent, 1, 0));
}

// Runs `child` in a forked process and `parent` here, both at once.
template <class Child, class Parent>
static void beside(Child child_body, Parent parent_body) {
  fflush(nullptr);
  pid_t const child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    failures = 0;
    child_body();
    _exit(failures == 0 ? 0 : 99);
  }
  parent_body();
  int status = -1;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT(exited(status, 0));
}

static void semaphores() {
  beside(
      [] {
        for (int i = 0; i < 50; ++i) {
          EXPECT_EQ(0, sem_wait(&shared->to_child));
          EXPECT_EQ(0, sem_post(&shared->to_parent));
        }
        usleep(25000);
        EXPECT_EQ(0, sem_post(&shared->to_parent));
      },
      [] {
        for (int i = 0; i < 50; ++i) {
          EXPECT_EQ(0, sem_post(&shared->to_child));
          EXPECT_EQ(0, sem_wait(&shared->to_parent));
        }
        while_others_tick([] { EXPECT_OK(0, sem_wait(&shared->to_parent)); });
      });
}

static void a_waiting_lock() {
  beside(
      [] {
        EXPECT_EQ(0, pthread_mutex_lock(&shared->mutex));
        EXPECT_EQ(0, pthread_rwlock_wrlock(&shared->rwlock));
        EXPECT_EQ(0, sem_post(&shared->to_parent));
        usleep(30000);
        EXPECT_EQ(0, pthread_mutex_unlock(&shared->mutex));
        usleep(30000);
        EXPECT_EQ(0, pthread_rwlock_unlock(&shared->rwlock));
      },
      [] {
        EXPECT_EQ(0, sem_wait(&shared->to_parent));
        EXPECT_EQ(EBUSY, pthread_mutex_trylock(&shared->mutex));
        timespec const soon = from_now(10);
        EXPECT_EQ(ETIMEDOUT, pthread_mutex_timedlock(&shared->mutex, &soon));
        while_others_tick([] { EXPECT_EQ(0, pthread_mutex_lock(&shared->mutex)); });
        EXPECT_EQ(0, pthread_mutex_unlock(&shared->mutex));
        EXPECT_EQ(EBUSY, pthread_rwlock_tryrdlock(&shared->rwlock));
        while_others_tick([] { EXPECT_EQ(0, pthread_rwlock_rdlock(&shared->rwlock)); });
        EXPECT_EQ(0, pthread_rwlock_unlock(&shared->rwlock));
      });
}

static void count_together() {
  std::vector<Pthread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([] {
      for (int round = 0; round < 100; ++round) {
        EXPECT_EQ(0, pthread_mutex_lock(&shared->mutex));
        long seen = shared->counter;
        if (round % 10 == 0) sched_yield();
        shared->counter = seen + 1;
        EXPECT_EQ(0, pthread_mutex_unlock(&shared->mutex));

        EXPECT_EQ(0, pthread_rwlock_wrlock(&shared->rwlock));
        seen = shared->written;
        if (round % 10 == 3) sched_yield();
        shared->written = seen + 1;
        EXPECT_EQ(0, pthread_rwlock_unlock(&shared->rwlock));
        EXPECT_EQ(0, pthread_rwlock_rdlock(&shared->rwlock));
        EXPECT_EQ(0, pthread_rwlock_unlock(&shared->rwlock));

        EXPECT_EQ(0, pthread_spin_lock(&shared->spin));
        ++shared->spun;
        EXPECT_EQ(0, pthread_spin_unlock(&shared->spin));
        if (round % 10 == 7 &&
            pthread_barrier_wait(&shared->barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
          ++shared->serial;
        }
      }
    });
  }
}

static void exclusion_across_processes() {
  beside(count_together, count_together);
  EXPECT_EQ(200L * kThreads, shared->counter);
  EXPECT_EQ(200L * kThreads, shared->written);
  EXPECT_EQ(200L * kThreads, shared->spun);
  EXPECT_EQ(10, shared->serial);
}

static void take_turns(int mine) {
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(0, pthread_mutex_lock(&shared->mutex));
    while (shared->turn != mine) {
      EXPECT_EQ(0, pthread_cond_wait(&shared->condition, &shared->mutex));
    }
    shared->turn = 1 - mine;
    EXPECT_EQ(0, pthread_cond_broadcast(&shared->condition));
    EXPECT_EQ(0, pthread_mutex_unlock(&shared->mutex));
  }
}

static void conditions() {
  beside([] { Pthread([] { take_turns(1); }).join(); }, [] { take_turns(0); });
  beside(
      [] {
        usleep(30000);
        EXPECT_EQ(0, pthread_mutex_lock(&shared->mutex));
        shared->turn = 5;
        EXPECT_EQ(0, pthread_cond_signal(&shared->condition));
        EXPECT_EQ(0, pthread_mutex_unlock(&shared->mutex));
      },
      [] {
        EXPECT_EQ(0, pthread_mutex_lock(&shared->mutex));
        timespec const soon = from_now(5);
        EXPECT_EQ(ETIMEDOUT, pthread_cond_timedwait(&shared->condition, &shared->mutex, &soon));
        while_others_tick([] {
          while (shared->turn != 5) {
            EXPECT_EQ(0, pthread_cond_wait(&shared->condition, &shared->mutex));
          }
        });
        EXPECT_EQ(0, pthread_mutex_unlock(&shared->mutex));
      });
}

static void a_process_dies_with_the_robust_one() {
  beside([] { EXPECT_EQ(0, pthread_mutex_lock(&shared->robust)); }, [] { nap(30); });
  EXPECT_EQ(EOWNERDEAD, pthread_mutex_lock(&shared->robust));
  EXPECT_EQ(0, pthread_mutex_consistent(&shared->robust));
  EXPECT_EQ(0, pthread_mutex_unlock(&shared->robust));
  // Now while a thread waits for it, and killed instead of exiting.
  pid_t const child = fork();
  if (child == 0) {
    pthread_mutex_lock(&shared->robust);
    sem_post(&shared->to_parent);
    for (;;) pause();
  }
  EXPECT_EQ(0, sem_wait(&shared->to_parent));
  Pthread killer([child] {
    nap(30);
    kill(child, SIGKILL);
  });
  while_others_tick([] { EXPECT_EQ(EOWNERDEAD, pthread_mutex_lock(&shared->robust)); });
  EXPECT_EQ(0, pthread_mutex_consistent(&shared->robust));
  EXPECT_EQ(0, pthread_mutex_unlock(&shared->robust));
  killer.join();
  EXPECT_EQ(child, waitpid(child, nullptr, 0));
}

int main() {
  void* const memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  EXPECT(memory != MAP_FAILED);
  shared = new (memory) Shared;
  make();
  semaphores();
  a_waiting_lock();
  exclusion_across_processes();
  conditions();
  a_process_dies_with_the_robust_one();
  return finish();
}
