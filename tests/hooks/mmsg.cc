// SPDX-License-Identifier: Apache-2.0
//
// recvmmsg and sendmmsg: several messages in one call, waiting for the first and for the rest,
// WAITFORONE, the time-out that is looked at only after each message, a partial result before an
// error, and errors.

#include <sys/uio.h>

#include "testing.h"

template <int count>
struct Messages {
  guarded<char[8]> bytes[count];
  iovec vectors[count];
  guarded<mmsghdr[count]> heads;
  explicit Messages(size_t size = 8) {
    memset(heads.value, 0, sizeof heads.value);
    for (int i = 0; i < count; i++) {
      vectors[i] = {bytes[i].value, size};
      heads.value[i].msg_hdr.msg_iov = &vectors[i];
      heads.value[i].msg_hdr.msg_iovlen = 1;
      heads.value[i].msg_len = 99;
    }
  }
  mmsghdr* all() { return heads.value; }
};

static void several_at_once() {
  Pair pair(SOCK_DGRAM);
  Messages<3> out(5), in;
  EXPECT_OK(3, sendmmsg(pair.a, out.all(), 3, 0));
  EXPECT_EQ(5, out.all()[2].msg_len);
  EXPECT_OK(3, recvmmsg(pair.b, in.all(), 3, 0, nullptr));
  for (int i = 0; i < 3; i++) {
    EXPECT_EQ(5, in.all()[i].msg_len);
    EXPECT(in.bytes[i].untouched_from(5));
  }
}

static void waits_for_all() {
  Pair pair(SOCK_DGRAM);
  Messages<2> in;
  Stopwatch watch;
  Thread sender([&] {
    for (int i = 0; i < 2; i++) {
      pause_ms(15);
      EXPECT_OK(2, send(pair.a, "ab", 2, 0));
    }
  });
  EXPECT_OK(2, recvmmsg(pair.b, in.all(), 2, 0, nullptr));
  EXPECT(watch.took_between(25, 4000));
  EXPECT(watch.others_ran());
  EXPECT_EQ(2, in.all()[1].msg_len);
}

static void waits_for_one() {
  Pair pair(SOCK_DGRAM);
  Messages<3> in;
  Stopwatch watch;
  Thread sender = after(20, [&] { EXPECT_OK(2, send(pair.a, "ab", 2, 0)); });
  EXPECT_OK(1, recvmmsg(pair.b, in.all(), 3, MSG_WAITFORONE, nullptr));
  EXPECT_WAITED(watch);
  EXPECT_EQ(2, in.all()[0].msg_len);
  EXPECT_EQ(99, in.all()[1].msg_len);
  EXPECT(in.bytes[1].untouched());
}

static void what_came_is_told_and_the_error_later() {
  Pair pair(SOCK_DGRAM);
  Messages<3> in;
  EXPECT_OK(2, send(pair.a, "ab", 2, 0));
  EXPECT_OK(1, recvmmsg(pair.b, in.all(), 3, MSG_DONTWAIT, nullptr));
  EXPECT_ERRNO(EAGAIN, recvmmsg(pair.b, in.all(), 3, MSG_DONTWAIT, nullptr));
  set_timeout(pair.b, SO_RCVTIMEO, 30);
  Stopwatch watch;
  EXPECT_ERRNO(EAGAIN, recvmmsg(pair.b, in.all(), 3, 0, nullptr));
  EXPECT(watch.took_between(28, 3000));
  EXPECT_OK(2, send(pair.a, "ab", 2, 0));
  EXPECT_OK(1, recvmmsg(pair.b, in.all(), 3, 0, nullptr));
}

// The time-out is no deadline for a message that does not come: it is checked when one has come.
static void timeout_after_a_message() {
  Pair pair(SOCK_DGRAM);
  Messages<2> in;
  guarded<timespec> time(timespec{0, 10000000});
  Stopwatch watch;
  Thread sender = after(40, [&] { EXPECT_OK(1, send(pair.a, "t", 1, 0)); });
  EXPECT_OK(1, recvmmsg(pair.b, in.all(), 2, 0, &time));
  EXPECT(watch.took_between(35, 4000));
  EXPECT_EQ(0, time.value.tv_sec);
  EXPECT_EQ(0, time.value.tv_nsec);
  sender.join();
  timespec long_time = {5, 0};
  Messages<1> one;
  EXPECT_OK(1, send(pair.a, "t", 1, 0));
  EXPECT_OK(1, recvmmsg(pair.b, one.all(), 1, 0, &long_time));
  EXPECT(long_time.tv_sec == 4 && long_time.tv_nsec > 0);  // what is left
  timespec wrong = {0, 1000000000};
  EXPECT_ERRNO(EINVAL, recvmmsg(pair.b, one.all(), 1, 0, &wrong));
}

static void sending_waits_and_ends_early() {
  Pair pair(SOCK_DGRAM);
  Messages<2> out(4);
  char bytes[8];
  int sent = 0;
  while (send(pair.a, "full", 4, MSG_DONTWAIT) == 4) sent++;
  EXPECT_ERRNO(EAGAIN, sendmmsg(pair.a, out.all(), 2, MSG_DONTWAIT));
  EXPECT_OK(4, recv(pair.b, bytes, 8, 0));
  EXPECT_OK(1, sendmmsg(pair.a, out.all(), 2, MSG_DONTWAIT));
  Stopwatch watch;  // a sender is woken only when half of its buffer is free again: take them all
  Thread reader = after(20, [&] {
    for (int i = 0; i < sent; i++) EXPECT_OK(4, recv(pair.b, bytes, 8, 0));
  });
  EXPECT_OK(2, sendmmsg(pair.a, out.all(), 2, 0));
  EXPECT_WAITED(watch);
}

static void errors() {
  Messages<1> one;
  Pipe pipe;
  Pair pair;
  EXPECT_ERRNO(EBADF, recvmmsg(-1, one.all(), 1, 0, nullptr));
  EXPECT_ERRNO(EBADF, sendmmsg(-1, one.all(), 1, 0));
  EXPECT_ERRNO(ENOTSOCK, recvmmsg(pipe.a, one.all(), 1, 0, nullptr));
  EXPECT_ERRNO(ENOTSOCK, sendmmsg(pipe.b, one.all(), 1, 0));
  EXPECT_OK(0, recvmmsg(pair.a, one.all(), 0, 0, nullptr));
  EXPECT_OK(0, sendmmsg(pair.a, one.all(), 0, 0));
  EXPECT_ERRNO(EFAULT, sendmmsg(pair.a, nullptr, 1, 0));
}

int main() {
  from_both([] {
    several_at_once();
    waits_for_all();
    waits_for_one();
    what_came_is_told_and_the_error_later();
    timeout_after_a_message();
    sending_waits_and_ends_early();
    errors();
  });
  return finish();
}
