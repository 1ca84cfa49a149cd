// SPDX-License-Identifier: Apache-2.0
//
// wait, waitpid, waitid, wait3, wait4 from main and from a thread: exit statuses and signals, a
// pid, any child, a process group, WNOHANG, WUNTRACED and WCONTINUED, WNOWAIT, usage, guard words,
// ECHILD and EINVAL, children of one thread waited for by another, several waiters at once, others
// tick.
#include <sys/resource.h>

#include <set>
#include <vector>

#include "thread_testing.h"

static pid_t child_that_exits(int code, int after_ms = 0) {
  pid_t const child = fork();
  if (child == 0) {
    if (after_ms != 0) usleep(static_cast<useconds_t>(after_ms) * 1000);
    _exit(code);
  }
  EXPECT(child > 0);
  return child;
}

static void statuses() {
  guarded<int> status;
  pid_t child = child_that_exits(7, 25);
  while_others_tick([&] { EXPECT_OK(child, waitpid(child, &status, 0)); });
  EXPECT(exited(status.value, 7));
  child = child_that_exits(0, 5);
  EXPECT_OK(child, wait(&status));
  EXPECT(exited(status.value, 0));
  child = child_that_exits(8, 5);
  EXPECT_OK(child, waitpid(-1, nullptr, 0));
  child = fork();
  if (child == 0) {
    for (;;) pause();
  }
  EXPECT_OK(0, waitpid(child, &status, WNOHANG));
  EXPECT_EQ(0, kill(child, SIGTERM));
  EXPECT_OK(child, waitpid(child, &status, 0));
  EXPECT(killed(status.value, SIGTERM));
}

static void errors() {
  guarded<int> status;
  EXPECT_ERRNO(ECHILD, wait(&status));
  EXPECT_ERRNO(ECHILD, waitpid(-1, &status, 0));
  EXPECT_ERRNO(ECHILD, waitpid(-1, &status, WNOHANG));
  EXPECT_ERRNO(ECHILD, waitpid(1, &status, 0));  // not ours
  EXPECT_ERRNO(EINVAL, waitpid(-1, &status, 0x1000));
  EXPECT(status.untouched());
  siginfo_t info;
  EXPECT_ERRNO(ECHILD, waitid(P_ALL, 0, &info, WEXITED));
  EXPECT_ERRNO(EINVAL, waitid(P_ALL, 0, &info, 0));
}

static void stopped_and_continued() {
  pid_t const child = fork();
  if (child == 0) {
    for (;;) pause();
  }
  int status = -1;
  Pthread stopper([child] {
    nap(25);
    kill(child, SIGSTOP);
  });
  while_others_tick([&] { EXPECT_OK(child, waitpid(child, &status, WUNTRACED)); });
  EXPECT(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
  stopper.join();
  EXPECT_EQ(0, kill(child, SIGCONT));
  EXPECT_OK(child, waitpid(child, &status, WCONTINUED));
  EXPECT(WIFCONTINUED(status));
  EXPECT_EQ(0, kill(child, SIGKILL));
  EXPECT_OK(child, waitpid(child, &status, WUNTRACED));
  EXPECT(killed(status, SIGKILL));
}

static void by_waitid() {
  pid_t const child = child_that_exits(9, 50);
  id_t const id = static_cast<id_t>(child);
  guarded<siginfo_t> info;
  memset(&info.value, 0, sizeof info.value);
  EXPECT_OK(0, waitid(P_PID, id, &info, WEXITED | WNOHANG));
  EXPECT_EQ(0, info.value.si_pid);
  while_others_tick([&] { EXPECT_OK(0, waitid(P_PID, id, &info, WEXITED | WNOWAIT)); });
  EXPECT(info.value.si_pid == child && info.value.si_status == 9);
  EXPECT(info.value.si_code == CLD_EXITED && info.value.si_signo == SIGCHLD);
  EXPECT_OK(0, waitid(P_PID, id, &info, WEXITED));  // it was left there
  EXPECT_EQ(child, info.value.si_pid);
  EXPECT_ERRNO(ECHILD, waitid(P_PID, id, &info, WEXITED));
}

static void with_usage() {
  guarded<rusage> usage;
  guarded<int> status;
  pid_t child = child_that_exits(3, 20);
  while_others_tick([&] { EXPECT_OK(child, wait4(child, &status, 0, &usage)); });
  EXPECT(exited(status.value, 3));
  EXPECT(usage.value.ru_utime.tv_sec < 5 && usage.value.ru_maxrss > 0);
  child = child_that_exits(4);
  EXPECT_OK(child, wait3(&status, 0, &usage));
  EXPECT(exited(status.value, 4));
}

static void by_group() {
  pid_t const other = child_that_exits(1, 60);
  pid_t const leader = fork();
  if (leader == 0) {
    setpgid(0, 0);
    usleep(25000);
    _exit(2);
  }
  setpgid(leader, leader);
  int status = -1;
  EXPECT_OK(leader, waitpid(-leader, &status, 0));
  EXPECT(exited(status, 2));
  EXPECT_OK(other, waitpid(0, &status, 0));  // of our own group
  EXPECT(exited(status, 1));
}

static void children_of_another_thread() {
  pid_t child = 0;
  Pthread forker([&] { child = child_that_exits(6, 20); });
  forker.join();
  int status = -1;
  EXPECT_OK(child, waitpid(child, &status, 0));
  EXPECT(exited(status, 6));
}

static void many_waiters() {
  std::vector<Pthread> threads;
  std::atomic<int> right{0};
  for (int i = 0; i < 10; ++i) {
    threads.emplace_back([&, i] {
      pid_t const child = child_that_exits(i, 30 - 2 * i);
      int status = -1;
      EXPECT_EQ(child, waitpid(child, &status, 0));
      if (exited(status, i)) ++right;
    });
  }
  while_others_tick([&] { threads.clear(); });
  EXPECT_EQ(10, right);
  // Any child, any waiter: each is told exactly one.
  std::atomic<int> sum{0};
  for (int i = 0; i < 8; ++i) child_that_exits(1 << i % 4, 10 + i);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      int status = -1;
      for (int k = 0; k < 2; ++k) {
        EXPECT(wait(&status) > 0);
        sum += WEXITSTATUS(status);
      }
    });
  }
  threads.clear();
  EXPECT_EQ(30, sum);
  EXPECT_ERRNO(ECHILD, wait(nullptr));
}

int main() {
  auto all = [] {
    statuses();
    errors();
    stopped_and_continued();
    by_waitid();
    with_usage();
    by_group();
    children_of_another_thread();
    many_waiters();
  };
  all();
  Pthread second([&] {
    where = "second";
    all();
  });
  second.join();
  return finish();
}
