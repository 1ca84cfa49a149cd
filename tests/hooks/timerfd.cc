// SPDX-License-Identifier: Apache-2.0
//
// timerfd: a read that waits for the timer (relative, absolute, repeating; both clocks), a timer
// set while somebody waits, an unarmed one, O_NONBLOCK, wrong sizes, signals.

#include <sys/timerfd.h>

#include "testing.h"

static itimerspec in_ms(int first, int then = 0) {
  return {to_timespec(then * 1000), to_timespec(first * 1000)};
}

static void waits(clockid_t clock) {
  int fd = NEED(timerfd_create(clock, TFD_CLOEXEC));
  EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
  guarded<uint64_t> count;
  itimerspec time = in_ms(30);
  Stopwatch watch;
  EXPECT_OK(0, timerfd_settime(fd, 0, &time, nullptr));
  EXPECT_OK(8, read(fd, &count, 8));
  EXPECT(watch.took_between(28, 3000));
  EXPECT(watch.others_ran());
  EXPECT_EQ(1, count.value);

  time.it_value = to_timespec(now_us(clock) + 30000);
  Stopwatch absolute;
  EXPECT_OK(0, timerfd_settime(fd, TFD_TIMER_ABSTIME, &time, nullptr));
  EXPECT_OK(8, read(fd, &count, 8));
  EXPECT(absolute.took_between(20, 3000));
  close(fd);
}

static void repeats() {
  int fd = NEED(timerfd_create(CLOCK_MONOTONIC, 0));
  itimerspec time = in_ms(10, 10);
  uint64_t count, total = 0;
  EXPECT_OK(0, timerfd_settime(fd, 0, &time, nullptr));
  Stopwatch watch;
  while (total < 3) {
    EXPECT_OK(8, read(fd, &count, 8));
    total += count;
  }
  EXPECT(watch.took_between(25, 3000));
  pause_ms(30);
  EXPECT_OK(8, read(fd, &count, 8));
  EXPECT(count >= 2);
  close(fd);
}

static void armed_by_another_thread() {
  int fd = NEED(timerfd_create(CLOCK_MONOTONIC, 0));
  uint64_t count;
  Stopwatch watch;
  Thread setter = after(20, [&] {
    itimerspec time = in_ms(10), old;
    EXPECT_OK(0, timerfd_settime(fd, 0, &time, &old));
    EXPECT_EQ(0, old.it_value.tv_sec + old.it_value.tv_nsec);
  });
  EXPECT_OK(8, read(fd, &count, 8));
  EXPECT(watch.took_between(25, 4000));
  setter.join();
  close(fd);
}

static void does_not_wait() {
  int fd = NEED(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK));
  guarded<uint64_t> count;
  EXPECT_ERRNO(EAGAIN, read(fd, &count, 8));
  itimerspec time = in_ms(5000), now;
  EXPECT_OK(0, timerfd_settime(fd, 0, &time, nullptr));
  EXPECT_ERRNO(EAGAIN, read(fd, &count, 8));
  EXPECT(count.untouched());
  EXPECT_OK(0, timerfd_gettime(fd, &now));
  EXPECT(now.it_value.tv_sec == 4);
  set_nonblocking(fd, false);
  EXPECT_INTERRUPTED(read(fd, &count, 8));
  close(fd);
}

static void errors() {
  int fd = NEED(timerfd_create(CLOCK_MONOTONIC, 0));
  uint64_t count;
  itimerspec wrong = {{}, {0, 1000000000}};
  EXPECT_ERRNO(EINVAL, read(fd, &count, 4));
  EXPECT_ERRNO(EINVAL, write(fd, &count, 8));
  EXPECT_ERRNO(EINVAL, timerfd_settime(fd, 0, &wrong, nullptr));
  EXPECT_ERRNO(EINVAL, timerfd_create(99, 0));
  EXPECT_ERRNO(EBADF, timerfd_gettime(-1, &wrong));
  close(fd);
}

int main() {
  from_both([] {
    waits(CLOCK_MONOTONIC);
    waits(CLOCK_REALTIME);
    repeats();
    armed_by_another_thread();
    does_not_wait();
    errors();
  });
  return finish();
}
