// SPDX-License-Identifier: Apache-2.0
//
// signalfd: a thread reads signals sent to itself (pthread_kill) and to the process (kill) from a
// descriptor, one that is pending already and one that comes later; several in one read;
// O_NONBLOCK; wrong sizes.

#include <sys/signalfd.h>

#include "testing.h"

static sigset_t set_of(int one, int two) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, one);
  sigaddset(&set, two);
  return set;
}

static void pending_already(int fd) {
  signalfd_siginfo info = {};
  EXPECT_EQ(0, pthread_kill(pthread_self(), SIGUSR1));
  EXPECT_OK(sizeof info, read(fd, &info, sizeof info));
  EXPECT_EQ(SIGUSR1, info.ssi_signo);
  EXPECT_EQ(getpid(), info.ssi_pid);
}

static void sent_to_the_process(int fd) {
  guarded<signalfd_siginfo> info;
  Stopwatch watch;
  Thread sender = after(20, [&] { EXPECT_OK(0, kill(getpid(), SIGUSR2)); });
  EXPECT_OK(sizeof info.value, read(fd, &info, sizeof info.value));
  EXPECT_WAITED(watch);
  EXPECT_EQ(SIGUSR2, info.value.ssi_signo);
  EXPECT_EQ(SI_USER, info.value.ssi_code);
}

static void sent_to_the_thread(int fd) {
  guarded<signalfd_siginfo> info;
  pthread_t me = pthread_self();
  Stopwatch watch;
  Thread sender = after(20, [&] { EXPECT_EQ(0, pthread_kill(me, SIGUSR1)); });
  EXPECT_OK(sizeof info.value, read(fd, &info, sizeof info.value));
  EXPECT_WAITED(watch);
  EXPECT_EQ(SIGUSR1, info.value.ssi_signo);
}

static void several(int fd) {
  signalfd_siginfo infos[3];
  EXPECT_EQ(0, pthread_kill(pthread_self(), SIGUSR2));
  EXPECT_EQ(0, pthread_kill(pthread_self(), SIGUSR1));
  EXPECT_EQ(0, pthread_kill(pthread_self(), SIGUSR1));  // not queued twice
  EXPECT_OK(2 * sizeof infos[0], read(fd, infos, sizeof infos));
  EXPECT_EQ(SIGUSR1, infos[0].ssi_signo);
  EXPECT_EQ(SIGUSR2, infos[1].ssi_signo);
}

static void does_not_wait(int fd) {
  guarded<signalfd_siginfo> info;
  set_nonblocking(fd, true);
  EXPECT_ERRNO(EAGAIN, read(fd, &info, sizeof info.value));
  EXPECT(info.untouched());
  set_nonblocking(fd, false);
  EXPECT_ERRNO(EINVAL, read(fd, &info, sizeof info.value - 1));
  EXPECT_ERRNO(EINVAL, write(fd, &info, sizeof info.value));
}

static void changed_set(int fd) {
  sigset_t only = set_of(SIGUSR2, SIGUSR2);
  signalfd_siginfo info;
  EXPECT_OK(fd, signalfd(fd, &only, 0));
  EXPECT_EQ(0, pthread_kill(pthread_self(), SIGUSR1));
  Thread sender = after(20, [&] { EXPECT_OK(0, kill(getpid(), SIGUSR2)); });
  EXPECT_OK(sizeof info, read(fd, &info, sizeof info));
  EXPECT_EQ(SIGUSR2, info.ssi_signo);
  int got = 0;
  sigset_t rest = set_of(SIGUSR1, SIGUSR1);
  EXPECT_EQ(0, sigwait(&rest, &got));
  EXPECT_EQ(SIGUSR1, got);
}

int main() {
  sigset_t both = set_of(SIGUSR1, SIGUSR2);
  EXPECT_EQ(
      0, pthread_sigmask(SIG_BLOCK, &both, nullptr));  // before any thread: all of them inherit it
  from_both([] {
    sigset_t both = set_of(SIGUSR1, SIGUSR2);
    int fd = NEED(signalfd(-1, &both, SFD_CLOEXEC));
    EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
    pending_already(fd);
    sent_to_the_process(fd);
    sent_to_the_thread(fd);
    several(fd);
    does_not_wait(fd);
    changed_set(fd);
    close(fd);
    EXPECT_ERRNO(EINVAL, signalfd(-1, &both, 0x40000000));
    EXPECT_ERRNO(EBADF, signalfd(9999, &both, 0));
  });
  return finish();
}
