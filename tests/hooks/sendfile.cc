// SPDX-License-Identifier: Apache-2.0
//
// sendfile, splice, tee, vmsplice and copy_file_range: from files to sockets and pipes, with and
// without an offset, waiting for room and for bytes, parts, end of file, O_NONBLOCK and
// SPLICE_F_NONBLOCK, errors.

#include <sys/sendfile.h>
#include <sys/uio.h>

#include "testing.h"

static const long file_size = 8 << 20;
static int file = -1;  // file_size bytes, each the low byte of its position / 7

static bool right(const char* bytes, long size, long position) {
  for (long i = 0; i < size; i++) {
    if (bytes[i] != (char)((position + i) / 7)) return false;
  }
  return true;
}

static void a_little() {
  Tcp tcp;
  char buffer[64];
  guarded<off_t> offset(700);
  EXPECT_OK(64, sendfile(tcp.a, file, &offset, 64));
  EXPECT_EQ(764, offset.value);
  EXPECT_OK(64, recv(tcp.b, buffer, 64, MSG_WAITALL));
  EXPECT(right(buffer, 64, 700));
  off64_t near_end = file_size - 10;
  EXPECT_OK(10, sendfile64(tcp.a, file, &near_end, 64));
  EXPECT_OK(0, sendfile(tcp.a, file, &near_end, 64));
  EXPECT_EQ(10, drain(tcp.b, 10));
  int own = NEED(dup(file));
  lseek(own, 14, SEEK_SET);
  EXPECT_OK(7, sendfile(tcp.a, own, nullptr, 7));
  EXPECT_EQ(21, lseek(own, 0, SEEK_CUR));
  EXPECT_OK(7, recv(tcp.b, buffer, 64, 0));
  EXPECT_EQ(2, buffer[0]);
  close(own);
}

static void all_of_it_waits_for_the_reader(int from, int to) {
  char* in = (char*)malloc(file_size);
  Stopwatch watch;
  Thread reader = after(20, [&] {
    long at = 0;
    for (ssize_t n; at < file_size && (n = read(from, in + at, file_size - at)) > 0;) at += n;
    EXPECT_EQ(file_size, at);
  });
  off_t offset = 0;
  while (offset < file_size) {
    if (sendfile(to, file, &offset, file_size - offset) <= 0) break;
  }
  EXPECT_EQ(file_size, offset);
  EXPECT_WAITED(watch);
  EXPECT(!is_nonblocking(to));
  reader.join();
  EXPECT(right(in, file_size, 0));
  free(in);
}

static void does_not_wait() {
  Pair pair;
  set_nonblocking(pair.a, true);
  off_t offset = 0;
  errno = 77;
  ssize_t n = sendfile(pair.a, file, &offset, file_size);
  EXPECT(n > 0 && n < file_size && n == offset);
  while (sendfile(pair.a, file, &offset, file_size) > 0) {
  }
  EXPECT_EQ(EAGAIN, errno);
}

static void splice_waits() {
  Pipe pipe, second;
  Pair pair;
  char buffer[8];
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(3, send(pair.b, "spl", 3, 0)); });
  EXPECT_OK(3, splice(pair.a, nullptr, pipe.b, nullptr, 100, 0));
  EXPECT_WAITED(watch);
  EXPECT_OK(3, splice(pipe.a, nullptr, pair.a, nullptr, 100, 0));
  EXPECT_OK(3, recv(pair.b, buffer, 8, 0));
  EXPECT_ERRNO(EAGAIN, splice(pipe.a, nullptr, second.b, nullptr, 100, SPLICE_F_NONBLOCK));
  Stopwatch waiting;
  Thread later = after(20, [&] { EXPECT_OK(2, write(pipe.b, "ok", 2)); });
  EXPECT_OK(2, splice(pipe.a, nullptr, second.b, nullptr, 100, 0));
  EXPECT_WAITED(waiting);
  later.join();
  EXPECT_EQ(2, drain(second.a, 2));
  off64_t offset = 70;
  EXPECT_OK(50, splice(file, &offset, pipe.b, nullptr, 50, 0));
  EXPECT_EQ(120, offset);
  EXPECT_EQ(50, drain(pipe.a, 50));
  fill_up(pipe.b);
  Stopwatch full;
  Thread reader = after(20, [&] { EXPECT_EQ(65536, drain(pipe.a, 65536)); });
  EXPECT_OK(50, splice(file, &offset, pipe.b, nullptr, 50, 0));
  EXPECT_WAITED(full);
  reader.join();
  pipe.close_b();
  EXPECT_EQ(50, drain(pipe.a, 50));
  EXPECT_OK(0, splice(pipe.a, nullptr, second.b, nullptr, 100, 0));
}

static void tee_and_vmsplice_wait() {
  Pipe pipe, copy;
  char buffer[8];
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(3, write(pipe.b, "tee", 3)); });
  EXPECT_OK(3, tee(pipe.a, copy.b, 100, 0));
  EXPECT_WAITED(watch);
  EXPECT_OK(3, read(pipe.a, buffer, 8));
  EXPECT_OK(3, read(copy.a, buffer, 8));
  EXPECT_ERRNO(EAGAIN, tee(pipe.a, copy.b, 100, SPLICE_F_NONBLOCK));
  iovec vector = {(void*)"memory", 6};
  EXPECT_OK(6, vmsplice(pipe.b, &vector, 1, 0));
  EXPECT_OK(6, read(pipe.a, buffer, 8));
  long filled = fill_up(pipe.b);
  EXPECT_ERRNO(EAGAIN, vmsplice(pipe.b, &vector, 1, SPLICE_F_NONBLOCK));
  Stopwatch full;
  Thread reader = after(20, [&] { EXPECT_EQ(filled, drain(pipe.a, filled)); });
  EXPECT_OK(6, vmsplice(pipe.b, &vector, 1, 0));
  EXPECT_WAITED(full);
}

static void between_files() {
  char path[] = "/tmp/hook_test_copy.XXXXXX";
  int other = NEED(mkstemp(path));
  unlink(path);
  off64_t from = 7, to = 3;
  EXPECT_OK(14, copy_file_range(file, &from, other, &to, 14, 0));
  EXPECT_EQ(21, from);
  EXPECT_EQ(17, to);
  off_t offset = 0;
  EXPECT_OK(20, sendfile(other, file, &offset, 20));
  EXPECT_EQ(20, lseek(other, 0, SEEK_CUR));
  close(other);
}

static void errors() {
  Pipe pipe, other;
  Pair pair;
  off_t offset = 0, negative = -1;
  EXPECT_ERRNO(EBADF, sendfile(-1, file, &offset, 1));
  EXPECT_ERRNO(EBADF, sendfile(pair.a, -1, &offset, 1));
  EXPECT_ERRNO(EINVAL, sendfile(pair.a, file, &negative, 1));
  EXPECT_ERRNO(ESPIPE, sendfile(pair.a, pipe.a, &offset, 1));
  EXPECT_ERRNO(EINVAL, splice(pair.a, nullptr, pair.b, nullptr, 1, 0));  // no pipe
  EXPECT_ERRNO(EBADF, splice(-1, nullptr, pipe.b, nullptr, 1, 0));
  EXPECT_ERRNO(ESPIPE, splice(pipe.a, &offset, other.b, nullptr, 1, 0));
  EXPECT_ERRNO(EINVAL, tee(pair.a, pipe.b, 1, 0));
  EXPECT_ERRNO(EINVAL, tee(pipe.a, pipe.b, 1, 0));  // the same pipe
  EXPECT_OK(0, splice(pipe.a, nullptr, other.b, nullptr, 0, 0));
}

int main() {
  char path[] = "/tmp/hook_test_sendfile.XXXXXX";
  file = NEED(mkstemp(path));
  unlink(path);
  char* bytes = (char*)malloc(file_size);
  for (long i = 0; i < file_size; i++) bytes[i] = (char)(i / 7);
  EXPECT_OK(file_size, write(file, bytes, file_size));
  free(bytes);
  from_both([] {
    a_little();
    Tcp tcp;
    all_of_it_waits_for_the_reader(tcp.b, tcp.a);
    Pair pair;
    all_of_it_waits_for_the_reader(pair.b, pair.a);
    Pipe pipe;
    all_of_it_waits_for_the_reader(pipe.a, pipe.b);
    does_not_wait();
    splice_waits();
    tee_and_vmsplice_wait();
    between_files();
    errors();
  });
  return finish();
}
