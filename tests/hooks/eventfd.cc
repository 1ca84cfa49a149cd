// SPDX-License-Identifier: Apache-2.0
//
// eventfd: a reader that waits for a count, a writer that waits for room, semaphores, flags, wrong
// sizes, eventfd_read and eventfd_write (which call read and write inside libc).

#include <sys/eventfd.h>

#include "testing.h"

static void a_reader_waits() {
  int fd = NEED(eventfd(3, 0));
  guarded<uint64_t> count;
  EXPECT_OK(8, read(fd, &count, 8));
  EXPECT_EQ(3, count.value);
  uint64_t five = 5;
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(8, write(fd, &five, 8)); });
  EXPECT_OK(8, read(fd, &count, 8));
  EXPECT_WAITED(watch);
  EXPECT_EQ(5, count.value);
  writer.join();
  close(fd);
}

static void a_writer_waits() {
  int fd = NEED(eventfd(0, 0));
  uint64_t most = UINT64_MAX - 1, one = 1, got = 0;
  EXPECT_OK(8, write(fd, &most, 8));
  Stopwatch watch;
  Thread reader = after(20, [&] { EXPECT_OK(8, read(fd, &got, 8)); });
  EXPECT_OK(8, write(fd, &one, 8));
  EXPECT_WAITED(watch);
  reader.join();
  EXPECT_EQ(most, got);
  close(fd);
}

static void semaphores() {
  int fd = NEED(eventfd(0, EFD_SEMAPHORE));
  std::atomic<int> through{0};
  uint64_t three = 3;
  Thread poster = after(20, [&] { EXPECT_OK(8, write(fd, &three, 8)); });
  in_threads(3, [&](int) {
    uint64_t one = 0;
    EXPECT_OK(8, read(fd, &one, 8));
    EXPECT_EQ(1, one);
    through++;
  });
  EXPECT_EQ(3, through);
  close(fd);
}

static void nonblocking() {
  int fd = NEED(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  EXPECT(is_nonblocking(fd));
  EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
  guarded<uint64_t> count;
  EXPECT_ERRNO(EAGAIN, read(fd, &count, 8));
  EXPECT(count.untouched());
  uint64_t most = UINT64_MAX - 1, one = 1;
  EXPECT_OK(8, write(fd, &most, 8));
  EXPECT_ERRNO(EAGAIN, write(fd, &one, 8));
  close(fd);
}

static void by_their_own_names() {
  int fd = NEED(eventfd(0, 0));
  eventfd_t value = 0;
  EXPECT_OK(0, eventfd_write(fd, 9));
  EXPECT_OK(0, eventfd_read(fd, &value));
  EXPECT_EQ(9, value);
  EXPECT_ERRNO(EBADF, eventfd_read(-1, &value));
  close(fd);
}

static void errors() {
  int fd = NEED(eventfd(0, 0));
  uint64_t value = UINT64_MAX;
  EXPECT_ERRNO(EINVAL, read(fd, &value, 7));  // too small: at once, not after a wait
  EXPECT_ERRNO(EINVAL, write(fd, &value, 7));
  EXPECT_ERRNO(EINVAL, write(fd, &value, 8));
  EXPECT_ERRNO(EINVAL, read(fd, &value, 0));
  EXPECT_ERRNO(EINVAL, eventfd(0, 0x40000000));
  EXPECT_ERRNO(ESPIPE, pread(fd, &value, 8, 0));
  EXPECT_INTERRUPTED(read(fd, &value, 8));
  EXPECT_RESTARTED(8, read(fd, &value, 8), EXPECT_OK(0, eventfd_write(fd, 2)));
  close(fd);
}

int main() {
  from_both([] {
    a_reader_waits();
    a_writer_waits();
    semaphores();
    nonblocking();
    by_their_own_names();
    errors();
  });
  return finish();
}
