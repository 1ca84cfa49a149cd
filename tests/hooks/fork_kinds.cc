// SPDX-License-Identifier: Apache-2.0
//
// _Fork: a child without fork handlers, that can wait, write and be waited for; forkpty: the child
// has a terminal of its own as 0, 1 and 2, the parent reads it through the master, and name, mode
// and size are as given; _Exit: the status, no atexit handler, nothing flushed.
#include <malloc.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <string>

#include "thread_testing.h"

static std::atomic<int> prepared{0}, in_parent{0}, in_new_child{0};

static int status_of(pid_t child) {
  int status = -1;
  EXPECT_OK(child, waitpid(child, &status, 0));
  return status;
}

static void a_bare_fork() {
  int const before = prepared + in_parent;
  Pipe up, down;
  pid_t const parent = getpid();
  errno = 77;
  pid_t const child = _Fork();
  EXPECT_EQ(77, errno);
  if (child == 0) {
    char byte = 0;
    bool const good = getppid() == parent && in_new_child == 0 && read(down.a, &byte, 1) == 1;
    usleep(1000);
    (void)!write(up.b, &byte, 1);
    _Exit(good ? 31 : 32);
  }
  EXPECT(child > 0 && child != parent);
  EXPECT_OK(0, waitpid(child, nullptr, WNOHANG));  // it waits for us
  nap(20);
  EXPECT_OK(1, write(down.b, "c", 1));
  char byte = 0;
  EXPECT_OK(1, read(up.a, &byte, 1));
  EXPECT_EQ('c', byte);
  EXPECT(exited(status_of(child), 31));
  EXPECT_EQ(before, prepared + in_parent);
  EXPECT(exited(in_child([] { EXPECT(in_new_child == 1); }), 0));
  EXPECT_EQ(before + 2, prepared + in_parent);  // those are fork's
}

// A lock of libc's may be held for ever in such a child; reading, writing and sleeping take none.
static void bare_forks_beside_malloc() {
  std::atomic<bool> done{false};
  auto allocate = [&] {
    while (!done) free(malloc(5000));
  };
  Pthread first(allocate), second(allocate);
  for (int i = 0; i < 25; i++) {
    Pipe down;
    pid_t const child = _Fork();
    if (child == 0) {
      char byte = 0;
      bool const good = read(down.a, &byte, 1) == 1;
      usleep(100);
      _Exit(good ? 31 : 32);
    }
    if (i % 4 == 0) nap(1);
    EXPECT_OK(1, write(down.b, "c", 1));
    EXPECT(exited(status_of(child), 31));
  }
  done = true;
}

static std::string all_of(int fd) {
  std::string text;
  char bytes[256];
  for (ssize_t got = 0; (got = read(fd, bytes, sizeof bytes)) > 0;) {
    text.append(bytes, static_cast<size_t>(got));
  }
  EXPECT_EQ(EIO, errno);  // the child hung up
  return text;
}

static void a_fork_with_a_terminal() {
  guarded<int> master(-1);
  guarded<char[64]> name;
  termios mode = {};
  mode.c_cflag = CS8 | CREAD | B38400;
  mode.c_cc[VMIN] = 1;
  winsize size = {11, 22, 0, 0};
  Stopwatch const watch;
  pid_t const child = forkpty(&master, name.value, &mode, &size);
  if (child == 0) {
    winsize mine = {};
    pid_t const group = tcgetpgrp(0);
    bool const good = isatty(0) && isatty(1) && isatty(2) && getsid(0) == getpid() &&
                      group == getpid() && ioctl(0, TIOCGWINSZ, &mine) == 0 && mine.ws_row == 11 &&
                      mine.ws_col == 22;
    usleep(20000);
    char word[8] = "";
    bool const heard = read(0, word, 5) == 5 && !memcmp(word, "word\n", 5);
    dprintf(1, "%s %s", ttyname(0), good && heard ? "good" : "bad");
    _Exit(33);
  }
  EXPECT(child > 0);
  NEED(master.value);
  EXPECT(!memcmp(name.value, "/dev/pts/", 9));
  pollfd in = {master.value, POLLIN, 0};
  EXPECT_OK(0, poll(&in, 1, 5));
  EXPECT_OK(5, write(master.value, "word\n", 5));
  EXPECT(all_of(master.value) == std::string(name.value) + " good");
  EXPECT(watch.took_between(20, 5000));
  EXPECT(exited(status_of(child), 33));
  EXPECT_OK(0, close(master.value));
}

static void an_exit_without_ado() {
  Pipe pipe;
  int const status = in_child([&] {
    static int out;
    out = pipe.b;
    atexit([] { (void)!write(out, "handler", 7); });
    FILE* stream = fdopen(dup(out), "w");
    fputs("unflushed", stream);
    _Exit(256 + 34);
  });
  EXPECT(exited(status, 34));
  pipe.close_b();
  char bytes[16];
  EXPECT_OK(0, read(pipe.a, bytes, sizeof bytes));
  // A thread's _Exit ends them all.
  EXPECT(exited(in_child([] {
                  Pthread other([] { _Exit(35); });
                  other.join();
                  pause_ms(5000);
                }),
                35));
}

int main() {
  mallopt(M_ARENA_MAX, 1);
  pthread_atfork([] { prepared++; }, [] { in_parent++; }, [] { in_new_child++; });
  from_both([] {
    for (int i = 0; i < 3; i++) {
      a_bare_fork();
    bare_forks_beside_malloc();
      a_fork_with_a_terminal();
    }
    an_exit_without_ado();
  });
  return finish();
}
