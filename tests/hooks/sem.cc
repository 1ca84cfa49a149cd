// SPDX-License-Identifier: Apache-2.0
//
// sem_*: unnamed and named semaphores; wait, trywait, timedwait, clockwait on both clocks with
// ETIMEDOUT, EINVAL, EAGAIN; EINTR and restarts; EOVERFLOW; posts from
// handlers; nothing lost among many; named ones opened twice are one, O_EXCL, ENOENT, unlink, and
// shared with a forked child.
#include <limits.h>
#include <semaphore.h>

#include <string>
#include <vector>

#include "thread_testing.h"

static int value_of(sem_t* semaphore) {
  guarded<int> value;
  EXPECT_EQ(0, sem_getvalue(semaphore, &value));
  return value.value;
}

static void counting() {
  sem_t s;
  EXPECT_OK(0, sem_init(&s, 0, 2));
  EXPECT_EQ(2, value_of(&s));
  EXPECT_OK(0, sem_wait(&s));
  EXPECT_OK(0, sem_trywait(&s));
  EXPECT_ERRNO(EAGAIN, sem_trywait(&s));
  EXPECT_EQ(0, value_of(&s));
  EXPECT_OK(0, sem_post(&s));
  EXPECT_EQ(1, value_of(&s));
  EXPECT_OK(0, sem_destroy(&s));
  EXPECT_ERRNO(EINVAL, sem_init(&s, 0, 0x80000000U));
  EXPECT_OK(0, sem_init(&s, 0, SEM_VALUE_MAX));
  EXPECT_ERRNO(EOVERFLOW, sem_post(&s));
  EXPECT_EQ(SEM_VALUE_MAX, value_of(&s));
  EXPECT_OK(0, sem_destroy(&s));
}

static void waiting() {
  sem_t s;
  EXPECT_EQ(0, sem_init(&s, 0, 0));
  Pthread poster([&] {
    nap(25);
    EXPECT_OK(0, sem_post(&s));
  });
  while_others_tick([&] { EXPECT_OK(0, sem_wait(&s)); });
  poster.join();

  std::atomic<int> passed{0};
  std::vector<Pthread> waiters;
  for (int i = 0; i < 20; ++i) {
    waiters.emplace_back([&] {
      EXPECT_EQ(0, sem_wait(&s));
      ++passed;
    });
  }
  nap(10);
  EXPECT_EQ(0, passed);
  EXPECT_EQ(0, value_of(&s));  // never negative
  for (int i = 1; i <= 5; ++i) {
    EXPECT_EQ(0, sem_post(&s));
    EXPECT(comes_true([&] { return passed == i; }));
  }
  nap(5);
  EXPECT_EQ(5, passed);
  for (int i = 0; i < 15; ++i) EXPECT_EQ(0, sem_post(&s));
  waiters.clear();
  EXPECT_EQ(0, value_of(&s));
  EXPECT_EQ(0, sem_destroy(&s));
}

static void deadlines() {
  sem_t s;
  EXPECT_EQ(0, sem_init(&s, 0, 0));
  auto timed = [&s](const timespec* t) { return sem_timedwait(&s, t); };
  auto real = [&s](const timespec* t) { return sem_clockwait(&s, CLOCK_REALTIME, t); };
  auto monotonic = [&s](const timespec* t) { return sem_clockwait(&s, CLOCK_MONOTONIC, t); };
  auto check = [&s](clockid_t clock, auto wait) {
    timespec deadline = from_now(25, clock);
    timespec const copy = deadline;
    long long const start = now_us();
    while_others_tick([&] { EXPECT_ERRNO(ETIMEDOUT, wait(&deadline)); });
    EXPECT(now_us() - start >= 24000 && now_us() - start < 1000000);
    EXPECT(copy.tv_sec == deadline.tv_sec && copy.tv_nsec == deadline.tv_nsec);
    deadline = from_now(-100, clock);
    EXPECT_ERRNO(ETIMEDOUT, wait(&deadline));
    deadline = {-1, 0};
    EXPECT_ERRNO(ETIMEDOUT, wait(&deadline));
    for (long wrong : {-1L, 1000000000L}) {
      deadline = {0, wrong};
      EXPECT_ERRNO(EINVAL, wait(&deadline));
      EXPECT_EQ(0, sem_post(&s));
      EXPECT_ERRNO(EINVAL, wait(&deadline));  // glibc looks at the time before the count
      EXPECT_EQ(0, sem_trywait(&s));
    }
    EXPECT_EQ(0, sem_post(&s));
    deadline = from_now(-100, clock);
    EXPECT_OK(0, wait(&deadline));  // there is one: no deadline matters
    Pthread poster([&] {
      nap(20);
      sem_post(&s);
    });
    deadline = from_now(4000, clock);
    while_others_tick([&] { EXPECT_OK(0, wait(&deadline)); });
  };
  check(CLOCK_REALTIME, timed);
  check(CLOCK_REALTIME, real);
  check(CLOCK_MONOTONIC, monotonic);
  timespec const deadline = from_now(1000);
  EXPECT_ERRNO(EINVAL, sem_clockwait(&s, CLOCK_PROCESS_CPUTIME_ID, &deadline));
  EXPECT_ERRNO(EINVAL, sem_clockwait(&s, 99, &deadline));
  EXPECT_EQ(0, sem_destroy(&s));
}

static sem_t from_handler;

static void interrupted() {
  sem_t s;
  EXPECT_EQ(0, sem_init(&s, 0, 0));
  EXPECT_INTERRUPTED(sem_wait(&s));
  timespec const deadline = from_now(4000);
  EXPECT_INTERRUPTED(sem_timedwait(&s, &deadline));
  EXPECT_RESTARTED(0, sem_wait(&s), sem_post(&s));
  Pthread other([&] { EXPECT_INTERRUPTED(sem_wait(&s)); });
  other.join();
  EXPECT_EQ(0, sem_destroy(&s));

  EXPECT_EQ(0, sem_init(&from_handler, 0, 0));
  struct sigaction action = {};
  action.sa_handler = [](int) { sem_post(&from_handler); };
  EXPECT_EQ(0, sigaction(SIGUSR2, &action, nullptr));
  Pthread waiter([] {
    while (sem_wait(&from_handler) == -1) EXPECT_EQ(EINTR, errno);
  });
  nap(10);
  EXPECT_EQ(0, raise(SIGUSR2));
  waiter.join();
  EXPECT_EQ(0, sem_destroy(&from_handler));
}

static void nothing_is_lost() {
  sem_t items;
  sem_t space;
  EXPECT_EQ(0, sem_init(&items, 0, 0));
  EXPECT_EQ(0, sem_init(&space, 0, 3));
  std::atomic<int> level{0};
  std::vector<Pthread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 200; ++k) {
        EXPECT_EQ(0, sem_wait(&space));
        EXPECT(++level <= 3);
        EXPECT_EQ(0, sem_post(&items));
      }
    });
    threads.emplace_back([&] {
      for (int k = 0; k < 200; ++k) {
        EXPECT_EQ(0, sem_wait(&items));
        EXPECT(--level >= 0);
        EXPECT_EQ(0, sem_post(&space));
      }
    });
  }
  threads.clear();
  EXPECT_EQ(0, value_of(&items));
  EXPECT_EQ(3, value_of(&space));
}

static void named() {
  std::string const name = "/hook_test_sem_" + std::to_string(getpid());
  EXPECT(sem_open(name.c_str(), 0) == SEM_FAILED && errno == ENOENT);
  sem_t* const one = sem_open(name.c_str(), O_CREAT | O_EXCL, 0600, 1);
  EXPECT(one != SEM_FAILED);
  EXPECT(sem_open(name.c_str(), O_CREAT | O_EXCL, 0600, 1) == SEM_FAILED && errno == EEXIST);
  sem_t* const two = sem_open(name.c_str(), 0);
  EXPECT(one == two);
  EXPECT_EQ(0, sem_wait(two));
  EXPECT_ERRNO(EAGAIN, sem_trywait(one));
  Pthread poster([two] {
    nap(20);
    EXPECT_EQ(0, sem_post(two));
  });
  while_others_tick([&] { EXPECT_OK(0, sem_wait(one)); });
  poster.join();
  EXPECT_EQ(0, sem_close(two));

  fflush(nullptr);
  pid_t const child = fork();
  if (child == 0) {
    sem_t* const own = sem_open(name.c_str(), 0);
    usleep(20000);
    _exit(own != SEM_FAILED && sem_post(own) == 0 ? 0 : 1);
  }
  while_others_tick([&] { EXPECT_OK(0, sem_wait(one)); });
  int status = -1;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT(exited(status, 0));
  EXPECT_EQ(0, sem_unlink(name.c_str()));
  EXPECT_ERRNO(ENOENT, sem_unlink(name.c_str()));
  EXPECT_EQ(0, sem_post(one));  // still ours until closed
  EXPECT_EQ(0, sem_close(one));
}

int main() {
  counting();
  waiting();
  deadlines();
  interrupted();
  nothing_is_lost();
  named();
  return finish();
}
