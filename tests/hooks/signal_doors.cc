// SPDX-License-Identifier: Apache-2.0
//
// The old doors: siginterrupt (whether a handler ends a call or restarts it), sysv_signal (once,
// not blocked meanwhile, ends calls), and tgkill (to one thread by its id, to none, to a wrong
// one), kill by a thread's id, gsignal.
#include "thread_testing.h"

extern "C" sighandler_t sysv_signal(int number, sighandler_t handler);

static bool has_flag(int number, int flag) {
  struct sigaction now = {};
  EXPECT_EQ(0, sigaction(number, nullptr, &now));
  return now.sa_flags & flag;
}

static void count(int) {
  handled++;
  handled_in = pthread_self();
}

// Two kicks, then a byte: is the read ended by the first, or does it go on to the byte?
static bool a_read_is_ended() {
  Pipe const pipe;
  pthread_t const self = pthread_self();
  std::atomic<bool> over{false};
  Pthread helper([&, self] {
    for (int i = 0; i < 2; i++) {
      nap(10);
      if (!over) pthread_kill(self, SIGUSR1);
    }
    nap(10);
    EXPECT_EQ(1, write(pipe.b, "x", 1));
  });
  char byte = 0;
  errno = 77;
  ssize_t const got = read(pipe.a, &byte, 1);
  int const error = errno;
  over = true;
  EXPECT(got == 1 || (got == -1 && error == EINTR));
  if (got == 1) EXPECT_EQ(77, error);
  return got == -1;
}

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static void interrupting() {
  signal(SIGUSR1, count);
  EXPECT(has_flag(SIGUSR1, SA_RESTART));
  int const before = handled;
  EXPECT(!a_read_is_ended());
  EXPECT_OK(0, siginterrupt(SIGUSR1, 1));
  EXPECT(!has_flag(SIGUSR1, SA_RESTART));
  EXPECT(a_read_is_ended());
  EXPECT_OK(0, siginterrupt(SIGUSR1, 0));
  EXPECT(has_flag(SIGUSR1, SA_RESTART));
  EXPECT(!a_read_is_ended());
  EXPECT(handled >= before + 5);
  // It stays for the next signal(2).
  EXPECT_OK(0, siginterrupt(SIGUSR1, 1));
  EXPECT(signal(SIGUSR1, count) == count);
  EXPECT(!has_flag(SIGUSR1, SA_RESTART));
  EXPECT_OK(0, siginterrupt(SIGUSR1, 0));
  EXPECT_ERRNO(EINVAL, siginterrupt(0, 1));
  EXPECT_ERRNO(EINVAL, siginterrupt(-1, 0));
  EXPECT_ERRNO(EINVAL, siginterrupt(SIGKILL, 1));
}

static thread_local volatile bool was_blocked = true;

static void once() {
  signal(SIGUSR2, SIG_IGN);
  auto look = [](int number) {
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, nullptr, &now);
    was_blocked = sigismember(&now, number);
    handled++;
  };
  errno = 77;
  EXPECT(sysv_signal(SIGUSR2, look) == SIG_IGN);
  EXPECT_EQ(77, errno);
  EXPECT(has_flag(SIGUSR2, static_cast<int>(SA_RESETHAND)) && has_flag(SIGUSR2, SA_NODEFER));
  EXPECT(!has_flag(SIGUSR2, SA_RESTART));
  int const before = handled;
  was_blocked = true;
  EXPECT_OK(0, raise(SIGUSR2));
  EXPECT_EQ(before + 1, handled);
  EXPECT(!was_blocked);
  EXPECT(sysv_signal(SIGUSR2, SIG_IGN) == SIG_DFL);  // it was reset
  EXPECT_OK(0, raise(SIGUSR2));
  EXPECT_EQ(before + 1, handled);
  sysv_signal(SIGUSR1, count);
  EXPECT(killed(in_child([] {
                  EXPECT_OK(0, raise(SIGUSR1));
                  raise(SIGUSR1);  // the second time it kills
                }),
                SIGUSR1));
  EXPECT(sysv_signal(0, look) == SIG_ERR && errno == EINVAL);
  EXPECT(sysv_signal(SIGKILL, look) == SIG_ERR && errno == EINVAL);
}

static void to_one_thread() {
  count_signal(SIGUSR1, 0);
  std::atomic<pid_t> id{0};
  Pthread target([&] {
    int const before = handled;
    id = gettid();
    EXPECT_ERRNO(EINTR, usleep(5000000));
    EXPECT_EQ(before + 1, handled);
  });
  EXPECT(comes_true([&] { return id != 0; }));
  EXPECT_OK(0, tgkill(getpid(), id, 0));
  nap(20);
  EXPECT_OK(0, tgkill(getpid(), id, SIGUSR1));
  EXPECT(comes_true([&] { return pthread_equal(handled_in, target.id()); }));
  target.join();
  int const before = handled;
  EXPECT_OK(0, tgkill(getpid(), gettid(), SIGUSR1));
  EXPECT_EQ(before + 1, handled);  // already
  EXPECT(pthread_equal(handled_in, pthread_self()));
  EXPECT_ERRNO(EINVAL, tgkill(getpid(), gettid(), 65));
  EXPECT_ERRNO(EINVAL, tgkill(getpid(), -1, SIGUSR1));
  EXPECT_ERRNO(EINVAL, tgkill(-1, gettid(), SIGUSR1));
  EXPECT_ERRNO(ESRCH, tgkill(getpid(), getppid(), SIGUSR1));
}

// The tid of any of its threads names the process.
static void to_the_process() {
  count_signal(SIGUSR1, 0);
  int const before = handled;
  Pthread sender([] {
    EXPECT_OK(0, kill(gettid(), 0));
    EXPECT_OK(0, kill(gettid(), SIGUSR1));
    EXPECT_ERRNO(EINVAL, kill(gettid(), 65));
  });
  sender.join();
  EXPECT(comes_true([&] { return handled == before + 1; }));
  EXPECT_OK(0, gsignal(SIGUSR1));
  EXPECT_EQ(before + 2, handled);
}

int main() {
  from_both([] {
    to_the_process();
    interrupting();
    once();
    to_one_thread();
  });
  return finish();
}
