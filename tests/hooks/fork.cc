// SPDX-License-Identifier: Apache-2.0
//
// fork from main and from a thread: in the child only the caller lives, under the same pthread_t,
// with its thread-locals, its mask and no pending signals; it makes and joins threads, waits, times
// out, uses sockets between parent and child, forks again, exits with its status; pthread_atfork
// order; locks held by the forker are its own in the child; stdio; a wait in the parent lets others
// run.
#include <poll.h>
#include <semaphore.h>
#include <sys/syscall.h>

#include <string>
#include <vector>

#include "thread_testing.h"

static __thread int mine = 0;

// What every child must be able to do.
static void live() {
  EXPECT_EQ(getpid(), gettid());
  EXPECT_EQ(getpid(), syscall(SYS_getpid));
  int sum = 0;
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  std::vector<Pthread> threads;
  for (int i = 1; i <= 5; ++i) {
    threads.emplace_back([&, i] {
      nap(2);
      pthread_mutex_lock(&mutex);
      sum += i;
      pthread_cond_signal(&condition);
      pthread_mutex_unlock(&mutex);
    });
  }
  pthread_mutex_lock(&mutex);
  while (sum < 15) pthread_cond_wait(&condition, &mutex);
  pthread_mutex_unlock(&mutex);
  threads.clear();
  EXPECT_OK(0, poll(nullptr, 0, 3));
  Tcp const tcp;
  char byte = 0;
  Pthread sender([&] {
    nap(20);
    EXPECT_EQ(1, send(tcp.a, "x", 1, 0));
  });
  while_others_tick([&] { EXPECT_EQ(1, recv(tcp.b, &byte, 1, 0)); });
  sem_t semaphore;
  EXPECT_EQ(0, sem_init(&semaphore, 0, 0));
  timespec const soon = from_now(20);
  while_others_tick([&] { EXPECT_ERRNO(ETIMEDOUT, sem_timedwait(&semaphore, &soon)); });
}

static void a_child_lives() {
  pthread_t const self = pthread_self();
  mine = 5;
  EXPECT(exited(in_child([self] {
                  EXPECT(pthread_self() == self);
                  EXPECT_EQ(5, mine);
                  live();
                }),
                0));
  EXPECT(exited(in_child([] {
                  live();
                  exit(failures == 0 ? 33 : 99);
                }),
                33));
  // A child of a child, and one whose threads are cut off by its exit.
  EXPECT(exited(in_child([] {
                  EXPECT(exited(in_child([] { live(); }), 0));
                  live();
                }),
                0));
  EXPECT(exited(in_child([] {
                  for (int i = 0; i < 3; ++i) Pthread([] { nap(5000); }).release();
                  nap(2);
                }),
                0));
}

static void only_the_caller_lives_on() {
  std::atomic<bool> stop{false};
  std::atomic<long> beats{0};
  std::vector<Pthread> busy;
  for (int i = 0; i < 5; ++i) {
    busy.emplace_back([&] {
      while (!stop) {
        ++beats;
        nap(1);
      }
    });
  }
  EXPECT(comes_true([&] { return beats > 5; }));
  EXPECT(exited(in_child([&] {
                  long const before = beats;
                  nap(15);
                  EXPECT_EQ(before, beats);
                }),
                0));
  stop = true;
}

static void talks_with_its_child() {
  Pair pair;
  fflush(nullptr);
  pid_t const child = fork();
  if (child == 0) {
    pair.close_a();
    char byte = 0;
    int total = 0;
    while (recv(pair.b, &byte, 1, 0) == 1) {
      total += byte;
      usleep(1000);
      send(pair.b, &byte, 1, 0);
    }
    _exit(total);
  }
  pair.close_b();
  char byte = 0;
  while_others_tick([&] {
    for (char i = 1; i <= 10; ++i) {
      EXPECT_EQ(1, send(pair.a, &i, 1, 0));
      EXPECT_EQ(1, recv(pair.a, &byte, 1, 0));
      EXPECT_EQ(i, byte);
    }
  });
  pair.close_a();
  int status = -1;
  while_others_tick([&] {
    nap(10);
    EXPECT_EQ(child, waitpid(child, &status, 0));
  });
  EXPECT(exited(status, 55));
}

static void mask_and_pending() {
  sigset_t usr1;
  sigset_t old;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &usr1, &old);
  EXPECT_EQ(0, raise(SIGUSR1));
  EXPECT(exited(in_child([] {
                  sigset_t now;
                  pthread_sigmask(SIG_SETMASK, nullptr, &now);
                  EXPECT_EQ(1, sigismember(&now, SIGUSR1));
                  EXPECT_EQ(0, sigismember(&now, SIGUSR2));
                  sigpending(&now);
                  EXPECT_EQ(0, sigismember(&now, SIGUSR1));
                }),
                0));
  int number = 0;
  EXPECT_EQ(0, sigwait(&usr1, &number));
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

static void locks_held_by_the_forker() {
  static pthread_mutex_t mutex = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
  EXPECT_EQ(0, pthread_mutex_lock(&mutex));
  EXPECT(exited(in_child([] {
                  pthread_mutex_t* const own = &mutex;
                  Pthread other([own] { EXPECT_EQ(EBUSY, pthread_mutex_trylock(own)); });
                  other.join();
                }),
                0));
  EXPECT_EQ(0, pthread_mutex_unlock(&mutex));
}

static std::string order;

static void at_fork_handlers() {
  EXPECT_EQ(0, pthread_atfork([] { order += "p1"; }, [] { order += "a1"; }, [] { order += "c1"; }));
  EXPECT_EQ(0, pthread_atfork([] { order += "p2"; }, [] { order += "a2"; }, [] { order += "c2"; }));
  order.clear();
  EXPECT(exited(in_child([] { EXPECT(order == "p2p1c1c2"); }), 0));
  EXPECT(order == "p2p1a1a2");
  Pthread other([] {
    order.clear();
    EXPECT(exited(in_child([] {
                    EXPECT(order == "p2p1c1c2");
                    live();
                  }),
                  0));
    EXPECT(order == "p2p1a1a2");
  });
}

static void memory_and_stdio() {
  EXPECT(exited(in_child([] {
                  std::vector<Pthread> threads;
                  for (int i = 0; i < 4; ++i) {
                    threads.emplace_back([] {
                      for (int k = 0; k < 200; ++k) {
                        void* const block = malloc(static_cast<size_t>(k) * 50 + 1);
                        free(block);
                      }
                      FILE* const null = fopen("/dev/null", "w");
                      EXPECT(null != nullptr);
                      fprintf(null, "%d %f\n", 1, 2.0);
                      fclose(null);
                    });
                  }
                }),
                0));
}

int main() {
  auto all = [] {
    a_child_lives();
    only_the_caller_lives_on();
    talks_with_its_child();
    mask_and_pending();
    locks_held_by_the_forker();
    memory_and_stdio();
  };
  all();
  Pthread second([&] {
    where = "second";
    all();
  });
  second.join();
  at_fork_handlers();
  return finish();
}
