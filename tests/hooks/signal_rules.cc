// SPDX-License-Identifier: Apache-2.0
//
// sigaction and signal: old actions come back, flags are honoured (SA_SIGINFO, SA_RESETHAND,
// SA_NODEFER, sa_mask, SA_RESTART set by signal()), ignored and default dispositions, EINVAL for
// SIGKILL and friends; process-directed signals run in main, or in another thread if main blocks
// them; kill, raise, sigqueue, killpg, abort and what default actions do to a child; threads keep
// running.
#include <unistd.h>

#include <vector>

#include "thread_testing.h"

static std::atomic<int> count{0};
static std::atomic<pthread_t> ran_in{0};
static siginfo_t last_info;

static void plain(int) {
  ran_in = pthread_self();
  ++count;
}
static void informed(int, siginfo_t* info, void* context) {
  last_info = *info;
  ran_in = pthread_self();
  if (context != nullptr) ++count;
}

static struct sigaction action_of(void (*handler)(int), int flags = 0) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  return action;
}

static void old_actions() {
  struct sigaction old = {};
  struct sigaction mine = action_of(plain, SA_NODEFER);
  sigaddset(&mine.sa_mask, SIGUSR2);
  EXPECT_OK(0, sigaction(SIGUSR1, nullptr, &old));
  EXPECT(old.sa_handler == SIG_DFL);
  EXPECT_EQ(0, sigaction(SIGUSR1, &mine, &old));
  EXPECT(old.sa_handler == SIG_DFL);
  struct sigaction other = {};
  other.sa_sigaction = informed;
  other.sa_flags = SA_SIGINFO | SA_RESTART;
  EXPECT_EQ(0, sigaction(SIGUSR1, &other, &old));
  EXPECT(old.sa_handler == plain);
  EXPECT((old.sa_flags & (SA_NODEFER | SA_SIGINFO | SA_RESTART)) == SA_NODEFER);
  EXPECT_EQ(1, sigismember(&old.sa_mask, SIGUSR2));
  EXPECT_EQ(0, sigismember(&old.sa_mask, SIGHUP));
  EXPECT_EQ(informed, signal(SIGUSR1, plain));
  EXPECT_EQ(0, sigaction(SIGUSR1, nullptr, &old));
  EXPECT((old.sa_flags & (SA_RESTART | SA_NODEFER | SA_RESETHAND)) == SA_RESTART);
  EXPECT(signal(SIGUSR1, SIG_IGN) == plain);
  count = 0;
  EXPECT_EQ(0, raise(SIGUSR1));
  EXPECT_EQ(0, count);
  EXPECT(signal(SIGUSR1, SIG_DFL) == SIG_IGN);
  for (int number : {SIGKILL, SIGSTOP, 0, -1, 65}) {
    EXPECT_ERRNO(EINVAL, sigaction(number, &mine, nullptr));
  }
  EXPECT_ERRNO(EINVAL, sigaction(32, &mine, nullptr));  // glibc's own
  errno = 0;
  EXPECT(signal(SIGKILL, plain) == SIG_ERR && errno == EINVAL);
}

static void once_only() {
  struct sigaction once = action_of(plain, static_cast<int>(SA_RESETHAND));
  struct sigaction now = {};
  EXPECT_EQ(0, sigaction(SIGWINCH, &once, nullptr));
  count = 0;
  EXPECT_EQ(0, raise(SIGWINCH));
  EXPECT_EQ(0, raise(SIGWINCH));  // default: ignored
  EXPECT_EQ(1, count);
  EXPECT_EQ(0, sigaction(SIGWINCH, nullptr, &now));
  EXPECT(now.sa_handler == SIG_DFL);
}

static int depth = 0;
static int deepest = 0;
static int runs = 0;

static void nesting(int number) {
  ++runs;
  if (++depth > deepest) deepest = depth;
  if (runs == 1) raise(number);
  --depth;
}

static void masks_while_handling() {
  for (bool defer : {true, false}) {
    depth = deepest = runs = 0;
    struct sigaction action = action_of(nesting, defer ? 0 : SA_NODEFER);
    EXPECT_EQ(0, sigaction(SIGUSR1, &action, nullptr));
    EXPECT_EQ(0, raise(SIGUSR1));
    EXPECT_EQ(2, runs);
    EXPECT_EQ(defer ? 1 : 2, deepest);
  }
  // sa_mask holds SIGUSR2 off until the handler of SIGUSR1 is done.
  static std::vector<int> order;
  struct sigaction first = action_of([](int) {
    raise(SIGUSR2);
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, nullptr, &now);
    order.push_back(sigismember(&now, SIGUSR1) == 1 && sigismember(&now, SIGUSR2) == 1 ? 1 : -1);
  });
  sigaddset(&first.sa_mask, SIGUSR2);
  struct sigaction second = action_of([](int) { order.push_back(2); });
  EXPECT_EQ(0, sigaction(SIGUSR1, &first, nullptr));
  EXPECT_EQ(0, sigaction(SIGUSR2, &second, nullptr));
  EXPECT_EQ(0, raise(SIGUSR1));
  EXPECT((order == std::vector<int>{1, 2}));
  sigset_t now;
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  EXPECT(sigismember(&now, SIGUSR1) == 0 && sigismember(&now, SIGUSR2) == 0);
}

static void information() {
  struct sigaction action = {};
  action.sa_sigaction = informed;
  action.sa_flags = SA_SIGINFO;
  EXPECT_EQ(0, sigaction(SIGUSR1, &action, nullptr));
  EXPECT_OK(0, kill(getpid(), SIGUSR1));
  EXPECT(last_info.si_signo == SIGUSR1 && last_info.si_code == SI_USER);
  EXPECT(last_info.si_pid == getpid() && last_info.si_uid == getuid());
  sigval value{};
  value.sival_int = 4711;
  EXPECT_OK(0, sigqueue(getpid(), SIGUSR1, value));
  EXPECT(last_info.si_code == SI_QUEUE && last_info.si_value.sival_int == 4711);
  EXPECT_OK(0, raise(SIGUSR1));
  EXPECT(last_info.si_code == SI_TKILL && last_info.si_pid == getpid());
  EXPECT_ERRNO(EINVAL, kill(getpid(), 65));
  EXPECT_ERRNO(EINVAL, sigqueue(getpid(), -1, value));
  EXPECT_ERRNO(ESRCH, kill(0x3ffffff, 0));
  EXPECT_OK(0, kill(getpid(), 0));
}

static void where_it_runs() {
  struct sigaction action = action_of(plain);
  EXPECT_EQ(0, sigaction(SIGUSR1, &action, nullptr));
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  std::atomic<bool> stop{false};
  std::vector<Pthread> others;
  for (int i = 0; i < 3; ++i) {
    others.emplace_back([&] {
      pthread_sigmask(SIG_BLOCK, &usr1, nullptr);
      while (!stop) nap(1);
    });
  }
  std::atomic<bool> kept_open{false};
  Pthread open_one([&] {
    kept_open = true;
    while (!stop) nap(1);
  });
  EXPECT(comes_true([&] { return kept_open.load(); }));
  nap(10);
  count = 0;
  EXPECT_EQ(0, kill(getpid(), SIGUSR1));  // main has it open: main it is, before kill returns
  EXPECT_EQ(1, count);
  EXPECT(ran_in == pthread_self());
  EXPECT_EQ(0, pthread_sigmask(SIG_BLOCK, &usr1, nullptr));
  EXPECT_EQ(0, kill(getpid(), SIGUSR1));  // now only one thread has it open
  EXPECT(comes_true([] { return count == 2; }));
  EXPECT(ran_in == open_one.id());
  EXPECT_EQ(0, pthread_sigmask(SIG_UNBLOCK, &usr1, nullptr));
  Pthread sender([] { EXPECT_EQ(0, kill(getpid(), SIGUSR1)); });
  sender.join();
  EXPECT(comes_true([] { return count == 3; }));
  stop = true;
}

static void default_actions_in_a_child() {
  for (int number : {SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGUSR2, SIGPIPE, SIGKILL}) {
    EXPECT(killed(in_child([number] {
                    signal(number, SIG_DFL);
                    Pthread other([] { nap(3000); });
                    other.release();
                    nap(2);
                    kill(getpid(), number);
                    nap(3000);
                  }),
                  number));
  }
  EXPECT(killed(in_child([] { abort(); }), SIGABRT));
  EXPECT(killed(in_child([] {
                  signal(SIGABRT, [](int) {});  // a handler that returns does not save it
                  Pthread other([] { abort(); });
                  other.join();
                }),
                SIGABRT));
  EXPECT(killed(in_child([] {
                  setpgid(0, 0);
                  Pthread other([] { killpg(getpgrp(), SIGTERM); });
                  nap(3000);
                }),
                SIGTERM));
  EXPECT(exited(in_child([] {
                  signal(SIGTERM, [](int) { _exit(7); });
                  Pthread other([] { nap(3000); });
                  other.release();
                  kill(getpid(), SIGTERM);
                  nap(3000);
                }),
                7));
}

int main() {
  old_actions();
  once_only();
  masks_while_handling();
  information();
  where_it_runs();
  default_actions_in_a_child();
  return finish();
}
