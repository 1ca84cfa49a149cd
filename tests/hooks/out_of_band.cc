// SPDX-License-Identifier: Apache-2.0
//
// Urgent data: POLLPRI by poll and epoll, recv with MSG_OOB (and its EINVAL, EAGAIN), reads that
// stop at the mark, sockatmark, SO_OOBINLINE, a plain recv that waits on although urgent data has
// come, and SIGURG.

#include <poll.h>
#include <sys/epoll.h>

#include "testing.h"

static void polled() {
  Tcp tcp;
  pollfd one = {tcp.b, POLLIN | POLLPRI, 0};
  char byte;
  EXPECT_ERRNO(EINVAL, recv(tcp.b, &byte, 1, MSG_OOB));
  Stopwatch watch;
  Thread sender = after(20, [&] { EXPECT_OK(1, send(tcp.a, "!", 1, MSG_OOB)); });
  EXPECT_OK(1, poll(&one, 1, 3000));
  EXPECT_WAITED(watch);
  EXPECT_EQ(POLLPRI, one.revents);
  EXPECT_OK(1, recv(tcp.b, &byte, 1, MSG_OOB));
  EXPECT_EQ('!', byte);
  EXPECT_ERRNO(EINVAL, recv(tcp.b, &byte, 1, MSG_OOB));  // taken
  EXPECT_OK(0, poll(&one, 1, 10));
  sender.join();
  int epoll = NEED(epoll_create1(0));
  epoll_event event = {EPOLLPRI, {}};
  EXPECT_OK(0, epoll_ctl(epoll, EPOLL_CTL_ADD, tcp.b, &event));
  Thread again = after(20, [&] { EXPECT_OK(1, send(tcp.a, "?", 1, MSG_OOB)); });
  EXPECT_OK(1, epoll_wait(epoll, &event, 1, 3000));
  EXPECT_EQ(EPOLLPRI, event.events);
  close(epoll);
}

static void reads_stop_at_the_mark() {
  Tcp tcp;
  char buffer[8];
  EXPECT_OK(2, send(tcp.a, "ab", 2, 0));
  EXPECT_OK(1, send(tcp.a, "!", 1, MSG_OOB));
  EXPECT_OK(2, send(tcp.a, "cd", 2, 0));
  pollfd one = {tcp.b, POLLPRI, 0};
  EXPECT_OK(1, poll(&one, 1, 3000));
  pause_ms(10);
  EXPECT_OK(0, sockatmark(tcp.b));
  EXPECT_OK(2, recv(tcp.b, buffer, 8, 0));
  EXPECT_OK(1, sockatmark(tcp.b));
  EXPECT_OK(1, recv(tcp.b, buffer, 8, MSG_OOB));
  EXPECT_OK(2, recv(tcp.b, buffer, 8, 0));
  EXPECT(!memcmp(buffer, "cd", 2));
}

static void in_line() {
  Tcp tcp;
  int on = 1;
  char buffer[8];
  EXPECT_OK(0, setsockopt(tcp.b, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on));
  Stopwatch watch;
  Thread sender = after(20, [&] { EXPECT_OK(1, send(tcp.a, "i", 1, MSG_OOB)); });
  EXPECT_OK(1, recv(tcp.b, buffer, 8, 0));
  EXPECT_WAITED(watch);
  EXPECT_EQ('i', buffer[0]);
  EXPECT_ERRNO(EINVAL, recv(tcp.b, buffer, 8, MSG_OOB));
}

static void a_plain_reader_waits_on() {
  Tcp tcp;
  char buffer[8];
  Stopwatch watch;
  Thread sender = after(20, [&] {
    EXPECT_OK(1, send(tcp.a, "!", 1, MSG_OOB));
    pause_ms(20);
    EXPECT_OK(1, send(tcp.a, "p", 1, 0));
  });
  EXPECT_OK(1, recv(tcp.b, buffer, 8, 0));
  EXPECT(watch.took_between(35, 4000));
  EXPECT_EQ('p', buffer[0]);
}

static void sigurg() {
  Tcp tcp;
  char byte;
  count_signal(SIGURG, SA_RESTART);
  int before = handled;
  EXPECT_OK(0, fcntl(tcp.b, F_SETOWN, getpid()));
  Stopwatch watch;
  Thread sender = after(20, [&] {
    EXPECT_OK(1, send(tcp.a, "!", 1, MSG_OOB));
    for (int i = 0; i < 2000 && handled == before; i++) pause_ms(1);
    EXPECT_OK(1, send(tcp.a, "p", 1, 0));
  });
  EXPECT_OK(1, recv(tcp.b, &byte, 1, 0));
  EXPECT_WAITED(watch);
  EXPECT_EQ(before + 1, handled);
}

int main() {
  from_both([] {
    polled();
    reads_stop_at_the_mark();
    in_line();
    a_plain_reader_waits_on();
    sigurg();
  });
  return finish();
}
