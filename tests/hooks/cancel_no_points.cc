// SPDX-License-Identifier: Apache-2.0
//
// Calls that may block and are no cancellation points in glibc: sendfile, flock, syscall(), a join of
// a thread that has ended. A request that is pending, or comes while the call waits, changes nothing
// in them (no EINTR, no shorter result); it acts at the next point.
#include <setjmp.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

#include "thread_testing.h"

struct Outcome {
  long result = -2;
  int error = 0;
  bool early = false;
};

// Cancels a thread before (`pending`) or while it is in call(); release() lets the call end.
template <class Call, class Release>
static Outcome cancelled_thread(bool pending, Call call, Release release) {
  Outcome outcome;
  std::atomic<int> step{0};
  std::atomic<bool> returned{false};
  Pthread worker([&] {
    step = 1;
    if (pending)
      while (step != 2) sched_yield();
    long const result = call();
    outcome.error = errno;
    outcome.result = result;
    returned = true;
    pthread_testcancel();
    outcome.result = -3;
  });
  EXPECT(comes_true([&] { return step.load() == 1; }));
  if (!pending) nap(10);
  EXPECT_EQ(0, pthread_cancel(worker.id()));
  step = 2;
  if (!pending) nap(10);
  outcome.early = !pending && returned;
  release();
  EXPECT(worker.join() == PTHREAD_CANCELED);
  return outcome;
}

template <class Call, class Release>
static void is_no_point(const char* name, long result, bool pending, Call call, Release release) {
  Outcome const outcome = cancelled_thread(pending, call, release);
  if (outcome.early || outcome.result != result)
    fprintf(stderr, "%s: early %d, %ld (%s)\n", name, outcome.early, outcome.result,
            strerror(outcome.error));
  EXPECT(!outcome.early);
  EXPECT_EQ(result, outcome.result);
}

static int temporary_file() {
  char name[] = "/tmp/coro-no-points-XXXXXX";
  int const fd = NEED(mkstemp(name));
  unlink(name);
  EXPECT_EQ(5, write(fd, "hello", 5));
  return fd;
}

static void sending_a_file() {
  int const file = temporary_file();
  Pair const pair;
  off_t from = 0;
  is_no_point("sendfile, pending", 5, true, [&] { return sendfile(pair.a, file, &from, 5); }, [] {});
  fill_up(pair.a);
  from = 0;
  is_no_point(
      "sendfile", 5, false, [&] { return sendfile(pair.a, file, &from, 5); },
      [&] {
        char drained[4096];
        while (recv(pair.b, drained, sizeof drained, MSG_DONTWAIT) > 0) {
        }
      });
  close(file);
}

static void locking_a_file() {
  int const file = temporary_file();
  char name[64];
  snprintf(name, sizeof name, "/proc/self/fd/%d", file);
  int const other = NEED(open(name, O_RDWR));
  EXPECT_EQ(0, flock(file, LOCK_EX));
  is_no_point("flock", 0, false, [&] { return flock(other, LOCK_EX); },
              [&] { EXPECT_EQ(0, flock(file, LOCK_UN)); });
  is_no_point("flock, pending", 0, true, [&] { return flock(other, LOCK_EX); }, [] {});
  close(other);
  close(file);
}

static void calls_by_number() {
  Pipe const pipe;
  char byte = 0;
  EXPECT_EQ(1, write(pipe.b, "x", 1));
  is_no_point("syscall(SYS_read), pending", 1, true,
              [&] { return syscall(SYS_read, pipe.a, &byte, 1); }, [] {});
  is_no_point("syscall(SYS_read)", 1, false, [&] { return syscall(SYS_read, pipe.a, &byte, 1); },
              [&] { EXPECT_EQ(1, write(pipe.b, "x", 1)); });
}

static void joining_what_has_ended() {
  std::atomic<bool> ends{false};
  Pthread ended([&] { ends = true; });
  EXPECT(comes_true([&] { return ends.load(); }));
  nap(10);
  is_no_point("pthread_join", 0, true, [&] { return pthread_join(ended.id(), nullptr); }, [] {});
  ended.release();
}

// A handler that jumps out of such a call leaves the thread as cancellable as it was.
static sigjmp_buf back;
static void jumping_out() {
  struct sigaction action = {};
  action.sa_handler = [](int) { siglongjmp(back, 1); };
  EXPECT_EQ(0, sigaction(SIGUSR1, &action, nullptr));
  Pipe const pipe;
  std::atomic<bool> jumped{false};
  Pthread worker([&] {
    char byte = 0;
    if (sigsetjmp(back, 1) == 0) syscall(SYS_read, pipe.a, &byte, 1);
    int state = -1;
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
    EXPECT_EQ(PTHREAD_CANCEL_ENABLE, state);
    jumped = true;
    for (;;) pause();
  });
  nap(10);
  EXPECT_EQ(0, pthread_kill(worker.id(), SIGUSR1));
  EXPECT(comes_true([&] { return jumped.load(); }));
  EXPECT_EQ(0, pthread_cancel(worker.id()));
  EXPECT(worker.join() == PTHREAD_CANCELED);
}

int main() {
  sending_a_file();
  locking_a_file();
  calls_by_number();
  joining_what_has_ended();
  jumping_out();
  return finish();
}
