// SPDX-License-Identifier: Apache-2.0
//
// The program's own epoll: epoll_wait, epoll_pwait and epoll_pwait2 ready at once, later, timed
// out; level, edge and one-shot; changed while somebody waits; data handed back; duplicates; an
// epoll in an epoll; errors.

#include <poll.h>
#include <sys/epoll.h>

#include "testing.h"

static void add(int epoll, int fd, uint32_t events, uint64_t data) {
  epoll_event event = {events, {.u64 = data}};
  EXPECT_OK(0, epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

static void change(int epoll, int fd, uint32_t events, uint64_t data) {
  epoll_event event = {events, {.u64 = data}};
  EXPECT_OK(0, epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event));
}

struct Epoll {
  int fd = NEED(epoll_create1(EPOLL_CLOEXEC));
  ~Epoll() { close(fd); }
};

static void ready_and_later() {
  Epoll epoll;
  Pair pair;
  Pipe pipe;
  guarded<epoll_event[3]> events;
  add(epoll.fd, pair.a, EPOLLIN | EPOLLOUT, 0x1234567890abcdef);
  add(epoll.fd, pipe.a, EPOLLIN, 2);
  EXPECT_OK(1, epoll_wait(epoll.fd, events.value, 3, -1));
  EXPECT_EQ(EPOLLOUT, events.value[0].events);
  EXPECT_EQ(0x1234567890abcdef, events.value[0].data.u64);
  change(epoll.fd, pair.a, EPOLLIN, 1);
  for (int i = 0; i < 3; i++) {
    Stopwatch watch;
    Thread writer = after(20, [&] { EXPECT_OK(1, write(i % 2 ? pipe.b : pair.b, "e", 1)); });
    EXPECT_OK(1, epoll_wait(epoll.fd, events.value, 3, i ? -1 : 3000));
    EXPECT_WAITED(watch);
    EXPECT_EQ(i % 2 ? 2 : 1, events.value[0].data.u64);
    EXPECT_EQ(EPOLLIN, events.value[0].events);
    EXPECT_OK(1, epoll_wait(epoll.fd, events.value, 3, 0));  // level: still
    EXPECT_EQ(1, drain(i % 2 ? pipe.a : pair.a, 1));
  }
  EXPECT_OK(1, write(pipe.b, "1", 1));
  EXPECT_OK(1, write(pair.b, "2", 1));
  EXPECT_OK(1, epoll_wait(epoll.fd, events.value, 1, -1));  // room for one
  EXPECT_OK(2, epoll_wait(epoll.fd, events.value, 3, -1));
  EXPECT(events.unbroken());
}

static void times_out() {
  Epoll epoll;
  Pair pair;
  add(epoll.fd, pair.a, EPOLLIN, 1);
  guarded<epoll_event[1]> events;
  EXPECT_OK(0, epoll_wait(epoll.fd, events.value, 1, 0));
  Stopwatch watch;
  EXPECT_OK(0, epoll_wait(epoll.fd, events.value, 1, 30));
  EXPECT(watch.took_between(29, 3000));
  EXPECT(watch.others_ran());
  Stopwatch with_mask;
  EXPECT_OK(0, epoll_pwait(epoll.fd, events.value, 1, 30, nullptr));
  EXPECT(with_mask.took_between(29, 3000));
  timespec time = to_timespec(30000), wrong = {0, 1000000000};
  Stopwatch second;
  EXPECT_OK(0, epoll_pwait2(epoll.fd, events.value, 1, &time, nullptr));
  EXPECT(second.took_between(29, 3000));
  EXPECT(second.others_ran());
  EXPECT_ERRNO(EINVAL, epoll_pwait2(epoll.fd, events.value, 1, &wrong, nullptr));
  EXPECT(events.untouched());
  Stopwatch later;
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pair.b, "e", 1)); });
  EXPECT_OK(1, epoll_pwait2(epoll.fd, events.value, 1, nullptr, nullptr));
  EXPECT_WAITED(later);
}

static void edges() {
  Epoll epoll;
  Pair pair;
  epoll_event event;
  add(epoll.fd, pair.a, EPOLLIN | EPOLLET, 1);
  EXPECT_OK(2, write(pair.b, "ab", 2));
  EXPECT_OK(1, epoll_wait(epoll.fd, &event, 1, -1));
  EXPECT_OK(0, epoll_wait(epoll.fd, &event, 1, 10));  // told once
  EXPECT_EQ(1, drain(pair.a, 1));
  EXPECT_OK(0, epoll_wait(epoll.fd, &event, 1, 10));  // reading a part is no edge
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pair.b, "c", 1)); });
  EXPECT_OK(1, epoll_wait(epoll.fd, &event, 1, -1));
  EXPECT_WAITED(watch);
  EXPECT_OK(0, epoll_wait(epoll.fd, &event, 1, 0));
  change(epoll.fd, pair.a, EPOLLIN | EPOLLET, 1);  // a change looks again
  EXPECT_OK(1, epoll_wait(epoll.fd, &event, 1, 0));
  EXPECT_EQ(2, drain(pair.a, 2));
}

// An edge-triggered reader that itself waits in between: our waiting on the same descriptor must
// not eat edges.
static void edges_beside_blocking_calls() {
  Epoll epoll;
  Pair pair;
  epoll_event event;
  char byte;
  add(epoll.fd, pair.a, EPOLLIN | EPOLLET, 1);
  for (int i = 0; i < 3; i++) {
    Thread writer([&] {
      pause_ms(10);
      EXPECT_OK(1, write(pair.b, "1", 1));
      pause_ms(10);
      EXPECT_OK(1, write(pair.b, "2", 1));
    });
    EXPECT_OK(1, recv(pair.a, &byte, 1, 0));
    writer.join();
    EXPECT_OK(1, epoll_wait(epoll.fd, &event, 1, 1000));
    EXPECT_EQ(1, drain(pair.a, 1));
    EXPECT_OK(0, epoll_wait(epoll.fd, &event, 1, 0));
  }
}

static void one_shot() {
  Epoll epoll;
  Pair pair;
  epoll_event event;
  add(epoll.fd, pair.a, EPOLLIN | EPOLLONESHOT, 1);
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pair.b, "a", 1)); });
  EXPECT_OK(1, epoll_wait(epoll.fd, &event, 1, -1));
  writer.join();
  EXPECT_OK(0, epoll_wait(epoll.fd, &event, 1, 10));
  change(epoll.fd, pair.a, EPOLLIN | EPOLLONESHOT, 2);
  EXPECT_OK(1, epoll_wait(epoll.fd, &event, 1, 0));
  EXPECT_EQ(2, event.data.u64);
}

static void changed_while_somebody_waits() {
  Epoll epoll;
  Pair pair;
  epoll_event event;
  EXPECT_OK(1, write(pair.b, "x", 1));
  Stopwatch watch;
  Thread adder = after(20, [&] { add(epoll.fd, pair.a, EPOLLIN, 7); });
  EXPECT_OK(1, epoll_wait(epoll.fd, &event, 1, -1));
  EXPECT_WAITED(watch);
  EXPECT_EQ(7, event.data.u64);
  adder.join();
  change(epoll.fd, pair.a, 0, 7);
  Stopwatch again;
  Thread changer = after(20, [&] { change(epoll.fd, pair.a, EPOLLIN, 8); });
  EXPECT_OK(1, epoll_wait(epoll.fd, &event, 1, 3000));
  EXPECT_WAITED(again);
  EXPECT_EQ(8, event.data.u64);
  changer.join();
  EXPECT_OK(0, epoll_ctl(epoll.fd, EPOLL_CTL_DEL, pair.a, nullptr));
  EXPECT_OK(0, epoll_wait(epoll.fd, &event, 1, 10));
}

static void two_threads_at_one_epoll() {
  Epoll epoll;
  Pipe one, two;
  add(epoll.fd, one.a, EPOLLIN | EPOLLET, 1);
  add(epoll.fd, two.a, EPOLLIN | EPOLLET, 2);
  std::atomic<int> sum{0};
  Thread writer([&] {
    pause_ms(20);
    EXPECT_OK(1, write(one.b, "1", 1));
    pause_ms(20);
    EXPECT_OK(1, write(two.b, "2", 1));
  });
  in_threads(2, [&](int) {
    epoll_event event;
    EXPECT_OK(1, epoll_wait(epoll.fd, &event, 1, 3000));
    sum += (int)event.data.u64;
  });
  EXPECT_EQ(3, sum);
}

static void an_epoll_is_a_descriptor() {
  Epoll outer, inner;
  Pipe pipe;
  epoll_event event;
  add(inner.fd, pipe.a, EPOLLIN, 1);
  add(outer.fd, inner.fd, EPOLLIN, 2);
  pollfd one = {inner.fd, POLLIN, 0};
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pipe.b, "n", 1)); });
  EXPECT_OK(1, epoll_wait(outer.fd, &event, 1, -1));
  EXPECT_WAITED(watch);
  EXPECT_EQ(2, event.data.u64);
  EXPECT_OK(1, poll(&one, 1, -1));
  EXPECT_EQ(POLLIN, one.revents);
}

static void errors() {
  Epoll epoll;
  Pipe pipe;
  epoll_event event = {};
  int file = NEED(open("/dev/zero", O_RDONLY)), plain = NEED(open("/proc/self/exe", O_RDONLY));
  EXPECT_ERRNO(EBADF, epoll_wait(-1, &event, 1, 0));
  EXPECT_ERRNO(EINVAL, epoll_wait(pipe.a, &event, 1, 0));
  EXPECT_ERRNO(EINVAL, epoll_wait(epoll.fd, &event, 0, 0));
  EXPECT_ERRNO(EINVAL, epoll_wait(epoll.fd, &event, -1, 0));
  EXPECT_ERRNO(EBADF, epoll_wait(-1, &event, 0, 0));  // the descriptor is looked at first
  EXPECT_ERRNO(EPERM, epoll_ctl(epoll.fd, EPOLL_CTL_ADD, plain, &event));
  EXPECT_ERRNO(EBADF, epoll_ctl(epoll.fd, EPOLL_CTL_ADD, 9999, &event));
  EXPECT_ERRNO(EINVAL, epoll_ctl(epoll.fd, EPOLL_CTL_ADD, epoll.fd, &event));
  EXPECT_ERRNO(ENOENT, epoll_ctl(epoll.fd, EPOLL_CTL_DEL, pipe.a, &event));
  add(epoll.fd, pipe.a, EPOLLIN, 1);
  EXPECT_ERRNO(EEXIST, epoll_ctl(epoll.fd, EPOLL_CTL_ADD, pipe.a, &event));
  EXPECT_ERRNO(EINVAL, epoll_create(0));
  close(file);
  close(plain);
}

int main() {
  from_both([] {
    ready_and_later();
    times_out();
    edges();
    edges_beside_blocking_calls();
    one_shot();
    changed_while_somebody_waits();
    two_threads_at_one_epoll();
    an_epoll_is_a_descriptor();
    errors();
  });
  return finish();
}
