// SPDX-License-Identifier: Apache-2.0
//
// The second doors: names with two underscores, or ending in 64, that glibc exports for the same
// calls. Old programs and some runtimes call these; each waits, fails and counts like the one
// without.

#include <poll.h>
#include <sys/select.h>

#include "testing.h"

extern "C" {
ssize_t __read(int, void*, size_t);
ssize_t __write(int, const void*, size_t);
ssize_t __send(int, const void*, size_t, int);
ssize_t __pread64(int, void*, size_t, off64_t);
ssize_t __pwrite64(int, const void*, size_t, off64_t);
int __connect(int, const sockaddr*, socklen_t);
int __poll(pollfd*, nfds_t, int);
int __select(int, fd_set*, fd_set*, fd_set*, timeval*);
int __nanosleep(const timespec*, timespec*);
int __close(int);
int __fcntl(int, int, ...);
int __dup2(int, int);
int __pipe(int[2]);
int __open(const char*, int, ...);
int __open64(const char*, int, ...);
int __sched_yield();
int __fcntl64(int, int, ...) __asm__("fcntl64");
}

static void read_and_write(int source, int target) {
  char buffer[8];
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(2, __write(target, "ok", 2)); });
  EXPECT_OK(2, __read(source, buffer, 8));
  EXPECT_WAITED(watch);
  EXPECT_ERRNO(EBADF, __read(-1, buffer, 8));
  EXPECT_ERRNO(EBADF, __write(-1, buffer, 8));
  EXPECT_INTERRUPTED(__read(source, buffer, 8));
  long filled = fill_up(target);
  Stopwatch full;
  Thread reader = after(20, [&] { EXPECT_EQ(filled, drain(source, filled)); });
  EXPECT_OK(8, __write(target, buffer, 8));
  EXPECT_WAITED(full);
}

static void sockets() {
  int server = listener(), fd = NEED(socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address = address_of(server);
  EXPECT_OK(0, __connect(fd, (sockaddr*)&address, sizeof address));
  EXPECT_ERRNO(EISCONN, __connect(fd, (sockaddr*)&address, sizeof address));
  int peer = NEED(accept(server, nullptr, nullptr));
  EXPECT_OK(2, __send(fd, "hi", 2, 0));
  EXPECT_EQ(2, drain(peer, 2));
  EXPECT_OK(0, __close(peer));
  EXPECT_OK(0, __close(server));
  EXPECT_OK(0, __close(fd));
  EXPECT_ERRNO(EBADF, __close(fd));
  Pair pair;
  long filled = fill_up(pair.a);
  Stopwatch watch;
  Thread reader = after(20, [&] { EXPECT_EQ(filled, drain(pair.b, filled)); });
  EXPECT_OK(3, __send(pair.a, "abc", 3, 0));
  EXPECT_WAITED(watch);
}

static void waiting() {
  Pair pair;
  pollfd one = {pair.a, POLLIN, 0};
  Stopwatch timing;
  EXPECT_OK(0, __poll(&one, 1, 30));
  EXPECT(timing.took_between(29, 3000));
  EXPECT(timing.others_ran());
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pair.b, "p", 1)); });
  EXPECT_OK(1, __poll(&one, 1, -1));
  EXPECT_WAITED(watch);
  EXPECT_EQ(1, drain(pair.a, 1));
  writer.join();
  fd_set in;
  FD_ZERO(&in);
  FD_SET(pair.a, &in);
  timeval time = {3, 0};
  Stopwatch later;
  Thread second = after(20, [&] { EXPECT_OK(1, write(pair.b, "s", 1)); });
  EXPECT_OK(1, __select(pair.a + 1, &in, nullptr, nullptr, &time));
  EXPECT_WAITED(later);
  EXPECT_EQ(2, time.tv_sec);
}

static void sleeping() {
  timespec time = to_timespec(30000), wrong = {-1, 0};
  guarded<timespec> left;
  Stopwatch watch;
  EXPECT_OK(0, __nanosleep(&time, &left));
  EXPECT(watch.took_between(30, 3000));
  EXPECT(watch.others_ran());
  EXPECT(left.untouched());
  EXPECT_ERRNO(EINVAL, __nanosleep(&wrong, &left));
  EXPECT_OK(0, __sched_yield());
}

static void births_and_copies() {
  int fds[2];
  EXPECT_OK(0, __pipe(fds));
  int number = NEED(dup(fds[0]));
  Pair pair;
  EXPECT_OK(number, __dup2(pair.a, number));
  char byte;
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pair.b, "d", 1)); });
  EXPECT_OK(1, recv(number, &byte, 1, 0));
  EXPECT_OK(0, __fcntl(number, F_SETFL, O_RDWR | O_NONBLOCK));
  EXPECT_ERRNO(EAGAIN, __read(number, &byte, 1));
  EXPECT_OK(0, __fcntl64(number, F_SETFL, O_RDWR));
  writer.join();
  Stopwatch watch;
  Thread second = after(20, [&] { EXPECT_OK(1, write(pair.b, "e", 1)); });
  EXPECT_OK(1, recv(number, &byte, 1, 0));
  EXPECT_WAITED(watch);
  for (int fd : {fds[0], fds[1], number}) EXPECT_OK(0, __close(fd));
  int zero = NEED(__open("/dev/zero", O_RDONLY)), same = NEED(__open64("/dev/zero", O_RDWR));
  EXPECT_OK(1, __pread64(zero, &byte, 1, 5));
  EXPECT_OK(1, __pwrite64(same, &byte, 1, 5));
  close(zero);
  close(same);
}

int main() {
  from_both([] {
    Pipe pipe;
    read_and_write(pipe.a, pipe.b);
    Pair pair;
    read_and_write(pair.a, pair.b);
    sockets();
    waiting();
    sleeping();
    births_and_copies();
  });
  return finish();
}
