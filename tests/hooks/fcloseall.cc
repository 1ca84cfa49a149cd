// SPDX-License-Identifier: Apache-2.0
//
// fcloseall flushes every stream, unbuffers them and closes no descriptor: what was written by
// stdio arrives, a thread that waits on a descriptor, be it that of a stream, waits on, and sockets
// and pipes work as before. Each case in a child of its own, whose streams are lost.
#include "thread_testing.h"

static void streams_are_flushed() {
  Pipe pipe;
  int const status = in_child([&] {
    FILE* one = fdopen(dup(pipe.b), "w");
    fputs("one", one);
    EXPECT_OK(0, fcloseall());
    EXPECT_OK(0, fcloseall());  // again
  });
  EXPECT(exited(status, 0));
  pipe.close_b();
  guarded<char[8]> bytes;
  EXPECT_OK(3, read(pipe.a, bytes.value, 8));
  EXPECT(!memcmp(bytes.value, "one", 3) && bytes.untouched_from(3));
  EXPECT_OK(0, read(pipe.a, bytes.value, 8));
}

static void waiters_wait_on() {
  int const status = in_child([] {
    Pipe const pipe;
    Tcp const tcp;
    FILE* stream = fdopen(pipe.a, "r");
    EXPECT(stream != nullptr);
    std::atomic<int> begun{0}, done{0};
    Pthread reader([&] {
      char byte = 0;
      begun++;
      EXPECT_OK(1, read(pipe.a, &byte, 1));
      EXPECT_EQ('p', byte);
      done++;
    });
    Pthread receiver([&] {
      char byte = 0;
      begun++;
      EXPECT_OK(1, recv(tcp.a, &byte, 1, 0));
      EXPECT_EQ('t', byte);
      done++;
    });
    EXPECT(comes_true([&] { return begun == 2; }));
    nap(20);
    EXPECT_OK(0, fcloseall());
    nap(20);
    EXPECT_EQ(0, done);
    EXPECT_OK(1, write(pipe.b, "p", 1));
    EXPECT_OK(1, send(tcp.b, "t", 1, 0));
    reader.join();
    receiver.join();
    EXPECT_EQ(2, done);
    EXPECT(fcntl(pipe.a, F_GETFD) >= 0 && fcntl(tcp.a, F_GETFD) >= 0);
    set_nonblocking(pipe.a, true);
    char byte = 0;
    EXPECT_ERRNO(EAGAIN, read(pipe.a, &byte, 1));
    set_nonblocking(pipe.a, false);
    EXPECT_OK(1, write(pipe.b, "q", 1));
    EXPECT_OK(1, read(pipe.a, &byte, 1));
  });
  EXPECT(exited(status, 0));
}

int main() {
  from_both([] {
    streams_are_flushed();
    waiters_wait_on();
  });
  return finish();
}
