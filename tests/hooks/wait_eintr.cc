// SPDX-License-Identifier: Apache-2.0
//
// poll, ppoll, select, pselect, epoll_wait and its kin hear EINTR from every handler, with
// SA_RESTART as well (signal(7)); out-parameters are as before, select's time-out is cut to what is
// left.

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "testing.h"

static void waits(int flags) {
  Pair pair;
  int epoll = NEED(epoll_create1(0));
  epoll_event event = {EPOLLIN, {}};
  EXPECT_OK(0, epoll_ctl(epoll, EPOLL_CTL_ADD, pair.a, &event));
  guarded<epoll_event[2]> events;
  guarded<pollfd> one(pollfd{pair.a, POLLIN, 77});
  guarded<fd_set> in;
  timespec time = {5, 0};
  timeval left = {5, 0};
  count_signal(SIGUSR1, flags);
  int before = handled;
  {
    Kicker kicker(pthread_self());
    EXPECT_ERRNO(EINTR, poll(&one, 1, -1));
    EXPECT_ERRNO(EINTR, poll(&one, 1, 5000));
    EXPECT_ERRNO(EINTR, poll(nullptr, 0, 5000));
    EXPECT_ERRNO(EINTR, ppoll(&one, 1, &time, nullptr));
    EXPECT_ERRNO(EINTR, ppoll(&one, 1, nullptr, nullptr));
    EXPECT_EQ(5, time.tv_sec);
    FD_ZERO(&in.value);
    FD_SET(pair.a, &in.value);
    EXPECT_ERRNO(EINTR, select(pair.a + 1, &in, nullptr, nullptr, nullptr));
    EXPECT_ERRNO(EINTR, select(pair.a + 1, &in, nullptr, nullptr, &left));
    EXPECT(FD_ISSET(pair.a, &in.value));
    EXPECT(left.tv_sec == 4);
    EXPECT_ERRNO(EINTR, pselect(pair.a + 1, &in, nullptr, nullptr, &time, nullptr));
    EXPECT_EQ(5, time.tv_sec);
    EXPECT_ERRNO(EINTR, epoll_wait(epoll, events.value, 2, -1));
    EXPECT_ERRNO(EINTR, epoll_wait(epoll, events.value, 2, 5000));
    EXPECT_ERRNO(EINTR, epoll_pwait(epoll, events.value, 2, 5000, nullptr));
    EXPECT_ERRNO(EINTR, epoll_pwait2(epoll, events.value, 2, &time, nullptr));
  }
  EXPECT_EQ(0, one.value.revents);  // the kernel writes it, for EINTR too
  EXPECT(events.untouched());
  EXPECT(handled >= before + 12);
  EXPECT(pthread_equal(handled_in, pthread_self()));
  close(epoll);
}

// What is ready is told, whatever signals come; a blocked signal ends nothing.
static void ready_comes_first_and_blocked_ones_wait() {
  Pair pair;
  sigset_t set, old;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  count_signal(SIGUSR1, 0);
  int before = handled;
  EXPECT_EQ(0, pthread_sigmask(SIG_BLOCK, &set, &old));
  pollfd one = {pair.a, POLLIN, 0};
  {
    Kicker kicker(pthread_self());
    Stopwatch watch;
    EXPECT_OK(0, poll(&one, 1, 50));
    EXPECT(watch.took_between(49, 3000));
  }
  EXPECT_EQ(before, handled);
  EXPECT_OK(1, send(pair.b, "x", 1, 0));
  EXPECT_OK(1, poll(&one, 1, -1));
  EXPECT_EQ(0, pthread_sigmask(SIG_SETMASK, &old, nullptr));
  EXPECT_EQ(before + 1, handled);
}

static void the_masks_of_epoll() {
  int epoll = NEED(epoll_create1(0));
  epoll_event event;
  sigset_t set, old, empty;
  sigemptyset(&empty);
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  count_signal(SIGUSR1, 0);
  EXPECT_EQ(0, pthread_sigmask(SIG_BLOCK, &set, &old));
  int before = handled;
  timespec time = {5, 0};
  {
    Kicker kicker(pthread_self());
    EXPECT_ERRNO(EINTR, epoll_pwait(epoll, &event, 1, 5000, &empty));
    EXPECT_ERRNO(EINTR, epoll_pwait2(epoll, &event, 1, &time, &empty));
  }
  EXPECT(handled >= before + 2);
  EXPECT_EQ(0, pthread_sigmask(SIG_SETMASK, &old, nullptr));
  close(epoll);
}

int main() {
  from_both([] {
    waits(0);
    waits(SA_RESTART);
    ready_comes_first_and_blocked_ones_wait();
    the_masks_of_epoll();
  });
  return finish();
}
