// SPDX-License-Identifier: Apache-2.0
//
// poll and ppoll: ready at once, later, never (time-outs), several descriptors of several kinds,
// negative and closed ones, what each kind says in revents (IN, OUT, HUP, ERR, RDHUP, NVAL),
// duplicates, ppoll's untouched time-out and its mask, errors.

#include <poll.h>
#include <sys/eventfd.h>

#include "testing.h"

static void ready_at_once() {
  Pair pair;
  Pipe pipe;
  EXPECT_OK(1, send(pair.b, "x", 1, 0));
  guarded<pollfd[4]> fds;
  pollfd all[4] = {{pair.a, POLLIN | POLLOUT, 77},
                   {pipe.a, POLLIN, 77},
                   {-1, POLLIN, 77},
                   {pipe.b, POLLOUT, 77}};
  memcpy(fds.value, all, sizeof all);
  EXPECT_OK(2, poll(fds.value, 4, -1));
  EXPECT_EQ(POLLIN | POLLOUT, fds.value[0].revents);
  EXPECT_EQ(0, fds.value[1].revents);
  EXPECT_EQ(0, fds.value[2].revents);  // negative: ignored, but written
  EXPECT_EQ(POLLOUT, fds.value[3].revents);
  EXPECT_EQ(POLLIN | POLLOUT, fds.value[0].events);
  EXPECT_EQ(pair.a, fds.value[0].fd);
}

static void later() {
  Pair pair;
  Pipe pipe;
  Tcp tcp;
  int event = NEED(eventfd(0, 0));
  int targets[] = {pair.b, pipe.b, tcp.b, event}, sources[] = {pair.a, pipe.a, tcp.a, event};
  for (int i = 0; i < 4; i++) {
    guarded<pollfd[4]> fds;
    for (int j = 0; j < 4; j++) fds.value[j] = {sources[j], POLLIN, -1};
    uint64_t one = 1;
    Stopwatch watch;
    Thread writer = after(20, [&] { EXPECT_OK(8, write(targets[i], &one, 8)); });
    EXPECT_OK(1, poll(fds.value, 4, i % 2 ? -1 : 3000));
    EXPECT_WAITED(watch);
    for (int j = 0; j < 4; j++) EXPECT_EQ(i == j ? POLLIN : 0, fds.value[j].revents);
    EXPECT_EQ(8, drain(sources[i], 8));
  }
  close(event);
}

static void one_with_timeout(int source, int target) {
  pollfd one = {source, POLLIN, -1};
  Stopwatch timing;
  EXPECT_OK(0, poll(&one, 1, 30));
  EXPECT(timing.took_between(29, 3000));
  EXPECT(timing.others_ran());
  EXPECT_EQ(0, one.revents);
  EXPECT_OK(0, poll(&one, 1, 0));
  for (int i = 0; i < 3; i++) {
    Stopwatch watch;
    Thread writer = after(20, [&] { EXPECT_OK(1, write(target, "y", 1)); });
    EXPECT_OK(1, poll(&one, 1, 3000));
    EXPECT_WAITED(watch);
    EXPECT_OK(1, poll(&one, 1, 3000));  // still
    EXPECT_EQ(1, drain(source, 1));
  }
}

static void for_room() {
  Pair pair;
  long filled = fill_up(pair.a);
  pollfd one = {pair.a, POLLOUT, 0};
  EXPECT_OK(0, poll(&one, 1, 20));
  Stopwatch watch;
  Thread reader = after(20, [&] { EXPECT_EQ(filled, drain(pair.b, filled)); });
  EXPECT_OK(1, poll(&one, 1, -1));
  EXPECT_WAITED(watch);
  EXPECT_EQ(POLLOUT, one.revents);
}

static void hang_ups() {
  Pipe pipe;
  pollfd one = {pipe.a, 0, 0};  // HUP and ERR come unasked
  Stopwatch watch;
  Thread closer = after(20, [&] { pipe.close_b(); });
  EXPECT_OK(1, poll(&one, 1, 3000));
  EXPECT_WAITED(watch);
  EXPECT_EQ(POLLHUP, one.revents);
  closer.join();
  Pipe other;
  one = {other.b, POLLOUT, 0};
  other.close_a();
  EXPECT_OK(1, poll(&one, 1, 3000));
  EXPECT_EQ(POLLOUT | POLLERR, one.revents);
  Tcp tcp;
  one = {tcp.a, POLLRDHUP | POLLIN, 0};
  Stopwatch half;
  Thread stopper = after(20, [&] { EXPECT_OK(0, shutdown(tcp.b, SHUT_WR)); });
  EXPECT_OK(1, poll(&one, 1, 3000));
  EXPECT_WAITED(half);
  EXPECT_EQ(POLLIN | POLLRDHUP, one.revents);
  EXPECT_OK(0, shutdown(tcp.a, SHUT_WR));
  one = {tcp.a, POLLIN | POLLOUT | POLLRDHUP, 0};
  EXPECT_OK(1, poll(&one, 1, 3000));
  EXPECT_EQ(POLLIN | POLLOUT | POLLRDHUP | POLLHUP, one.revents);
  int idle = NEED(socket(AF_INET, SOCK_STREAM, 0));
  one = {idle, POLLIN | POLLOUT, 0};
  EXPECT_OK(1, poll(&one, 1, 3000));
  EXPECT_EQ(POLLOUT | POLLHUP, one.revents);
  close(idle);
}

// One descriptor, and what comes comes while it is waited for.
static void says_what_came() {
  Tcp tcp;
  pollfd one = {tcp.a, POLLPRI, 0};
  Stopwatch watch;
  Thread writer = after(20, [&] {
    EXPECT_OK(1, send(tcp.b, "d", 1, 0));  // no news for who asks for urgent data only
    pause_ms(20);
    EXPECT_OK(1, send(tcp.b, "u", 1, MSG_OOB));
  });
  EXPECT_OK(1, poll(&one, 1, 3000));
  EXPECT_WAITED(watch);
  EXPECT_EQ(POLLPRI, one.revents);
  writer.join();
  one = {tcp.a, POLLIN | POLLPRI, 0};
  EXPECT_OK(1, poll(&one, 1, 3000));
  EXPECT_EQ(POLLIN | POLLPRI, one.revents);
  char byte;
  EXPECT_OK(1, recv(tcp.a, &byte, 1, 0));
  EXPECT_OK(1, recv(tcp.a, &byte, 1, MSG_OOB));
  auto* kept = static_cast<pollfd*>(malloc(sizeof(pollfd)));
  *kept = {tcp.a, POLLIN | POLLPRI, 0};
  EXPECT_ERRNO(EAGAIN, recv(tcp.a, &byte, 1, MSG_DONTWAIT));
  Thread sender = after(20, [&] { EXPECT_OK(1, send(tcp.b, "m", 1, 0)); });
  EXPECT_OK(1, poll(kept, 1, 3000));
  EXPECT_EQ(POLLIN, kept->revents);
  sender.join();
  EXPECT_OK(1, recv(tcp.a, &byte, 1, 0));
  free(kept);
  one = {tcp.a, POLLIN, 0};
  Thread breaker = after(20, [&] {
    linger hard = {1, 0};
    EXPECT_OK(0, setsockopt(tcp.b, SOL_SOCKET, SO_LINGER, &hard, sizeof hard));
    tcp.close_b();
  });
  EXPECT_OK(1, poll(&one, 1, 3000));
  EXPECT_EQ(POLLIN | POLLERR | POLLHUP, one.revents);
}

static void odd_ones() {
  Pair pair;
  pollfd fds[3] = {{9999, POLLIN, 0}, {pair.a, POLLIN, 0}, {pair.a, POLLOUT, 0}};
  EXPECT_OK(2, poll(fds, 3, -1));  // closed: ready at once, with NVAL; the same one twice
  EXPECT_EQ(POLLNVAL, fds[0].revents);
  EXPECT_EQ(0, fds[1].revents);
  EXPECT_EQ(POLLOUT, fds[2].revents);
  fds[2].events = POLLIN;
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(1, send(pair.b, "2", 1, 0)); });
  EXPECT_OK(2, poll(fds + 1, 2, -1));
  EXPECT_WAITED(watch);
  Stopwatch nothing;
  EXPECT_OK(0, poll(nullptr, 0, 30));
  EXPECT(nothing.took_between(29, 3000));
  EXPECT(nothing.others_ran());
  fds[0] = {-5, POLLIN, 9};
  EXPECT_OK(0, poll(fds, 1, 10));
  EXPECT_EQ(0, fds[0].revents);
  EXPECT_ERRNO(EFAULT, poll((pollfd*)8, 1, 10));
  EXPECT_ERRNO(EINVAL, poll(fds, 1u << 30, 10));
}

static void with_timespec() {
  Pair pair;
  pollfd one = {pair.a, POLLIN, -1};
  guarded<timespec> time(to_timespec(30000));
  Stopwatch watch;
  EXPECT_OK(0, ppoll(&one, 1, &time, nullptr));
  EXPECT(watch.took_between(29, 3000));
  EXPECT(watch.others_ran());
  EXPECT_EQ(30000000, time.value.tv_nsec);  // glibc does not show what is left
  timespec none = {0, 0}, wrong = {0, 1000000000}, negative = {-1, 0};
  EXPECT_OK(0, ppoll(&one, 1, &none, nullptr));
  EXPECT_ERRNO(EINVAL, ppoll(&one, 1, &wrong, nullptr));
  EXPECT_ERRNO(EINVAL, ppoll(&one, 1, &negative, nullptr));
  Stopwatch later;
  Thread writer = after(20, [&] { EXPECT_OK(1, send(pair.b, "p", 1, 0)); });
  EXPECT_OK(1, ppoll(&one, 1, nullptr, nullptr));
  EXPECT_WAITED(later);
  EXPECT_EQ(POLLIN, one.revents);
}

// The mask of ppoll lets a signal in only while it waits, and one that is pending at once.
static void with_mask() {
  sigset_t blocked, before, empty;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  count_signal(SIGUSR1, SA_RESTART);
  EXPECT_EQ(0, pthread_sigmask(SIG_BLOCK, &blocked, &before));
  sigemptyset(&empty);
  int count = handled;
  EXPECT_EQ(0, pthread_kill(pthread_self(), SIGUSR1));
  EXPECT_EQ(count, handled);
  timespec time = {3, 0};
  EXPECT_ERRNO(EINTR, ppoll(nullptr, 0, &time, &empty));
  EXPECT_EQ(count + 1, handled);
  pthread_t me = pthread_self();
  Stopwatch watch;
  Thread sender = after(20, [&] { pthread_kill(me, SIGUSR1); });
  EXPECT_ERRNO(EINTR, ppoll(nullptr, 0, &time, &empty));
  EXPECT_WAITED(watch);
  EXPECT_EQ(count + 2, handled);
  sigset_t now;
  EXPECT_EQ(0, pthread_sigmask(SIG_SETMASK, &before, &now));
  EXPECT_EQ(1, sigismember(&now, SIGUSR1));  // put back
}

int main() {
  from_both([] {
    ready_at_once();
    later();
    Pair pair;
    one_with_timeout(pair.a, pair.b);
    Pipe pipe;
    one_with_timeout(pipe.a, pipe.b);
    for_room();
    hang_ups();
    says_what_came();
    odd_ones();
    with_timespec();
    with_mask();
  });
  return finish();
}
