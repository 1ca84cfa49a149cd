// SPDX-License-Identifier: Apache-2.0
//
// Which pending signal comes when, and to whom: real-time signals in the order they were sent, with
// their values, by number among several; standard signals once; handlers stacked as the kernel
// stacks them; what is pending for a thread and what for the process; a signal that all block goes to
// whoever unblocks it first; an ignored signal is pending no more; a thread's pending signals die
// with it; kill(2) to oneself is handled before it returns.
#include <limits.h>
#include <sys/syscall.h>

#include "thread_testing.h"

static int order[1000];  // value or number, as handled
static std::atomic<int> seen{0};
static std::atomic<pthread_t> last_thread{};

static void by_value(int, siginfo_t* info, void*) {
  last_thread = pthread_self();
  order[seen] = info->si_value.sival_int;
  seen = seen + 1;
}
static void by_number(int number) {
  order[seen] = number;
  seen = seen + 1;
}

static void on_value(int number) {
  struct sigaction action = {};
  action.sa_sigaction = by_value;
  action.sa_flags = SA_SIGINFO;
  EXPECT_EQ(0, sigaction(number, &action, nullptr));
}
static void on_number(int number, int masked = 0) {
  struct sigaction action = {};
  action.sa_handler = by_number;
  if (masked) sigaddset(&action.sa_mask, masked);
  EXPECT_EQ(0, sigaction(number, &action, nullptr));
}

static sigset_t set_of(int one, int two = 0, int three = 0) {
  sigset_t set;
  sigemptyset(&set);
  for (int number : {one, two, three})
    if (number) sigaddset(&set, number);
  return set;
}
static void mask(int how, sigset_t set) { EXPECT_EQ(0, pthread_sigmask(how, &set, nullptr)); }
static bool is_pending(int number) {
  sigset_t set;
  EXPECT_EQ(0, sigpending(&set));
  return sigismember(&set, number);
}
static sigval value(int number) {
  sigval result;
  result.sival_int = number;
  return result;
}

// Everything is blocked in main and all that it makes, but what a case opens.
static void real_time_keeps_its_order() {
  int const number = SIGRTMIN + 1;
  on_value(number);
  for (bool to_thread : {false, true}) {
    seen = 0;
    for (int i = 1; i <= 20; i++)
      EXPECT_EQ(0, to_thread ? pthread_sigqueue(pthread_self(), number, value(i))
                             : sigqueue(getpid(), number, value(i)));
    EXPECT_EQ(0, seen);
    mask(SIG_UNBLOCK, set_of(number));
    EXPECT_EQ(20, seen);
    for (int i = 1; i <= 20; i++) EXPECT_EQ(i, order[i - 1]);
    mask(SIG_BLOCK, set_of(number));
  }
}

static void places_are_used_again_in_order() {
  int const number = SIGRTMIN + 1;
  sigset_t const set = set_of(number);
  siginfo_t info;
  int next = 1, sent = 0;
  for (int round = 0; round < 50; round++) {
    for (int i = 0; i < 3; i++)
      EXPECT_EQ(0, pthread_sigqueue(pthread_self(), number, value(++sent)));
    for (int i = 0; i < 2; i++, next++) {
      EXPECT_EQ(number, sigwaitinfo(&set, &info));
      EXPECT_EQ(next, info.si_value.sival_int);
    }
  }
  for (; next <= sent; next++) {
    EXPECT_EQ(number, sigwaitinfo(&set, &info));
    EXPECT_EQ(next, info.si_value.sival_int);
    EXPECT_EQ(SI_QUEUE, info.si_code);
    EXPECT_EQ(getpid(), info.si_pid);
  }
  EXPECT(!is_pending(number));
}

static void many_numbers() {
  int const low = SIGRTMIN + 2, high = SIGRTMIN + 3;
  sigset_t const both = set_of(low, high, SIGUSR2);
  siginfo_t info;
  for (bool to_thread : {false, true}) {
    auto send = [&](int number) {
      EXPECT_EQ(0, to_thread ? pthread_kill(pthread_self(), number) : kill(getpid(), number));
    };
    for (int number : {high, low, SIGUSR2, low, high, SIGUSR2}) send(number);
    for (int number : {SIGUSR2, low, low, high, high}) EXPECT_EQ(number, sigwaitinfo(&both, &info));
    timespec const none{};
    EXPECT_ERRNO(EAGAIN, sigtimedwait(&both, &info, &none));
    // The kernel makes a frame for each that may come in, lowest number first: the last made runs
    // first.
    on_number(low);
    on_number(high);
    seen = 0;
    send(low);
    send(high);
    mask(SIG_UNBLOCK, both);
    EXPECT_EQ(2, seen);
    EXPECT_EQ(high, order[0]);
    EXPECT_EQ(low, order[1]);
    mask(SIG_BLOCK, both);
    on_number(low, high);
    seen = 0;
    send(high);
    send(low);
    mask(SIG_UNBLOCK, both);
    EXPECT_EQ(low, order[0]);
    EXPECT_EQ(high, order[1]);
    mask(SIG_BLOCK, both);
  }
}

static void a_burst_to_a_blocked_thread() {
  int const number = SIGRTMIN + 1;
  on_value(number);
  seen = 0;
  std::atomic<bool> ready{false};
  Pipe const pipe;
  Pthread target([&] {
    mask(SIG_UNBLOCK, set_of(number));
    ready = true;
    char byte;
    while (seen < 200) (void)!read(pipe.a, &byte, 1);
    mask(SIG_BLOCK, set_of(number));
  });
  EXPECT(comes_true([&] { return ready.load(); }));
  for (int i = 0; i < 200; i++) {
    EXPECT_EQ(0, i % 2 ? pthread_sigqueue(target.id(), number, value(i))
                       : sigqueue(getpid(), number, value(i)));
    // Directed ones overtake those of the process natively, so one at a time between the two kinds.
    EXPECT(comes_true([&] { return seen > i; }));
  }
  (void)!write(pipe.b, "x", 1);
  target.join();
  for (int i = 0; i < 200; i++) EXPECT_EQ(i, order[i]);
}

static void whose_it_is() {
  Pipe const pipe, back;
  Pthread other([&] {
    char byte;
    (void)!read(pipe.a, &byte, 1);
    EXPECT(is_pending(SIGUSR1));  // its own
    EXPECT(is_pending(SIGUSR2));  // the process's
    EXPECT(!is_pending(SIGHUP));
    (void)!write(back.b, "x", 1);
    (void)!read(pipe.a, &byte, 1);
    EXPECT(!is_pending(SIGUSR2));  // somebody took it
    sigset_t const set = set_of(SIGUSR1);
    int got = 0;
    EXPECT_EQ(0, sigwait(&set, &got));
    EXPECT_EQ(SIGUSR1, got);
  });
  EXPECT_EQ(0, pthread_kill(other.id(), SIGUSR1));
  EXPECT_EQ(0, kill(getpid(), SIGUSR2));
  EXPECT_EQ(0, pthread_kill(pthread_self(), SIGHUP));
  EXPECT(!is_pending(SIGUSR1));
  EXPECT(is_pending(SIGUSR2) && is_pending(SIGHUP));
  (void)!write(pipe.b, "x", 1);
  char byte;
  (void)!read(back.a, &byte, 1);
  sigset_t const set = set_of(SIGUSR2, SIGHUP);
  siginfo_t info;
  EXPECT_EQ(SIGHUP, sigwaitinfo(&set, &info));
  EXPECT_EQ(SI_USER, info.si_code);  // so libc's sigwaitinfo says it
  EXPECT_EQ(SIGUSR2, sigwaitinfo(&set, &info));
  EXPECT_EQ(SI_USER, info.si_code);
  EXPECT(info.si_pid == getpid() && info.si_uid == getuid());
  (void)!write(pipe.b, "x", 1);
}

static void whoever_unblocks_first_has_it() {
  int const number = SIGRTMIN + 4;
  on_value(number);
  for (int round = 0; round < 20; round++) {
    seen = 0;
    EXPECT_EQ(0, sigqueue(getpid(), number, value(7)));
    Pthread other([&] {
      EXPECT_EQ(0, seen);
      mask(SIG_UNBLOCK, set_of(number));
      EXPECT_EQ(1, seen);
      EXPECT(pthread_equal(pthread_self(), last_thread));
    });
    other.join();
    EXPECT_EQ(1, seen);
    EXPECT_EQ(7, order[0]);
  }
}

// A handler blocks its signal in the one thread that takes it: the next ones wait, for that thread or
// for another that opens it.
static void nothing_is_lost_between_masks() {
  static std::atomic<int> in_main, in_other;
  static pthread_t main_thread;
  main_thread = pthread_self();
  in_main = in_other = 0;
  struct sigaction action = {};
  action.sa_handler = [](int) { (pthread_equal(pthread_self(), main_thread) ? in_main : in_other)++; };
  int const number = SIGRTMIN + 5;
  EXPECT_EQ(0, sigaction(number, &action, nullptr));
  std::atomic<bool> stop{false};
  auto toggle = [&] {
    while (!stop) {
      mask(SIG_UNBLOCK, set_of(number));
      mask(SIG_BLOCK, set_of(number));
      sched_yield();
    }
  };
  Pthread one(toggle), two(toggle);
  for (int i = 0; i < 500; i++) {
    EXPECT_EQ(0, kill(getpid(), number));
    if (i % 10 == 0) nap(1);
  }
  EXPECT(comes_true([&] { return in_main + in_other == 500; }));
  EXPECT_EQ(0, in_main);
  stop = true;
}

static void ignoring_forgets() {
  signal(SIGUSR1, by_number);
  for (bool to_thread : {false, true}) {
    seen = 0;
    EXPECT_EQ(0, to_thread ? raise(SIGUSR1) : kill(getpid(), SIGUSR1));
    EXPECT(is_pending(SIGUSR1));
    signal(SIGUSR1, SIG_IGN);
    EXPECT(!is_pending(SIGUSR1));
    signal(SIGUSR1, by_number);
    mask(SIG_UNBLOCK, set_of(SIGUSR1));
    EXPECT_EQ(0, seen);
    mask(SIG_BLOCK, set_of(SIGUSR1));
    // SIGURG's default is to be ignored.
    signal(SIGURG, by_number);
    EXPECT_EQ(0, to_thread ? raise(SIGURG) : kill(getpid(), SIGURG));
    signal(SIGURG, SIG_DFL);
    EXPECT(!is_pending(SIGURG));
    // A blocked one is kept even if it is ignored.
    signal(SIGUSR1, SIG_IGN);
    EXPECT_EQ(0, to_thread ? raise(SIGUSR1) : kill(getpid(), SIGUSR1));
    EXPECT(is_pending(SIGUSR1));
    signal(SIGUSR1, by_number);
    mask(SIG_UNBLOCK, set_of(SIGUSR1));
    EXPECT_EQ(1, seen);
    mask(SIG_BLOCK, set_of(SIGUSR1));
  }
}

static void pending_ones_die_with_their_thread() {
  int const number = SIGRTMIN + 6;
  on_value(number);
  for (int i = 0; i < 40; i++) {
    Pthread thread([&] {
      EXPECT(!is_pending(number));
      for (int k = 0; k < 20; k++) EXPECT_EQ(0, pthread_sigqueue(pthread_self(), number, value(1000)));
      EXPECT(is_pending(number));
    });
    thread.join();
  }
  Pthread fresh([&] {
    seen = 0;
    mask(SIG_UNBLOCK, set_of(number));
    EXPECT_EQ(0, seen);
    EXPECT_EQ(0, pthread_sigqueue(pthread_self(), number, value(5)));
    EXPECT_EQ(1, seen);
    EXPECT_EQ(5, order[0]);
  });
}

static void kill_is_handled_before_it_returns() {
  on_value(SIGRTMIN + 7);
  mask(SIG_UNBLOCK, set_of(SIGRTMIN + 7));
  for (int i = 0; i < 200; i++) {
    int const before = seen = 0;
    EXPECT_EQ(0, i % 2 ? kill(getpid(), SIGRTMIN + 7) : sigqueue(getpid(), SIGRTMIN + 7, value(i)));
    EXPECT_EQ(before + 1, seen);
    EXPECT(pthread_equal(pthread_self(), last_thread));
    if (i % 50 == 0) nap(2);
  }
  mask(SIG_BLOCK, set_of(SIGRTMIN + 7));
}

static void a_handler_changes_the_mask_it_returns_to() {
  struct sigaction action = {};
  action.sa_sigaction = [](int, siginfo_t*, void* context) {
    auto* interrupted = static_cast<ucontext_t*>(context);
    EXPECT(sigismember(&interrupted->uc_sigmask, SIGHUP));
    EXPECT(!sigismember(&interrupted->uc_sigmask, SIGUSR1));
    sigaddset(&interrupted->uc_sigmask, SIGUSR1);
    sigdelset(&interrupted->uc_sigmask, SIGUSR2);
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, nullptr, &now);
    EXPECT(sigismember(&now, SIGUSR1) && sigismember(&now, SIGTERM) && sigismember(&now, SIGHUP));
  };
  action.sa_flags = SA_SIGINFO;
  sigaddset(&action.sa_mask, SIGTERM);
  EXPECT_EQ(0, sigaction(SIGUSR1, &action, nullptr));
  for (bool to_thread : {true, false}) {
    mask(SIG_UNBLOCK, set_of(SIGUSR1));
    mask(SIG_BLOCK, set_of(SIGUSR2));
    EXPECT_EQ(0, to_thread ? raise(SIGUSR1) : kill(getpid(), SIGUSR1));
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, nullptr, &now);
    EXPECT(sigismember(&now, SIGUSR1) && !sigismember(&now, SIGUSR2));
  }
  mask(SIG_BLOCK, set_of(SIGUSR2));
}

int main() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  Ticker const ticker;
  auto cases = [] {
    real_time_keeps_its_order();
    places_are_used_again_in_order();
    many_numbers();
    a_burst_to_a_blocked_thread();
    whose_it_is();
    whoever_unblocks_first_has_it();
    nothing_is_lost_between_masks();
    ignoring_forgets();
    pending_ones_die_with_their_thread();
    kill_is_handled_before_it_returns();
    a_handler_changes_the_mask_it_returns_to();
  };
  cases();
  Pthread second([&] {
    where = "second";
    cases();
  });
  second.join();
  return finish();
}
