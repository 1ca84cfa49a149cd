// SPDX-License-Identifier: Apache-2.0
//
// pipe, pipe2, read and write on pipes: data later, end of file, a full pipe, writes beyond
// PIPE_BUF that go in piece by piece, zero lengths, O_NONBLOCK on one end only, broken pipes, and
// errors.

#include <limits.h>

#include "testing.h"

static void births() {
  guarded<int[2]> fds;
  EXPECT_OK(0, pipe(fds.value));
  EXPECT(!is_nonblocking(fds.value[0]) && fcntl(fds.value[0], F_GETFD) == 0);
  close(fds.value[0]);
  close(fds.value[1]);
  EXPECT_OK(0, pipe2(fds.value, O_NONBLOCK | O_CLOEXEC));
  EXPECT(is_nonblocking(fds.value[0]) && fcntl(fds.value[1], F_GETFD) == FD_CLOEXEC);
  char byte;
  EXPECT_ERRNO(EAGAIN, read(fds.value[0], &byte, 1));
  close(fds.value[0]);
  close(fds.value[1]);
  EXPECT_ERRNO(EINVAL, pipe2(fds.value, 0x40000000));
  EXPECT_ERRNO(EFAULT, pipe((int*)8));
}

static void reads() {
  Pipe pipe;
  guarded<char[8]> buffer;
  EXPECT_OK(3, write(pipe.b, "now", 3));
  EXPECT_OK(2, read(pipe.a, buffer.value, 2));
  EXPECT_OK(1, read(pipe.a, buffer.value, 8));
  EXPECT(buffer.untouched_from(2));
  for (int i = 0; i < 3; i++) {
    Stopwatch watch;
    Thread writer = after(20, [&] { EXPECT_OK(5, write(pipe.b, "later", 5)); });
    EXPECT_OK(5, read(pipe.a, buffer.value, 8));
    EXPECT_WAITED(watch);
  }
  EXPECT(!is_nonblocking(pipe.a));
  EXPECT_OK(0, read(pipe.a, buffer.value, 0));  // no bytes: no wait
  EXPECT_OK(0, write(pipe.b, "", 0));
  Stopwatch watch;
  Thread closer = after(20, [&] { pipe.close_b(); });
  EXPECT_OK(0, read(pipe.a, buffer.value, 8));
  EXPECT_WAITED(watch);
  EXPECT_OK(0, read(pipe.a, buffer.value, 8));
}

static void a_full_pipe() {
  Pipe pipe;
  long filled = fill_up(pipe.b);
  EXPECT_EQ(65536, filled);
  Stopwatch watch;
  Thread reader = after(20, [&] { EXPECT_EQ(PIPE_BUF, drain(pipe.a, PIPE_BUF)); });
  char bytes[PIPE_BUF] = {};
  EXPECT_OK(PIPE_BUF, write(pipe.b, bytes, PIPE_BUF));
  EXPECT_WAITED(watch);
  reader.join();
  EXPECT_EQ(filled, drain(pipe.a, filled));
}

// A blocking write returns only when all is in, however long it is.
static void more_than_it_holds() {
  Pipe pipe;
  const int size = 1000001;
  char* out = (char*)malloc(size);
  char* in = (char*)calloc(1, size);
  for (int i = 0; i < size; i++) out[i] = (char)(i * 13 + (i >> 9));
  Stopwatch watch;
  Thread reader = after(20, [&] {
    int at = 0;
    for (ssize_t n; at < size && (n = read(pipe.a, in + at, 7000)) > 0; at += n) {
    }
    EXPECT_EQ(size, at);
  });
  EXPECT_OK(size, write(pipe.b, out, size));
  EXPECT_WAITED(watch);
  EXPECT(!is_nonblocking(pipe.b));
  reader.join();
  EXPECT(!memcmp(in, out, size));
  free(in);
  free(out);
}

static void small_writes_are_not_mixed() {
  Pipe pipe;
  const int writers = 4, rounds = 60, size = 3000;  // below PIPE_BUF: each is one piece
  Thread reading([&] {
    char piece[size];
    for (int i = 0; i < writers * rounds; i++) {
      int at = 0;
      for (ssize_t n; at < size && (n = read(pipe.a, piece + at, size - at)) > 0; at += n) {
      }
      EXPECT(at == size && !memcmp(piece, piece + 1, size - 1));  // all of one letter
    }
  });
  in_threads(writers, [&](int i) {
    char piece[size];
    memset(piece, 'a' + i, size);
    for (int round = 0; round < rounds; round++) EXPECT_OK(size, write(pipe.b, piece, size));
  });
}

static void nonblock_on_one_end() {
  Pipe pipe;
  char bytes[PIPE_BUF] = {};
  set_nonblocking(pipe.b, true);
  fill_up(pipe.b);
  EXPECT_ERRNO(EAGAIN, write(pipe.b, bytes, 1));
  EXPECT_EQ(PIPE_BUF, drain(pipe.a, PIPE_BUF));
  EXPECT_OK(PIPE_BUF, write(pipe.b, bytes, 3 * PIPE_BUF));  // beyond PIPE_BUF: a part
  EXPECT_EQ(65536, drain(pipe.a, 65536));
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pipe.b, "n", 1)); });
  EXPECT_OK(1, read(pipe.a, bytes, 10));
  EXPECT_WAITED(watch);
}

static void broken() {
  Pipe pipe;
  count_signal(SIGPIPE, 0);
  int before = handled;
  fill_up(pipe.b);
  Stopwatch watch;
  Thread closer = after(20, [&] { pipe.close_a(); });
  EXPECT_ERRNO(EPIPE, write(pipe.b, "x", 1));
  EXPECT_WAITED(watch);
  EXPECT_EQ(before + 1, handled);
  EXPECT(pthread_equal(handled_in, pthread_self()));
  closer.join();
  EXPECT_ERRNO(EPIPE, write(pipe.b, "x", 1));
  EXPECT_EQ(before + 2, handled);
  // A long write of which a part went in before the reader left: the part is told, and SIGPIPE
  // comes too.
  Pipe second;
  static char bytes[200000];
  Thread leaver = after(20, [&] { second.close_a(); });
  EXPECT_OK(65536, write(second.b, bytes, sizeof bytes));
  EXPECT_EQ(before + 3, handled);
  signal(SIGPIPE, SIG_DFL);
}

static void errors() {
  Pipe pipe;
  char byte;
  EXPECT_ERRNO(EBADF, read(-1, &byte, 1));
  EXPECT_ERRNO(EBADF, write(-1, &byte, 1));
  EXPECT_ERRNO(EBADF, read(pipe.b, &byte, 1));   // the end to write
  EXPECT_ERRNO(EBADF, write(pipe.a, &byte, 1));  // the end to read
  EXPECT_ERRNO(EBADF, read(-1, nullptr, 0));
  EXPECT_OK(1, write(pipe.b, "x", 1));
  EXPECT_ERRNO(EFAULT, read(pipe.a, (void*)8, 1));
  EXPECT_ERRNO(EFAULT, write(pipe.b, (void*)8, 1));
  EXPECT_ERRNO(EISDIR, read(NEED(open("/", O_RDONLY)), &byte, 1));
}

int main() {
  from_both([] {
    births();
    reads();
    a_full_pipe();
    more_than_it_holds();
    small_writes_are_not_mixed();
    nonblock_on_one_end();
    broken();
    errors();
  });
  return finish();
}
