// SPDX-License-Identifier: Apache-2.0
//
// Threads that pthread_create did not make (libc's own, which run SIGEV_THREAD callbacks) share mutexes,
// conditions, semaphores, barriers and onces with threads that it made. Also: a loop that holds a mutex
// while it sleeps leaves turns to others; objects marked process-shared in private memory; a once that
// was running when the process forked is run again in the child.
#include <semaphore.h>

#include <vector>

#include "thread_testing.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;

// Runs body() in a thread of libc's.
class Callback {
 public:
  explicit Callback(void (*body)()) : body_(body) {
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD;
    event.sigev_value.sival_ptr = this;
    event.sigev_notify_function = [](sigval value) {
      auto* self = static_cast<Callback*>(value.sival_ptr);
      self->body_();
      self->done_ = true;
    };
    timer_t timer;
    EXPECT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
    itimerspec soon{{0, 0}, {0, 1000000}};
    EXPECT_EQ(0, timer_settime(timer, 0, &soon, nullptr));
  }
  ~Callback() {
    EXPECT(comes_true([this] { return done_.load(); }));
  }

 private:
  void (*body_)();
  std::atomic<bool> done_{false};
};

static int step = 0;

static int seen_step() {
  pthread_mutex_lock(&mutex);
  int const value = step;
  pthread_mutex_unlock(&mutex);
  return value;
}

static void wait_for_step(int value) {
  pthread_mutex_lock(&mutex);
  while (step < value) EXPECT_EQ(0, pthread_cond_wait(&condition, &mutex));
  pthread_mutex_unlock(&mutex);
}

static void make_step(int value) {
  pthread_mutex_lock(&mutex);
  step = value;
  EXPECT_EQ(0, pthread_cond_broadcast(&condition));
  pthread_mutex_unlock(&mutex);
}

static void conditions() {
  step = 0;
  Callback callback([] {
    make_step(1);
    wait_for_step(2);  // unlocks the mutex inside libc while others queue for it
    make_step(3);
  });
  EXPECT(comes_true([] { return seen_step() == 1; }));
  std::vector<Pthread> threads;
  for (int i = 0; i < 10; ++i) {
    threads.emplace_back([] {
      for (int k = 0; k < 20; ++k) {
        pthread_mutex_lock(&mutex);
        if (k % 5 == 0) nap(1);
        pthread_mutex_unlock(&mutex);
      }
    });
  }
  threads.clear();
  make_step(2);
  wait_for_step(3);
}

static long counter = 0;

static void count() {
  for (int i = 0; i < 500; ++i) {
    pthread_mutex_lock(&mutex);
    long const seen = counter;
    if (i % 50 == 0) nap(1);
    counter = seen + 1;
    pthread_mutex_unlock(&mutex);
  }
}

static void mutexes() {
  counter = 0;
  {
    Callback one(count);
    Callback two(count);
    std::vector<Pthread> threads;
    for (int i = 0; i < 3; ++i) threads.emplace_back(count);
  }
  EXPECT_EQ(2500, counter);
}

static sem_t semaphore;

static void semaphores() {
  EXPECT_EQ(0, sem_init(&semaphore, 0, 0));
  Callback callback([] { EXPECT_EQ(0, sem_wait(&semaphore)); });
  Pthread waiter([] { EXPECT_EQ(0, sem_wait(&semaphore)); });
  nap(20);
  EXPECT_EQ(0, sem_post(&semaphore));
  EXPECT_EQ(0, sem_post(&semaphore));
}

static pthread_barrier_t barrier;
static std::atomic<int> serial{0};

static void arrive() {
  for (int i = 0; i < 20; ++i) {
    if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) ++serial;
  }
}

static void barriers() {
  EXPECT_EQ(0, pthread_barrier_init(&barrier, nullptr, 4));
  {
    Callback callback(arrive);
    std::vector<Pthread> threads;
    for (int i = 0; i < 3; ++i) threads.emplace_back(arrive);
  }
  EXPECT_EQ(20, serial);
  EXPECT_EQ(0, pthread_barrier_destroy(&barrier));
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static std::atomic<int> runs{0};

static void onces() {
  auto run = [] {
    EXPECT_EQ(0, pthread_once(&once, [] {
      nap(20);
      ++runs;
    }));
    EXPECT_EQ(1, runs);
  };
  Callback callback(run);
  Pthread thread(run);
}

static void a_once_that_forked() {
  static pthread_once_t running = PTHREAD_ONCE_INIT;
  static std::atomic<int> tries{0};
  auto routine = [] {
    if (++tries == 1) nap(60);
  };
  Pthread first([&] { EXPECT_EQ(0, pthread_once(&running, routine)); });
  EXPECT(comes_true([] { return tries == 1; }));
  int const status = in_child([&] {
    alarm(5);
    EXPECT_EQ(0, pthread_once(&running, routine));
    EXPECT_EQ(2, tries);
  });
  EXPECT(exited(status, 0));
}

static void a_sleeping_holder_leaves_turns() {
  static std::atomic<bool> stop{false};
  static std::atomic<int> turns{0};
  Pthread hog([] {
    while (!stop) {
      pthread_mutex_lock(&mutex);
      nap(1);
      pthread_mutex_unlock(&mutex);
    }
  });
  Pthread other([] {
    while (!stop) {
      pthread_mutex_lock(&mutex);
      ++turns;
      pthread_mutex_unlock(&mutex);
      nap(1);
    }
  });
  EXPECT(comes_true([] { return turns >= 3; }));
  stop = true;
}

static void marked_shared_in_private_memory() {
  sem_t own;
  EXPECT_EQ(0, sem_init(&own, 1, 0));
  Pthread poster([&] {
    nap(25);
    EXPECT_EQ(0, sem_post(&own));
  });
  while_others_tick([&] { EXPECT_OK(0, sem_wait(&own)); });
}

int main() {
  conditions();
  mutexes();
  semaphores();
  barriers();
  onces();
  a_once_that_forked();
  a_sleeping_holder_leaves_turns();
  marked_shared_in_private_memory();
  return finish();
}
