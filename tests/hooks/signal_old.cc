// SPDX-License-Identifier: Apache-2.0
//
// System V's sigset, sighold, sigrelse and sigignore, BSD's sigblock, sigsetmask and siggetmask: what they do to actions and to
// the mask of the one thread that calls them.
#include "thread_testing.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static constexpr int bit_of(int number) { return 1 << (number - 1); }

static bool is_blocked(int number) {
  sigset_t now;
  EXPECT_EQ(0, pthread_sigmask(SIG_SETMASK, nullptr, &now));
  return sigismember(&now, number) == 1;
}

static bool is_pending(int number) {
  sigset_t now;
  EXPECT_EQ(0, sigpending(&now));
  return sigismember(&now, number) == 1;
}

static void count(int) { handled++; }

static void actions() {
  signal(SIGUSR1, SIG_IGN);
  errno = 77;
  EXPECT(sigset(SIGUSR1, count) == SIG_IGN);
  EXPECT_EQ(77, errno);
  struct sigaction now {};
  EXPECT_EQ(0, sigaction(SIGUSR1, nullptr, &now));
  EXPECT(now.sa_handler == count && (now.sa_flags & (SA_RESTART | SA_NODEFER)) == 0);
  int const before = handled;
  EXPECT_OK(0, raise(SIGUSR1));
  EXPECT_EQ(before + 1, handled);
  EXPECT_OK(0, sigignore(SIGUSR1));
  EXPECT_OK(0, raise(SIGUSR1));
  EXPECT_EQ(before + 1, handled);
  EXPECT(sigset(SIGUSR1, SIG_DFL) == SIG_IGN);
  for (int number : {0, -1, 65, SIGKILL, 32}) {
    errno = 0;
    EXPECT(sigset(number, count) == SIG_ERR && errno == EINVAL);
    EXPECT_ERRNO(EINVAL, sigignore(number));
  }
}

// The handler ends a parked call: there is no SA_RESTART.
static void ends_a_read() {
  Pipe pipe;
  sigset(SIGUSR1, count);
  pthread_t const self = pthread_self();
  Pthread const helper([self] {
    nap(20);
    pthread_kill(self, SIGUSR1);
  });
  char byte;
  EXPECT_ERRNO(EINTR, read(pipe.a, &byte, 1));
}

static void one_at_a_time() {
  sigset(SIGUSR1, count);
  int const before = handled;
  EXPECT_OK(0, sighold(SIGUSR1));
  EXPECT(is_blocked(SIGUSR1));
  std::atomic<bool> elsewhere{true};
  Pthread other([&] { elsewhere = is_blocked(SIGUSR1); });  // inherited
  other.join();
  EXPECT(elsewhere);
  EXPECT_OK(0, raise(SIGUSR1));
  nap(2);
  EXPECT(is_pending(SIGUSR1) && handled == before);
  EXPECT_OK(0, sigrelse(SIGUSR1));
  EXPECT(!is_blocked(SIGUSR1) && !is_pending(SIGUSR1));
  EXPECT_EQ(before + 1, handled);
  EXPECT(sigset(SIGUSR1, SIG_HOLD) == count);
  EXPECT(is_blocked(SIGUSR1));
  EXPECT(sigset(SIGUSR1, SIG_HOLD) == SIG_HOLD);
  EXPECT(sigset(SIGUSR1, count) == SIG_HOLD);  // and lets it in
  EXPECT(!is_blocked(SIGUSR1));
  for (int number : {0, -1, 65, 32}) {
    EXPECT_ERRNO(EINVAL, sighold(number));
    EXPECT_ERRNO(EINVAL, sigrelse(number));
    errno = 0;
    EXPECT(sigset(number, SIG_HOLD) == SIG_ERR && errno == EINVAL);
  }
}

// Masks of a word; other threads keep theirs.
static void low_half() {
  int const one = bit_of(SIGUSR1), two = bit_of(SIGUSR2);
  std::atomic<int> step{0};
  Pthread bystander([&] {
    while (step < 1) nap(1);
    EXPECT(!is_blocked(SIGUSR1) && !is_blocked(SIGUSR2));
    step = 2;
  });
  EXPECT_OK(0, sigblock(one));
  EXPECT_OK(one, sigblock(two));
  EXPECT_OK(one | two, siggetmask());
  step = 1;
  while (step < 2) nap(1);
  EXPECT(is_blocked(SIGUSR1) && is_blocked(SIGUSR2));
  EXPECT_OK(one | two, sigsetmask(two));
  EXPECT(!is_blocked(SIGUSR1) && is_blocked(SIGUSR2));
  EXPECT_OK(two, sigsetmask(0));
  EXPECT_OK(0, siggetmask());
}

int main() {
  from_both([] {
    actions();
    ends_a_read();
    one_at_a_time();
    low_half();
  });
  return finish();
}
