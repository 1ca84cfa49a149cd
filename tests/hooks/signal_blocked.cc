// SPDX-License-Identifier: Apache-2.0
//
// A call is not ended by signals that are ignored or blocked; a blocked one comes at the
// unblocking. What handlers do to calls: signal_table.
#include <poll.h>

#include "thread_testing.h"

static void ignored_and_blocked_signals_end_nothing() {
  signal(SIGUSR1, SIG_IGN);
  Pipe const pipe;
  pollfd one{pipe.a, POLLIN, 0};
  {
    Kicker const kicker(pthread_self());
    EXPECT_OK(0, poll(&one, 1, 35));
    EXPECT_OK(0, usleep(35000));
  }
  count_signal(SIGUSR1, 0);
  sigset_t usr1;
  sigset_t old;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &usr1, &old);
  int const before = handled;
  {
    Kicker const kicker(pthread_self());
    EXPECT_OK(0, poll(&one, 1, 35));
    EXPECT_OK(0, usleep(35000));
  }
  EXPECT_EQ(before, handled);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  EXPECT_EQ(before + 1, handled);
}

int main() {
  from_both(ignored_and_blocked_signals_end_nothing);
  return finish();
}
