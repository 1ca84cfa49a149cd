// SPDX-License-Identifier: Apache-2.0
//
// Stacks: pthread_getattr_np tells the truth (locals lie inside, for oneself, for another thread
// and for main; stacks of living threads do not overlap), a user-supplied stack is used as given
// and is the program's again after the join, the whole asked size can really be used, recursion
// past it dies of SIGSEGV in the guard (in a child), and big frames and alloca survive being
// descheduled.
#include <alloca.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <vector>

#include "thread_testing.h"

struct Range {
  char* low = nullptr;
  char* high = nullptr;
  bool has(const void* address) const { return low <= address && address < high; }
};

static Range stack_of(pthread_t id) {
  pthread_attr_t attributes;
  EXPECT_EQ(0, pthread_getattr_np(id, &attributes));
  void* low = nullptr;
  size_t size = 0;
  EXPECT_EQ(0, pthread_attr_getstack(&attributes, &low, &size));
  EXPECT_EQ(0, pthread_attr_destroy(&attributes));
  return {static_cast<char*>(low), static_cast<char*>(low) + size};
}

static void truth_for_main_and_others() {
  int local = 0;
  EXPECT(stack_of(pthread_self()).has(&local));
  constexpr size_t kThreads = 20;
  std::atomic<size_t> ready{0};
  std::atomic<bool> go{false};
  std::vector<int*> locals(kThreads);
  std::vector<Pthread> threads;
  for (size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      int inside = 0;
      locals[i] = &inside;
      EXPECT(stack_of(pthread_self()).has(&inside));
      ++ready;
      while (!go) nap(1);
    });
  }
  EXPECT(comes_true([&] { return ready == kThreads; }));
  std::vector<Range> ranges;
  for (size_t i = 0; i < kThreads; ++i) {
    ranges.push_back(stack_of(threads[i].id()));  // seen from another thread
    EXPECT(ranges.back().has(locals[i]));
    EXPECT(!ranges.back().has(&local));
  }
  std::sort(ranges.begin(), ranges.end(), [](auto& a, auto& b) { return a.low < b.low; });
  for (size_t i = 1; i < kThreads; ++i) EXPECT(ranges[i - 1].high <= ranges[i].low);
  Range const main_stack = stack_of(pthread_self());
  EXPECT(main_stack.has(&local));
  go = true;
}

static void a_stack_of_ones_own() {
  constexpr size_t kSize = 256 << 10;
  char* const memory = static_cast<char*>(
      mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  EXPECT(memory != MAP_FAILED);
  pthread_attr_t attributes;
  EXPECT_EQ(0, pthread_attr_init(&attributes));
  EXPECT_EQ(0, pthread_attr_setstack(&attributes, memory, kSize));
  void* low = nullptr;
  size_t size = 0;
  EXPECT_EQ(0, pthread_attr_getstack(&attributes, &low, &size));
  EXPECT(low == memory);
  EXPECT_EQ(kSize, size);
  for (int round = 0; round < 3; ++round) {  // used again and again
    bool inside = false;
    Range told;
    Pthread worker(
        [&] {
          char here[100];
          memset(here, 1, sizeof here);
          inside = memory < here && here < memory + kSize;
          nap(2);
          told = stack_of(pthread_self());
        },
        &attributes);
    worker.join();
    EXPECT(inside);
    EXPECT(told.low == memory);
    EXPECT(told.high == memory + kSize);
  }
  memset(memory, 0xaa, kSize);  // ours again
  EXPECT_EQ(0, munmap(memory, kSize));
  EXPECT_EQ(0, pthread_attr_destroy(&attributes));
}

// Goes down about `bytes` of stack, touching each kilobyte.
__attribute__((noinline)) static int descend(size_t bytes) {
  volatile char frame[1024];
  frame[0] = static_cast<char>(bytes);
  frame[1023] = 1;
  if (bytes <= 1024) return frame[0];
  int const below = descend(bytes - 1024);
  return below + frame[1023];
}

static void all_of_it_can_be_used() {
  for (size_t size : {size_t{256} << 10, size_t{1} << 20, size_t{16} << 20}) {
    pthread_attr_t attributes;
    EXPECT_EQ(0, pthread_attr_init(&attributes));
    EXPECT_EQ(0, pthread_attr_setstacksize(&attributes, size));
    Pthread worker([size] { EXPECT(descend(size / 5 * 3) != 0); }, &attributes);
    worker.join();
    EXPECT_EQ(0, pthread_attr_destroy(&attributes));
  }
  Pthread plain([] { EXPECT(descend(5 << 20) != 0); });  // of the default 8 MB
  plain.join();
}

static void too_deep_hits_the_guard() {
  int const status = in_child([] {
    pthread_attr_t attributes;
    EXPECT_EQ(0, pthread_attr_init(&attributes));
    EXPECT_EQ(0, pthread_attr_setstacksize(&attributes, 256 << 10));
    Pthread worker([] { descend(size_t{1} << 20); }, &attributes);
    worker.join();
  });
  EXPECT(killed(status, SIGSEGV));
}

static void big_frames_survive_waiting() {
  std::vector<Pthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([i] {
      constexpr size_t kBytes = 100000;
      char* const block = static_cast<char*>(alloca(kBytes));
      memset(block, 'a' + i, kBytes);
      for (int round = 0; round < 5; ++round) {
        nap(1);
        for (size_t k = 0; k < kBytes; k += 997) EXPECT_EQ('a' + i, block[k]);
      }
    });
  }
}

static void the_smallest_stack_works() {
  pthread_attr_t attributes;
  EXPECT_EQ(0, pthread_attr_init(&attributes));
  EXPECT_EQ(0, pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN));
  static std::atomic<int> ran{0};
  auto body = [](void*) -> void* {
    nap(1);
    ++ran;
    return nullptr;
  };
  pthread_t ids[10];
  for (pthread_t& id : ids) EXPECT_EQ(0, pthread_create(&id, &attributes, body, nullptr));
  for (pthread_t& id : ids) EXPECT_EQ(0, pthread_join(id, nullptr));
  EXPECT_EQ(10, ran);
  EXPECT_EQ(0, pthread_attr_destroy(&attributes));
}

// Thread block and static TLS take 4.3 kB of it, and nothing else may take much: 11 kB are left.
static void the_smallest_stack_is_the_threads() {
  pthread_attr_t attributes;
  EXPECT_EQ(0, pthread_attr_init(&attributes));
  EXPECT_EQ(0, pthread_attr_setstacksize(&attributes, 16384));
  auto body = [](void*) -> void* {
    pthread_attr_t own;
    void* low = nullptr;
    size_t size = 0;
    EXPECT_EQ(0, pthread_getattr_np(pthread_self(), &own));
    EXPECT_EQ(0, pthread_attr_getstack(&own, &low, &size));
    EXPECT_EQ(0, pthread_attr_destroy(&own));
    char const here = 0;
    EXPECT(&here - static_cast<char*>(low) > 11 << 10);
    return nullptr;
  };
  pthread_t id;
  EXPECT_EQ(0, pthread_create(&id, &attributes, body, nullptr));
  EXPECT_EQ(0, pthread_join(id, nullptr));
  EXPECT_EQ(0, pthread_attr_destroy(&attributes));
}

int main() {
  truth_for_main_and_others();
  a_stack_of_ones_own();
  all_of_it_can_be_used();
  too_deep_hits_the_guard();
  big_frames_survive_waiting();
  the_smallest_stack_works();
  the_smallest_stack_is_the_threads();
  return finish();
}
