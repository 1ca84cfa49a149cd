// SPDX-License-Identifier: Apache-2.0
//
// Calls that no symbol hook sees: raw syscall instructions of what may block, one after the other, and what becomes of
// them when a signal, a time-out or a cancellation comes.
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "thread_testing.h"

// As the kernel answers: a value or -errno.
static long raw(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}
template <class T>
static long at(T* pointer) {
  return reinterpret_cast<long>(pointer);
}

// Does something after 20 ms in another thread.
template <class Deed>
static Pthread later(Deed deed) {
  return Pthread([deed] {
    nap(20);
    deed();
  });
}

static void reads_and_writes() {
  Pipe pipe;
  char text[8] = {};
  while_others_tick([&] {
    auto const writer = later([&] { EXPECT_EQ(5, raw(SYS_write, pipe.b, at("hello"), 5)); });
    errno = 77;
    EXPECT_EQ(5, raw(SYS_read, pipe.a, at(text), 8));
    EXPECT_EQ(77, errno);
  });
  EXPECT_EQ(0, memcmp(text, "hello", 5));
  iovec parts[2] = {{text, 2}, {text + 2, 3}};
  while_others_tick([&] {
    auto const writer = later([&] { EXPECT_EQ(5, raw(SYS_writev, pipe.b, at(parts), 2)); });
    EXPECT_EQ(5, raw(SYS_readv, pipe.a, at(parts), 2));
  });
  EXPECT_EQ(-EBADF, raw(SYS_read, 12345, at(text), 1));
  EXPECT_EQ(-EFAULT, raw(SYS_write, pipe.b, 1, 5));
  EXPECT_EQ(0, raw(SYS_close, pipe.b));
  pipe.b = -1;
  EXPECT_EQ(0, raw(SYS_read, pipe.a, at(text), 8));
  EXPECT_EQ(0, raw(SYS_close, pipe.a));
  EXPECT_EQ(-EBADF, raw(SYS_close, pipe.a));
  pipe.a = -1;
}

static void full_pipe() {
  Pipe pipe;
  long const filled = fill_up(pipe.b);
  while_others_tick([&] {
    auto const reader = later([&] { drain(pipe.a, filled); });
    EXPECT_EQ(3, raw(SYS_write, pipe.b, at("abc"), 3));
  });
}

static void sockets() {
  int const door = listener();
  sockaddr_in const address = address_of(door);
  while_others_tick([&] {
    auto const client = later([&] {
      int const fd = static_cast<int>(raw(SYS_socket, AF_INET, SOCK_STREAM, 0));
      EXPECT_EQ(0, raw(SYS_connect, fd, at(&address), sizeof address));
      EXPECT_EQ(2, raw(SYS_sendto, fd, at("hi"), 2, MSG_NOSIGNAL));
      nap(20);
      iovec one{const_cast<char*>("there"), 5};
      msghdr message{};
      message.msg_iov = &one;
      message.msg_iovlen = 1;
      EXPECT_EQ(5, raw(SYS_sendmsg, fd, at(&message), 0));
      close(fd);
    });
    sockaddr_in from{};
    socklen_t length = sizeof from;
    int const fd = static_cast<int>(raw(SYS_accept4, door, at(&from), at(&length), SOCK_CLOEXEC));
    EXPECT(fd >= 0 && from.sin_family == AF_INET);
    char text[8] = {};
    EXPECT_EQ(2, raw(SYS_recvfrom, fd, at(text), 8));
    iovec one{text, 8};
    msghdr message{};
    message.msg_iov = &one;
    message.msg_iovlen = 1;
    EXPECT_EQ(5, raw(SYS_recvmsg, fd, at(&message)));
    EXPECT_EQ(0, raw(SYS_recvfrom, fd, at(text), 8));
    close(fd);
  });
  close(door);
}

static void datagrams() {
  int const one = bound_socket(SOCK_DGRAM), two = bound_socket(SOCK_DGRAM);
  sockaddr_in const address = address_of(one), sender = address_of(two);
  while_others_tick([&] {
    auto const client = later([&] { EXPECT_EQ(3, raw(SYS_sendto, two, at("abc"), 3, 0, at(&address), sizeof address)); });
    sockaddr_in from{};
    socklen_t length = sizeof from;
    char text[8];
    EXPECT_EQ(3, raw(SYS_recvfrom, one, at(text), 8, 0, at(&from), at(&length)));
    EXPECT_EQ(sender.sin_port, from.sin_port);
    EXPECT_EQ(static_cast<long>(sizeof from), length);
  });
  close(one);
  close(two);
}

static void waits() {
  Pipe pipe;
  pollfd one{pipe.a, POLLIN, 0};
  timespec time{0, 20000000};
  timeval short_time{0, 20000};
  EXPECT_EQ(0, raw(SYS_poll, at(&one), 1, 0));
  while_others_tick([&] { EXPECT_EQ(0, raw(SYS_poll, at(&one), 1, 20)); });
  while_others_tick([&] { EXPECT_EQ(0, raw(SYS_ppoll, at(&one), 1, at(&time), 0, 8)); });
  fd_set in;
  FD_ZERO(&in);
  FD_SET(pipe.a, &in);
  while_others_tick([&] { EXPECT_EQ(0, raw(SYS_select, pipe.a + 1, at(&in), 0, 0, at(&short_time))); });
  FD_SET(pipe.a, &in);
  time = {0, 20000000};
  while_others_tick([&] { EXPECT_EQ(0, raw(SYS_pselect6, pipe.a + 1, at(&in), 0, 0, at(&time), 0)); });
  int const epoll = epoll_create1(0);
  epoll_event event{};
  event.events = EPOLLIN;
  EXPECT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, pipe.a, &event));
  while_others_tick([&] { EXPECT_EQ(0, raw(SYS_epoll_wait, epoll, at(&event), 1, 20)); });
  while_others_tick([&] {
    auto const writer = later([&] { EXPECT_EQ(1, write(pipe.b, "x", 1)); });
    EXPECT_EQ(1, raw(SYS_epoll_pwait, epoll, at(&event), 1, -1, 0, 8));
  });
  EXPECT_EQ(1, raw(SYS_poll, at(&one), 1, -1));
  close(epoll);
}

static void sleeps() {
  timespec time{0, 20000000};
  Stopwatch watch;
  while_others_tick([&] { EXPECT_EQ(0, raw(SYS_nanosleep, at(&time), 0)); });
  while_others_tick([&] { EXPECT_EQ(0, raw(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, at(&time), 0)); });
  EXPECT(watch.took_between(40, 4000));
}

static void futexes() {
  uint32_t word = 0;
  EXPECT_EQ(-EAGAIN, raw(SYS_futex, at(&word), FUTEX_WAIT_PRIVATE, 1));
  timespec time{0, 20000000};
  while_others_tick([&] { EXPECT_EQ(-ETIMEDOUT, raw(SYS_futex, at(&word), FUTEX_WAIT_PRIVATE, 0, at(&time))); });
  while_others_tick([&] {
    auto const waker = later([&] {
      __atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
      EXPECT_EQ(1, raw(SYS_futex, at(&word), FUTEX_WAKE_PRIVATE, 10));
    });
    long result = 0;
    while (__atomic_load_n(&word, __ATOMIC_SEQ_CST) == 0) result = raw(SYS_futex, at(&word), FUTEX_WAIT_PRIVATE, 0);
    EXPECT(result == 0 || result == -EAGAIN);
  });
}

static void children() {
  pid_t const child = fork();
  if (child == 0) {
    nap(20);
    raw(SYS_exit_group, 5);
  }
  int status = 0;
  while_others_tick([&] { EXPECT_EQ(child, raw(SYS_wait4, child, at(&status), 0, 0)); });
  EXPECT(exited(status, 5));
  EXPECT_EQ(-ECHILD, raw(SYS_wait4, child, at(&status), 0, 0));
}

static void interrupted() {
  Pipe pipe;
  count_signal(SIGUSR1, 0);
  char byte;
  pthread_t const self = pthread_self();
  auto const sender = later([self] { pthread_kill(self, SIGUSR1); });
  EXPECT_EQ(-EINTR, raw(SYS_read, pipe.a, at(&byte), 1));
}

// Without libc round it, a call is no cancellation point.
static void not_cancelled() {
  Pipe pipe;
  std::atomic<bool> passed{false};
  Pthread reader([&] {
    char byte;
    EXPECT_EQ(1, raw(SYS_read, pipe.a, at(&byte), 1));
    passed = true;
    pthread_testcancel();
    EXPECT(false);
  });
  nap(20);
  pthread_cancel(reader.id());
  nap(20);
  EXPECT(!passed);
  EXPECT_EQ(1, write(pipe.b, "x", 1));
  EXPECT(reader.join() == PTHREAD_CANCELED);
  EXPECT(passed);
}

int main() {
  from_both([] {
    reads_and_writes();
    full_pipe();
    sockets();
    datagrams();
    waits();
    sleeps();
    futexes();
    children();
    interrupted();
    not_cancelled();
  });
  return finish();
}
