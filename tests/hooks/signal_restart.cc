// SPDX-License-Identifier: Apache-2.0
//
// The table of signal(7), second half, for main and for another thread: the calls that a handler
// ends with EINTR without SA_RESTART and that go on with it (read, write, recv, send, accept,
// waitpid); a call is not ended by signals that are ignored or blocked, a blocked one comes at the
// unblocking.
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "thread_testing.h"

static void interrupted_without_sa_restart() {
  Pipe const pipe;
  Tcp const tcp;
  char byte = 0;
  EXPECT_INTERRUPTED(read(pipe.a, &byte, 1));
  EXPECT_INTERRUPTED(read(tcp.a, &byte, 1));
  EXPECT_INTERRUPTED(recv(tcp.a, &byte, 1, 0));
  fill_up(pipe.b);
  fill_up(tcp.b);
  EXPECT_INTERRUPTED(write(pipe.b, &byte, 1));
  EXPECT_INTERRUPTED(send(tcp.b, &byte, 1, 0));
  int const server = listener();
  EXPECT_INTERRUPTED(accept(server, nullptr, nullptr));
  close(server);
  int const event = eventfd(0, 0);
  uint64_t value = 0;
  EXPECT_INTERRUPTED(read(event, &value, sizeof value));
  close(event);
}

static void restarted_with_sa_restart() {
  Pipe const pipe;
  Tcp const tcp;
  char byte = 0;
  EXPECT_RESTARTED(1, read(pipe.a, &byte, 1), (void)!write(pipe.b, "x", 1));
  EXPECT_RESTARTED(1, recv(tcp.a, &byte, 1, 0), send(tcp.b, "x", 1, 0));
  long const size = fill_up(pipe.b);
  EXPECT_RESTARTED(1, write(pipe.b, "x", 1), drain(pipe.a, size));
  int const server = listener();
  sockaddr_in const address = address_of(server);
  int client = -1;
  EXPECT_RESTARTED(true, accept(server, nullptr, nullptr) >= 0, client = connect_to(address));
  close(client);
  close(server);
}

static void waiting_for_a_child() {
  auto sleeper = [](int milliseconds) {
    pid_t const child = fork();
    if (child == 0) {
      usleep(static_cast<useconds_t>(milliseconds) * 1000);
      _exit(3);
    }
    return child;
  };
  pid_t child = sleeper(100);
  int status = -1;
  EXPECT_INTERRUPTED(waitpid(child, &status, 0));
  count_signal(SIGUSR1, SA_RESTART);
  int const before = handled;
  {
    Kicker const kicker(pthread_self());
    EXPECT_EQ(child, waitpid(child, &status, 0));
  }
  EXPECT(handled > before);
  EXPECT(exited(status, 3));
}

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
  from_both([] {
    interrupted_without_sa_restart();
    restarted_with_sa_restart();
    waiting_for_a_child();
    ignored_and_blocked_signals_end_nothing();
  });
  return finish();
}
