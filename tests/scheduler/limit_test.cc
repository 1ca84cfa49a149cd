// SPDX-License-Identifier: Apache-2.0
//
// Event loops at the limit of descriptors: opened in a forked child, rebuilt by libev. Nothing hangs, nothing ends.
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/scheduler/testing.h"

namespace coro {
namespace {

Woken wait_fd(int fd, Deadline deadline) {
  Wait wait(testing_reason, Cancellable::no);
  wait.on(fd, way_in);
  wait.until(deadline);
  return wait.park();
}

void set_limit(rlim_t soft, rlim_t hard) {
  rlimit limit{soft, hard};
  EXPECT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
}

// Takes every descriptor below the limit.
void take_all() {
  while (dup(2) >= 0) continue;
  EXPECT_EQ(EMFILE, errno);
}

struct Pair {
  Pair() { EXPECT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends)); }
  int ends[2];
};

// Until there is a byte, as hooks/ do it.
void receive(const Pair& pair) {
  char byte;
  while (read(pair.ends[0], &byte, 1) != 1) EXPECT_EQ(Woken::ready, wait_fd(pair.ends[0], Deadline::never()));
}

// Waits in every way, as a fiber that is alone. With a limit of 0 the kernel polls nothing: then waits for a descriptor
// may end too early, and the caller tries again.
void wait_alone(const Pair& pair, bool polls = true) {
  Stopwatch watch;
  rest(5 * millisecond);
  EXPECT_TRUE(watch.took_between(5, 5000));
  if (polls) {
    EXPECT_EQ(Woken::timed_out, wait_fd(pair.ends[0], Deadline::in(5 * millisecond)));
    EXPECT_EQ(Woken::timed_out, wait_fd(pair.ends[0], Deadline{now_on(CLOCK_REALTIME) + 5 * millisecond, true}));
  }
  std::thread sender([&] {
    usleep(5000);
    EXPECT_EQ(1, write(pair.ends[1], "x", 1));
  });
  receive(pair);
  sender.join();
  EXPECT_EQ(Woken::timed_out, park_on(&pair, Deadline::in(millisecond)));
  EXPECT_FALSE(yield_to_others());
}

void talk_to_another() {
  int key = 0;
  Spawned other([&] { rest(millisecond); });
  Spawned waiter([&] { park_on(&key); });
  EXPECT_TRUE(soon([&] { return waiters_on(&key) == 1; }));
  EXPECT_EQ(1, wake_on(&key));
}

// Runs body in a forked child, with as long to live as a test. As hooks/ does it around fork(2).
template <class Body>
void in_child(Body body) {
  pid_t child;
  {
    Critical inside;
    hold_engine();
    child = fork();
    if (child == 0) restart_engine_in_child();
    release_engine();
  }
  if (child == 0) {
    alarm(20);
    body();
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = -1;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT_EQ(0, status);
}

TEST(limit, a_forked_child_opens_its_loop_when_all_is_taken) {
  Pair pair;
  rest(millisecond);
  in_child([&] {
    set_limit(200, 200);
    take_all();  // what the parent's loop has is above
    wait_alone(pair);
  });
}

TEST(limit, a_forked_child_raises_a_limit_that_may_be_raised) {
  Pair pair;
  in_child([&] {
    rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    set_limit(200, limit.rlim_max);
    take_all();
    wait_alone(pair);
    talk_to_another();
    getrlimit(RLIMIT_NOFILE, &limit);
    EXPECT_EQ(200u, limit.rlim_cur);
  });
}

TEST(limit, a_forked_child_without_any_descriptor_waits_all_the_same) {
  Pair pair;
  in_child([&] {
    set_limit(0, 0);
    wait_alone(pair, false);
    FiberSpec spec;
    spec.stack_size = testing_stack();
    pthread_t id;
    Critical inside;
    EXPECT_EQ(nullptr, make_fiber(spec, &id));  // no loop, no second fiber
  });
}

TEST(limit, a_child_that_has_descriptors_again_opens_its_loop) {
  Pair pair;
  in_child([&] {
    set_limit(200, 200);
    take_all();
    wait_alone(pair);
    for (int fd = 100; fd < 200; fd++) close(fd);
    talk_to_another();
  });
}

TEST(limit, a_childs_child_too) {
  Pair pair;
  in_child([&] {
    set_limit(200, 200);
    take_all();
    wait_alone(pair);
    in_child([&] {
      wait_alone(pair);
      for (int fd = 100; fd < 200; fd++) close(fd);
      talk_to_another();
    });
  });
}

// A number that was closed behind our back while its description lives on: libev builds a new epoll set.
void let_libev_rebuild() {
  Pair pair;
  EXPECT_EQ(Woken::timed_out, wait_fd(pair.ends[0], Deadline::in(millisecond)));
  int duplicate = dup(pair.ends[0]);
  EXPECT_EQ(0, close(pair.ends[0]));
  take_all();
  int before = loops_opened();
  EXPECT_EQ(1, write(pair.ends[1], "x", 1));
  EXPECT_TRUE(soon([&] { return loops_opened() == before + 1; }));
  EXPECT_EQ(Woken::ready, wait_fd(duplicate, Deadline::in(5000 * millisecond)));
}

TEST(limit, libev_rebuilds_its_set_when_all_is_taken) {
  in_child([] {
    set_limit(1100, 1100);  // also for the parent's loop
    rest(millisecond);
    let_libev_rebuild();
    rest(millisecond);
  });
}

TEST(limit, libev_rebuilds_its_set_where_the_limit_may_be_raised) {
  in_child([] {
    rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    rest(millisecond);
    set_limit(200, limit.rlim_max);
    let_libev_rebuild();
    talk_to_another();
  });
}

TEST(limit, libev_waits_for_a_descriptor_where_there_is_none) {
  in_child([] {
    rest(millisecond);
    set_limit(200, 200);
    // Whoever gives one back in the end is another kernel thread.
    std::thread other([] {
      usleep(100'000);
      EXPECT_EQ(0, close(150));
    });
    Stopwatch watch;
    let_libev_rebuild();
    EXPECT_TRUE(watch.took_between(90, 10'000));
    other.join();
    talk_to_another();
  });
}

}  // namespace
}  // namespace coro
