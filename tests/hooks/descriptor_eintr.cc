// SPDX-License-Identifier: Apache-2.0
//
// Signals and the calls on pipes: EINTR without SA_RESTART, restart with it, a part told when
// something was moved already, and a handler that leaves by siglongjmp out of a read.

#include <setjmp.h>
#include <sys/uio.h>

#include "testing.h"

static void interrupted() {
  Pipe pipe;
  guarded<char[8]> buffer;
  iovec vector = {buffer.value, 8};
  EXPECT_INTERRUPTED(read(pipe.a, buffer.value, 8));
  EXPECT_INTERRUPTED(readv(pipe.a, &vector, 1));
  EXPECT_INTERRUPTED(preadv2(pipe.a, &vector, 1, -1, 0));
  EXPECT(buffer.untouched());
  long filled = fill_up(pipe.b);
  EXPECT_INTERRUPTED(write(pipe.b, buffer.value, 8));
  EXPECT_INTERRUPTED(writev(pipe.b, &vector, 1));
  EXPECT_EQ(filled, drain(pipe.a, filled));
  EXPECT_OK(8, write(pipe.b, buffer.value, 8));
  EXPECT_OK(8, read(pipe.a, buffer.value, 8));
}

static void restarted() {
  Pipe pipe;
  char bytes[8] = {};
  iovec vector = {bytes, 8};
  EXPECT_RESTARTED(2, read(pipe.a, bytes, 8), EXPECT_OK(2, write(pipe.b, "re", 2)));
  EXPECT_RESTARTED(2, readv(pipe.a, &vector, 1), EXPECT_OK(2, write(pipe.b, "re", 2)));
  long filled = fill_up(pipe.b);
  EXPECT_RESTARTED(8, write(pipe.b, bytes, 8), EXPECT_EQ(filled, drain(pipe.a, filled)));
  EXPECT_EQ(8, drain(pipe.a, 8));
}

static void a_part_of_a_write() {
  Pipe pipe;
  static char bytes[200000];
  count_signal(SIGUSR1, 0);
  {
    Kicker kicker(pthread_self());
    pause_ms(30);
    EXPECT_OK(65536, write(pipe.b, bytes, sizeof bytes));
  }
  EXPECT_EQ(65536, drain(pipe.a, 65536));
  count_signal(SIGUSR1, SA_RESTART);  // makes no difference once something is in
  Kicker kicker(pthread_self());
  pause_ms(30);
  EXPECT_OK(65536, write(pipe.b, bytes, sizeof bytes));
}

static thread_local sigjmp_buf way_out;
static std::atomic<bool> armed{false};  // set only when nothing stands between here and the read

static void left_by_siglongjmp() {
  Pipe pipe;
  char byte;
  struct sigaction action = {};
  action.sa_handler = [](int) {
    if (armed.exchange(false)) siglongjmp(way_out, 1);
  };
  action.sa_flags = SA_RESTART;
  EXPECT_EQ(0, sigaction(SIGUSR2, &action, nullptr));
  pthread_t me = pthread_self();
  std::atomic<bool> done{false};
  Thread kicker([&] {
    while (!done) {
      pause_ms(10);
      if (armed) pthread_kill(me, SIGUSR2);
    }
  });
  volatile int rounds = 0;
  while (rounds < 3) {
    if (sigsetjmp(way_out, 1) == 0) {
      armed = true;
      (void)!read(pipe.a, &byte, 1);
      EXPECT(!"read must not return");
    }
    int next = rounds + 1;
    rounds = next;
  }
  done = true;
  kicker.join();
  Stopwatch watch;  // and the descriptor is as good as before
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pipe.b, "j", 1)); });
  EXPECT_OK(1, read(pipe.a, &byte, 1));
  EXPECT_WAITED(watch);
}

// What a handler does with errno, and calls that themselves wait in it, do not hurt the call that
// is restarted.
static int handler_pipe[2];

static void a_handler_that_waits() {
  Pipe pipe;
  EXPECT_EQ(0, ::pipe(handler_pipe));
  struct sigaction action = {};
  action.sa_handler = [](int) {
    char byte;
    usleep(2000);
    (void)!read(handler_pipe[0], &byte, 1);
    handled++;
  };
  action.sa_flags = SA_RESTART;
  EXPECT_EQ(0, sigaction(SIGUSR2, &action, nullptr));
  pthread_t me = pthread_self();
  int before = handled;
  char byte = 0;
  Thread helper = after(20, [&] {
    pthread_kill(me, SIGUSR2);
    pause_ms(20);
    EXPECT_OK(1, write(handler_pipe[1], "h", 1));
    pause_ms(20);
    EXPECT_OK(1, write(pipe.b, "m", 1));
  });
  EXPECT_OK(1, read(pipe.a, &byte, 1));
  EXPECT_EQ('m', byte);
  EXPECT_EQ(before + 1, handled);
  helper.join();
  close(handler_pipe[0]);
  close(handler_pipe[1]);
}

int main() {
  from_both([] {
    interrupted();
    restarted();
    a_part_of_a_write();
    left_by_siglongjmp();
    a_handler_that_waits();
  });
  return finish();
}
