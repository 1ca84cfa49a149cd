// SPDX-License-Identifier: Apache-2.0
//
// Terminals: a read on the slave waits for a whole line (canonical) or for bytes (raw, with VMIN
// and VTIME), the master reads what was written and its echo, a full terminal makes a writer wait,
// hang-up ends a read (EIO at the master), O_NONBLOCK, tcdrain, and poll.

#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "testing.h"

struct Terminal : Ends {  // a is the master, b the slave
  explicit Terminal(bool raw) {
    NEED(openpty(&a, &b, nullptr, nullptr, nullptr));
    termios settings;
    EXPECT_OK(0, tcgetattr(b, &settings));
    if (raw) cfmakeraw(&settings);
    settings.c_lflag &= ~ECHO;
    EXPECT_OK(0, tcsetattr(b, TCSANOW, &settings));
  }
};

static void a_line() {
  Terminal terminal(false);
  guarded<char[16]> buffer;
  Stopwatch watch;
  Thread typist([&] {
    pause_ms(20);
    EXPECT_OK(3, write(terminal.a, "abc", 3));
    pause_ms(20);
    EXPECT_OK(2, write(terminal.a, "d\n", 2));
  });
  EXPECT_OK(5, read(terminal.b, buffer.value, 16));
  EXPECT(watch.took_between(35, 4000));
  EXPECT(watch.others_ran());
  EXPECT(!memcmp(buffer.value, "abcd\n", 5));
  EXPECT(buffer.untouched_from(5));
}

static void control_d_is_end_of_file() {
  Terminal terminal(false);
  char buffer[8];
  Thread typist = after(20, [&] { EXPECT_OK(1, write(terminal.a, "\4", 1)); });
  EXPECT_OK(0, read(terminal.b, buffer, 8));
}

static void raw_bytes() {
  Terminal terminal(true);
  char buffer[8];
  Stopwatch watch;
  Thread typist = after(20, [&] { EXPECT_OK(1, write(terminal.a, "x", 1)); });
  EXPECT_OK(1, read(terminal.b, buffer, 8));
  EXPECT_WAITED(watch);
  typist.join();
  Stopwatch back;
  Thread printer = after(20, [&] { EXPECT_OK(3, write(terminal.b, "out", 3)); });
  EXPECT_OK(3, read(terminal.a, buffer, 8));
  EXPECT_WAITED(back);
}

static void at_least_so_many_or_so_long() {
  Terminal terminal(true);
  char buffer[8];
  termios settings;
  EXPECT_OK(0, tcgetattr(terminal.b, &settings));
  settings.c_cc[VMIN] = 3;
  EXPECT_OK(0, tcsetattr(terminal.b, TCSANOW, &settings));
  Thread typist([&] {
    for (int i = 0; i < 3; i++) {
      pause_ms(10);
      EXPECT_OK(1, write(terminal.a, "v", 1));
    }
  });
  EXPECT_OK(3, read(terminal.b, buffer, 8));
  typist.join();
  settings.c_cc[VMIN] = 0;
  settings.c_cc[VTIME] = 1;  // a tenth of a second
  EXPECT_OK(0, tcsetattr(terminal.b, TCSANOW, &settings));
  Stopwatch watch;
  EXPECT_OK(0, read(terminal.b, buffer, 8));
  EXPECT(watch.took_between(80, 4000));
  EXPECT(watch.others_ran());
  settings.c_cc[VTIME] = 0;
  EXPECT_OK(0, tcsetattr(terminal.b, TCSANOW, &settings));
  EXPECT_OK(0, read(terminal.b, buffer, 8));  // both zero: never waits
}

static void a_full_terminal() {
  Terminal terminal(true);
  const long size = 100000;
  char* bytes = (char*)calloc(1, size);
  Stopwatch watch;
  Thread reader = after(20, [&] { EXPECT_EQ(size, drain(terminal.a, size)); });
  EXPECT_OK(size, write(terminal.b, bytes, size));
  EXPECT_WAITED(watch);
  EXPECT_OK(0, tcdrain(terminal.b));
  reader.join();
  free(bytes);
}

static void hang_up() {
  Terminal terminal(true);
  char byte;
  Stopwatch watch;
  Thread closer = after(20, [&] { terminal.close_b(); });
  EXPECT_ERRNO(EIO, read(terminal.a, &byte, 1));
  EXPECT_WAITED(watch);
  closer.join();
  pollfd one = {terminal.a, POLLIN, 0};
  EXPECT_OK(1, poll(&one, 1, 1000));
  EXPECT_EQ(POLLHUP, one.revents);
  Terminal other(true);
  Thread ender = after(20, [&] { other.close_a(); });
  ssize_t n = read(other.b, &byte, 1);  // the kernel itself races between the two
  EXPECT(n == 0 || (n == -1 && errno == EIO));
}

static void does_not_wait_and_is_interrupted() {
  Terminal terminal(true);
  char byte;
  set_nonblocking(terminal.b, true);
  EXPECT_ERRNO(EAGAIN, read(terminal.b, &byte, 1));
  set_nonblocking(terminal.b, false);
  EXPECT_INTERRUPTED(read(terminal.b, &byte, 1));
  EXPECT_INTERRUPTED(read(terminal.a, &byte, 1));
  EXPECT_RESTARTED(1, read(terminal.b, &byte, 1), EXPECT_OK(1, write(terminal.a, "r", 1)));
  pollfd one = {terminal.b, POLLIN, 0};
  Stopwatch watch;
  Thread typist = after(20, [&] { EXPECT_OK(1, write(terminal.a, "p", 1)); });
  EXPECT_OK(1, poll(&one, 1, 2000));
  EXPECT_WAITED(watch);
  EXPECT_EQ(POLLIN, one.revents);
  int waiting = 0;
  EXPECT_OK(0, ioctl(terminal.b, FIONREAD, &waiting));
  EXPECT_EQ(1, waiting);
  EXPECT_OK(1, isatty(terminal.b));
}

int main() {
  from_both([] {
    a_line();
    control_d_is_end_of_file();
    raw_bytes();
    at_least_so_many_or_so_long();
    a_full_terminal();
    hang_up();
    does_not_wait_and_is_interrupted();
  });
  return finish();
}
