// SPDX-License-Identifier: Apache-2.0
//
// Named FIFOs: open waits for the other side (open, openat, both 64 names, O_RDONLY and O_WRONLY),
// O_NONBLOCK opens do not (ENXIO for the writer), O_RDWR never waits, then data, end of file and a
// second writer.

#include <sys/stat.h>

#include "testing.h"

static char path[64];

static void the_reader_waits_for_a_writer() {
  int writer = -1;
  Stopwatch watch;
  Thread helper = after(20, [&] { writer = NEED(open(path, O_WRONLY)); });
  int fd = NEED(open(path, O_RDONLY | O_CLOEXEC));
  EXPECT_WAITED(watch);
  helper.join();
  EXPECT(!is_nonblocking(fd));
  EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
  char buffer[4];
  Stopwatch reading;
  Thread sender = after(20, [&] { EXPECT_OK(2, write(writer, "ff", 2)); });
  EXPECT_OK(2, read(fd, buffer, 4));
  EXPECT_WAITED(reading);
  sender.join();
  Thread closer = after(20, [&] { close(writer); });
  EXPECT_OK(0, read(fd, buffer, 4));
  closer.join();
  close(fd);
}

static void the_writer_waits_for_a_reader() {
  int reader = -1;
  Stopwatch watch;
  Thread helper = after(20, [&] { reader = NEED(openat(AT_FDCWD, path, O_RDONLY)); });
  int fd = NEED(openat64(AT_FDCWD, path, O_WRONLY));
  EXPECT_WAITED(watch);
  helper.join();
  EXPECT_OK(2, write(fd, "gg", 2));
  EXPECT_EQ(2, drain(reader, 2));
  close(fd);
  close(reader);
}

static void creat_is_an_open() {
  for (bool large : {false, true}) {
    int reader = -1;
    Stopwatch watch;
    Thread helper = after(20, [&] { reader = NEED(open(path, O_RDONLY)); });
    int fd = NEED(large ? creat64(path, 0600) : creat(path, 0600));
    EXPECT_WAITED(watch);
    helper.join();
    close(fd);
    close(reader);
  }
}

static void nonblocking_opens() {
  EXPECT_ERRNO(ENXIO, open64(path, O_WRONLY | O_NONBLOCK));
  int fd = NEED(open(path, O_RDONLY | O_NONBLOCK));
  char byte;
  EXPECT_OK(0, read(fd, &byte, 1));  // no writer yet: end of file, not EAGAIN
  int writer = NEED(open(path, O_WRONLY | O_NONBLOCK));
  EXPECT_ERRNO(EAGAIN, read(fd, &byte, 1));
  close(writer);
  EXPECT_OK(0, read(fd, &byte, 1));
  close(fd);
  fd = NEED(open(path, O_RDWR));
  Thread helper = after(20, [&] { EXPECT_OK(1, write(fd, "s", 1)); });
  EXPECT_OK(1, read(fd, &byte, 1));
  helper.join();
  close(fd);
}

static void a_reader_outlives_a_writer() {
  char buffer[8];
  int keep = NEED(open(path, O_RDWR));
  int fd = NEED(open(path, O_RDONLY));
  Stopwatch watch;
  Thread helper = after(10, [&] {
    for (int i = 0; i < 2; i++) {
      int writer = NEED(open(path, O_WRONLY));
      pause_ms(10);
      close(writer);  // no end of file: somebody else may still write
    }
    EXPECT_OK(3, write(keep, "now", 3));
  });
  EXPECT_OK(3, read(fd, buffer, 8));
  EXPECT_WAITED(watch);
  helper.join();
  close(fd);
  close(keep);
}

static void open_is_interrupted() {
  EXPECT_INTERRUPTED(open(path, O_RDONLY));
  EXPECT_INTERRUPTED(open(path, O_WRONLY));
}

static void errors() {
  EXPECT_ERRNO(ENOENT, open("/nonexistent/fifo", O_RDONLY));
  EXPECT_ERRNO(EEXIST, mkfifo(path, 0600));
  EXPECT_ERRNO(EEXIST, open(path, O_RDWR | O_CREAT | O_EXCL, 0600));
  EXPECT_ERRNO(EFAULT, open((char*)8, O_RDONLY));
  EXPECT_ERRNO(EBADF, openat(-1, "relative", O_RDONLY));
  EXPECT_ERRNO(ENOTDIR, openat(AT_FDCWD, "/dev/null/x", O_RDONLY));
}

int main() {
  snprintf(path, sizeof path, "/tmp/hook_test_fifo.%d", getpid());
  EXPECT_OK(0, mkfifo(path, 0600));
  from_both([] {
    the_reader_waits_for_a_writer();
    the_writer_waits_for_a_reader();
    creat_is_an_open();
    nonblocking_opens();
    a_reader_outlives_a_writer();
    open_is_interrupted();
    errors();
  });
  unlink(path);
  return finish();
}
