// SPDX-License-Identifier: Apache-2.0
//
// readv and writev (waiting, partial, empty), and the positioned calls pread, pwrite, preadv,
// pwritev, preadv2, pwritev2 with their 64 names: the file offset stays, offset -1 means the
// current one, RWF_NOWAIT, ESPIPE.

#include <limits.h>
#include <sys/uio.h>

#include "testing.h"

static void scattered(int from, int to) {
  guarded<char[3]> one;
  guarded<char[4]> two;
  char a[] = "abc", b[] = "de";
  iovec out[] = {{a, 3}, {nullptr, 0}, {b, 2}}, in[] = {{one.value, 3}, {two.value, 4}};
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(5, writev(to, out, 3)); });
  EXPECT_OK(5, readv(from, in, 2));
  EXPECT_WAITED(watch);
  EXPECT(!memcmp(one.value, "abc", 3) && !memcmp(two.value, "de", 2));
  EXPECT(two.untouched_from(2));
}

static void a_long_writev(int from, int to) {
  const long size = 600000;
  char* bytes = (char*)calloc(3, size);
  iovec vectors[] = {{bytes, size}, {bytes + size, size}, {bytes, 1}};
  Stopwatch watch;
  Thread reader = after(20, [&] { EXPECT_EQ(2 * size + 1, drain(from, 2 * size + 1)); });
  EXPECT_OK(2 * size + 1, writev(to, vectors, 3));
  EXPECT_WAITED(watch);
  reader.join();
  free(bytes);
}

static void nonblocking(int from, int to) {
  char bytes[8];
  iovec vector = {bytes, 8};
  set_nonblocking(from, true);
  EXPECT_ERRNO(EAGAIN, readv(from, &vector, 1));
  set_nonblocking(from, false);
  fill_up(to);
  set_nonblocking(to, true);
  EXPECT_ERRNO(EAGAIN, writev(to, &vector, 1));
}

static void nowait_on_a_pipe() {
  Pipe pipe;
  char bytes[8];
  iovec vector = {bytes, 8};
  EXPECT_ERRNO(EAGAIN, preadv2(pipe.a, &vector, 1, -1, RWF_NOWAIT));
  EXPECT_OK(2, write(pipe.b, "ok", 2));
  EXPECT_OK(2, preadv2(pipe.a, &vector, 1, -1, RWF_NOWAIT));
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(8, pwritev2(pipe.b, &vector, 1, -1, 0)); });
  EXPECT_OK(8, preadv2(pipe.a, &vector, 1, -1, 0));
  EXPECT_WAITED(watch);
}

static void positions() {
  char path[] = "/tmp/hook_test_vectors.XXXXXX";
  int fd = NEED(mkstemp(path));
  unlink(path);
  guarded<char[4]> one;
  guarded<char[4]> two;
  iovec in[] = {{one.value, 4}, {two.value, 4}};
  iovec word = {(void*)"ABCD", 4};
  EXPECT_OK(10, write(fd, "0123456789", 10));
  EXPECT_OK(2, pwrite(fd, "xy", 2, 4));
  EXPECT_OK(2, pwrite64(fd, "zz", 2, 12));  // a hole in between
  EXPECT_OK(4, pread(fd, one.value, 4, 3));
  EXPECT(!memcmp(one.value, "3xy6", 4));
  EXPECT_OK(4, pread64(fd, one.value, 4, 10));
  EXPECT(!memcmp(one.value, "\0\0zz", 4));
  EXPECT_OK(0, pread(fd, two.value, 4, 14));
  EXPECT_OK(0, pread(fd, two.value, 4, 1000));
  EXPECT(two.untouched());
  EXPECT_OK(7, preadv(fd, in, 2, 7));
  EXPECT(!memcmp(one.value, "789\0", 4));
  EXPECT(two.untouched_from(3));
  EXPECT_OK(8, preadv64(fd, in, 2, 0));
  EXPECT_OK(4, pwritev(fd, &word, 1, 2));
  EXPECT_OK(4, pwritev64(fd, &word, 1, 0));
  EXPECT_EQ(10, lseek(fd, 0, SEEK_CUR));  // none of them moved it
  EXPECT_OK(4, preadv2(fd, in, 1, 0, 0));
  EXPECT(!memcmp(one.value, "ABCD", 4));
  EXPECT_OK(4, pwritev2(fd, &word, 1, 20, 0));
  EXPECT_OK(4, pwritev2(fd, &word, 1, 0, RWF_APPEND));
  EXPECT_EQ(28, lseek(fd, 0, SEEK_END));
  lseek(fd, 0, SEEK_SET);
  EXPECT_OK(8, preadv2(fd, in, 2, -1, 0));
  EXPECT_OK(4, preadv64v2(fd, in, 1, -1, 0));
  EXPECT_OK(4, pwritev64v2(fd, &word, 1, -1, 0));
  EXPECT_EQ(16, lseek(fd, 0, SEEK_CUR));  // with -1 they do
  EXPECT_ERRNO(EINVAL, pread(fd, one.value, 4, -1));
  EXPECT_ERRNO(EINVAL, pwrite(fd, "x", 1, -5));
  EXPECT_ERRNO(EINVAL, preadv(fd, in, 1, -1));
  EXPECT_ERRNO(EOPNOTSUPP, preadv2(fd, in, 1, 0, 0x4000000));
  close(fd);
}

static void errors() {
  Pipe pipe;
  char byte;
  iovec vector = {&byte, 1}, broken = {(void*)8, 1}, negative = {&byte, (size_t)-1};
  EXPECT_ERRNO(ESPIPE, pread(pipe.a, &byte, 1, 0));
  EXPECT_ERRNO(ESPIPE, pwrite(pipe.b, &byte, 1, 0));
  EXPECT_ERRNO(ESPIPE, preadv(pipe.a, &vector, 1, 0));
  EXPECT_ERRNO(ESPIPE, preadv2(pipe.a, &vector, 1, 0, 0));
  EXPECT_ERRNO(EBADF, readv(-1, &vector, 1));
  EXPECT_ERRNO(EBADF, writev(-1, &vector, 1));
  EXPECT_ERRNO(EBADF, pread(-1, &byte, 1, 0));
  EXPECT_ERRNO(EBADF, pwritev2(-1, &vector, 1, 0, 0));
  EXPECT_ERRNO(EINVAL, readv(pipe.a, &vector, -1));
  EXPECT_ERRNO(EINVAL, writev(pipe.b, &vector, IOV_MAX + 1));
  EXPECT_ERRNO(EINVAL, readv(pipe.a, &negative, 1));
  EXPECT_ERRNO(EFAULT, writev(pipe.b, &broken, 1));
  EXPECT_ERRNO(EFAULT, readv(pipe.a, (iovec*)8, 1));
  EXPECT_OK(0, readv(pipe.a, &vector, 0));
  EXPECT_OK(0, writev(pipe.b, nullptr, 0));
}

int main() {
  from_both([] {
    Pipe pipe;
    scattered(pipe.a, pipe.b);
    a_long_writev(pipe.a, pipe.b);
    nonblocking(pipe.a, pipe.b);
    Pair pair;
    scattered(pair.a, pair.b);
    a_long_writev(pair.a, pair.b);
    nonblocking(pair.a, pair.b);
    nowait_on_a_pipe();
    positions();
    errors();
  });
  return finish();
}
