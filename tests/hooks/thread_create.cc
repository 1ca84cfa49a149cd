// SPDX-License-Identifier: Apache-2.0
//
// pthread_create and pthread_join as POSIX and glibc have them: argument and result arrive, results
// of any bit pattern, many threads at once, threads made by threads, ids unique and equal to what
// pthread_self says inside, creation order does not matter for joining, errors (EDEADLK for a join
// of oneself, EINVAL for a detached one), errno untouched, pthread_create's
// id visible to its maker, and a thread that blocks in a join lets others run.
#include <stdint.h>

#include <set>
#include <vector>

#include "thread_testing.h"

static void* echo(void* argument) { return argument; }

static void argument_and_result() {
  uintptr_t const patterns[] = {0, 1, static_cast<uintptr_t>(-1), 0x8000000000000000U, 0xdeadbeefU};
  for (uintptr_t pattern : patterns) {
    pthread_t id{};
    errno = 77;
    EXPECT_EQ(0, pthread_create(&id, nullptr, echo, reinterpret_cast<void*>(pattern)));
    void* result = &id;
    EXPECT_EQ(0, pthread_join(id, &result));
    EXPECT_EQ(pattern, reinterpret_cast<uintptr_t>(result));
    EXPECT_EQ(77, errno);
  }
  pthread_t id{};
  EXPECT_EQ(0, pthread_create(&id, nullptr, echo, nullptr));
  EXPECT_EQ(0, pthread_join(id, nullptr));  // a null place for the result is allowed
}

static void guard_words() {
  struct {
    uint64_t before = 0x1122334455667788U;
    pthread_t id{};
    uint64_t between = 0x99aabbccddeeff00U;
    void* result = nullptr;
    uint64_t after = 0x0f1e2d3c4b5a6978U;
  } box;
  EXPECT_EQ(0, pthread_create(&box.id, nullptr, echo, &box));
  EXPECT_EQ(0, pthread_join(box.id, &box.result));
  EXPECT(box.result == &box);
  EXPECT(box.before == 0x1122334455667788U && box.between == 0x99aabbccddeeff00U &&
         box.after == 0x0f1e2d3c4b5a6978U);
}

static void ids_are_unique_and_known_inside() {
  constexpr int kThreads = 50;
  std::atomic<int> arrived{0};
  std::atomic<bool> go{false};
  pthread_t inside[kThreads];
  std::vector<Pthread> threads;
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
  EXPECT_EQ(kThreads + 1U, all.size());
  go = true;
  for (int i = kThreads - 1; i >= 0; --i) threads[static_cast<size_t>(i)].join();
}

static void threads_make_threads() {
  std::function<int(int)> count = [&count](int depth) -> int {
    if (depth == 0) return 1;
    int left = 0;
    int right = 0;
    Pthread a([&] { left = count(depth - 1); });
    Pthread b([&] { right = count(depth - 1); });
    a.join();
    b.join();
    return left + right + 1;
  };
  EXPECT_EQ(63, count(5));
}

static void many_short_lives() {
  long sum = 0;  // ordered by the joins
  for (int round = 0; round < 300; ++round) {
    Pthread one([&sum, round] { sum += round; });
    one.join();
  }
  EXPECT_EQ(299 * 300 / 2, sum);
}

static void join_waits() {
  Pthread sleeper([] { nap(40); });
  while_others_tick([&] { sleeper.join(); });
}

static void join_errors() {
  EXPECT_EQ(EDEADLK, pthread_join(pthread_self(), nullptr));
  Pthread itself([] { EXPECT_EQ(EDEADLK, pthread_join(pthread_self(), nullptr)); });
  itself.join();

  std::atomic<bool> go{false};
  Pthread detached([&] {
    while (!go) nap(1);
  });
  EXPECT_EQ(0, pthread_detach(detached.id()));
  errno = 77;
  EXPECT_EQ(EINVAL, pthread_join(detached.id(), nullptr));
  EXPECT_EQ(77, errno);
  detached.release();
  go = true;
}

static void create_errors() {
  // A stack that no machine has: EAGAIN, the place for the id may hold anything, errno untouched.
  pthread_attr_t attributes;
  EXPECT_EQ(0, pthread_attr_init(&attributes));
  EXPECT_EQ(0, pthread_attr_setstacksize(&attributes, size_t{1} << 60));
  pthread_t id{};
  EXPECT_EQ(EAGAIN, pthread_create(&id, &attributes, echo, nullptr));
  EXPECT_EQ(0, pthread_attr_destroy(&attributes));
  EXPECT_EQ(0, pthread_create(&id, nullptr, echo, nullptr));  // and all is well afterwards
  EXPECT_EQ(0, pthread_join(id, nullptr));
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
  return finish();
}
