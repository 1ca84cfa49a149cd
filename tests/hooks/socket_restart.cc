// SPDX-License-Identifier: Apache-2.0
//
// A handler with SA_RESTART does not end socket calls: they go on and give what comes later. With
// SO_RCVTIMEO or SO_SNDTIMEO set, signal(7) says, they hear EINTR all the same.

#include <sys/uio.h>

#include "testing.h"

static void receiving() {
  Tcp tcp;
  char buffer[4];
  iovec vector = {buffer, 4};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  EXPECT_RESTARTED(1, recv(tcp.b, buffer, 4, 0), EXPECT_OK(1, send(tcp.a, "1", 1, 0)));
  EXPECT_RESTARTED(2, recvmsg(tcp.b, &message, 0), EXPECT_OK(2, send(tcp.a, "22", 2, 0)));
  EXPECT_RESTARTED(3, read(tcp.b, buffer, 4), EXPECT_OK(3, send(tcp.a, "333", 3, 0)));
  EXPECT_RESTARTED(1, readv(tcp.b, &vector, 1), EXPECT_OK(1, send(tcp.a, "1", 1, 0)));
  EXPECT_RESTARTED(1, recvfrom(tcp.b, buffer, 4, 0, nullptr, nullptr),
                   EXPECT_OK(1, send(tcp.a, "1", 1, 0)));
  EXPECT_RESTARTED(4, recv(tcp.b, buffer, 4, MSG_WAITALL), EXPECT_OK(4, send(tcp.a, "four", 4, 0)));
}

static void sending() {
  Pair pair;
  char bytes[4096] = {};
  long filled = fill_up(pair.a);
  EXPECT_RESTARTED(4096, send(pair.a, bytes, sizeof bytes, 0),
                   EXPECT_EQ(filled, drain(pair.b, filled)));
  EXPECT_EQ(4096, drain(pair.b, 4096));
  filled = fill_up(pair.a);
  EXPECT_RESTARTED(4096, write(pair.a, bytes, sizeof bytes),
                   EXPECT_EQ(filled, drain(pair.b, filled)));
}

static void accepting() {
  int server = listener(), client = -1;
  sockaddr_in address = address_of(server);
  int fd = -1;
  EXPECT_RESTARTED(true, (fd = accept(server, nullptr, nullptr)) >= 0,
                   client = connect_to(address));
  close(fd);
  close(client);
  close(server);
}

static void timeouts_take_restart_away() {
  Pair pair;
  char byte, bytes[4096] = {};
  set_timeout(pair.b, SO_RCVTIMEO, 2000);
  set_timeout(pair.a, SO_SNDTIMEO, 2000);
  fill_up(pair.a);
  count_signal(SIGUSR1, SA_RESTART);
  Pair empty;
  set_timeout(empty.b, SO_RCVTIMEO, 2000);
  Kicker kicker(pthread_self());
  EXPECT_ERRNO(EINTR, recv(empty.b, &byte, 1, 0));
  EXPECT_ERRNO(EINTR, read(empty.b, &byte, 1));
  EXPECT_ERRNO(EINTR, send(pair.a, bytes, sizeof bytes, 0));
  EXPECT_ERRNO(EINTR, write(pair.a, bytes, sizeof bytes));
}

static void ignored_and_blocked_signals_do_nothing() {
  Pair pair;
  char byte;
  signal(SIGUSR2, SIG_IGN);
  count_signal(SIGUSR1, 0);
  int before = handled;
  sigset_t mask, old;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR1);
  EXPECT_EQ(0, pthread_sigmask(SIG_BLOCK, &mask, &old));
  pthread_t target = pthread_self();
  Stopwatch watch;
  Thread helper = after(20, [&] {
    pthread_kill(target, SIGUSR1);
    pthread_kill(target, SIGUSR2);
    pause_ms(20);
    EXPECT_OK(1, send(pair.a, "b", 1, 0));
  });
  EXPECT_OK(1, recv(pair.b, &byte, 1, 0));
  EXPECT(watch.took_between(35, 4000));
  EXPECT_EQ(before, handled);
  EXPECT_EQ(0, pthread_sigmask(SIG_SETMASK, &old, nullptr));
  EXPECT_EQ(before + 1, handled);  // delivered as soon as it may be
}

int main() {
  from_both([] {
    receiving();
    sending();
    accepting();
    timeouts_take_restart_away();
    ignored_and_blocked_signals_do_nothing();
  });
  return finish();
}
