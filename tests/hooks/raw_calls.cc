// SPDX-License-Identifier: Apache-2.0
//
// syscall(SYS_read, ...) and its kin: what libc's own names do, asked for by number. Others run while
// one waits; results, errno and what the kernel alone does (the time that ppoll and pselect6 write
// back, signal sets of 8 bytes, SYS_exit of one thread) are the kernel's.
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "thread_testing.h"

struct RawPipe {
  int in, out;
  RawPipe() {
    int ends[2];
    EXPECT_EQ(0, syscall(SYS_pipe2, ends, O_CLOEXEC));
    in = ends[0];
    out = ends[1];
  }
  ~RawPipe() {
    EXPECT_EQ(0, syscall(SYS_close, in));
    EXPECT_EQ(0, syscall(SYS_close, out));
  }
  Thread feed(int ms) {
    return after(ms, [this] { EXPECT_EQ(1, syscall(SYS_write, out, "x", 1)); });
  }
};

static void transfers() {
  RawPipe pipe;
  char byte = 0;
  {
    Thread feeder = pipe.feed(25);
    while_others_tick([&] { EXPECT_OK(1, syscall(SYS_read, pipe.in, &byte, 1)); });
  }
  EXPECT_EQ('x', byte);
  EXPECT_ERRNO(EBADF, syscall(SYS_read, -1, &byte, 1));
  iovec vector{&byte, 1};
  {
    Thread feeder = pipe.feed(25);
    while_others_tick([&] { EXPECT_OK(1, syscall(SYS_readv, pipe.in, &vector, 1)); });
  }
  int ends[2];
  EXPECT_OK(0, syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, ends));
  Thread sender = after(25, [&] { EXPECT_EQ(1, syscall(SYS_sendto, ends[1], "y", 1, 0, nullptr, 0)); });
  while_others_tick([&] { EXPECT_OK(1, syscall(SYS_recvfrom, ends[0], &byte, 1, 0, nullptr, nullptr)); });
  EXPECT_EQ('y', byte);
  sender.join();
  EXPECT_ERRNO(EAGAIN, syscall(SYS_recvfrom, ends[0], &byte, 1, MSG_DONTWAIT, nullptr, nullptr));
  EXPECT_EQ(0, syscall(SYS_fcntl, ends[0], F_SETFL, O_NONBLOCK));
  EXPECT_ERRNO(EAGAIN, syscall(SYS_read, ends[0], &byte, 1));
  int copy = static_cast<int>(syscall(SYS_dup, ends[0]));
  EXPECT(copy > ends[0]);
  for (int fd : {ends[0], ends[1], copy}) EXPECT_EQ(0, syscall(SYS_close, fd));
  EXPECT_ERRNO(EBADF, syscall(SYS_close, copy));
}

static void readiness() {
  RawPipe pipe;
  pollfd poll{pipe.in, POLLIN, 0};
  while_others_tick([&] { EXPECT_OK(0, syscall(SYS_poll, &poll, 1, 25)); });
  {
    Thread feeder = pipe.feed(25);
    timespec left{5, 0};
    while_others_tick([&] { EXPECT_OK(1, syscall(SYS_ppoll, &poll, 1, &left, nullptr, 8)); });
    EXPECT(left.tv_sec == 4 && left.tv_nsec < 980000000);
  }
  EXPECT_EQ(POLLIN, poll.revents);
  fd_set set;
  FD_ZERO(&set);
  FD_SET(pipe.in, &set);
  timespec time{1, 0};
  EXPECT_OK(1, syscall(SYS_pselect6, pipe.in + 1, &set, nullptr, nullptr, &time, nullptr));
  EXPECT(time.tv_sec == 0 && time.tv_nsec > 500000000);
  int epoll = NEED(static_cast<int>(syscall(SYS_epoll_create1, 0)));
  epoll_event event{EPOLLIN, {}};
  EXPECT_EQ(0, syscall(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, pipe.in, &event));
  EXPECT_OK(1, syscall(SYS_epoll_wait, epoll, &event, 1, 1000));
  unsigned long mask = 0;
  EXPECT_OK(1, syscall(SYS_epoll_pwait, epoll, &event, 1, 1000, &mask, 8));
  char byte;
  EXPECT_EQ(1, syscall(SYS_read, pipe.in, &byte, 1));
  while_others_tick([&] { EXPECT_OK(0, syscall(SYS_epoll_wait, epoll, &event, 1, 25)); });
  EXPECT_EQ(0, syscall(SYS_close, epoll));
}

static void sleeps() {
  timespec time{0, 25000000};
  while_others_tick([&] { EXPECT_OK(0, syscall(SYS_nanosleep, &time, nullptr)); });
  while_others_tick([&] { EXPECT_OK(0, syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, nullptr)); });
  time.tv_nsec = 1000000000;
  EXPECT_ERRNO(EINVAL, syscall(SYS_nanosleep, &time, nullptr));
  EXPECT_ERRNO(EINVAL, syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, nullptr));
  EXPECT_OK(0, syscall(SYS_sched_yield));
}

static void identity_and_signals() {
  EXPECT_EQ(getpid(), syscall(SYS_getpid));
  EXPECT_EQ(getpid(), syscall(SYS_gettid));  // main's
  Thread([] {
    EXPECT(syscall(SYS_gettid) != getpid());
    EXPECT_EQ(gettid(), syscall(SYS_gettid));
    count_signal(SIGUSR1, 0);
    int const before = handled;
    EXPECT_EQ(0, syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1));
    EXPECT(comes_true([&] { return handled == before + 1; }));
    EXPECT(pthread_equal(handled_in, pthread_self()));
    unsigned long const usr1 = 1ul << (SIGUSR1 - 1);
    guarded<unsigned long> old;
    EXPECT_OK(0, syscall(SYS_rt_sigprocmask, SIG_BLOCK, &usr1, nullptr, 8));
    EXPECT_EQ(0, syscall(SYS_tkill, gettid(), SIGUSR1));
    nap(5);
    EXPECT_EQ(before + 1, handled);
    EXPECT_OK(0, syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &usr1, &old, 8));
    EXPECT(old.value & usr1);
    EXPECT(comes_true([&] { return handled == before + 2; }));
    EXPECT_ERRNO(EINVAL, syscall(SYS_rt_sigprocmask, SIG_BLOCK, &usr1, nullptr, 16));
  });
}

static void a_thread_ends_by_number() {
  std::atomic<bool> began{false};
  Pthread worker([&] {
    began = true;
    syscall(SYS_exit, 0);
    began = false;
  });
  EXPECT(comes_true([&] { return began.load(); }));
  worker.join();
  EXPECT(began);
}

static void other_calls() {
  int fd = NEED(static_cast<int>(syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR, 0)));
  EXPECT_OK(1, syscall(SYS_write, fd, "x", 1));
  EXPECT_EQ(0, syscall(SYS_close, fd));
  EXPECT_ERRNO(ENOSYS, syscall(9999));
  int status = -1;
  auto const child = static_cast<pid_t>(syscall(SYS_fork));
  if (child == 0) syscall(SYS_exit_group, 3);
  EXPECT_EQ(child, syscall(SYS_wait4, child, &status, 0, nullptr));
  EXPECT(exited(status, 3));
}

int main() {
  transfers();
  readiness();
  sleeps();
  identity_and_signals();
  a_thread_ends_by_number();
  other_calls();
  return finish();
}
