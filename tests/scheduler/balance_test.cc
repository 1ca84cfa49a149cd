// SPDX-License-Identifier: Apache-2.0
//
// With two hubs: nobody waits in a queue while a hub has nothing to do, who belongs together stays together, and nobody
// wakes up for nothing. On a busy machine the supervisor may be faster than an idle hub; so things are tried more than once.
#include <dirent.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <deque>
#include <string>
#include <thread>

#include "tests/scheduler/testing.h"

namespace coro {
namespace {

struct Sum {
  uint64_t hand_offs = 0, moves = 0, direct_switches = 0;
};
Sum sum() {
  Sum all;
  for (int i = 0; i < hub_count(); i++) {
    all.hand_offs += hub(i).counters.hand_offs;
    all.moves += hub(i).counters.moves;
    all.direct_switches += hub(i).counters.direct_switches;
  }
  return all;
}

void both_hubs() {
  Spawned second([] {});
  ASSERT_TRUE(soon([] { return hub_count() == 2; }));
}

// Gets on only if both really run at the same time.
void rendezvous(std::atomic<int>& mine, std::atomic<int>& other) {
  for (int round = 1; round <= 200; round++) {
    mine = round;
    while (other < round) __builtin_ia32_pause();
  }
}

TEST(balance, two_who_compute_run_at_the_same_time_without_a_hand_off) {
  both_hubs();
  bool done = false;
  for (int i = 0; i < 20 && !done; i++) {
    uint64_t before = sum().hand_offs;
    std::atomic<int> a{0}, b{0};
    Spawned one([&] { rendezvous(a, b); }), two([&] { rendezvous(b, a); });
    one.join(), two.join();
    done = sum().hand_offs == before;
  }
  EXPECT_TRUE(done);
}

TEST(balance, who_is_woken_by_one_that_computes_on_is_fetched) {
  both_hubs();
  uint64_t before = sum().moves;
  for (int i = 0; i < 100 && sum().moves == before; i++) {
    int key = 0;
    std::atomic<bool> ran{false};
    Spawned woken([&] { park_on(&key), ran = true; });
    ASSERT_TRUE(soon([&] { return waiters_on(&key) == 1; }));
    wake_on(&key);
    while (!ran) __builtin_ia32_pause();
  }
  EXPECT_GT(sum().moves, before);
}

TEST(balance, a_crowd_is_shared) {
  both_hubs();
  std::atomic<int> inside{0}, most{0};
  auto work = [&] {
    for (int i = 0; i < 50; i++) {
      int now_inside = ++inside;
      if (now_inside > most) most = now_inside;
      for (int n = 0; n < 2000; n++) __builtin_ia32_pause();
      inside--;
      yield_to_others();
    }
  };
  for (int i = 0; i < 20 && most < 2; i++) {
    std::deque<Spawned> all;
    for (int n = 0; n < 8; n++) all.emplace_back(work);
  }
  EXPECT_GE(most, 2);
}

TEST(balance, two_who_wake_each_other_stay_together) {
  both_hubs();
  constexpr int rounds = 5000;
  std::atomic<int> turn{0};
  auto play = [&](int mine) {
    struct Look { std::atomic<int>& turn; int mine; } look{turn, mine};
    auto not_mine = [](void* p) { return static_cast<Look*>(p)->turn != static_cast<Look*>(p)->mine; };
    for (int i = 0; i < rounds; i++) {
      while (turn != mine) {
        Wait wait(testing_reason, Cancellable::no);
        if (wait.enqueue(&turn, ~0u, 0, not_mine, &look)) wait.park();
      }
      turn = 1 - mine;
      wake_on(&turn);
    }
  };
  uint64_t before = sum().direct_switches;
  {
    Spawned a([&] { play(0); }), b([&] { play(1); });
  }
  EXPECT_GT(sum().direct_switches - before, rounds);  // of two a round
}

// How often the kernel threads of this process, but the caller, were given a CPU.
long times_on_cpu() {
  long all = 0;
  DIR* tasks = opendir("/proc/self/task");
  while (dirent* task = readdir(tasks)) {
    long run, wait, times = 0;
    if (task->d_name[0] == '.' || atol(task->d_name) == syscall(SYS_gettid)) continue;
    FILE* file = fopen((std::string("/proc/self/task/") + task->d_name + "/schedstat").c_str(), "r");
    if (file && fscanf(file, "%ld %ld %ld", &run, &wait, &times) == 3) all += times;
    if (file) fclose(file);
  }
  closedir(tasks);
  return all;
}

TEST(balance, who_has_nothing_to_do_never_wakes_up) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "TSan has a thread of its own that wakes up";
#endif
  both_hubs();
  int key = 0;
  std::atomic<bool> quiet{false};
  std::thread observer([&] {
    for (int i = 0; i < 50 && !quiet; i++) {
      long before = times_on_cpu();
      usleep(150'000);
      quiet = times_on_cpu() == before;
    }
    while (!wake_queue(&key, 1)) usleep(1000);
  });
  park_on(&key);
  observer.join();
  EXPECT_TRUE(quiet);
}

}  // namespace
}  // namespace coro
