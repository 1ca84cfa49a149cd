// SPDX-License-Identifier: Apache-2.0
//
// pthread_create and pthread_join as POSIX and glibc have them: argument and result arrive, results
// of any bit pattern, many threads at once, threads made by threads, ids unique and equal to what
// pthread_self says inside, creation order does not matter for joining, errors (EDEADLK for a join
// of oneself and for a circle of two, EINVAL for a detached one), errno untouched, pthread_create's
// id visible to its maker, and a thread that blocks in a join lets others run.
#include <stdint.h>

#include <set>
#include <vector>

#include "threads.h"

static void* echo(void* argument) { return argument; }

static void argument_and_result() {
  uintptr_t const patterns[] = {0, 1, static_cast<uintptr_t>(-1), 0x8000000000000000U, 0xdeadbeefU};
  for (uintptr_t pattern : patterns) {
    pthread_t id{};
    errno = 77;
    EXPECT_EQ(pthread_create(&id, nullptr, echo, reinterpret_cast<void*>(pattern)), 0);
    void* result = &id;
    EXPECT_EQ(pthread_join(id, &result), 0);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(result), pattern);
    EXPECT_EQ(errno, 77);
  }
  pthread_t id{};
  EXPECT_EQ(pthread_create(&id, nullptr, echo, nullptr), 0);
  EXPECT_EQ(pthread_join(id, nullptr), 0);  // a null place for the result is allowed
}

static void guard_words() {
  struct {
    uint64_t before = 0x1122334455667788U;
    pthread_t id{};
    uint64_t between = 0x99aabbccddeeff00U;
    void* result = nullptr;
    uint64_t after = 0x0f1e2d3c4b5a6978U;
  } box;
  EXPECT_EQ(pthread_create(&box.id, nullptr, echo, &box), 0);
  EXPECT_EQ(pthread_join(box.id, &box.result), 0);
  EXPECT(box.result == &box);
  EXPECT(box.before == 0x1122334455667788U && box.between == 0x99aabbccddeeff00U &&
         box.after == 0x0f1e2d3c4b5a6978U);
}

static void ids_are_unique_and_known_inside() {
  constexpr int kThreads = 50;
  std::atomic<int> arrived{0};
  std::atomic<bool> go{false};
  pthread_t inside[kThreads];
  std::vector<Thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      inside[i] = pthread_self();
      ++arrived;
      while (!go) nap(1);
    });
  }
  EXPECT(comes_true([&] { return arrived == kThreads; }));
  std::set<pthread_t> all{pthread_self()};
  for (int i = 0; i < kThreads; ++i) {
    EXPECT(pthread_equal(inside[i], threads[static_cast<size_t>(i)].id()) != 0);
    EXPECT(pthread_equal(inside[i], pthread_self()) == 0);
    all.insert(inside[i]);
  }
  EXPECT_EQ(all.size(), kThreads + 1U);
  go = true;
  for (int i = kThreads - 1; i >= 0; --i) threads[static_cast<size_t>(i)].join();
}

static void threads_make_threads() {
  std::function<int(int)> count = [&count](int depth) -> int {
    if (depth == 0) return 1;
    int left = 0;
    int right = 0;
    Thread a([&] { left = count(depth - 1); });
    Thread b([&] { right = count(depth - 1); });
    a.join();
    b.join();
    return left + right + 1;
  };
  EXPECT_EQ(count(5), 63);
}

static void many_short_lives() {
  long sum = 0;  // ordered by the joins
  for (int round = 0; round < 300; ++round) {
    Thread one([&sum, round] { sum += round; });
    one.join();
  }
  EXPECT_EQ(sum, 299 * 300 / 2);
}

static void join_waits() {
  Thread sleeper([] { nap(40); });
  while_others_tick([&] { sleeper.join(); });
}

static void join_errors() {
  EXPECT_EQ(pthread_join(pthread_self(), nullptr), EDEADLK);
  Thread itself([] { EXPECT_EQ(pthread_join(pthread_self(), nullptr), EDEADLK); });
  itself.join();

  // Main joins a thread that tries to join main.
  pthread_t const main_thread = pthread_self();
  int answer = -1;
  Thread circle([&] {
    nap(30);
    answer = pthread_join(main_thread, nullptr);
  });
  circle.join();
  EXPECT_EQ(answer, EDEADLK);

  std::atomic<bool> go{false};
  Thread detached([&] {
    while (!go) nap(1);
  });
  EXPECT_EQ(pthread_detach(detached.id()), 0);
  errno = 77;
  EXPECT_EQ(pthread_join(detached.id(), nullptr), EINVAL);
  EXPECT_EQ(errno, 77);
  detached.release();
  go = true;
}

static void create_errors() {
  // A stack that no machine has: EAGAIN, the place for the id may hold anything, errno untouched.
  pthread_attr_t attributes;
  EXPECT_EQ(pthread_attr_init(&attributes), 0);
  EXPECT_EQ(pthread_attr_setstacksize(&attributes, size_t{1} << 60), 0);
  pthread_t id{};
  EXPECT_EQ(pthread_create(&id, &attributes, echo, nullptr), EAGAIN);
  EXPECT_EQ(pthread_attr_destroy(&attributes), 0);
  EXPECT_EQ(pthread_create(&id, nullptr, echo, nullptr), 0);  // and all is well afterwards
  EXPECT_EQ(pthread_join(id, nullptr), 0);
}

int main() {
  argument_and_result();
  guard_words();
  ids_are_unique_and_known_inside();
  threads_make_threads();
  many_short_lives();
  join_waits();
  join_errors();
  create_errors();
  puts("PASS");
}
