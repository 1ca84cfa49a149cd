// SPDX-License-Identifier: Apache-2.0
//
// What a thread is called and how it is scheduled: gettid unique and constant per thread (getpid's
// in main), names (16 bytes, ERANGE, of another thread, PR_SET_NAME), sched_yield and pthread_yield
// let others run, affinity of oneself and of others, schedparam and setschedprio, concurrency
// level, pthread_getcpuclockid of oneself and of others, CLOCK_THREAD_CPUTIME_ID; what all these
// say of a thread that has ended.
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <set>
#include <string>
#include <vector>

#include "thread_testing.h"

// A thread that lives until the object dies.
class Idle {
 public:
  pthread_t id() const { return thread_.id(); }
  ~Idle() { stop_ = true; }

 private:
  std::atomic<bool> stop_{false};
  Pthread thread_{[this] {
    while (!stop_) nap(1);
  }};
};

static void thread_numbers() {
  EXPECT_EQ(getpid(), gettid());
  EXPECT_EQ(getpid(), syscall(SYS_gettid));
  constexpr size_t kThreads = 30;
  pid_t numbers[kThreads];
  std::atomic<size_t> arrived{0};
  std::vector<Pthread> threads;
  for (size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      numbers[i] = gettid();
      ++arrived;
      while (arrived < kThreads) nap(1);
      EXPECT_EQ(numbers[i], gettid());
      EXPECT_EQ(numbers[i], syscall(SYS_gettid));
    });
  }
  threads.clear();
  std::set<pid_t> all(numbers, numbers + kThreads);
  all.insert(gettid());
  EXPECT_EQ(kThreads + 1, all.size());
  EXPECT(*all.begin() > 0);
}

static void names() {
  char name[32];
  EXPECT_EQ(0, pthread_setname_np(pthread_self(), "the main one"));
  Pthread heir([] {  // a new thread has its maker's name
    char own[16] = "";
    EXPECT_EQ(0, pthread_getname_np(pthread_self(), own, sizeof own));
    EXPECT(std::string(own) == "the main one");
    EXPECT_EQ(0, pthread_setname_np(pthread_self(), "heir"));
    nap(2);
    EXPECT_EQ(0, pthread_getname_np(pthread_self(), own, sizeof own));
    EXPECT(std::string(own) == "heir");
    EXPECT_EQ(0, prctl(PR_SET_NAME, "by prctl"));
    nap(2);
    EXPECT_EQ(0, pthread_getname_np(pthread_self(), own, sizeof own));
    EXPECT(std::string(own) == "by prctl");
    memset(own, 0, sizeof own);
    EXPECT_EQ(0, prctl(PR_GET_NAME, own));
    EXPECT(std::string(own) == "by prctl");
  });
  heir.join();
  Idle const other;
  EXPECT_EQ(0, pthread_setname_np(other.id(), "fifteen letters"));
  EXPECT_EQ(0, pthread_getname_np(other.id(), name, sizeof name));
  EXPECT(std::string(name) == "fifteen letters");
  errno = 77;
  EXPECT_EQ(ERANGE, pthread_setname_np(other.id(), "sixteen letters!"));
  EXPECT_EQ(ERANGE, pthread_getname_np(other.id(), name, 15));
  EXPECT_EQ(77, errno);
  EXPECT_EQ(0, pthread_getname_np(pthread_self(), name, sizeof name));
  EXPECT(std::string(name) == "the main one");
}

static void yielding_lets_others_run() {
  std::atomic<int> turn{0};
  auto alternate = [&turn](int mine, int next) {
    for (int i = 0; i < 200; ++i) {
      while (turn != mine) sched_yield();
      turn = next;
    }
  };
  Pthread a([&] { alternate(0, 1); });
  Pthread b([&] { alternate(1, 2); });
  Pthread c([&] { alternate(2, 0); });
  a.join();
  b.join();
  c.join();
  EXPECT_EQ(0, turn);
  EXPECT_OK(0, sched_yield());
}

static void affinity() {
  cpu_set_t all;
  EXPECT_EQ(0, pthread_getaffinity_np(pthread_self(), sizeof all, &all));
  EXPECT(CPU_COUNT(&all) >= 1);
  int first = 0;
  while (!CPU_ISSET(first, &all)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);

  Idle const other;
  cpu_set_t got;
  EXPECT_EQ(0, pthread_setaffinity_np(other.id(), sizeof one, &one));
  EXPECT_EQ(0, pthread_getaffinity_np(other.id(), sizeof got, &got));
  EXPECT(CPU_EQUAL(&one, &got));
  EXPECT_EQ(0, pthread_getaffinity_np(pthread_self(), sizeof got, &got));
  EXPECT(CPU_EQUAL(&all, &got));  // main kept its own

  Pthread pinned([&] {
    EXPECT_EQ(0, pthread_setaffinity_np(pthread_self(), sizeof one, &one));
    for (int i = 0; i < 5; ++i) {
      nap(1);
      EXPECT_EQ(first, sched_getcpu());
    }
    Pthread heir([&] {
      cpu_set_t inherited;
      EXPECT_EQ(0, sched_getaffinity(0, sizeof inherited, &inherited));
      EXPECT(CPU_EQUAL(&one, &inherited));
    });
  });
  pinned.join();
  cpu_set_t none;
  CPU_ZERO(&none);
  errno = 77;
  EXPECT_EQ(EINVAL, pthread_setaffinity_np(pthread_self(), sizeof none, &none));
  EXPECT_EQ(EINVAL, pthread_getaffinity_np(pthread_self(), 1, &none));
  EXPECT_EQ(77, errno);
}

static void scheduling() {
  Idle const other;
  for (pthread_t id : {pthread_self(), other.id()}) {
    guarded<int> policy;
    guarded<sched_param> parameters;
    EXPECT_EQ(0, pthread_getschedparam(id, &policy, &parameters));
    EXPECT_EQ(SCHED_OTHER, policy.value);
    EXPECT_EQ(0, parameters.value.sched_priority);
    sched_param const zero{0};
    EXPECT_EQ(0, pthread_setschedparam(id, SCHED_OTHER, &zero));
    EXPECT_EQ(0, pthread_setschedprio(id, 0));
    sched_param const wrong{50};
    EXPECT_EQ(EINVAL, pthread_setschedparam(id, SCHED_OTHER, &wrong));
    EXPECT_EQ(EINVAL, pthread_setschedparam(id, 99, &zero));
  }
  sched_param const zero{0};
  EXPECT_EQ(0, pthread_setschedparam(other.id(), SCHED_BATCH, &zero));
  int policy = -1;
  sched_param parameters{};
  EXPECT_EQ(0, pthread_getschedparam(other.id(), &policy, &parameters));
  EXPECT_EQ(SCHED_BATCH, policy);
  EXPECT_EQ(0, pthread_getschedparam(pthread_self(), &policy, &parameters));
  EXPECT_EQ(SCHED_OTHER, policy);
  EXPECT_EQ(0, pthread_getconcurrency());
  EXPECT_EQ(0, pthread_setconcurrency(4));
  EXPECT_EQ(4, pthread_getconcurrency());
  EXPECT_EQ(EINVAL, pthread_setconcurrency(-1));
}

static void cpu_clocks() {
  Idle const other;
  clockid_t clock{};
  EXPECT_EQ(0, pthread_getcpuclockid(other.id(), &clock));
  timespec used{};
  EXPECT_EQ(0, clock_gettime(clock, &used));
  EXPECT(used.tv_sec < 60);
  EXPECT_EQ(0, pthread_getcpuclockid(pthread_self(), &clock));
  timespec own{};
  timespec again{};
  EXPECT_EQ(0, clock_gettime(clock, &own));
  EXPECT_EQ(0, clock_gettime(CLOCK_THREAD_CPUTIME_ID, &again));
  EXPECT(again.tv_sec * 1000000000LL + again.tv_nsec >= own.tv_sec * 1000000000LL + own.tv_nsec);
}

// A thread that has ended and was not joined: its id is valid, the thread is not there.
static void after_the_end() {
  std::atomic<bool> ends{false};
  Pthread ended([&] { ends = true; });
  EXPECT(comes_true([&] { return ends.load(); }));
  nap(10);
  char name[16];
  EXPECT_EQ(ENOENT, pthread_getname_np(ended.id(), name, sizeof name));
  EXPECT_EQ(ENOENT, pthread_setname_np(ended.id(), "late"));
  EXPECT_EQ(ERANGE, pthread_setname_np(ended.id(), "much too long a name"));
  int policy = -1;
  sched_param parameter{};
  EXPECT_EQ(ESRCH, pthread_getschedparam(ended.id(), &policy, &parameter));
  EXPECT_EQ(ESRCH, pthread_setschedparam(ended.id(), SCHED_OTHER, &parameter));
  EXPECT_EQ(ESRCH, pthread_setschedprio(ended.id(), 0));
  EXPECT_EQ(ESRCH, pthread_sigqueue(ended.id(), SIGUSR1, {}));
  EXPECT_EQ(ESRCH, pthread_sigqueue(ended.id(), 99, {}));
  EXPECT_EQ(EINVAL, pthread_kill(ended.id(), 32));
  EXPECT_EQ(0, pthread_kill(ended.id(), SIGUSR1));
  EXPECT_EQ(0, pthread_kill(ended.id(), 99));
  EXPECT_EQ(0, pthread_cancel(ended.id()));
  clockid_t clock = 0;
  EXPECT_EQ(ESRCH, pthread_getcpuclockid(ended.id(), &clock));
}

int main() {
  thread_numbers();
  names();
  yielding_lets_others_run();
  affinity();
  scheduling();
  cpu_clocks();
  after_the_end();
  return finish();
}
