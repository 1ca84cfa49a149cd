// SPDX-License-Identifier: Apache-2.0
#include "scheduler/loop.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <deque>
#include <string>
#include <thread>

#include "tests/scheduler/testing.h"

namespace coro {
namespace {

Woken wait_fd(int fd, uint8_t ways, Deadline deadline = Deadline::never(), uint8_t* fired = nullptr) {
  Wait wait(testing_reason, Cancellable::no);
  wait.on(fd, ways);
  wait.until(deadline);
  Woken how = wait.park();
  if (fired) *fired = wait.fired();
  return how;
}

Deadline shortly() { return Deadline::in(5 * millisecond); }

// A connected pair of sockets that is closed as the hooks close.
struct Pair {
  Pair() { EXPECT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, &a)); }
  ~Pair() { close_a(), close_b(); }
  void close_a() { end(a); }
  void close_b() { end(b); }
  static void end(int& fd) {
    if (fd < 0) return;
    forget_descriptor(fd);
    close(std::exchange(fd, -1));
  }
  void send() { EXPECT_EQ(1, write(b, "x", 1)); }
  void receive() {
    char byte;
    EXPECT_EQ(1, read(a, &byte, 1));
  }
  int a = -1, b = -1;  // socketpair writes both
};

// What the kernel watches for the hub: epoll's events of the number, 0 when it is not in the set.
unsigned watched(int fd) {
  std::string path = "/proc/self/fdinfo/" + std::to_string(last_epoll());
  FILE* file = fopen(path.c_str(), "r");
  unsigned found = 0, events;
  char line[256];
  for (int number; fgets(line, sizeof line, file);)
    if (sscanf(line, "tfd: %d events: %x", &number, &events) == 2 && number == fd) found = events;
  fclose(file);
  return found;
}

TEST(loop, data_that_is_there_ends_a_wait) {
  Pair pair;
  pair.send();
  uint8_t fired;
  EXPECT_EQ(Woken::ready, wait_fd(pair.a, way_in, Deadline::never(), &fired));
  EXPECT_EQ(way_in, fired);
}

TEST(loop, data_that_comes_ends_a_wait) {
  Pair pair;
  Spawned sender([&] { rest(millisecond), pair.send(); });
  EXPECT_EQ(Woken::ready, wait_fd(pair.a, way_in));
}

TEST(loop, no_data_is_no_event) {
  Pair pair;
  uint8_t fired;
  EXPECT_EQ(Woken::timed_out, wait_fd(pair.a, way_in, shortly(), &fired));
  EXPECT_EQ(0, fired);
}

TEST(loop, room_to_write_is_an_event_of_its_own) {
  Pair pair;
  uint8_t fired;
  EXPECT_EQ(Woken::ready, wait_fd(pair.a, way_out | way_in, Deadline::never(), &fired));
  EXPECT_EQ(way_out, fired);
  while (write(pair.a, std::string(4096, 'x').data(), 4096) > 0) continue;
  EXPECT_EQ(Woken::timed_out, wait_fd(pair.a, way_out, shortly()));
}

TEST(loop, the_end_of_the_stream_is_readable) {
  Pair pair;
  Spawned closer([&] { rest(millisecond), pair.close_b(); });
  EXPECT_EQ(Woken::ready, wait_fd(pair.a, way_in));
}

TEST(loop, two_fibers_may_wait_for_one_descriptor) {
  Pair pair;
  uint8_t in = 0, out = 0, both = 0;
  {
    Spawned a([&] { wait_fd(pair.a, way_in, Deadline::never(), &in); });
    Spawned b([&] { wait_fd(pair.a, way_in | way_out, Deadline::never(), &both); });
    Spawned c([&] { wait_fd(pair.a, way_out, Deadline::never(), &out); });
    b.join(), c.join();
    EXPECT_FALSE(is_done(a.fiber()));
    pair.send();
  }
  EXPECT_EQ(way_in, in);
  EXPECT_EQ(way_out, out);
  EXPECT_EQ(way_out, both);
}

TEST(loop, a_file_is_always_ready) {
  char name[] = "/tmp/coro-loop-test-XXXXXX";
  int fd = mkstemp(name);
  unlink(name);
  EXPECT_EQ(Woken::ready, wait_fd(fd, way_in, Deadline::in(5000 * millisecond)));
  EXPECT_EQ(Woken::ready, wait_fd(fd, way_out, Deadline::in(5000 * millisecond)));
  forget_descriptor(fd);
  close(fd);
}

TEST(loop, a_registration_outlives_its_wait) {
  Pair pair;
  EXPECT_EQ(0u, watched(pair.a));
  pair.send();
  wait_fd(pair.a, way_in);
  pair.receive();
  EXPECT_TRUE(watched(pair.a) & way_in);
  pair.send();
  EXPECT_EQ(Woken::ready, wait_fd(pair.a, way_in));
  int a = pair.a;
  pair.close_a();
  EXPECT_EQ(0u, watched(a));
}

TEST(loop, an_event_that_nobody_wants_does_not_spin) {
  Pair pair;
  pair.send();
  wait_fd(pair.a, way_in);  // and nobody reads
  rest(millisecond);
  uint64_t before = hub(0).counters.turns;
  rest(15 * millisecond);
  EXPECT_LT(hub(0).counters.turns - before, 20u);
  EXPECT_EQ(Woken::ready, wait_fd(pair.a, way_in));  // who wants it again gets it
}

TEST(loop, a_number_used_again_is_another_descriptor) {
  for (int i = 0; i < 20; i++) {
    Pair pair;
    int number = pair.a;
    pair.send();
    EXPECT_EQ(Woken::ready, wait_fd(pair.a, way_in));
    pair.close_a(), pair.close_b();
    Pair other;
    ASSERT_EQ(number, other.a);
    EXPECT_EQ(Woken::timed_out, wait_fd(other.a, way_in, Deadline::in(millisecond)));
    other.send();
    EXPECT_EQ(Woken::ready, wait_fd(other.a, way_in, Deadline::in(5000 * millisecond)));
  }
}

TEST(loop, a_number_closed_behind_our_back_and_used_again_still_works) {
  Pair pair;
  int number = pair.a;
  wait_fd(pair.a, way_in, Deadline::in(millisecond));
  end_generation(number);  // the hub has not heard of it
  close(pair.a);
  Pair other;
  pair.a = -1;
  ASSERT_EQ(number, other.a);
  other.send();
  EXPECT_EQ(Woken::ready, wait_fd(other.a, way_in, Deadline::in(5000 * millisecond)));
}

TEST(loop, forgetting_wakes_all_who_wait) {
  Pair pair;
  std::deque<Spawned> all;
  for (uint8_t i = 0; i < 3; i++)
    all.emplace_back([&] { EXPECT_EQ(Woken::closed, wait_fd(pair.a, way_in)); });
  ASSERT_TRUE(soon([&] { return watched(pair.a) != 0; }));
  pair.close_a();
}

TEST(loop, a_foreign_thread_may_close) {
  for (int i = 0; i < 50; i++) {
    Pair pair;
    int number = pair.a;
    std::thread closer([&] {
      if (i % 2) usleep(100);
      pair.close_a();
    });
    // Whichever comes first. Who begins to wait between the announcement and the close itself hears nothing, as natively.
    Woken woken = wait_fd(number, way_in, Deadline::in(500 * millisecond));
    if (woken == Woken::timed_out) woken = wait_fd(number, way_in);
    EXPECT_EQ(Woken::closed, woken) << i;
    closer.join();
  }
}

TEST(loop, a_description_that_lives_on_gives_no_events) {
  Pair pair;
  wait_fd(pair.a, way_in, Deadline::in(millisecond));
  int duplicate = dup(pair.a);
  int number = pair.a;
  pair.close_a();
  pair.send();  // the duplicate is readable now
  rest(millisecond);
  uint64_t before = hub(0).counters.turns;
  rest(10 * millisecond);
  EXPECT_LT(hub(0).counters.turns - before, 20u);
  EXPECT_EQ(0u, watched(number));
  EXPECT_EQ(Woken::ready, wait_fd(duplicate, way_in));
  Pair::end(duplicate);
}

TEST(loop, a_nudge_makes_the_waiters_look_again) {
  Pair pair;
  Spawned a([&] { EXPECT_EQ(Woken::ready, wait_fd(pair.a, way_in)); });
  ASSERT_TRUE(soon([&] { return watched(pair.a) != 0; }));
  nudge_descriptor(pair.a);
  a.join();
  Spawned b([&] { EXPECT_EQ(Woken::ready, wait_fd(pair.a, way_in)); });
  std::thread nudger([&] {
    while (!is_done(b.fiber())) nudge_descriptor(pair.a), usleep(500);
  });
  EXPECT_TRUE(soon([&] { return is_done(b.fiber()); }));
  nudger.join();
}

TEST(loop, who_waits_for_what_is_being_closed_tries_again) {
  Pair pair;
  begin_closing(pair.a);
  EXPECT_EQ(Woken::ready, wait_fd(pair.a, way_in, Deadline::in(5000 * millisecond)));
  end_closing(pair.a);
  EXPECT_EQ(Woken::timed_out, wait_fd(pair.a, way_in, Deadline::in(millisecond)));
}

TEST(loop, when_news_got_lost_all_are_looked_at) {
  Pair stays, ends;
  Spawned a([&] { EXPECT_EQ(Woken::ready, wait_fd(stays.a, way_in)); });
  Spawned b([&] { EXPECT_EQ(Woken::closed, wait_fd(ends.a, way_in)); });
  rest(5 * millisecond);
  end_generation(ends.a);
  Critical inside;
  hub(0).loop().look_at_all();
}

TEST(loop, forgetting_what_nobody_knows_is_harmless) {
  for (int fd : {-1, 100'000, INT32_MAX, 3}) forget_descriptor(fd), nudge_descriptor(fd);
}

TEST(loop, four_hundred_descriptors_at_once) {
  std::deque<Pair> pairs(400);
  std::atomic<int> woken{0};
  std::deque<Spawned> all;
  for (Pair& pair : pairs)
    all.emplace_back([&] {
      wait_fd(pair.a, way_in);
      pair.receive();
      woken++;
    });
  for (int i = 399; i >= 0; i--) pairs[i].send();
  all.clear();
  EXPECT_EQ(400, woken);
}

TEST(loop, its_own_descriptors_are_known) {
  EXPECT_TRUE(hub(0).owns(last_epoll()));
  EXPECT_FALSE(hub(0).owns(0));
  EXPECT_FALSE(hub(0).owns(-1));
}

}  // namespace
}  // namespace coro
