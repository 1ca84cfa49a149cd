// SPDX-License-Identifier: Apache-2.0
//
// pthread_kill and pthread_sigqueue: to oneself, to a running, a blocked and each of many threads:
// the handler runs in that thread, with its errno and thread-locals; EINTR or a restart there;
// signal 0, invalid numbers, glibc's own numbers, a thread that has finished.
#include <semaphore.h>

#include <vector>

#include "thread_testing.h"

static std::atomic<int> count{0};
static std::atomic<pthread_t> ran_in{0};
static std::atomic<int> value{0};
static thread_local int mine = 0;

static void on_signal(int, siginfo_t* info, void*) {
  int const saved = errno;
  ran_in = pthread_self();
  value = info->si_value.sival_int;
  ++mine;
  errno = 1234;
  ++count;
  errno = saved;
}

static void install(int number, int flags) {
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = flags | SA_SIGINFO;
  EXPECT_EQ(0, sigaction(number, &action, nullptr));
}

static void to_oneself() {
  count = 0;
  mine = 0;
  EXPECT_EQ(0, pthread_kill(pthread_self(), SIGUSR1));
  EXPECT_EQ(1, count);
  EXPECT_EQ(1, mine);
  Pthread worker([] {
    errno = 55;
    EXPECT_EQ(0, pthread_kill(pthread_self(), SIGUSR1));
    EXPECT_EQ(55, errno);
    EXPECT_EQ(2, count);  // handled before pthread_kill returned
    EXPECT_EQ(1, mine);
    EXPECT(ran_in == pthread_self());
    EXPECT_EQ(0, raise(SIGUSR1));
    EXPECT_EQ(3, count);
    EXPECT(ran_in == pthread_self());
  });
}

static void to_a_running_one() {
  count = 0;
  std::atomic<bool> ready{false};
  int seen = 0;
  Pthread runner([&] {
    ready = true;
    while (count == 0) {
      for (int i = 0; i < 1000; ++i) {
        volatile int spin = i;
        (void)spin;
      }
      sched_yield();
    }
    seen = mine;
  });
  EXPECT(comes_true([&] { return ready.load(); }));
  pthread_t const id = runner.id();
  EXPECT_EQ(0, pthread_kill(id, SIGUSR1));
  runner.join();
  EXPECT_EQ(1, seen);
  EXPECT(ran_in == id);
}

static void to_a_blocked_one() {
  for (int flags : {0, SA_RESTART}) {
    install(SIGUSR1, flags);
    count = 0;
    Pipe const pipe;
    std::atomic<bool> ready{false};
    std::atomic<bool> done{false};
    ssize_t result = 0;
    int error = 0;
    int handled_here = 0;
    Pthread reader([&] {
      char byte = 0;
      ready = true;
      errno = 0;
      result = read(pipe.a, &byte, 1);
      error = errno;
      handled_here = mine;
      done = true;
    });
    pthread_t const id = reader.id();
    EXPECT(comes_true([&] { return ready.load(); }));
    nap(10);
    EXPECT_EQ(0, pthread_kill(id, 0));
    if (flags == SA_RESTART) {
      EXPECT_EQ(0, pthread_kill(id, SIGUSR1));
      EXPECT(comes_true([] { return count == 1; }));
      nap(5);
      EXPECT_EQ(1, write(pipe.b, "x", 1));
    } else {
      while (!done) {  // again, should the first one have come before the call
        EXPECT_EQ(0, pthread_kill(id, SIGUSR1));
        nap(20);
      }
    }
    reader.join();
    EXPECT(ran_in == id);
    EXPECT(handled_here >= 1);
    EXPECT_EQ(flags == SA_RESTART ? 1 : -1, result);
    if (flags == 0) EXPECT_EQ(EINTR, error);
  }
}

static void to_each_of_many() {
  install(SIGUSR1, 0);
  constexpr size_t kThreads = 20;
  std::atomic<size_t> ready{0};
  std::atomic<int> interrupted{0};
  std::vector<Pthread> threads;
  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  for (size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      ++ready;
      EXPECT_ERRNO(EINTR, sem_wait(&semaphore));
      EXPECT(mine >= 1);
      ++interrupted;
    });
  }
  EXPECT(comes_true([&] { return ready == kThreads; }));
  nap(10);
  for (auto& thread : threads) {
    int const before = interrupted;
    do {
      EXPECT_EQ(0, pthread_kill(thread.id(), SIGUSR1));
      nap(2);
    } while (interrupted == before);
    EXPECT_EQ(before + 1, interrupted);
  }
  threads.clear();
  sem_destroy(&semaphore);
}

static void errors() {
  std::atomic<bool> stop{false};
  Pthread other([&] {
    while (!stop) nap(1);
  });
  errno = 77;
  for (pthread_t id : {pthread_self(), other.id()}) {
    EXPECT_EQ(0, pthread_kill(id, 0));
    EXPECT_EQ(EINVAL, pthread_kill(id, -1));
    EXPECT_EQ(EINVAL, pthread_kill(id, 65));
    EXPECT_EQ(EINVAL, pthread_kill(id, 10000));
    EXPECT_EQ(EINVAL, pthread_kill(id, 32));  // glibc's own
    EXPECT_EQ(EINVAL, pthread_sigqueue(id, 33, sigval{}));
  }
  EXPECT_EQ(77, errno);
  stop = true;
}

static void a_finished_one_takes_it_silently() {
  count = 0;
  Pthread worker([] {});
  nap(20);
  EXPECT_EQ(0, pthread_kill(worker.id(), 0));
  EXPECT_EQ(0, pthread_kill(worker.id(), SIGUSR1));
  worker.join();
  EXPECT_EQ(0, count);
}

int main() {
  install(SIGUSR1, 0);
  to_oneself();
  to_a_running_one();
  to_a_blocked_one();
  to_each_of_many();
  errors();
  a_finished_one_takes_it_silently();
  return finish();
}
