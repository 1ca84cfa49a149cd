// SPDX-License-Identifier: Apache-2.0
//
// Signals from clocks and children: alarm and setitimer (what is left, cancelling, intervals) that
// end main's blocked call or run beside it, timer_create with SIGEV_SIGNAL and SIGEV_THREAD, an
// alarm handled by the only thread that has it open, SIGCHLD handlers that reap many children (with
// and without SA_RESTART), SIGCHLD ignored (no zombies).
#include <semaphore.h>
#include <sys/time.h>

#include <vector>

#include "thread_testing.h"

static std::atomic<int> ticks{0};
static std::atomic<pthread_t> ticked_in{0};

static void tick(int) {
  ticked_in = pthread_self();
  ++ticks;
}

static void install(int number, void (*handler)(int), int flags) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  EXPECT_EQ(0, sigaction(number, &action, nullptr));
}

static void arm(int first_ms, int interval_ms) {
  itimerval const time{{0, interval_ms * 1000}, {0, first_ms * 1000}};
  EXPECT_OK(0, setitimer(ITIMER_REAL, &time, nullptr));
}

static void one_alarm_ends_a_call() {
  install(SIGALRM, tick, 0);
  ticks = 0;
  Pipe const pipe;
  char byte = 0;
  arm(25, 25);  // again and again, should the first one come before the call
  while_others_tick([&] { EXPECT_ERRNO(EINTR, read(pipe.a, &byte, 1)); });
  EXPECT(ticks >= 1);
  EXPECT(ticked_in == pthread_self());
  while_others_tick([] { EXPECT_ERRNO(EINTR, pause()); });
  unsigned const left = sleep(5);
  arm(0, 0);
  EXPECT(left == 4 || left == 5);
}

static void left_and_cancelled() {
  ticks = 0;
  EXPECT_EQ(0, alarm(100));
  EXPECT_EQ(100, alarm(50));
  itimerval left{};
  EXPECT_OK(0, getitimer(ITIMER_REAL, &left));
  EXPECT(left.it_value.tv_sec == 49 || left.it_value.tv_sec == 50);
  EXPECT_EQ(50, alarm(0));
  EXPECT_EQ(0, alarm(0));
  itimerval wrong{{0, 0}, {0, 1000000}};
  EXPECT_ERRNO(EINVAL, setitimer(ITIMER_REAL, &wrong, nullptr));
  EXPECT_EQ(0, ticks);
}

static void an_interval_beside_work() {
  install(SIGALRM, tick, SA_RESTART);
  ticks = 0;
  arm(5, 5);
  Pthread worker([] { EXPECT(comes_true([] { return ticks >= 4; })); });
  worker.join();  // main's join is restarted all the while
  arm(0, 0);
  EXPECT(ticks >= 4);
}

static void by_the_one_thread_that_has_it_open() {
  sigset_t alarm_set;
  sigemptyset(&alarm_set);
  sigaddset(&alarm_set, SIGALRM);
  ticks = 0;
  std::atomic<bool> ready{false};
  Pthread open_one([&] {
    ready = true;
    install(SIGALRM, tick, 0);
    EXPECT_ERRNO(EINTR, pause());
  });
  EXPECT(comes_true([&] { return ready.load(); }));
  EXPECT_EQ(0, pthread_sigmask(SIG_BLOCK, &alarm_set, nullptr));
  nap(10);
  arm(15, 15);
  open_one.join();
  arm(0, 0);
  EXPECT(ticks >= 1);
  EXPECT_EQ(0, pthread_sigmask(SIG_UNBLOCK, &alarm_set, nullptr));
}

static sem_t fired;

static void posix_timers() {
  install(SIGRTMIN + 2, tick, SA_RESTART);
  ticks = 0;
  timer_t timer{};
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGRTMIN + 2;
  EXPECT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
  itimerspec const every{{0, 5000000}, {0, 5000000}};
  EXPECT_EQ(0, timer_settime(timer, 0, &every, nullptr));
  EXPECT(comes_true([] { return ticks >= 3; }));
  EXPECT_EQ(0, timer_delete(timer));

  // glibc calls back in threads of its own making.
  EXPECT_EQ(0, sem_init(&fired, 0, 0));
  sigevent call{};
  call.sigev_notify = SIGEV_THREAD;
  call.sigev_value.sival_int = 17;
  call.sigev_notify_function = [](sigval value) {
    usleep(1000);
    if (value.sival_int == 17) sem_post(&fired);
  };
  EXPECT_EQ(0, timer_create(CLOCK_MONOTONIC, &call, &timer));
  itimerspec const once{{0, 0}, {0, 20000000}};
  EXPECT_EQ(0, timer_settime(timer, 0, &once, nullptr));
  while_others_tick([] { EXPECT_EQ(0, sem_wait(&fired)); });
  EXPECT_EQ(0, timer_delete(timer));
}

static std::atomic<int> reaped{0};

static void reap(int) {
  int const saved = errno;
  while (waitpid(-1, nullptr, WNOHANG) > 0) ++reaped;
  errno = saved;
}

static void children_are_reaped_by_the_handler() {
  for (int flags : {0, SA_RESTART}) {
    install(SIGCHLD, reap, flags);
    reaped = 0;
    constexpr int kChildren = 12;
    Pthread forker([] {
      for (int i = 0; i < kChildren; ++i) {
        pid_t const child = fork();
        if (child == 0) {
          usleep(5000);
          _exit(i);
        }
        EXPECT(child > 0);
      }
    });
    while_others_tick([] {
      EXPECT(comes_true([] {
        usleep(1000);
        return reaped == kChildren;
      }));
    });
    forker.join();
    EXPECT_ERRNO(ECHILD, waitpid(-1, nullptr, 0));
  }
}

static void ignored_children_leave_nothing() {
  signal(SIGCHLD, SIG_IGN);
  pid_t const child = fork();
  if (child == 0) {
    usleep(20000);
    _exit(1);
  }
  while_others_tick([child] { EXPECT_ERRNO(ECHILD, waitpid(child, nullptr, 0)); });
  signal(SIGCHLD, SIG_DFL);
}

int main() {
  one_alarm_ends_a_call();
  left_and_cancelled();
  an_interval_beside_work();
  by_the_one_thread_that_has_it_open();
  posix_timers();
  children_are_reaped_by_the_handler();
  ignored_children_leave_nothing();
  return finish();
}
