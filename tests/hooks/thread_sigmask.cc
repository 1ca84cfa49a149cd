// SPDX-License-Identifier: Apache-2.0
//
// pthread_sigmask: one mask per thread, inherited at creation, errors and the old mask, SIGKILL
// never in it; a blocked signal is pending for its thread alone and handled before the unblocking
// call returns; real-time signals sent by pthread_sigqueue keep their order and values.
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

static sigset_t set_of(int number) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  return set;
}

static void masks() {
  sigset_t const usr1 = set_of(SIGUSR1);
  sigset_t const usr2 = set_of(SIGUSR2);
  guarded<sigset_t> old;
  errno = 77;
  EXPECT_EQ(0, pthread_sigmask(SIG_BLOCK, &usr1, &old));
  EXPECT_EQ(0, sigismember(&old.value, SIGUSR1));
  EXPECT_EQ(EINVAL, pthread_sigmask(99, &usr1, nullptr));
  EXPECT_EQ(77, errno);
  Pthread worker([&] {
    sigset_t own;
    EXPECT_EQ(0, pthread_sigmask(SIG_BLOCK, &usr2, &own));
    EXPECT_EQ(1, sigismember(&own, SIGUSR1));  // inherited
    EXPECT_EQ(0, sigismember(&own, SIGUSR2));
    nap(10);
    EXPECT_EQ(0, sigprocmask(SIG_SETMASK, nullptr, &own));
    EXPECT_EQ(1, sigismember(&own, SIGUSR1));
    EXPECT_EQ(1, sigismember(&own, SIGUSR2));
  });
  nap(5);
  sigset_t own;
  EXPECT_EQ(0, pthread_sigmask(SIG_SETMASK, nullptr, &own));
  EXPECT_EQ(0, sigismember(&own, SIGUSR2));  // the worker's mask is its own
  worker.join();
  sigset_t all;
  sigfillset(&all);
  EXPECT_EQ(0, pthread_sigmask(SIG_SETMASK, &all, nullptr));
  EXPECT_EQ(0, pthread_sigmask(SIG_SETMASK, nullptr, &own));
  EXPECT_EQ(0, sigismember(&own, SIGKILL));
  EXPECT_EQ(0, sigismember(&own, SIGSTOP));
  EXPECT_EQ(1, sigismember(&own, SIGTERM));
  EXPECT_EQ(0, pthread_sigmask(SIG_SETMASK, &old.value, nullptr));
}

static void blocked_until_unblocked() {
  count = 0;
  std::atomic<int> step{0};
  sigset_t const usr1 = set_of(SIGUSR1);
  Pthread worker([&] {
    EXPECT_EQ(0, pthread_sigmask(SIG_BLOCK, &usr1, nullptr));
    step = 1;
    while (step != 2) nap(1);
    sigset_t pending;
    EXPECT_EQ(0, sigpending(&pending));
    EXPECT_EQ(1, sigismember(&pending, SIGUSR1));
    EXPECT_EQ(0, count);
    EXPECT_EQ(0, pthread_sigmask(SIG_UNBLOCK, &usr1, nullptr));
    EXPECT_EQ(1, count);  // before pthread_sigmask returned; two sent, one delivered
    EXPECT(ran_in == pthread_self());
    EXPECT_EQ(0, sigpending(&pending));
    EXPECT_EQ(0, sigismember(&pending, SIGUSR1));
  });
  EXPECT(comes_true([&] { return step == 1; }));
  EXPECT_EQ(0, pthread_kill(worker.id(), SIGUSR1));
  EXPECT_EQ(0, pthread_kill(worker.id(), SIGUSR1));
  sigset_t pending;
  EXPECT_EQ(0, sigpending(&pending));
  EXPECT_EQ(0, sigismember(&pending, SIGUSR1));  // pending there, not here
  step = 2;
}

static void queued_with_a_value() {
  install(SIGRTMIN, 0);
  count = 0;
  sigset_t const realtime = set_of(SIGRTMIN);
  std::atomic<int> step{0};
  Pthread worker([&] {
    pthread_sigmask(SIG_BLOCK, &realtime, nullptr);
    step = 1;
    while (step != 2) nap(1);
    siginfo_t info{};
    EXPECT_EQ(SIGRTMIN, sigwaitinfo(&realtime, &info));
    EXPECT_EQ(101, info.si_value.sival_int);
    EXPECT_EQ(SI_QUEUE, info.si_code);
    EXPECT_EQ(getpid(), info.si_pid);
    pthread_sigmask(SIG_UNBLOCK, &realtime, nullptr);
    EXPECT_EQ(2, count);  // real-time signals queue
    EXPECT_EQ(103, value);
  });
  EXPECT(comes_true([&] { return step == 1; }));
  for (int i = 101; i <= 103; ++i) {
    sigval data{};
    data.sival_int = i;
    EXPECT_EQ(0, pthread_sigqueue(worker.id(), SIGRTMIN, data));
  }
  step = 2;
}

int main() {
  install(SIGUSR1, 0);
  masks();
  blocked_until_unblocked();
  queued_with_a_value();
  return finish();
}
