// SPDX-License-Identifier: Apache-2.0
//
// Many descriptors and many waiters: poll on 500 pipes, select near FD_SETSIZE, epoll with 300, and
// 200 threads that each poll, select, epoll_wait or read on something of their own at the same
// time.

#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>

#include "testing.h"

static void poll_of_500() {
  const int count = 500;
  static thread_local pollfd fds[count];
  int out[count];
  for (int i = 0; i < count; i++) {
    int ends[2];
    NEED(pipe(ends));
    fds[i] = {ends[0], POLLIN, 0};
    out[i] = ends[1];
  }
  pollfd* all = fds;
  for (int target : {0, 250, 499}) {
    Stopwatch watch;
    Thread writer = after(20, [&] { EXPECT_OK(1, write(out[target], "m", 1)); });
    EXPECT_OK(1, poll(all, count, 3000));
    EXPECT_WAITED(watch);
    for (int i = 0; i < count; i++) EXPECT_EQ(i == target ? POLLIN : 0, all[i].revents);
    EXPECT_EQ(1, drain(all[target].fd, 1));
  }
  for (int i = 0; i < count; i += 2) EXPECT_OK(1, write(out[i], "m", 1));
  EXPECT_OK(count / 2, poll(all, count, -1));
  for (int i = 0; i < count; i += 2) EXPECT_EQ(1, drain(all[i].fd, 1));
  Stopwatch timing;
  EXPECT_OK(0, poll(all, count, 20));
  EXPECT(timing.took_between(19, 3000));
  for (int i = 0; i < count; i++) {
    close(all[i].fd);
    close(out[i]);
  }
}

static void select_near_the_end_of_the_set() {
  Pair pair;
  int high = NEED(fcntl(pair.a, F_DUPFD, 1000));
  fd_set in;
  FD_ZERO(&in);
  FD_SET(high, &in);
  FD_SET(pair.a, &in);
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pair.b, "s", 1)); });
  EXPECT_OK(2, select(high + 1, &in, nullptr, nullptr, nullptr));
  EXPECT_WAITED(watch);
  EXPECT(FD_ISSET(high, &in) && FD_ISSET(pair.a, &in));
  close(high);
}

static void epoll_of_300() {
  const int count = 300;
  int epoll = NEED(epoll_create1(0)), in[count], out[count];
  for (int i = 0; i < count; i++) {
    int ends[2];
    NEED(pipe(ends));
    in[i] = ends[0];
    out[i] = ends[1];
    epoll_event event = {EPOLLIN, {.u32 = (uint32_t)i}};
    EXPECT_OK(0, epoll_ctl(epoll, EPOLL_CTL_ADD, in[i], &event));
  }
  Thread writers = after(20, [&] {
    for (int fd : out) EXPECT_OK(1, write(fd, "e", 1));
  });
  int got = 0;
  epoll_event events[64];
  while (got < count) {
    int n = epoll_wait(epoll, events, 64, 3000);
    if (n <= 0) break;
    for (int i = 0; i < n; i++) got += (int)drain(in[events[i].data.u32], 1);
  }
  EXPECT_EQ(count, got);
  writers.join();
  for (int i = 0; i < count; i++) {
    close(in[i]);
    close(out[i]);
  }
  close(epoll);
}

static void many_waiters() {
  const int count = 200;
  std::atomic<int> waiting{0}, done{0};
  int out[count];
  std::atomic<int> made{0};
  Thread waker([&] {
    while (waiting < count) pause_ms(1);
    pause_ms(20);
    EXPECT_EQ(0, done);
    for (int fd : out) EXPECT_OK(1, write(fd, "w", 1));
  });
  in_threads(count, [&](int i) {
    Pipe pipe;
    out[i] = pipe.b;
    made++;
    waiting++;
    pollfd one = {pipe.a, POLLIN, 0};
    fd_set in;
    FD_ZERO(&in);
    FD_SET(pipe.a, &in);
    epoll_event event = {EPOLLIN, {}};
    switch (i % 4) {
      case 0:
        EXPECT_EQ(1, poll(&one, 1, -1));
        break;
      case 1:
        EXPECT_EQ(1, select(pipe.a + 1, &in, nullptr, nullptr, nullptr));
        break;
      case 2: {
        int epoll = NEED(epoll_create1(0));
        EXPECT_OK(0, epoll_ctl(epoll, EPOLL_CTL_ADD, pipe.a, &event));
        EXPECT_EQ(1, epoll_wait(epoll, &event, 1, -1));
        close(epoll);
        break;
      }
    }
    EXPECT_EQ(1, drain(pipe.a, 1));
    done++;
  });
  EXPECT_EQ(count, done);
}

int main() {
  rlimit limit;
  EXPECT_OK(0, getrlimit(RLIMIT_NOFILE, &limit));
  limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
  EXPECT_OK(0, setrlimit(RLIMIT_NOFILE, &limit));
  from_both([] {
    poll_of_500();
    select_near_the_end_of_the_set();
    epoll_of_300();
    many_waiters();
  });
  return finish();
}
