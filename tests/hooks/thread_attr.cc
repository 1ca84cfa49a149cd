// SPDX-License-Identifier: Apache-2.0
//
// Every pthread_attr_* getter and setter, its default, its errors, and what the thread made with it
// then has: detach state, scope, inherit-sched, policy and priority, guard size, stack size, stack,
// affinity, signal mask; pthread_{get,set}attr_default_np.
#include <limits.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "threads.h"

static void defaults() {
  pthread_attr_t attributes;
  EXPECT_EQ(pthread_attr_init(&attributes), 0);
  int value = -1;
  EXPECT_EQ(pthread_attr_getdetachstate(&attributes, &value), 0);
  EXPECT_EQ(value, PTHREAD_CREATE_JOINABLE);
  EXPECT_EQ(pthread_attr_getscope(&attributes, &value), 0);
  EXPECT_EQ(value, PTHREAD_SCOPE_SYSTEM);
  EXPECT_EQ(pthread_attr_getinheritsched(&attributes, &value), 0);
  EXPECT_EQ(value, PTHREAD_INHERIT_SCHED);
  EXPECT_EQ(pthread_attr_getschedpolicy(&attributes, &value), 0);
  EXPECT_EQ(value, SCHED_OTHER);
  sched_param parameters{77};
  EXPECT_EQ(pthread_attr_getschedparam(&attributes, &parameters), 0);
  EXPECT_EQ(parameters.sched_priority, 0);
  size_t size = 0;
  EXPECT_EQ(pthread_attr_getguardsize(&attributes, &size), 0);
  EXPECT_EQ(size, static_cast<size_t>(sysconf(_SC_PAGESIZE)));
  EXPECT_EQ(pthread_attr_getstacksize(&attributes, &size), 0);
  rlimit limit{};
  EXPECT_EQ(getrlimit(RLIMIT_STACK, &limit), 0);
  if (limit.rlim_cur != RLIM_INFINITY) EXPECT_EQ(size, limit.rlim_cur);
  EXPECT_EQ(pthread_attr_destroy(&attributes), 0);
}

static void errors_leave_the_object_alone() {
  pthread_attr_t attributes;
  EXPECT_EQ(pthread_attr_init(&attributes), 0);
  errno = 77;
  EXPECT_EQ(pthread_attr_setdetachstate(&attributes, 99), EINVAL);
  EXPECT_EQ(pthread_attr_setscope(&attributes, PTHREAD_SCOPE_PROCESS), ENOTSUP);
  EXPECT_EQ(pthread_attr_setscope(&attributes, 99), EINVAL);
  EXPECT_EQ(pthread_attr_setinheritsched(&attributes, 99), EINVAL);
  EXPECT_EQ(pthread_attr_setschedpolicy(&attributes, 99), EINVAL);
  EXPECT_EQ(pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN - 1), EINVAL);
  EXPECT_EQ(pthread_attr_setstack(&attributes, &attributes, PTHREAD_STACK_MIN - 1), EINVAL);
  EXPECT_EQ(errno, 77);
  int value = -1;
  EXPECT_EQ(pthread_attr_getdetachstate(&attributes, &value), 0);
  EXPECT_EQ(value, PTHREAD_CREATE_JOINABLE);
  EXPECT_EQ(pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN), 0);
  EXPECT_EQ(pthread_attr_destroy(&attributes), 0);
}

struct Seen {
  int detach = -1;
  size_t stack_size = 0;
  size_t guard = 0;
  void* stack = nullptr;
  bool inside = false;
};

static Seen look() {
  Seen seen;
  pthread_attr_t own;
  EXPECT_EQ(pthread_getattr_np(pthread_self(), &own), 0);
  EXPECT_EQ(pthread_attr_getdetachstate(&own, &seen.detach), 0);
  EXPECT_EQ(pthread_attr_getguardsize(&own, &seen.guard), 0);
  EXPECT_EQ(pthread_attr_getstack(&own, &seen.stack, &seen.stack_size), 0);
  char const here = 0;
  char const* const low = static_cast<char*>(seen.stack);
  seen.inside = low < &here && &here < low + seen.stack_size;
  EXPECT_EQ(pthread_attr_destroy(&own), 0);
  return seen;
}

static void stack_sizes_as_asked() {
  for (size_t size : {size_t{64} << 10, size_t{256} << 10, size_t{1} << 20, size_t{64} << 20}) {
    pthread_attr_t attributes;
    EXPECT_EQ(pthread_attr_init(&attributes), 0);
    EXPECT_EQ(pthread_attr_setstacksize(&attributes, size), 0);
    Seen seen;
    Thread worker([&] { seen = look(); }, &attributes);
    worker.join();
    EXPECT(seen.inside);
    EXPECT_EQ(seen.stack_size, size);
    EXPECT_EQ(seen.detach, PTHREAD_CREATE_JOINABLE);
    EXPECT_EQ(pthread_attr_destroy(&attributes), 0);
  }
}

static void guard_sizes_as_asked() {
  size_t const page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (size_t guard : {size_t{0}, page, 4 * page, 64 * page}) {
    pthread_attr_t attributes;
    EXPECT_EQ(pthread_attr_init(&attributes), 0);
    EXPECT_EQ(pthread_attr_setguardsize(&attributes, guard), 0);
    size_t back = 1;
    EXPECT_EQ(pthread_attr_getguardsize(&attributes, &back), 0);
    EXPECT_EQ(back, guard);
    Seen seen;
    Thread worker([&] { seen = look(); }, &attributes);
    worker.join();
    EXPECT(seen.inside);
    EXPECT_EQ(seen.guard, guard);
    EXPECT_EQ(pthread_attr_destroy(&attributes), 0);
  }
}

static void affinity_and_mask() {
  cpu_set_t own;
  EXPECT_EQ(sched_getaffinity(0, sizeof own, &own), 0);
  int first = 0;
  while (!CPU_ISSET(first, &own)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR2);

  pthread_attr_t attributes;
  EXPECT_EQ(pthread_attr_init(&attributes), 0);
  sigset_t got;
  EXPECT_EQ(pthread_attr_getsigmask_np(&attributes, &got), PTHREAD_ATTR_NO_SIGMASK_NP);
  EXPECT_EQ(pthread_attr_setaffinity_np(&attributes, sizeof one, &one), 0);
  EXPECT_EQ(pthread_attr_setsigmask_np(&attributes, &mask), 0);
  EXPECT_EQ(pthread_attr_getsigmask_np(&attributes, &got), 0);
  EXPECT(sigismember(&got, SIGUSR2) == 1 && sigismember(&got, SIGUSR1) == 0);
  Thread worker(
      [&] {
        cpu_set_t mine;
        EXPECT_EQ(pthread_getaffinity_np(pthread_self(), sizeof mine, &mine), 0);
        EXPECT(CPU_EQUAL(&mine, &one) != 0);
        sigset_t current;
        EXPECT_EQ(pthread_sigmask(SIG_BLOCK, nullptr, &current), 0);
        EXPECT(sigismember(&current, SIGUSR2) == 1 && sigismember(&current, SIGUSR1) == 0);
      },
      &attributes);
  worker.join();
  EXPECT_EQ(pthread_attr_destroy(&attributes), 0);
}

static void explicit_scheduling() {
  pthread_attr_t attributes;
  EXPECT_EQ(pthread_attr_init(&attributes), 0);
  EXPECT_EQ(pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED), 0);
  EXPECT_EQ(pthread_attr_setschedpolicy(&attributes, SCHED_OTHER), 0);
  sched_param const zero{0};
  EXPECT_EQ(pthread_attr_setschedparam(&attributes, &zero), 0);
  Thread worker(
      [] {
        int policy = -1;
        sched_param got{-1};
        EXPECT_EQ(pthread_getschedparam(pthread_self(), &policy, &got), 0);
        EXPECT_EQ(policy, SCHED_OTHER);
        EXPECT_EQ(got.sched_priority, 0);
      },
      &attributes);
  worker.join();
  EXPECT_EQ(pthread_attr_destroy(&attributes), 0);
}

static void process_wide_default() {
  pthread_attr_t old;
  EXPECT_EQ(pthread_getattr_default_np(&old), 0);
  pthread_attr_t changed;
  EXPECT_EQ(pthread_getattr_default_np(&changed), 0);
  EXPECT_EQ(pthread_attr_setstacksize(&changed, 512 << 10), 0);
  EXPECT_EQ(pthread_setattr_default_np(&changed), 0);
  Seen seen;
  Thread worker([&] { seen = look(); });
  worker.join();
  EXPECT_EQ(seen.stack_size, size_t{512} << 10);
  EXPECT(seen.inside);
  EXPECT_EQ(pthread_setattr_default_np(&old), 0);
  EXPECT_EQ(pthread_attr_destroy(&old), 0);
  EXPECT_EQ(pthread_attr_destroy(&changed), 0);
}

int main() {
  defaults();
  errors_leave_the_object_alone();
  stack_sizes_as_asked();
  guard_sizes_as_asked();
  affinity_and_mask();
  explicit_scheduling();
  process_wide_default();
  puts("PASS");
}
