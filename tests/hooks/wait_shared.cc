// SPDX-License-Identifier: Apache-2.0
//
// The same descriptor waited for by several threads at once, in different ways: two polls, poll
// beside recv, for reading and for writing, select beside epoll, through duplicates, and a wait
// given up while another goes on.

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "testing.h"

static int wait_in_some_way(int way, int fd, int timeout_ms) {
  pollfd one = {fd, POLLIN, 0};
  fd_set in;
  FD_ZERO(&in);
  FD_SET(fd, &in);
  timeval time = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
  timespec precise = to_timespec(timeout_ms * 1000LL);
  epoll_event event = {EPOLLIN, {}};
  switch (way) {
    case 0:
      return poll(&one, 1, timeout_ms);
    case 1:
      return select(fd + 1, &in, nullptr, nullptr, &time);
    case 2:
      return ppoll(&one, 1, &precise, nullptr);
    default: {
      int epoll = NEED(epoll_create1(0));
      EXPECT_OK(0, epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
      int n = epoll_wait(epoll, &event, 1, timeout_ms);
      close(epoll);
      return n;
    }
  }
}

static void all_are_woken(int source, int target) {
  Thread writer = after(20, [&] { EXPECT_OK(1, write(target, "a", 1)); });
  in_threads(8, [&](int i) {
    Stopwatch watch;
    EXPECT_EQ(1, wait_in_some_way(i % 4, source, 3000));
    EXPECT(watch.took_between(0, 3000));
  });
  writer.join();
  EXPECT_EQ(1, drain(source, 1));
}

static void one_gives_up_the_other_goes_on(int source, int target) {
  std::atomic<bool> gave_up{false};
  Stopwatch watch;
  Thread impatient([&] {
    for (int i = 0; i < 4; i++) EXPECT_EQ(0, wait_in_some_way(i, source, 5));
    gave_up = true;
  });
  Thread writer([&] {
    while (!gave_up) pause_ms(1);
    EXPECT_OK(1, write(target, "g", 1));
  });
  char byte;
  EXPECT_OK(1, read(source, &byte, 1));
  EXPECT(watch.took_between(18, 4000));
}

static void reading_and_writing() {
  Pair pair;
  fill_up(pair.a);
  Stopwatch watch;
  Thread reader([&] {  // waits to read from a
    char byte;
    EXPECT_OK(1, recv(pair.a, &byte, 1, 0));
  });
  Thread peer = after(20, [&] {
    EXPECT_OK(1, send(pair.b, "r", 1, 0));  // wakes only the reader
    pause_ms(20);
    char bytes[4096];
    while (recv(pair.b, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
    }
  });
  pollfd one = {pair.a, POLLOUT, 0};
  EXPECT_OK(1, poll(&one, 1, 3000));  // waits to write to a
  EXPECT(watch.took_between(35, 4000));
  EXPECT_EQ(POLLOUT, one.revents);
}

static void different_interests_of_one_fd() {
  Tcp tcp;
  std::atomic<int> in_came{0}, hang_up_came{0};
  Thread peer = after(20, [&] {
    EXPECT_OK(1, send(tcp.a, "x", 1, 0));
    for (int i = 0; i < 3000 && !in_came; i++) pause_ms(1);
    EXPECT_EQ(0, hang_up_came);
    EXPECT_OK(0, shutdown(tcp.a, SHUT_WR));
  });
  in_threads(2, [&](int i) {
    pollfd one = {tcp.b, (short)(i ? POLLIN : POLLRDHUP), 0};
    EXPECT_OK(1, poll(&one, 1, 3000));
    (i ? in_came : hang_up_came)++;
  });
}

static void through_duplicates() {
  Pipe pipe;
  int copy = NEED(dup(pipe.a)), third = NEED(dup(pipe.a));
  int fds[] = {pipe.a, copy, third};
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pipe.b, "d", 1)); });
  in_threads(3, [&](int i) {
    if (i == 1) pause_ms(5);
    EXPECT_EQ(1, wait_in_some_way(i, fds[i], 3000));
  });
  writer.join();
  // One of them closed: the others' waits hold.
  EXPECT_EQ(1, drain(pipe.a, 1));
  Thread closer = after(10, [&] {
    close(copy);
    close(third);
    pause_ms(20);
    EXPECT_OK(1, write(pipe.b, "e", 1));
  });
  Stopwatch watch;
  EXPECT_EQ(1, wait_in_some_way(0, pipe.a, 3000));
  EXPECT(watch.took_between(25, 3500));
}

static void only_one_gets_the_byte() {
  Pair pair;
  std::atomic<int> bytes{0}, woken{0};
  Thread writer = after(20, [&] { EXPECT_OK(1, send(pair.b, "1", 1, 0)); });
  in_threads(4, [&](int i) {
    char byte;
    if (wait_in_some_way(i, pair.a, 150) == 1) {
      woken++;
      if (recv(pair.a, &byte, 1, MSG_DONTWAIT) == 1) bytes++;
    }
  });
  EXPECT_EQ(1, bytes);
  EXPECT(woken >= 1);
}

int main() {
  from_both([] {
    Pair pair;
    all_are_woken(pair.a, pair.b);
    one_gives_up_the_other_goes_on(pair.a, pair.b);
    Pipe pipe;
    all_are_woken(pipe.a, pipe.b);
    one_gives_up_the_other_goes_on(pipe.a, pipe.b);
    reading_and_writing();
    different_interests_of_one_fd();
    through_duplicates();
    only_one_gets_the_byte();
  });
  return finish();
}
