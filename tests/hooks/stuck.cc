// SPDX-License-Identifier: Apache-2.0
//
// A thread that computes or blocks where nobody sees it: what main waits for comes all the same, also when main's was the
// last wait before that thread got its turn. The news come from another process, so nothing here but that wait can hear of it.

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>

#include "testing.h"

// Closed when it goes; its other end says one byte a little later, from a child.
struct News : Ends {
  pid_t child;
  News() {
    int fds[2];
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    a = fds[0];
    b = fds[1];
    child = NEED(fork());
    if (child) return;
    pause_ms(50);
    if (write(b, "n", 1) != 1) _exit(1);
    _exit(0);
  }
  ~News() {
    int status;
    EXPECT_EQ(child, waitpid(child, &status, 0));
  }
};

static long raw_read(int fd, void* buffer, size_t size) {
  long result;
  asm volatile("syscall" : "=a"(result) : "0"(0L), "D"(fd), "S"(buffer), "d"(size) : "rcx", "r11", "memory");
  return result;
}

template <class Wait>
static void main_hears(Wait wait) {
  {
    News news;
    std::atomic<bool> heard{false};
    Thread computing([&] {
      while (!heard.load(std::memory_order_relaxed)) {
      }
    });
    wait(news.a);
    heard = true;
  }
  News news;
  int fds[2];
  NEED(pipe(fds));
  Thread blocked([&] {
    char byte;
    EXPECT_EQ(1, raw_read(fds[0], &byte, 1));
  });
  wait(news.a);
  EXPECT_OK(1, write(fds[1], "h", 1));
  blocked.join();
  close(fds[0]);
  close(fds[1]);
}

int main() {
  main_hears([](int fd) {
    char byte;
    EXPECT_OK(1, read(fd, &byte, 1));
  });
  main_hears([](int fd) {
    pollfd two[2] = {{fd, POLLIN, 0}, {-1, POLLIN, 0}};
    EXPECT_OK(1, poll(two, 2, -1));
  });
  main_hears([](int fd) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    EXPECT_OK(1, select(fd + 1, &set, nullptr, nullptr, nullptr));
  });
  main_hears([](int fd) {
    int epoll = NEED(epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{EPOLLIN, {}};
    EXPECT_OK(0, epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    EXPECT_OK(1, epoll_wait(epoll, &event, 1, -1));
    close(epoll);
  });
  return finish();
}
