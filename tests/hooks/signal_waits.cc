// SPDX-License-Identifier: Apache-2.0
//
// Waiting for signals: sigwait, sigwaitinfo, sigtimedwait with the signal blocked in every thread
// (the classic signal thread), from a queue, with time-outs and errors; sigsuspend's mask swap,
// sigpending, sigprocmask, pause, ppoll/pselect/epoll_pwait with a mask, signalfd blocking and
// polled. Others tick.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>

#include "thread_testing.h"

static sigset_t set_of(std::initializer_list<int> numbers) {
  sigset_t set;
  sigemptyset(&set);
  for (int number : numbers) sigaddset(&set, number);
  return set;
}
static sigset_t const kTerm = set_of({SIGTERM, SIGHUP, SIGUSR2});

static void the_classic_signal_thread() {
  std::atomic<int> last{0};
  Pthread signal_thread([&] {
    for (;;) {
      guarded<int> number;
      errno = 77;
      EXPECT_EQ(0, sigwait(&kTerm, &number));
      EXPECT_EQ(77, errno);
      last = number.value;
      if (number.value == SIGTERM) return;
    }
  });
  nap(10);
  EXPECT_EQ(0, kill(getpid(), SIGHUP));
  EXPECT(comes_true([&] { return last == SIGHUP; }));
  EXPECT_EQ(0, pthread_kill(signal_thread.id(), SIGUSR2));
  EXPECT(comes_true([&] { return last == SIGUSR2; }));
  EXPECT_EQ(0, kill(getpid(), SIGTERM));
  signal_thread.join();
  EXPECT_EQ(SIGTERM, last);
}

static void pending_ones_are_taken_at_once() {
  sigset_t pending;
  EXPECT_EQ(0, kill(getpid(), SIGHUP));
  EXPECT_EQ(0, kill(getpid(), SIGHUP));  // standard signals do not queue
  EXPECT_OK(0, sigpending(&pending));
  EXPECT_EQ(1, sigismember(&pending, SIGHUP));
  EXPECT_EQ(0, sigismember(&pending, SIGTERM));
  siginfo_t info{};
  EXPECT_OK(SIGHUP, sigwaitinfo(&kTerm, &info));
  EXPECT(info.si_signo == SIGHUP && info.si_code == SI_USER && info.si_pid == getpid());
  EXPECT_EQ(0, sigpending(&pending));
  EXPECT_EQ(0, sigismember(&pending, SIGHUP));
  timespec const zero{0, 0};
  EXPECT_ERRNO(EAGAIN, sigtimedwait(&kTerm, &info, &zero));
  // A process-directed one is pending for every thread.
  EXPECT_EQ(0, kill(getpid(), SIGHUP));
  Pthread other([] {
    sigset_t seen;
    EXPECT_EQ(0, sigpending(&seen));
    EXPECT_EQ(1, sigismember(&seen, SIGHUP));
    EXPECT_EQ(SIGHUP, sigwaitinfo(&kTerm, nullptr));
  });
  other.join();
  EXPECT_EQ(0, sigpending(&pending));
  EXPECT_EQ(0, sigismember(&pending, SIGHUP));
}

static void time_outs() {
  timespec time{0, 25000000};
  siginfo_t info{};
  long long const start = now_us();
  while_others_tick([&] { EXPECT_ERRNO(EAGAIN, sigtimedwait(&kTerm, &info, &time)); });
  EXPECT(now_us() - start >= 24000);
  EXPECT(time.tv_nsec == 25000000);
  time.tv_nsec = 1000000000;
  EXPECT_ERRNO(EINVAL, sigtimedwait(&kTerm, &info, &time));
  Pthread sender([] {
    nap(25);
    kill(getpid(), SIGUSR2);
  });
  time = {4, 0};
  while_others_tick([&] { EXPECT_OK(SIGUSR2, sigtimedwait(&kTerm, &info, &time)); });
}

static void a_queue_of_values() {
  sigset_t const realtime = set_of({SIGRTMIN, SIGRTMIN + 1});
  pthread_sigmask(SIG_BLOCK, &realtime, nullptr);
  sigval value{};
  for (int i = 0; i < 3; ++i) {
    value.sival_int = 10 + i;
    EXPECT_EQ(0, sigqueue(getpid(), SIGRTMIN + 1, value));
  }
  value.sival_int = 1;
  EXPECT_EQ(0, sigqueue(getpid(), SIGRTMIN, value));
  siginfo_t info{};
  EXPECT_EQ(SIGRTMIN, sigwaitinfo(&realtime, &info));  // the lowest number first
  EXPECT_EQ(1, info.si_value.sival_int);
  for (int i = 0; i < 3; ++i) {  // then in the order sent
    EXPECT_EQ(SIGRTMIN + 1, sigwaitinfo(&realtime, &info));
    EXPECT_EQ(10 + i, info.si_value.sival_int);
  }
}

static void suspended() {
  count_signal(SIGUSR1, SA_RESTART);
  sigset_t const usr1 = set_of({SIGUSR1});
  sigset_t none;
  sigset_t now;
  sigemptyset(&none);
  EXPECT_EQ(0, sigprocmask(SIG_BLOCK, &usr1, nullptr));
  int const before = handled;
  EXPECT_EQ(0, raise(SIGUSR1));
  EXPECT_EQ(before, handled);
  EXPECT_ERRNO(EINTR, sigsuspend(&kTerm));  // pending and let through: at once
  EXPECT_EQ(before + 1, handled);
  EXPECT_EQ(0, sigprocmask(SIG_SETMASK, nullptr, &now));
  EXPECT_EQ(1, sigismember(&now, SIGUSR1));  // the old mask is back
  pthread_t const self = pthread_self();
  auto kick = [self] {
    return Pthread([self] {
      nap(25);
      pthread_kill(self, SIGUSR1);
    });
  };
  {
    Pthread const kicker = kick();
    while_others_tick([&] { EXPECT_ERRNO(EINTR, sigsuspend(&kTerm)); });
  }
  EXPECT_EQ(before + 2, handled);
  Pipe const pipe;
  pollfd one{pipe.a, POLLIN, 0};
  timespec const five{5, 0};
  fd_set set;
  FD_ZERO(&set);
  FD_SET(pipe.a, &set);
  int const epoll = NEED(epoll_create1(0));
  epoll_event event{};
  {
    Pthread const kicker = kick();
    EXPECT_ERRNO(EINTR, ppoll(&one, 1, &five, &kTerm));
  }
  EXPECT_EQ(0, raise(SIGUSR1));  // pending before the call: nothing waits
  EXPECT_ERRNO(EINTR, ppoll(&one, 1, &five, &kTerm));
  {
    Pthread const kicker = kick();
    EXPECT_ERRNO(EINTR, pselect(pipe.a + 1, &set, nullptr, nullptr, &five, &kTerm));
  }
  {
    Pthread const kicker = kick();
    EXPECT_ERRNO(EINTR, epoll_pwait(epoll, &event, 1, 5000, &kTerm));
  }
  EXPECT_EQ(before + 6, handled);
  close(epoll);
  EXPECT_EQ(0, sigprocmask(SIG_UNBLOCK, &usr1, nullptr));
  EXPECT_INTERRUPTED(pause());
}

static void through_a_descriptor() {
  int const fd = NEED(signalfd(-1, &kTerm, SFD_CLOEXEC));
  signalfd_siginfo info{};
  Pthread sender([] {
    nap(25);
    kill(getpid(), SIGHUP);
  });
  while_others_tick([&] { EXPECT_OK(sizeof info, read(fd, &info, sizeof info)); });
  EXPECT_EQ(SIGHUP, info.ssi_signo);
  EXPECT_EQ(getpid(), info.ssi_pid);
  sender.join();
  pollfd one{fd, POLLIN, 0};
  EXPECT_EQ(0, poll(&one, 1, 0));
  Pthread again([] {
    nap(25);
    kill(getpid(), SIGUSR2);
  });
  while_others_tick([&] { EXPECT_OK(1, poll(&one, 1, 4000)); });
  EXPECT_EQ(sizeof info, read(fd, &info, sizeof info));
  EXPECT_EQ(SIGUSR2, info.ssi_signo);
  close(fd);
  int const nonblocking = NEED(signalfd(-1, &kTerm, SFD_NONBLOCK));
  EXPECT_ERRNO(EAGAIN, read(nonblocking, &info, sizeof info));
  close(nonblocking);
}

// The headers make `sigpause` mean __xpg_sigpause. This one takes a mask.
extern "C" int bsd_sigpause(int mask) __asm__("sigpause");
extern "C" int __sigpause(int, int);

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static void sigpause_of_both_kinds() {
  count_signal(SIGUSR1, 0);
  sigset_t own, before, now;
  sigemptyset(&own);
  sigaddset(&own, SIGUSR1);
  EXPECT_EQ(0, pthread_sigmask(SIG_BLOCK, &own, &before));
  pthread_t const target = pthread_self();
  auto kick = [=] {
    nap(25);
    pthread_kill(target, SIGUSR1);
  };
  int const count = handled;
  Pthread first(kick);
  while_others_tick([] { EXPECT_ERRNO(EINTR, sigpause(SIGUSR1)); });  // X/Open's
  first.join();
  EXPECT_EQ(count + 1, handled);
  Pthread second(kick);
  while_others_tick([] { EXPECT_ERRNO(EINTR, bsd_sigpause(0)); });
  second.join();
  EXPECT_EQ(count + 2, handled);
  Pthread third(kick);
  while_others_tick([] { EXPECT_ERRNO(EINTR, __sigpause(SIGUSR1, 1)); });
  third.join();
  EXPECT_EQ(count + 3, handled);
  EXPECT_ERRNO(EINVAL, sigpause(999));
  EXPECT_EQ(0, pthread_sigmask(SIG_SETMASK, &before, &now));
  EXPECT_EQ(1, sigismember(&now, SIGUSR1));
  EXPECT_EQ(1, sigismember(&now, SIGTERM));
}

static void a_cancelled_sigpause() {
  Pthread waiter([] { sigpause(SIGHUP); });
  nap(20);
  EXPECT_EQ(0, pthread_cancel(waiter.id()));
  EXPECT(waiter.join() == PTHREAD_CANCELED);
}

int main() {
  EXPECT_EQ(0, pthread_sigmask(SIG_BLOCK, &kTerm, nullptr));  // and so in every thread
  the_classic_signal_thread();
  pending_ones_are_taken_at_once();
  time_outs();
  a_queue_of_values();
  suspended();
  through_a_descriptor();
  sigpause_of_both_kinds();
  a_cancelled_sigpause();
  Pthread other([] {  // all of it once more, away from main
    where = "second";
    pending_ones_are_taken_at_once();
    time_outs();
    suspended();
    through_a_descriptor();
    sigpause_of_both_kinds();
  });
  other.join();
  return finish();
}
