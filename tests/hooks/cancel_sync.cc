// SPDX-License-Identifier: Apache-2.0
//
// A thread blocked in a synchronisation, signal or process wait is cancelled: pthread_cond_wait and
// its kin hold the mutex again while cleanup handlers run, sem_wait leaves the count alone, a join
// leaves its thread joinable, sigsuspend and pause end, waitpid leaves the child, system kills and
// reaps its own, popen's pclose; mutex, rwlock and barrier waits are not cancellation points.
#include <semaphore.h>
#include <sys/wait.h>

#include "thread_testing.h"

// Runs `body` in a thread that is cancelled 10 ms later; returns what it left.
template <class Body>
static void* cancelled(Body body) {
  std::atomic<bool> entered{false};
  Pthread worker([&]() -> void* {
    entered = true;
    body();
    return nullptr;
  });
  EXPECT(comes_true([&] { return entered.load(); }));
  nap(10);
  EXPECT_EQ(0, pthread_cancel(worker.id()));
  return worker.join();
}

struct Place {
  pthread_mutex_t mutex;
  pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  int held = 0;
};

static void unlock_if_mine(void* argument) {
  auto* place = static_cast<Place*>(argument);
  if (pthread_mutex_unlock(&place->mutex) == 0) ++place->held;  // error checking: EPERM if not mine
}

template <class Wait>
static void condition_holds_its_mutex(Wait wait) {
  Place place;
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
  pthread_mutex_init(&place.mutex, &attributes);
  std::atomic<bool> entered{false};
  Pthread worker([&] {
    pthread_mutex_lock(&place.mutex);
    entered = true;
    pthread_cleanup_push(unlock_if_mine, &place);
    for (;;) wait(place);
    pthread_cleanup_pop(0);
  });
  EXPECT(comes_true([&] { return entered.load(); }));
  nap(10);
  // The cancelled waiter has to take the mutex back first: it cannot end while main holds it.
  EXPECT_EQ(0, pthread_mutex_lock(&place.mutex));
  EXPECT_EQ(0, pthread_cancel(worker.id()));
  nap(10);
  EXPECT_EQ(EBUSY, pthread_tryjoin_np(worker.id(), nullptr));
  EXPECT_EQ(0, place.held);
  EXPECT_EQ(0, pthread_mutex_unlock(&place.mutex));
  EXPECT(worker.join() == PTHREAD_CANCELED);
  EXPECT_EQ(1, place.held);
  EXPECT_EQ(0, pthread_mutex_lock(&place.mutex));  // free again
  EXPECT_EQ(0, pthread_mutex_unlock(&place.mutex));
  EXPECT_EQ(0, pthread_cond_destroy(&place.condition));
}

static void conditions() {
  condition_holds_its_mutex([](Place& p) { pthread_cond_wait(&p.condition, &p.mutex); });
  condition_holds_its_mutex([](Place& p) {
    timespec const deadline = from_now(3600000);
    pthread_cond_timedwait(&p.condition, &p.mutex, &deadline);
  });
  condition_holds_its_mutex([](Place& p) {
    timespec const deadline = from_now(3600000, CLOCK_MONOTONIC);
    pthread_cond_clockwait(&p.condition, &p.mutex, CLOCK_MONOTONIC, &deadline);
  });
}

static void a_cancelled_waiter_eats_no_signal() {
  static Place place{PTHREAD_MUTEX_INITIALIZER};
  static int tickets = 0;
  static std::atomic<int> inside{0};
  auto body = []() -> void* {
    pthread_mutex_lock(&place.mutex);
    pthread_cleanup_push([](void*) { pthread_mutex_unlock(&place.mutex); }, nullptr);
    ++inside;
    while (tickets == 0) pthread_cond_wait(&place.condition, &place.mutex);
    --tickets;
    pthread_cleanup_pop(1);
    return &place;
  };
  Pthread doomed(body);
  EXPECT(comes_true([] { return inside == 1; }));
  Pthread other(body);
  EXPECT(comes_true([] { return inside == 2; }));
  nap(10);
  EXPECT_EQ(0, pthread_cancel(doomed.id()));
  pthread_mutex_lock(&place.mutex);
  tickets = 1;
  pthread_cond_signal(&place.condition);
  pthread_mutex_unlock(&place.mutex);
  void* const first = doomed.join();
  if (first != PTHREAD_CANCELED) {  // it may win the race; then the other needs a ticket of its own
    pthread_mutex_lock(&place.mutex);
    tickets = 1;
    pthread_cond_signal(&place.condition);
    pthread_mutex_unlock(&place.mutex);
  }
  EXPECT(other.join() == &place);
}

static void semaphores() {
  sem_t semaphore;
  EXPECT_EQ(0, sem_init(&semaphore, 0, 0));
  timespec const hour = from_now(3600000);
  timespec const monotonic = from_now(3600000, CLOCK_MONOTONIC);
  EXPECT(cancelled([&] { sem_wait(&semaphore); }) == PTHREAD_CANCELED);
  EXPECT(cancelled([&] { sem_timedwait(&semaphore, &hour); }) == PTHREAD_CANCELED);
  EXPECT(cancelled([&] { sem_clockwait(&semaphore, CLOCK_MONOTONIC, &monotonic); }) ==
         PTHREAD_CANCELED);
  int value = -1;
  EXPECT_EQ(0, sem_getvalue(&semaphore, &value));
  EXPECT_EQ(0, value);
  EXPECT_EQ(0, sem_post(&semaphore));
  EXPECT_EQ(0, sem_trywait(&semaphore));
  EXPECT_EQ(0, sem_destroy(&semaphore));
}

static void joins() {
  std::atomic<bool> go{false};
  Pthread worker([&]() -> void* {
    while (!go) nap(1);
    return &worker;
  });
  timespec const hour = from_now(3600000);
  EXPECT(cancelled([&] { pthread_join(worker.id(), nullptr); }) == PTHREAD_CANCELED);
  EXPECT(cancelled([&] { pthread_timedjoin_np(worker.id(), nullptr, &hour); }) == PTHREAD_CANCELED);
  go = true;
  EXPECT(worker.join() == &worker);
}

static void signal_waits() {
  sigset_t none;
  sigset_t usr2;
  sigemptyset(&none);
  sigemptyset(&usr2);
  sigaddset(&usr2, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &usr2, nullptr);
  timespec const hour{3600, 0};
  int number = 0;
  siginfo_t info;
  EXPECT(cancelled([] { pause(); }) == PTHREAD_CANCELED);
  EXPECT(cancelled([&] { sigsuspend(&none); }) == PTHREAD_CANCELED);
  EXPECT(cancelled([&] { sigwait(&usr2, &number); }) == PTHREAD_CANCELED);
  EXPECT(cancelled([&] { sigwaitinfo(&usr2, &info); }) == PTHREAD_CANCELED);
  EXPECT(cancelled([&] { sigtimedwait(&usr2, &info, &hour); }) == PTHREAD_CANCELED);
  pthread_sigmask(SIG_UNBLOCK, &usr2, nullptr);
}

static void process_waits() {
  pid_t const child = fork();
  if (child == 0) {
    for (;;) pause();
  }
  siginfo_t info;
  EXPECT(cancelled([&] { waitpid(child, nullptr, 0); }) == PTHREAD_CANCELED);
  EXPECT(cancelled([&] { waitid(P_PID, static_cast<id_t>(child), &info, WEXITED); }) ==
         PTHREAD_CANCELED);
  EXPECT(cancelled([&] { wait(nullptr); }) == PTHREAD_CANCELED);
  EXPECT_EQ(0, kill(child, SIGKILL));
  int status = 0;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT(killed(status, SIGKILL));

  EXPECT(cancelled([] { (void)!system("exec sleep 30"); }) == PTHREAD_CANCELED);
  EXPECT_ERRNO(ECHILD, waitpid(-1, &status, WNOHANG));  // system reaped its child
}

// These calls are not cancellation points: the thread goes through and ends later.
static void locks_are_no_points() {
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
  static pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, nullptr, 2);
  static std::atomic<int> passed{0};
  pthread_mutex_lock(&mutex);
  pthread_rwlock_wrlock(&rwlock);
  Pthread worker([]() -> void* {
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    ++passed;
    pthread_rwlock_rdlock(&rwlock);
    pthread_rwlock_unlock(&rwlock);
    ++passed;
    pthread_barrier_wait(&barrier);
    ++passed;
    pthread_testcancel();
    return nullptr;
  });
  nap(10);
  EXPECT_EQ(0, pthread_cancel(worker.id()));
  nap(10);
  EXPECT_EQ(0, passed);
  pthread_mutex_unlock(&mutex);
  nap(10);
  EXPECT_EQ(1, passed);
  pthread_rwlock_unlock(&rwlock);
  pthread_barrier_wait(&barrier);
  EXPECT(worker.join() == PTHREAD_CANCELED);
  EXPECT_EQ(3, passed);
  pthread_barrier_destroy(&barrier);
}

int main() {
  conditions();
  a_cancelled_waiter_eats_no_signal();
  semaphores();
  joins();
  signal_waits();
  process_waits();
  locks_are_no_points();
  return finish();
}
