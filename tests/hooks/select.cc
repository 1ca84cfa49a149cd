// SPDX-License-Identifier: Apache-2.0
//
// select and pselect: the three sets, the number of bits (not of descriptors), sets cut to what is
// ready, the time-out that select writes back and pselect does not, exceptional conditions, EBADF,
// pselect's mask.

#include <sys/select.h>

#include "testing.h"

static fd_set set_of(int one, int two = -1) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(one, &set);
  if (two >= 0) FD_SET(two, &set);
  return set;
}

static int bits(fd_set* set) {
  int count = 0;
  for (int fd = 0; fd < FD_SETSIZE; fd++) count += FD_ISSET(fd, set) ? 1 : 0;
  return count;
}

static void ready_at_once() {
  Pair pair;
  Pipe pipe;
  EXPECT_OK(1, send(pair.b, "x", 1, 0));
  guarded<fd_set> in(set_of(pair.a, pipe.a)), out(set_of(pair.a, pipe.b));
  guarded<timeval> time(timeval{5, 0});
  EXPECT_OK(3, select(FD_SETSIZE, &in, &out, nullptr, &time));  // pair.a counts twice
  EXPECT(FD_ISSET(pair.a, &in) && bits(&in) == 1);
  EXPECT(FD_ISSET(pair.a, &out) && FD_ISSET(pipe.b, &out) && bits(&out) == 2);
  EXPECT(time.value.tv_sec == 5 || (time.value.tv_sec == 4 && time.value.tv_usec > 0));
}

static void later(int source, int target) {
  for (int i = 0; i < 2; i++) {
    Pipe other;
    guarded<fd_set> in(set_of(source, other.a)), except(set_of(source));
    guarded<timeval> time(timeval{3, 0});
    int most = source > other.a ? source : other.a;
    Stopwatch watch;
    Thread writer = after(20, [&] { EXPECT_OK(1, write(target, "l", 1)); });
    EXPECT_OK(1, select(most + 1, &in, nullptr, &except, i ? nullptr : &time));
    EXPECT_WAITED(watch);
    EXPECT(FD_ISSET(source, &in) && bits(&in) == 1 && bits(&except) == 0);
    if (i == 0) EXPECT(time.value.tv_sec == 2 && time.value.tv_usec <= 985000);  // what is left
    EXPECT_EQ(1, drain(source, 1));
  }
}

static void times_out() {
  Pair pair;
  guarded<fd_set> in(set_of(pair.a));
  timeval time = {0, 30000};
  Stopwatch watch;
  EXPECT_OK(0, select(pair.a + 1, &in, nullptr, nullptr, &time));
  EXPECT(watch.took_between(29, 3000));
  EXPECT(watch.others_ran());
  EXPECT_EQ(0, bits(&in));
  EXPECT_EQ(0, time.tv_sec);
  EXPECT_EQ(0, time.tv_usec);
  time = {0, 30000};
  Stopwatch sleeping;
  EXPECT_OK(0, select(0, nullptr, nullptr, nullptr, &time));
  EXPECT(sleeping.took_between(29, 3000));
  EXPECT(sleeping.others_ran());
  timeval none = {0, 0};
  in.value = set_of(pair.a);
  EXPECT_OK(0, select(pair.a + 1, &in, nullptr, nullptr, &none));
  EXPECT_EQ(0, bits(&in));
  timeval odd = {0, 1030000};  // more than a second of microseconds is good enough for glibc
  in.value = set_of(pair.a);
  EXPECT_OK(1, send(pair.b, "o", 1, 0));
  EXPECT_OK(1, select(pair.a + 1, &in, nullptr, nullptr, &odd));
}

static void the_number_of_bits_counts() {
  Pair pair;
  EXPECT_OK(1, send(pair.b, "n", 1, 0));
  guarded<fd_set> in(set_of(pair.a, 900));
  timeval none = {0, 0};
  EXPECT_OK(0, select(pair.a, &in, nullptr, nullptr, &none));  // one too few: not looked at
  EXPECT(bits(&in) == 1 && FD_ISSET(900, &in));  // but cleared with its word, unlike other words
}

static void for_room_and_for_the_end() {
  Pair pair;
  long filled = fill_up(pair.a);
  fd_set out = set_of(pair.a), in;
  Stopwatch watch;
  Thread reader = after(20, [&] { EXPECT_EQ(filled, drain(pair.b, filled)); });
  EXPECT_OK(1, select(pair.a + 1, nullptr, &out, nullptr, nullptr));
  EXPECT_WAITED(watch);
  reader.join();
  in = set_of(pair.a);
  out = set_of(pair.a);
  Stopwatch end;
  pair.close_b();
  EXPECT_OK(2,
            select(pair.a + 1, &in, &out, nullptr, nullptr));  // a hang-up is readable and writable
  Tcp tcp;
  fd_set except = set_of(tcp.b);
  Stopwatch urgent;
  Thread sender = after(20, [&] { EXPECT_OK(1, send(tcp.a, "!", 1, MSG_OOB)); });
  EXPECT_OK(1, select(tcp.b + 1, nullptr, nullptr, &except, nullptr));
  EXPECT_WAITED(urgent);
  EXPECT(FD_ISSET(tcp.b, &except));
}

static void errors() {
  Pair pair;
  int closed = NEED(fcntl(pair.a, F_DUPFD, 100));
  close(closed);
  guarded<fd_set> in(set_of(pair.a, closed));
  timeval wrong = {-1, 0}, none = {0, 0};
  fd_set copy = in.value;
  EXPECT_ERRNO(EBADF, select(closed + 1, &in, nullptr, nullptr, nullptr));
  EXPECT(!memcmp(&copy, &in.value, sizeof copy));  // untouched on error
  EXPECT_ERRNO(EINVAL, select(-1, &in, nullptr, nullptr, &none));
  in.value = set_of(pair.a);
  EXPECT_ERRNO(EINVAL, select(pair.a + 1, &in, nullptr, nullptr, &wrong));
  timespec bad = {0, 1000000000};
  EXPECT_ERRNO(EINVAL, pselect(pair.a + 1, &in, nullptr, nullptr, &bad, nullptr));
  EXPECT_ERRNO(EFAULT, select(pair.a + 1, (fd_set*)8, nullptr, nullptr, &none));
}

static void pselect_waits() {
  Pair pair;
  guarded<fd_set> in(set_of(pair.a));
  guarded<timespec> time(to_timespec(30000));
  Stopwatch timing;
  EXPECT_OK(0, pselect(pair.a + 1, &in, nullptr, nullptr, &time, nullptr));
  EXPECT(timing.took_between(29, 3000));
  EXPECT(timing.others_ran());
  EXPECT_EQ(30000000, time.value.tv_nsec);  // not written
  in.value = set_of(pair.a);
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(1, send(pair.b, "p", 1, 0)); });
  EXPECT_OK(1, pselect(pair.a + 1, &in, nullptr, nullptr, nullptr, nullptr));
  EXPECT_WAITED(watch);
  sigset_t blocked, before, empty;
  sigemptyset(&empty);
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  count_signal(SIGUSR1, 0);
  EXPECT_EQ(0, pthread_sigmask(SIG_BLOCK, &blocked, &before));
  int count = handled;
  pthread_t me = pthread_self();
  Thread sender = after(20, [&] { pthread_kill(me, SIGUSR1); });
  EXPECT_ERRNO(EINTR, pselect(0, nullptr, nullptr, nullptr, nullptr, &empty));
  EXPECT_EQ(count + 1, handled);
  EXPECT_EQ(0, pthread_sigmask(SIG_SETMASK, &before, nullptr));
}

int main() {
  from_both([] {
    ready_at_once();
    Pair pair;
    later(pair.a, pair.b);
    Pipe pipe;
    later(pipe.a, pipe.b);
    times_out();
    the_number_of_bits_counts();
    for_room_and_for_the_end();
    errors();
    pselect_waits();
  });
  return finish();
}
