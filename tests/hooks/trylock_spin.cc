// SPDX-License-Identifier: Apache-2.0
//
// Spinning on try functions: each holder sleeps with what it holds, and must come back although others
// ask for it without pause. Every try function, C11's and the older names too by way of the same code.
#include <semaphore.h>
#include <threads.h>

#include "thread_testing.h"

// Takes, sleeps, releases in a thread of its own, while main asks until it gets it.
template <class Take, class Try, class Release>
static void spin(Take take, Try attempt, Release release) {
  std::atomic<bool> held{false};
  Pthread holder([&] {
    take();
    held = true;
    nap(20);
    release();
  });
  EXPECT(comes_true([&] { return held.load(); }));
  long long const start = now_ms();
  long tries = 0;
  while (!attempt() && now_ms() - start < 10000) ++tries;
  EXPECT(now_ms() - start < 5000);
  EXPECT(tries > 0);
  release();
}

int main() {
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  spin([] { EXPECT_EQ(0, pthread_mutex_lock(&mutex)); },
       [] { return pthread_mutex_trylock(&mutex) == 0; },
       [] { EXPECT_EQ(0, pthread_mutex_unlock(&mutex)); });
  static mtx_t c11;
  EXPECT_EQ(thrd_success, mtx_init(&c11, mtx_plain));
  spin([] { EXPECT_EQ(thrd_success, mtx_lock(&c11)); },
       [] { return mtx_trylock(&c11) == thrd_success; },
       [] { EXPECT_EQ(thrd_success, mtx_unlock(&c11)); });
  static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
  auto const release = [] { EXPECT_EQ(0, pthread_rwlock_unlock(&rwlock)); };
  spin([] { EXPECT_EQ(0, pthread_rwlock_wrlock(&rwlock)); },
       [] { return pthread_rwlock_tryrdlock(&rwlock) == 0; }, release);
  spin([] { EXPECT_EQ(0, pthread_rwlock_rdlock(&rwlock)); },
       [] { return pthread_rwlock_trywrlock(&rwlock) == 0; }, release);
  static pthread_spinlock_t lock;
  EXPECT_EQ(0, pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE));
  spin([] { EXPECT_EQ(0, pthread_spin_lock(&lock)); },
       [] { return pthread_spin_trylock(&lock) == 0; },
       [] { EXPECT_EQ(0, pthread_spin_unlock(&lock)); });
  static sem_t semaphore;
  EXPECT_EQ(0, sem_init(&semaphore, 0, 1));
  spin([] { EXPECT_EQ(0, sem_wait(&semaphore)); },
       [] { return sem_trywait(&semaphore) == 0; },
       [] { EXPECT_EQ(0, sem_post(&semaphore)); });
  return finish();
}
