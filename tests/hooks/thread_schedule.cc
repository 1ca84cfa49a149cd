// SPDX-License-Identifier: Apache-2.0
//
// How a thread is scheduled, by number: affinity of oneself (0), of another thread by its tid, and
// of main; what is inherited; sched_getcpu and getcpu stay inside; nice values by setpriority,
// getpriority and nice; sched_setscheduler and friends; the same by syscall(2); errors. Main's own
// affinity and name are the kernel's.
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <string>

#include "thread_testing.h"

static cpu_set_t all_cpus() {
  cpu_set_t all;
  CPU_ZERO(&all);
  EXPECT_EQ(0, sched_getaffinity(0, sizeof all, &all));
  return all;
}

static cpu_set_t only_last(cpu_set_t const& all) {
  int last = 0;
  for (int i = 0; i < CPU_SETSIZE; ++i)
    if (CPU_ISSET(i, &all)) last = i;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(last, &one);
  return one;
}

static bool is_set(pid_t number, cpu_set_t const& want) {
  cpu_set_t got;
  EXPECT_OK(0, sched_getaffinity(number, sizeof got, &got));
  return CPU_EQUAL(&got, &want);
}

static std::string line_of(char const* path, char const* key) {
  FILE* file = fopen(path, "r");
  char line[512] = "";
  while (file && fgets(line, sizeof line, file) && strncmp(line, key, strlen(key)) != 0) line[0] = 0;
  if (file) fclose(file);
  return line;
}

static void affinity_of_oneself() {
  cpu_set_t const all = all_cpus();
  cpu_set_t const one = only_last(all);
  Pthread pinned([&] {
    EXPECT(is_set(0, all));
    EXPECT_OK(0, sched_setaffinity(0, sizeof one, &one));
    EXPECT(is_set(0, one));
    EXPECT(is_set(gettid(), one));
    for (int i = 0; i < 5; ++i) {
      nap(1);
      unsigned cpu = 9999;
      unsigned node = 9999;
      EXPECT_EQ(0, getcpu(&cpu, &node));
      EXPECT(CPU_ISSET(cpu, &one));
      EXPECT(CPU_ISSET(sched_getcpu(), &one));
      EXPECT_EQ(0, syscall(SYS_getcpu, &cpu, nullptr, nullptr));
      EXPECT(CPU_ISSET(cpu, &one));
    }
    Pthread heir([&] { EXPECT(is_set(0, one)); });
    heir.join();
    EXPECT_OK(0, sched_setaffinity(0, sizeof all, &all));  // and wide again
    EXPECT(is_set(0, all));
    cpu_set_t every;
    memset(&every, 0xff, sizeof every);  // more than there are: cut down
    EXPECT_OK(0, sched_setaffinity(0, sizeof every, &every));
    cpu_set_t none;
    CPU_ZERO(&none);
    EXPECT_ERRNO(EINVAL, sched_setaffinity(0, sizeof none, &none));
    EXPECT_ERRNO(EINVAL, sched_getaffinity(0, 1, &none));
  });
  pinned.join();
  EXPECT(is_set(0, all));
}

static void affinity_of_another() {
  cpu_set_t const all = all_cpus();
  cpu_set_t const one = only_last(all);
  std::atomic<pid_t> number{0};
  std::atomic<bool> stop{false};
  Pthread other([&] {
    number = gettid();
    while (!stop) nap(1);
  });
  EXPECT(comes_true([&] { return number != 0; }));
  EXPECT_OK(0, sched_setaffinity(number, sizeof one, &one));
  EXPECT(is_set(number, one));
  EXPECT(is_set(0, all));
  cpu_set_t raw;
  CPU_ZERO(&raw);
  EXPECT(syscall(SYS_sched_getaffinity, number.load(), sizeof raw, &raw) > 0);
  EXPECT(CPU_EQUAL(&raw, &one));
  EXPECT_EQ(0, syscall(SYS_sched_setaffinity, number.load(), sizeof all, &all));
  EXPECT(is_set(number, all));
  stop = true;
  other.join();
  EXPECT_ERRNO(ESRCH, sched_setaffinity(1 << 22, sizeof one, &one));
}

// In a child, because it cannot be undone where the cpuset is not known.
static void affinity_of_main_is_real() {
  int const status = in_child([] {
    cpu_set_t const all = all_cpus();
    cpu_set_t const one = only_last(all);
    std::atomic<bool> stop{false};
    Pthread older([&] {
      while (!stop) nap(1);
      EXPECT(is_set(0, all));
    });
    nap(5);
    EXPECT_OK(0, sched_setaffinity(getpid(), sizeof one, &one));
    EXPECT(is_set(0, one));
    Pthread younger([&] { EXPECT(is_set(0, one)); });
    younger.join();
    std::string const path = "/proc/self/task/" + std::to_string(getpid()) + "/status";
    std::string const allowed = line_of(path.c_str(), "Cpus_allowed_list:");
    EXPECT(allowed.find_first_of(",-") == std::string::npos);  // one CPU
    stop = true;
    older.join();
  });
  EXPECT(exited(status, 0));
}

static void a_forked_child_has_its_threads_traits() {
  cpu_set_t const one = only_last(all_cpus());
  Pthread forker([&] {
    EXPECT_EQ(0, sched_setaffinity(0, sizeof one, &one));
    EXPECT_EQ(0, setpriority(PRIO_PROCESS, 0, 7));
    EXPECT_EQ(0, prctl(PR_SET_NAME, "the forker"));
    EXPECT(exited(in_child([&] {
                    EXPECT(is_set(0, one));
                    EXPECT(is_set(getpid(), one));
                    EXPECT_EQ(7, getpriority(PRIO_PROCESS, getpid()));
                    EXPECT(line_of("/proc/self/status", "Name:") == "Name:\tthe forker\n");
                  }), 0));
  });
  forker.join();
}

static void name_of_main_is_real() {
  EXPECT_EQ(0, prctl(PR_SET_NAME, "principal"));
  EXPECT(line_of("/proc/self/status", "Name:") == "Name:\tprincipal\n");
  Pthread other([] {
    EXPECT_EQ(0, prctl(PR_SET_NAME, "a name that is too long"));
    char name[16];
    EXPECT_EQ(0, prctl(PR_GET_NAME, name));
    EXPECT(std::string(name) == "a name that is ");
    EXPECT_EQ(0, syscall(SYS_prctl, PR_SET_NAME, "raw"));
    EXPECT_EQ(0, syscall(SYS_prctl, PR_GET_NAME, name));
    EXPECT(std::string(name) == "raw");
    EXPECT(line_of("/proc/self/status", "Name:") == "Name:\tprincipal\n");
    EXPECT(prctl(PR_GET_DUMPABLE) >= 0);  // others pass
  });
  other.join();
}

static void nice_values() {
  int const own = getpriority(PRIO_PROCESS, 0);
  Pthread gentle([own] {
    EXPECT_OK(own, getpriority(PRIO_PROCESS, 0));
    EXPECT_OK(0, setpriority(PRIO_PROCESS, 0, own + 3));
    EXPECT_OK(own + 3, getpriority(PRIO_PROCESS, 0));
    EXPECT_OK(own + 3, getpriority(PRIO_PROCESS, static_cast<id_t>(gettid())));
    EXPECT_EQ(own + 5, nice(2));
    EXPECT_EQ(20 - (own + 5), syscall(SYS_getpriority, PRIO_PROCESS, 0));
    EXPECT_EQ(19, nice(100));
    Pthread heir([] { EXPECT_EQ(19, getpriority(PRIO_PROCESS, 0)); });
    heir.join();
  });
  gentle.join();
  EXPECT_EQ(own, getpriority(PRIO_PROCESS, 0));
  EXPECT_EQ(own, getpriority(PRIO_PROCESS, static_cast<id_t>(getpid())));
  EXPECT_ERRNO(ESRCH, setpriority(PRIO_PROCESS, 1 << 22, 0));
  EXPECT_ERRNO(EINVAL, setpriority(static_cast<__priority_which>(99), 0, 0));
}

extern "C" {
int __sched_getparam(pid_t, sched_param*) noexcept;
int __sched_getscheduler(pid_t) noexcept;
int __sched_setscheduler(pid_t, int, const sched_param*) noexcept;
}

static void other_names() {
  Pthread batch([] {
    sched_param zero{0};
    EXPECT_OK(0, __sched_setscheduler(gettid(), SCHED_BATCH, &zero));
    EXPECT_OK(SCHED_BATCH, __sched_getscheduler(0));
    EXPECT_OK(0, __sched_getparam(gettid(), &zero));
    timespec slice{-1, -1};
    EXPECT_OK(0, sched_rr_get_interval(gettid(), &slice));
    EXPECT(slice.tv_sec >= 0 && slice.tv_nsec >= 0 && slice.tv_nsec < 1000000000);
    EXPECT_ERRNO(ESRCH, sched_rr_get_interval(1 << 22, &slice));
    EXPECT_ERRNO(EINVAL, sched_rr_get_interval(-1, &slice));
  });
  batch.join();
  EXPECT_EQ(SCHED_OTHER, sched_getscheduler(0));
}

static void policies() {
  Pthread idle([] {
    sched_param zero{0};
    sched_param fifty{50};
    sched_param got{-1};
    EXPECT_OK(SCHED_OTHER, sched_getscheduler(0));
    EXPECT_OK(0, sched_setscheduler(0, SCHED_IDLE, &zero));
    EXPECT_OK(SCHED_IDLE, sched_getscheduler(0));
    EXPECT_OK(SCHED_IDLE, sched_getscheduler(gettid()));
    EXPECT_OK(0, sched_setparam(0, &zero));
    EXPECT_OK(0, sched_getparam(0, &got));
    EXPECT_EQ(0, got.sched_priority);
    EXPECT_ERRNO(EINVAL, sched_setparam(0, &fifty));
    EXPECT_ERRNO(EINVAL, sched_setscheduler(0, SCHED_OTHER, &fifty));
    EXPECT_ERRNO(EINVAL, sched_setscheduler(0, 99, &zero));
    int policy = -1;
    EXPECT_EQ(0, pthread_getschedparam(pthread_self(), &policy, &got));
    EXPECT_EQ(SCHED_IDLE, policy);
    EXPECT_EQ(SCHED_IDLE, syscall(SYS_sched_getscheduler, 0));
  });
  idle.join();
  EXPECT_EQ(SCHED_OTHER, sched_getscheduler(0));
  EXPECT_EQ(SCHED_OTHER, sched_getscheduler(getpid()));
}

int main() {
  affinity_of_oneself();
  affinity_of_another();
  affinity_of_main_is_real();
  a_forked_child_has_its_threads_traits();
  name_of_main_is_real();
  nice_values();
  policies();
  other_names();
  return finish();
}
