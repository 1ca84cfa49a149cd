// SPDX-License-Identifier: Apache-2.0
//
// Every pthread_attr_* getter and setter, its default, its errors, and what the thread made with it
// then has: detach state, scope, inherit-sched, policy and priority, guard size, stack size, stack,
// affinity, signal mask; pthread_{get,set}attr_default_np.
#include <limits.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "thread_testing.h"

static void defaults() {
  pthread_attr_t attributes;
  EXPECT_EQ(0, pthread_attr_init(&attributes));
  int value = -1;
  EXPECT_EQ(0, pthread_attr_getdetachstate(&attributes, &value));
  EXPECT_EQ(PTHREAD_CREATE_JOINABLE, value);
  EXPECT_EQ(0, pthread_attr_getscope(&attributes, &value));
  EXPECT_EQ(PTHREAD_SCOPE_SYSTEM, value);
  EXPECT_EQ(0, pthread_attr_getinheritsched(&attributes, &value));
  EXPECT_EQ(PTHREAD_INHERIT_SCHED, value);
  EXPECT_EQ(0, pthread_attr_getschedpolicy(&attributes, &value));
  EXPECT_EQ(SCHED_OTHER, value);
  sched_param parameters{77};
  EXPECT_EQ(0, pthread_attr_getschedparam(&attributes, &parameters));
  EXPECT_EQ(0, parameters.sched_priority);
  size_t size = 0;
  EXPECT_EQ(0, pthread_attr_getguardsize(&attributes, &size));
  EXPECT_EQ(static_cast<size_t>(sysconf(_SC_PAGESIZE)), size);
  EXPECT_EQ(0, pthread_attr_getstacksize(&attributes, &size));
  rlimit limit{};
  EXPECT_EQ(0, getrlimit(RLIMIT_STACK, &limit));
  if (limit.rlim_cur != RLIM_INFINITY) EXPECT_EQ(limit.rlim_cur, size);
  EXPECT_EQ(0, pthread_attr_destroy(&attributes));
}

static void errors_leave_the_object_alone() {
  pthread_attr_t attributes;
  EXPECT_EQ(0, pthread_attr_init(&attributes));
  errno = 77;
  EXPECT_EQ(EINVAL, pthread_attr_setdetachstate(&attributes, 99));
  EXPECT_EQ(ENOTSUP, pthread_attr_setscope(&attributes, PTHREAD_SCOPE_PROCESS));
  EXPECT_EQ(EINVAL, pthread_attr_setscope(&attributes, 99));
  EXPECT_EQ(EINVAL, pthread_attr_setinheritsched(&attributes, 99));
  EXPECT_EQ(EINVAL, pthread_attr_setschedpolicy(&attributes, 99));
  EXPECT_EQ(EINVAL, pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN - 1));
  EXPECT_EQ(EINVAL, pthread_attr_setstack(&attributes, &attributes, PTHREAD_STACK_MIN - 1));
  EXPECT_EQ(77, errno);
  int value = -1;
  EXPECT_EQ(0, pthread_attr_getdetachstate(&attributes, &value));
  EXPECT_EQ(PTHREAD_CREATE_JOINABLE, value);
  EXPECT_EQ(0, pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN));
  EXPECT_EQ(0, pthread_attr_destroy(&attributes));
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
  EXPECT_EQ(0, pthread_getattr_np(pthread_self(), &own));
  EXPECT_EQ(0, pthread_attr_getdetachstate(&own, &seen.detach));
  EXPECT_EQ(0, pthread_attr_getguardsize(&own, &seen.guard));
  EXPECT_EQ(0, pthread_attr_getstack(&own, &seen.stack, &seen.stack_size));
  char const here = 0;
  char const* const low = static_cast<char*>(seen.stack);
  seen.inside = low < &here && &here < low + seen.stack_size;
  EXPECT_EQ(0, pthread_attr_destroy(&own));
  return seen;
}

static void stack_sizes_as_asked() {
  for (size_t size : {size_t{64} << 10, size_t{256} << 10, size_t{1} << 20, size_t{64} << 20}) {
    pthread_attr_t attributes;
    EXPECT_EQ(0, pthread_attr_init(&attributes));
    EXPECT_EQ(0, pthread_attr_setstacksize(&attributes, size));
    Seen seen;
    Pthread worker([&] { seen = look(); }, &attributes);
    worker.join();
    EXPECT(seen.inside);
    EXPECT_EQ(size, seen.stack_size);
    EXPECT_EQ(PTHREAD_CREATE_JOINABLE, seen.detach);
    EXPECT_EQ(0, pthread_attr_destroy(&attributes));
  }
}

static void guard_sizes_as_asked() {
  size_t const page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (size_t guard : {size_t{0}, page, 4 * page, 64 * page}) {
    pthread_attr_t attributes;
    EXPECT_EQ(0, pthread_attr_init(&attributes));
    EXPECT_EQ(0, pthread_attr_setguardsize(&attributes, guard));
    size_t back = 1;
    EXPECT_EQ(0, pthread_attr_getguardsize(&attributes, &back));
    EXPECT_EQ(guard, back);
    Seen seen;
    Pthread worker([&] { seen = look(); }, &attributes);
    worker.join();
    EXPECT(seen.inside);
    EXPECT_EQ(guard, seen.guard);
    EXPECT_EQ(0, pthread_attr_destroy(&attributes));
  }
}

static void a_guard_is_whole_pages() {
  size_t const page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  pthread_attr_t attributes;
  EXPECT_EQ(0, pthread_attr_init(&attributes));
  EXPECT_EQ(0, pthread_attr_setguardsize(&attributes, page + 1));
  Seen seen;
  Pthread worker([&] { seen = look(); }, &attributes);
  worker.join();
  EXPECT_EQ(2 * page, seen.guard);
  EXPECT_EQ(0, pthread_attr_destroy(&attributes));
}

// Whatever the attributes say of a guard.
static void a_stack_of_ones_own_has_no_guard() {
  static char memory[256 << 10] __attribute__((aligned(4096)));
  pthread_attr_t attributes;
  EXPECT_EQ(0, pthread_attr_init(&attributes));
  EXPECT_EQ(0, pthread_attr_setstack(&attributes, memory, sizeof memory));
  Seen seen;
  Pthread worker([&] { seen = look(); }, &attributes);
  worker.join();
  EXPECT(seen.inside);
  EXPECT_EQ(memory, seen.stack);
  EXPECT_EQ(sizeof memory, seen.stack_size);
  EXPECT_EQ(0, seen.guard);
  EXPECT_EQ(0, pthread_attr_destroy(&attributes));
}

static void affinity_and_mask() {
  cpu_set_t own;
  EXPECT_EQ(0, sched_getaffinity(0, sizeof own, &own));
  int first = 0;
  while (!CPU_ISSET(first, &own)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR2);

  pthread_attr_t attributes;
  EXPECT_EQ(0, pthread_attr_init(&attributes));
  sigset_t got;
  EXPECT_EQ(PTHREAD_ATTR_NO_SIGMASK_NP, pthread_attr_getsigmask_np(&attributes, &got));
  EXPECT_EQ(0, pthread_attr_setaffinity_np(&attributes, sizeof one, &one));
  EXPECT_EQ(0, pthread_attr_setsigmask_np(&attributes, &mask));
  EXPECT_EQ(0, pthread_attr_getsigmask_np(&attributes, &got));
  EXPECT(sigismember(&got, SIGUSR2) == 1 && sigismember(&got, SIGUSR1) == 0);
  Pthread worker(
      [&] {
        cpu_set_t mine;
        EXPECT_EQ(0, pthread_getaffinity_np(pthread_self(), sizeof mine, &mine));
        EXPECT(CPU_EQUAL(&mine, &one) != 0);
        sigset_t current;
        EXPECT_EQ(0, pthread_sigmask(SIG_BLOCK, nullptr, &current));
        EXPECT(sigismember(&current, SIGUSR2) == 1 && sigismember(&current, SIGUSR1) == 0);
      },
      &attributes);
  worker.join();
  EXPECT_EQ(0, pthread_attr_destroy(&attributes));
}

// pthread_getattr_np tells the affinity of a thread that was made without one, too.
static void affinity_as_it_is() {
  Pthread worker([] {
    cpu_set_t told, got;
    pthread_attr_t own;
    EXPECT_EQ(0, pthread_getattr_np(pthread_self(), &own));
    EXPECT_EQ(0, pthread_attr_getaffinity_np(&own, sizeof told, &told));
    EXPECT_EQ(0, pthread_getaffinity_np(pthread_self(), sizeof got, &got));
    EXPECT(CPU_EQUAL(&told, &got));
    EXPECT_EQ(0, pthread_attr_destroy(&own));
  });
  worker.join();
}

static void explicit_scheduling() {
  pthread_attr_t attributes;
  EXPECT_EQ(0, pthread_attr_init(&attributes));
  EXPECT_EQ(0, pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED));
  EXPECT_EQ(0, pthread_attr_setschedpolicy(&attributes, SCHED_OTHER));
  sched_param const zero{0};
  EXPECT_EQ(0, pthread_attr_setschedparam(&attributes, &zero));
  Pthread worker(
      [] {
        int policy = -1;
        sched_param got{-1};
        EXPECT_EQ(0, pthread_getschedparam(pthread_self(), &policy, &got));
        EXPECT_EQ(SCHED_OTHER, policy);
        EXPECT_EQ(0, got.sched_priority);
      },
      &attributes);
  worker.join();
  EXPECT_EQ(0, pthread_attr_destroy(&attributes));
}

// pthread_getattr_np tells how a thread got its policy and priority. SCHED_FIFO needs a privilege.
static void scheduling_as_it_is() {
  pthread_attr_t attributes;
  EXPECT_EQ(0, pthread_attr_init(&attributes));
  EXPECT_EQ(0, pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED));
  EXPECT_EQ(0, pthread_attr_setschedpolicy(&attributes, SCHED_FIFO));
  sched_param const wanted{3};
  EXPECT_EQ(0, pthread_attr_setschedparam(&attributes, &wanted));
  auto body = [](void*) -> void* {
    pthread_attr_t own;
    int inherits = -1, policy = -1;
    sched_param got{-1};
    EXPECT_EQ(0, pthread_getattr_np(pthread_self(), &own));
    EXPECT_EQ(0, pthread_attr_getinheritsched(&own, &inherits));
    EXPECT_EQ(0, pthread_attr_getschedpolicy(&own, &policy));
    EXPECT_EQ(0, pthread_attr_getschedparam(&own, &got));
    EXPECT_EQ(PTHREAD_EXPLICIT_SCHED, inherits);
    EXPECT_EQ(SCHED_FIFO, policy);
    EXPECT_EQ(3, got.sched_priority);
    EXPECT_EQ(0, pthread_attr_destroy(&own));
    return nullptr;
  };
  pthread_t id;
  int const error = pthread_create(&id, &attributes, body, nullptr);
  EXPECT(error == 0 || error == EPERM);
  if (!error) EXPECT_EQ(0, pthread_join(id, nullptr));
  EXPECT_EQ(0, pthread_attr_destroy(&attributes));
}

static void process_wide_default() {
  pthread_attr_t old;
  EXPECT_EQ(0, pthread_getattr_default_np(&old));
  pthread_attr_t changed;
  EXPECT_EQ(0, pthread_getattr_default_np(&changed));
  EXPECT_EQ(0, pthread_attr_setstacksize(&changed, 512 << 10));
  EXPECT_EQ(0, pthread_attr_setguardsize(&changed, 8 << 10));
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR2);
  EXPECT_EQ(0, pthread_attr_setsigmask_np(&changed, &mask));
  EXPECT_EQ(0, pthread_setattr_default_np(&changed));
  Seen seen;
  Pthread worker([&] {
    seen = look();
    sigset_t current;
    EXPECT_EQ(0, pthread_sigmask(SIG_BLOCK, nullptr, &current));
    EXPECT(sigismember(&current, SIGUSR2) == 1 && sigismember(&current, SIGUSR1) == 0);
  });
  worker.join();
  EXPECT_EQ(size_t{512} << 10, seen.stack_size);
  EXPECT_EQ(size_t{8} << 10, seen.guard);
  EXPECT(seen.inside);
  EXPECT_EQ(0, pthread_setattr_default_np(&old));
  EXPECT_EQ(0, pthread_attr_destroy(&old));
  EXPECT_EQ(0, pthread_attr_destroy(&changed));
}

int main() {
  defaults();
  errors_leave_the_object_alone();
  stack_sizes_as_asked();
  guard_sizes_as_asked();
  a_guard_is_whole_pages();
  a_stack_of_ones_own_has_no_guard();
  affinity_and_mask();
  affinity_as_it_is();
  explicit_scheduling();
  scheduling_as_it_is();
  process_wide_default();
  return finish();
}
