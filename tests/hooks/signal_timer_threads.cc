// SPDX-License-Identifier: Apache-2.0
//
// POSIX timers of every kind: SIGEV_THREAD_ID with what gettid tells (handled in that thread, or taken
// there by sigwaitinfo, with the timer's value), SIGEV_SIGNAL to the process, SIGEV_NONE, SIGEV_THREAD
// whose thread locks, signals and is signalled like any other; overruns of a blocked signal; a timer
// whose thread is gone.
#include <semaphore.h>
#include <sys/syscall.h>

#include "thread_testing.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static std::atomic<int> ticks{0}, last_value{0}, last_code{0};
static std::atomic<pthread_t> ticked_in{};

static void on_tick(int, siginfo_t* info, void*) {
  ticked_in = pthread_self();
  last_value = info->si_value.sival_int;
  last_code = info->si_code;
  ticks++;
}

static void install(int number, int flags = 0) {
  struct sigaction action = {};
  action.sa_sigaction = on_tick;
  action.sa_flags = SA_SIGINFO | flags;
  EXPECT_EQ(0, sigaction(number, &action, nullptr));
}

static timer_t make(int notify, int number, int value, pid_t tid = 0) {
  sigevent event{};
  event.sigev_notify = notify;
  event.sigev_signo = number;
  event.sigev_value.sival_int = value;
  if (notify == SIGEV_THREAD_ID) event.sigev_notify_thread_id = tid;
  timer_t timer{};
  EXPECT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
  return timer;
}

static void start(timer_t timer, int first_ms, int every_ms = 0) {
  itimerspec time{{0, every_ms * 1000000}, {0, first_ms * 1000000}};
  EXPECT_EQ(0, timer_settime(timer, 0, &time, nullptr));
}

static void of_a_thread() {
  install(SIGRTMIN + 1);
  ticks = 0;
  std::atomic<bool> stop{false};
  std::atomic<pid_t> tid{0};
  Pthread target([&] {
    tid = gettid();
    while (!stop) usleep(100000);
  });
  EXPECT(comes_true([&] { return tid != 0; }));
  timer_t const timer = make(SIGEV_THREAD_ID, SIGRTMIN + 1, 42, tid);
  start(timer, 2, 2);
  EXPECT(comes_true([] { return ticks >= 5; }));
  EXPECT(pthread_equal(ticked_in, target.id()));
  EXPECT(last_value == 42 && last_code == SI_TIMER);
  EXPECT_EQ(0, timer_delete(timer));
  stop = true;
  target.join();
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGRTMIN + 1;
  event.sigev_notify_thread_id = getppid();
  timer_t none{};
  EXPECT_ERRNO(EINVAL, timer_create(CLOCK_MONOTONIC, &event, &none));
}

static void of_oneself() {
  install(SIGRTMIN + 1);
  ticks = 0;
  timer_t const timer = make(SIGEV_THREAD_ID, SIGRTMIN + 1, 7, static_cast<pid_t>(syscall(SYS_gettid)));
  start(timer, 20);
  EXPECT_ERRNO(EINTR, usleep(2000000));
  EXPECT(ticks == 1 && pthread_equal(ticked_in, pthread_self()));
  sigset_t set, old;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 1);
  pthread_sigmask(SIG_BLOCK, &set, &old);
  start(timer, 2);
  siginfo_t info;
  EXPECT_EQ(SIGRTMIN + 1, sigwaitinfo(&set, &info));
  EXPECT(info.si_code == SI_TIMER && info.si_value.sival_int == 7);
  start(timer, 2, 2);
  nap(40);
  timespec const none{};
  EXPECT_EQ(SIGRTMIN + 1, sigtimedwait(&set, &info, &none));
  EXPECT(info.si_overrun >= 3);  // one signal for all of them
  start(timer, 0);
  while (sigtimedwait(&set, &info, &none) > 0) continue;
  EXPECT_ERRNO(EAGAIN, sigtimedwait(&set, &info, &none));
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  EXPECT_EQ(0, timer_delete(timer));
  EXPECT_ERRNO(EINVAL, timer_delete(timer));
}

static void of_one_that_is_gone() {
  install(SIGRTMIN + 1);
  timer_t timer{};
  Pthread short_lived([&] { timer = make(SIGEV_THREAD_ID, SIGRTMIN + 1, 1, gettid()); });
  short_lived.join();
  Pthread another([&] { usleep(60000); });
  ticks = 0;
  start(timer, 2, 5);
  nap(30);
  EXPECT_EQ(0, ticks);
  EXPECT_EQ(0, timer_delete(timer));
}

static void of_the_process() {
  install(SIGRTMIN + 2, SA_RESTART);
  ticks = 0;
  timer_t const silent = make(SIGEV_NONE, 0, 0);
  timer_t const timer = make(SIGEV_SIGNAL, SIGRTMIN + 2, 11);
  start(silent, 500);
  start(timer, 2, 2);
  EXPECT(comes_true([] { return ticks >= 5; }));
  EXPECT(last_value == 11 && last_code == SI_TIMER);
  itimerspec left{};
  EXPECT_EQ(0, timer_gettime(silent, &left));
  EXPECT(left.it_value.tv_nsec > 0);
  EXPECT_EQ(0, timer_delete(timer));
  EXPECT_EQ(0, timer_delete(silent));
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sem_t called;
static std::atomic<int> handled_there{0};
static pthread_t waiting;

static void in_its_own_thread(sigval value) {
  EXPECT(!pthread_equal(pthread_self(), waiting));
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 3);
  EXPECT_EQ(0, pthread_sigmask(SIG_UNBLOCK, &set, nullptr));  // libc has blocked all
  EXPECT_EQ(0, pthread_mutex_lock(&lock));
  int const before = handled_there;
  EXPECT_EQ(0, pthread_kill(pthread_self(), SIGRTMIN + 3));
  EXPECT_EQ(before + 1, handled_there);
  raise(SIGRTMIN + 3);
  EXPECT_EQ(before + 2, handled_there);
  EXPECT(pthread_equal(ticked_in, pthread_self()));
  EXPECT_EQ(0, pthread_mutex_unlock(&lock));
  EXPECT_EQ(0, pthread_kill(waiting, SIGRTMIN + 1));
  EXPECT_EQ(5, value.sival_int);
  sem_post(&called);
}

static void with_a_thread() {
  install(SIGRTMIN + 1, SA_RESTART);
  struct sigaction action = {};
  action.sa_handler = [](int) {
    handled_there++;
    ticked_in = pthread_self();
  };
  EXPECT_EQ(0, sigaction(SIGRTMIN + 3, &action, nullptr));
  sem_init(&called, 0, 0);
  waiting = pthread_self();
  ticks = 0;
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD;
  event.sigev_notify_function = in_its_own_thread;
  event.sigev_value.sival_int = 5;
  timer_t timer{};
  EXPECT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
  for (int i = 0; i < 5; i++) {
    EXPECT_EQ(0, pthread_mutex_lock(&lock));
    start(timer, 1);
    nap(5);
    EXPECT_EQ(0, pthread_mutex_unlock(&lock));
    while (sem_wait(&called) == -1) EXPECT_EQ(EINTR, errno);
  }
  EXPECT(comes_true([] { return ticks == 5; }));
  EXPECT_EQ(0, timer_delete(timer));
  sem_destroy(&called);
}

int main() {
  from_both([] {
    of_a_thread();
    of_oneself();
    of_one_that_is_gone();
    of_the_process();
    with_a_thread();
  });
  return finish();
}
