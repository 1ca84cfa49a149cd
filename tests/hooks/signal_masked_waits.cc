// SPDX-License-Identifier: Apache-2.0
//
// Calls that open the mask only while they wait (ppoll, pselect, epoll_pwait, epoll_pwait2, sigsuspend)
// never miss a signal, however it falls: thousands of signals, each sent as soon as the last was
// handled, to the thread and to the process. What a descriptor has comes before a handler; a pending
// signal comes before a time-out of 0.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "thread_testing.h"

static constexpr int kRounds = 400;
static std::atomic<int> count{0};

template <class Call>
static void never_missed(const char* name, Call call) {
  pthread_t const waiter = pthread_self();
  for (bool to_thread : {true, false}) {
    count = 0;
    std::atomic<bool> lost{false};
    Pthread sender([&, to_thread] {
      for (int i = 0; i < kRounds && !lost; i++) {
        if (to_thread)
          pthread_kill(waiter, SIGUSR1);
        else
          kill(getpid(), SIGUSR1);
        if (i % 8 == 0) sched_yield();
        if (!comes_true([&] { return count > i; })) lost = true;
        if (lost) {
          dprintf(2, "%s: signal %d to the %s was lost\n", name, i, to_thread ? "thread" : "process");
          pthread_kill(waiter, SIGUSR2);
        }
      }
    });
    while (count < kRounds && !lost) {
      int const before = count;
      errno = 0;
      int const answer = call();
      EXPECT_EQ(-1, answer);
      EXPECT_EQ(EINTR, errno);
      EXPECT(count != before || lost);
    }
    EXPECT(!lost);
    sender.join();
  }
}

static void cases() {
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &usr1, nullptr);
  sigset_t open;
  sigfillset(&open);
  sigdelset(&open, SIGUSR1);
  sigdelset(&open, SIGUSR2);
  struct sigaction action = {};
  action.sa_handler = [](int) { count++; };
  action.sa_flags = SA_RESTART;  // of no effect on these calls
  EXPECT_EQ(0, sigaction(SIGUSR1, &action, nullptr));
  count_signal(SIGUSR2, 0);
  Pipe const pipe;
  pollfd one{pipe.a, POLLIN, 0};
  never_missed("ppoll", [&] { return ppoll(&one, 1, nullptr, &open); });
  never_missed("pselect", [&] {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(pipe.a, &set);
    return pselect(pipe.a + 1, &set, nullptr, nullptr, nullptr, &open);
  });
  int const epoll = NEED(epoll_create1(0));
  epoll_event event{EPOLLIN, {}};
  EXPECT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, pipe.a, &event));
  never_missed("epoll_pwait", [&] { return epoll_pwait(epoll, &event, 1, -1, &open); });
  never_missed("epoll_pwait2", [&] { return epoll_pwait2(epoll, &event, 1, nullptr, &open); });
  never_missed("sigsuspend", [&] { return sigsuspend(&open); });

  // Pending when the call begins.
  count = 0;
  timespec const none{};
  for (bool to_thread : {true, false}) {
    auto send = [&] { to_thread ? raise(SIGUSR1) : kill(getpid(), SIGUSR1); };
    int const before = count;
    send();
    EXPECT_ERRNO(EINTR, ppoll(&one, 1, &none, &open));
    EXPECT_EQ(before + 1, count);
    send();
    EXPECT_ERRNO(EINTR, pselect(0, nullptr, nullptr, nullptr, &none, &open));
    EXPECT_EQ(before + 2, count);
    send();
    EXPECT_OK(0, epoll_pwait(epoll, &event, 1, 0, &open));  // epoll looks at the time first
    EXPECT_EQ(before + 2, count);
    EXPECT_ERRNO(EINTR, epoll_pwait(epoll, &event, 1, 1000, &open));
    EXPECT_EQ(before + 3, count);
    // Data is there: the signal stays pending.
    EXPECT_EQ(1, write(pipe.b, "x", 1));
    send();
    EXPECT_EQ(1, ppoll(&one, 1, nullptr, &open));
    EXPECT_EQ(1, epoll_pwait(epoll, &event, 1, -1, &open));
    fd_set set;
    FD_ZERO(&set);
    FD_SET(pipe.a, &set);
    EXPECT_EQ(1, pselect(pipe.a + 1, &set, nullptr, nullptr, nullptr, &open));
    EXPECT_EQ(before + 3, count);
    sigset_t pending;
    sigpending(&pending);
    EXPECT(sigismember(&pending, SIGUSR1));
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, nullptr, &now);
    EXPECT(sigismember(&now, SIGUSR1) && !sigismember(&now, SIGHUP));
    EXPECT_ERRNO(EINTR, sigsuspend(&open));
    EXPECT_EQ(before + 4, count);
    EXPECT_EQ(1, drain(pipe.a, 1));
  }
  close(epoll);
}

int main() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  Ticker const ticker;
  sigset_t none;
  sigemptyset(&none);
  sigaddset(&none, SIGUSR1);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
  cases();
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  Pthread second([&] {
    where = "second";
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &usr1, nullptr);
    cases();
  });
  second.join();
  return finish();
}
