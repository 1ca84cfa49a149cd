// SPDX-License-Identifier: Apache-2.0
//
// Regular files and devices: read, write, append, end of file, fsync and its kin, truncation,
// /dev/null, zero and full, many threads at one file; O_NONBLOCK means nothing here, and poll says
// always ready.

#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "testing.h"

static int new_file(int flags = 0) {
  char path[] = "/tmp/hook_test_file.XXXXXX";
  int fd = NEED(mkostemp(path, flags));
  unlink(path);
  return fd;
}

static void there_and_back() {
  int fd = new_file();
  guarded<char[8]> buffer;
  EXPECT_OK(0, read(fd, buffer.value, 8));
  EXPECT_OK(5, write(fd, "bytes", 5));
  EXPECT_OK(0, read(fd, buffer.value, 8));
  EXPECT(buffer.untouched());
  EXPECT_OK(1, lseek(fd, 1, SEEK_SET));
  EXPECT_OK(4, read(fd, buffer.value, 8));
  EXPECT(!memcmp(buffer.value, "ytes", 4));
  EXPECT(buffer.untouched_from(4));
  EXPECT_OK(0, write(fd, "", 0));
  EXPECT_OK(0, ftruncate(fd, 2));
  struct stat status;
  EXPECT_OK(0, fstat(fd, &status));
  EXPECT_EQ(2, status.st_size);
  close(fd);
}

static void nonblock_means_nothing() {
  int fd = new_file();
  set_nonblocking(fd, true);
  char buffer[8];
  EXPECT_OK(3, write(fd, "abc", 3));
  EXPECT_OK(3, pread(fd, buffer, 8, 0));
  EXPECT_OK(0, read(fd, buffer, 8));
  pollfd one = {fd, POLLIN | POLLOUT, 0};
  EXPECT_OK(1, poll(&one, 1, 1000));
  EXPECT_EQ(POLLIN | POLLOUT, one.revents);
  close(fd);
}

static void synced() {
  int fd = new_file();
  EXPECT_OK(4, write(fd, "sync", 4));
  EXPECT_OK(0, fsync(fd));
  EXPECT_OK(0, fdatasync(fd));
  EXPECT_OK(0, sync_file_range(fd, 0, 4, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
  EXPECT_OK(0, syncfs(fd));
  EXPECT_OK(0, posix_fallocate(fd, 0, 10000));
  EXPECT_OK(0, fallocate(fd, 0, 0, 20000));
  void* map = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  EXPECT_OK(0, msync(map, 4096, MS_SYNC));
  EXPECT_OK(0, munmap(map, 4096));
  close(fd);
  EXPECT_ERRNO(EBADF, fsync(-1));
  EXPECT_ERRNO(EBADF, fdatasync(9999));
  Pipe pipe;
  EXPECT_ERRNO(EINVAL, fsync(pipe.a));
  EXPECT_OK(EBADF, posix_fallocate(-1, 0, 1));  // tells by its result
}

static void appended_by_many() {
  int fd = new_file(O_APPEND);
  in_threads(8, [&](int i) {
    char line[100];
    memset(line, 'a' + i, sizeof line);
    for (int round = 0; round < 20; round++) EXPECT_OK(100, write(fd, line, 100));
  });
  char line[100];
  int count[8] = {};
  EXPECT_OK(0, lseek(fd, 0, SEEK_SET));
  while (read(fd, line, 100) == 100) {
    EXPECT(!memcmp(line, line + 1, 99));
    count[line[0] - 'a']++;
  }
  for (int n : count) EXPECT_EQ(20, n);
  close(fd);
}

static void one_offset_for_all() {
  int fd = new_file();
  char bytes[4000];
  for (int i = 0; i < 4000; i++) bytes[i] = (char)(i / 100);
  EXPECT_OK(4000, write(fd, bytes, 4000));
  lseek(fd, 0, SEEK_SET);
  std::atomic<int> sum{0};
  in_threads(4, [&](int) {
    char piece[100];
    while (read(fd, piece, 100) == 100) sum += piece[0];
  });
  EXPECT_EQ(39 * 40 / 2, sum);
  close(fd);
}

// A file of which only a part is in the page cache is read as a whole.
static void half_in_memory() {
  constexpr size_t size = 1 << 20;
  static char bytes[size], got[size];
  memset(bytes, 'x', size);
  int fd = new_file();
  EXPECT_OK(size, write(fd, bytes, size));
  EXPECT_OK(0, fsync(fd));
  posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);  // reads nothing ahead
  auto forget = [&] {
    EXPECT_OK(0, posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    EXPECT_OK(size / 2, pread(fd, got, size / 2, 0));
    EXPECT_OK(0, lseek(fd, 0, SEEK_SET));
    memset(got, 0, size);
  };
  iovec two[2] = {{got, 1000}, {got + 1000, size - 1000}};
  forget();
  EXPECT_OK(size, pread(fd, got, size, 0));
  EXPECT(!memcmp(bytes, got, size));
  forget();
  EXPECT_OK(size - 5, pread(fd, got, size, 5));
  forget();
  EXPECT_OK(size, read(fd, got, size));
  EXPECT_OK(0, read(fd, got, size));
  EXPECT(!memcmp(bytes, got, size));
  forget();
  EXPECT_OK(size, readv(fd, two, 2));
  EXPECT(!memcmp(bytes, got, size));
  forget();
  EXPECT_OK(size, preadv(fd, two, 2, 0));
  EXPECT(!memcmp(bytes, got, size));
  close(fd);
}

static void devices() {
  char buffer[8] = {1};
  int null = NEED(open("/dev/null", O_RDWR)), zero = NEED(open("/dev/zero", O_RDONLY));
  int full = NEED(open("/dev/full", O_WRONLY)), random = NEED(open("/dev/urandom", O_RDONLY));
  EXPECT_OK(0, read(null, buffer, 8));
  EXPECT_OK(8, write(null, buffer, 8));
  EXPECT_OK(8, read(zero, buffer, 8));
  EXPECT_EQ(0, buffer[0]);
  EXPECT_ERRNO(ENOSPC, write(full, buffer, 8));
  EXPECT_OK(8, read(random, buffer, 8));
  for (int fd : {null, zero, full, random}) close(fd);
  int proc = NEED(open("/proc/self/stat", O_RDONLY));
  EXPECT(read(proc, buffer, 8) > 0);
  close(proc);
}

static void errors() {
  int reading = NEED(open("/dev/null", O_RDONLY)), writing = NEED(open("/dev/null", O_WRONLY));
  int folder = NEED(open("/tmp", O_RDONLY | O_DIRECTORY)), path = NEED(open("/tmp", O_PATH));
  char byte = 0;
  EXPECT_ERRNO(EBADF, write(reading, &byte, 1));
  EXPECT_ERRNO(EBADF, read(writing, &byte, 1));
  EXPECT_ERRNO(EISDIR, read(folder, &byte, 1));
  EXPECT_ERRNO(EBADF, read(path, &byte, 1));
  EXPECT_ERRNO(ENOENT, open("/tmp/no/such", O_RDONLY));
  EXPECT_ERRNO(EISDIR, open("/tmp", O_WRONLY));
  int fd = new_file();
  EXPECT_OK(1, write(fd, "x", 1));
  EXPECT_ERRNO(EFAULT, pread(fd, (void*)8, 1, 0));
  EXPECT_ERRNO(EFAULT, write(fd, (void*)8, 1));
  for (int one : {reading, writing, folder, path, fd}) close(one);
}

static void waits_elsewhere_go_on() {
  Pipe pipe;
  char byte;
  Stopwatch watch;
  Thread writer = after(20, [&] {
    int fd = new_file();
    EXPECT_OK(0, fsync(fd));
    close(fd);
    EXPECT_OK(1, write(pipe.b, "w", 1));
  });
  EXPECT_OK(1, read(pipe.a, &byte, 1));
  EXPECT_WAITED(watch);
}

int main() {
  from_both([] {
    there_and_back();
    nonblock_means_nothing();
    synced();
    appended_by_many();
    one_offset_for_all();
    half_in_memory();
    devices();
    errors();
    waits_elsewhere_go_on();
  });
  return finish();
}
