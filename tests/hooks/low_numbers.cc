// SPDX-License-Identifier: Apache-2.0
//
// A program that counts on the lowest free descriptor number gets it: at once after its first
// thread was made, while threads wait in every way there is, in forked children, and where few
// descriptors are allowed (the runner's own limit, then 64, then none).
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "thread_testing.h"

// The numbers below this are the program's, even if 64 are all there are.
constexpr int numbers = 40;
static int vacant[numbers];  // in order, as they were before the first thread
static int vacant_count = 0;

static void note_vacant() {
  for (int fd = 0; fd < numbers; fd++) {
    if (fcntl(fd, F_GETFD) < 0) vacant[vacant_count++] = fd;
  }
}

// Opens as many as there are, in several ways, and closes them again. `used`: so many of the vacant
// ones are in use.
static void expect_in_order(int used, int most = numbers) {
  int end = vacant_count < used + most ? vacant_count : used + most;
  for (int i = used; i < end; i++) {
    int fd = -1;
    switch (i % 5) {
      case 0: fd = open("/dev/null", O_RDONLY); break;
      case 1: fd = dup(2); break;
      case 2: fd = socket(AF_INET, SOCK_STREAM, 0); break;
      case 3: fd = eventfd(0, 0); break;
      default: fd = fcntl(2, F_DUPFD, 0);
    }
    EXPECT_EQ(vacant[i], fd);
  }
  for (int i = end; i-- > used;) EXPECT_OK(0, close(vacant[i]));
}

// Runs body in a forked child, which must find nothing wrong.
template <class Body>
static void in_clean_child(Body body) {
  pid_t child = fork();
  if (child == 0) {
    failures = 0;
    body();
    _exit(failures ? 1 : 0);
  }
  int status = 0;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT(exited(status, 0));
}

// In a child of its own: the first thread there is. Its maker opens at once, while whatever a
// thread needs is being made.
static void at_once_after_the_first_thread() {
  for (int round = 0; round < 20; round++) {
    in_clean_child([] {
      sem_t go;
      sem_init(&go, 0, 0);
      Pthread thread([&] { sem_wait(&go); });
      for (int i = 0; i < 50; i++) expect_in_order(0, 6);
      sem_post(&go);
      thread.join();
    });
  }
}

// Threads that wait for data, for a time on each clock, for several descriptors, for a child, for a
// lock.
static void while_threads_wait(bool forks) {
  Pair pair;
  Pipe pipe;
  int epoll = NEED(epoll_create1(0));
  static int const used = 5;
  sem_t lock;
  sem_init(&lock, 0, 0);
  char byte;
  {
    pid_t sleeper = fork();
    if (sleeper == 0) {
      pause_ms(100);
      _exit(3);
    }
    Thread receiver([&] { EXPECT_OK(1, recv(pair.a, &byte, 1, 0)); });
    Thread reader([&] {
      char one;
      EXPECT_OK(1, read(pipe.a, &one, 1));
    });
    Thread poller([&] {
      pollfd several[] = {{pair.b, POLLIN | POLLPRI | POLLRDHUP, 0}, {pipe.a, POLLIN | POLLPRI, 0}};
      EXPECT(poll(several, 2, 100) >= 0);
    });
    Thread selector([&] {
      fd_set set;
      FD_ZERO(&set);
      FD_SET(pair.b, &set);
      timeval time = {0, 100000};
      EXPECT_EQ(0, select(pair.b + 1, &set, nullptr, nullptr, &time));
    });
    Thread watcher([&] {
      epoll_event event;
      EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 100));
    });
    Thread waiter([&] {
      int status = 0;
      EXPECT_EQ(sleeper, waitpid(sleeper, &status, 0));
      EXPECT(exited(status, 3));
    });
    Thread locker([&] {
      while (sem_wait(&lock)) EXPECT_EQ(EINTR, errno);
    });
    Thread by_the_clock([&] {
      timespec at;
      clock_gettime(CLOCK_REALTIME, &at);
      at = to_timespec(at.tv_sec * 1000000LL + at.tv_nsec / 1000 + 100000);
      EXPECT_EQ(0, clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &at, nullptr));
    });
    pause_ms(50);  // all of them wait
    expect_in_order(used);
    if (forks) {
      in_clean_child([] {
        expect_in_order(used);
        pause_ms(1);
        expect_in_order(used);
        Pthread thread([] { pause_ms(1); });
        expect_in_order(used);
        thread.join();
        expect_in_order(used);
      });
    }
    EXPECT_OK(1, send(pair.b, "x", 1, 0));
    EXPECT_OK(1, write(pipe.b, "y", 1));
    sem_post(&lock);
  }
  close(epoll);
}

static void all() {
  for (bool forks : {false, true}) while_threads_wait(forks);
  expect_in_order(0);
}

// With few descriptors, of which some cannot be had back.
static void in_a_small_child() {
  in_clean_child([] {
    rlimit const few = {64, 64};
    EXPECT_OK(0, setrlimit(RLIMIT_NOFILE, &few));
    at_once_after_the_first_thread();
    all();
    Pthread second([] {
      where = "second";
      all();
    });
    second.join();
  });
}

// A sandbox that may open nothing any more: calls that need no new descriptor still wait, and still
// hear of signals.
static void without_any() {
  Pipe pipe;
  Thread writer = after(100, [&] { EXPECT_OK(1, write(pipe.b, "x", 1)); });
  in_clean_child([&] {
    rlimit const none = {0, 0};
    EXPECT_OK(0, close(pipe.b));  // so that a parent that fails ends us, too
    EXPECT_OK(0, setrlimit(RLIMIT_NOFILE, &none));
    pause_ms(5);
    EXPECT_ERRNO(EMFILE, dup(2));
    count_signal(SIGALRM, 0);
    itimerval const soon = {{0, 0}, {0, 10000}};
    EXPECT_OK(0, setitimer(ITIMER_REAL, &soon, nullptr));
    char byte;
    EXPECT_ERRNO(EINTR, read(pipe.a, &byte, 1));
    EXPECT_EQ(1, handled);
    EXPECT_OK(1, read(pipe.a, &byte, 1));
    timespec const moment = to_timespec(1000);
    EXPECT_OK(0, nanosleep(&moment, nullptr));
  });
}

int main() {
  note_vacant();
  at_once_after_the_first_thread();
  in_a_small_child();  // that has no threads yet, ...
  Pthread second([] {
    where = "second";
    all();
    without_any();
    in_a_small_child();  // ... and of a thread
  });
  second.join();
  all();
  without_any();
  return finish();
}
