// SPDX-License-Identifier: Apache-2.0
//
// What becomes of an expiry that still waits for its thread when the timer is set anew, disarmed
// or deleted. Linux (from 6.13 on: before, nothing is tested here): setting a POSIX timer drops it,
// and the overruns with it; deleting too; setitimer and alarm leave a SIGALRM pending. Overruns are
// counted while a signal waits.
#include <sys/syscall.h>
#include <sys/time.h>

#include "thread_testing.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static itimerspec const kSoon{{}, {0, 1000000}};
static itimerspec const kFar{{}, {100, 0}};
static itimerspec const kNever{};
static itimerspec const kOften{{0, 1000000}, {0, 1000000}};

static bool is_pending(int signal) {
  sigset_t set;
  sigpending(&set);
  return sigismember(&set, signal);
}

static siginfo_t found;
static int next(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  timespec const none{};
  return sigtimedwait(&set, &found, &none);
}

static void set_to(timer_t timer, const itimerspec& time) {
  EXPECT_OK(0, timer_settime(timer, 0, &time, nullptr));
}

static void expire(timer_t timer, int signal) {
  set_to(timer, kSoon);
  EXPECT(comes_true([=] { return is_pending(signal); }));
}

static void drops_what_waits(int signal, bool for_thread) {
  timer_t timer;
  sigevent event{};
  event.sigev_notify = for_thread ? SIGEV_THREAD_ID : SIGEV_SIGNAL;
  event.sigev_signo = signal;
  event.sigev_notify_thread_id = gettid();
  EXPECT_OK(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
  expire(timer, signal);
  EXPECT_EQ(signal, next(signal));
  EXPECT_EQ(SI_TIMER, found.si_code);
  EXPECT_EQ(0, found.si_overrun);
  EXPECT_EQ(-1, next(signal));

  expire(timer, signal);
  set_to(timer, kFar);
  EXPECT_EQ(-1, next(signal));
  EXPECT(!is_pending(signal));

  expire(timer, signal);
  set_to(timer, kNever);
  EXPECT_EQ(-1, next(signal));

  set_to(timer, kOften);
  EXPECT(comes_true([=] { return is_pending(signal); }));
  nap(20);
  set_to(timer, kSoon);
  EXPECT(comes_true([=] { return next(signal) == signal; }));
  EXPECT_EQ(0, found.si_overrun);
  EXPECT_EQ(0, timer_getoverrun(timer));

  set_to(timer, kOften);
  EXPECT(comes_true([=] { return is_pending(signal); }));
  nap(20);
  EXPECT_EQ(signal, next(signal));
  EXPECT(found.si_overrun > 2);
  EXPECT_EQ(found.si_overrun, timer_getoverrun(timer));
  set_to(timer, kNever);
  next(signal);

  expire(timer, signal);
  EXPECT_OK(0, timer_delete(timer));
  EXPECT_EQ(-1, next(signal));
  EXPECT(!is_pending(signal));
}

static void an_alarm_stays() {
  itimerval const soon{{}, {0, 1000}};
  itimerval const never{};
  itimerval const far{{}, {100, 0}};
  EXPECT_OK(0, setitimer(ITIMER_REAL, &soon, nullptr));
  EXPECT(comes_true([] { return is_pending(SIGALRM); }));
  EXPECT_OK(0, setitimer(ITIMER_REAL, &never, nullptr));
  EXPECT(is_pending(SIGALRM));
  EXPECT_OK(0, setitimer(ITIMER_REAL, &far, nullptr));
  EXPECT(is_pending(SIGALRM));
  alarm(0);
  EXPECT_EQ(SIGALRM, next(SIGALRM));
  EXPECT_EQ(-1, next(SIGALRM));
}

// In a handler that blocks it: under a user-level scheduler it waits elsewhere than in the kernel.
static std::atomic<bool> was_in{false};
static void in_a_handler() {
  struct sigaction action {};
  action.sa_handler = [](int) {
    drops_what_waits(SIGUSR2, false);
    an_alarm_stays();
    was_in = true;
  };
  sigaddset(&action.sa_mask, SIGUSR2);
  sigaddset(&action.sa_mask, SIGALRM);
  EXPECT_EQ(0, sigaction(SIGUSR1, &action, nullptr));
  count_signal(SIGUSR2, 0);
  count_signal(SIGALRM, 0);
  sigset_t open;
  sigemptyset(&open);
  sigset_t old;
  was_in = false;
  pthread_sigmask(SIG_SETMASK, &open, &old);
  raise(SIGUSR1);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  EXPECT(was_in);
}

// Asked of the kernel, where a signal waits that every thread blocks.
static bool kernel_drops() {
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  timer_t timer;
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGUSR2;
  EXPECT_OK(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
  expire(timer, SIGUSR2);
  set_to(timer, kFar);
  bool const dropped = next(SIGUSR2) == -1;
  timer_delete(timer);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  return dropped;
}

int main() {
  bool const drops = kernel_drops();
  sigset_t all;
  sigfillset(&all);
  std::atomic<bool> done{false};
  std::atomic<bool> opened{false};
  Pthread open([&] {  // has the thread's signal open, so nobody may keep it in the kernel
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    opened = true;
    while (!done) nap(1);
  });
  EXPECT(comes_true([&] { return opened.load(); }));
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  count_signal(SIGRTMIN + 1, 0);
  count_signal(SIGUSR1, 0);
  from_both([drops] {
    if (!drops) return;
    drops_what_waits(SIGUSR2, false);
    drops_what_waits(SIGRTMIN, false);
    drops_what_waits(SIGRTMIN + 1, true);
    drops_what_waits(SIGUSR1, true);
    an_alarm_stays();
    in_a_handler();
  });
  done = true;
  open.join();
  EXPECT_EQ(0, handled.load());
  return finish();
}
