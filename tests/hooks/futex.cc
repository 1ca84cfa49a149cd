// SPDX-License-Identifier: Apache-2.0
//
// syscall(SYS_futex, ...): WAIT with EAGAIN, time-outs (relative), EINTR, woken in time; WAKE's
// count; WAIT_BITSET with absolute time-outs on both clocks and bit sets that match or not;
// WAKE_BITSET; REQUEUE and CMP_REQUEUE with their counts; WAKE_OP; shared and private words;
// EINVAL, ENOSYS and EFAULT; a FUTEX_WAIT beside waits made by libc on other words.
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <vector>

#include "thread_testing.h"

using Word = std::atomic<uint32_t>;

static long futex(Word* word, int operation, uint32_t value, const timespec* timeout = nullptr,
                  Word* second = nullptr, uint32_t third = 0) {
  return syscall(SYS_futex, word, operation, value, timeout, second, third);
}
static long futex_counts(Word* word, int operation, uint32_t value, unsigned long count,
                         Word* second, uint32_t third) {
  return syscall(SYS_futex, word, operation, value, count, second, third);
}

// Threads that wait on a word that holds 0; they count when they are back.
class Sleepers {
 public:
  Sleepers(Word* word, int count, uint32_t bits = 0) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this, word, bits] {
        ++started_;
        if (bits != 0) {
          EXPECT_EQ(0, futex(word, FUTEX_WAIT_BITSET_PRIVATE, 0, nullptr, nullptr, bits));
        } else {
          EXPECT_EQ(0, futex(word, FUTEX_WAIT_PRIVATE, 0));
        }
        ++woken_;
      });
    }
    EXPECT(comes_true([&] { return started_ == count; }));
    nap(30);
  }
  bool become(int count) {
    return comes_true([&] { return woken_ == count; }) && (nap(5), woken_ == count);
  }
  int woken() const { return woken_; }

 private:
  std::atomic<int> started_{0};
  std::atomic<int> woken_{0};
  std::vector<Pthread> threads_;
};

static void wait_answers() {
  for (int flag : {0, FUTEX_PRIVATE_FLAG}) {
    Word word{5};
    EXPECT_ERRNO(EAGAIN, futex(&word, FUTEX_WAIT | flag, 6));
    timespec time{0, 25000000};
    long long const start = now_us();
    while_others_tick([&] { EXPECT_ERRNO(ETIMEDOUT, futex(&word, FUTEX_WAIT | flag, 5, &time)); });
    EXPECT(now_us() - start >= 24000);
    EXPECT(time.tv_sec == 0 && time.tv_nsec == 25000000);
    time = {0, 0};
    EXPECT_ERRNO(ETIMEDOUT, futex(&word, FUTEX_WAIT | flag, 5, &time));
    time = {0, 1000000000};
    EXPECT_ERRNO(EINVAL, futex(&word, FUTEX_WAIT | flag, 5, &time));
    time = {-1, 0};
    EXPECT_ERRNO(EINVAL, futex(&word, FUTEX_WAIT | flag, 5, &time));
    EXPECT_OK(0, futex(&word, FUTEX_WAKE | flag, INT_MAX));  // nobody there
    Pthread waker([&] {
      nap(25);
      word = 7;
      EXPECT_OK(1, futex(&word, FUTEX_WAKE | flag, 1));
    });
    while_others_tick([&] { EXPECT_OK(0, futex(&word, FUTEX_WAIT | flag, 5)); });
  }
  Word word{1};
  EXPECT_INTERRUPTED(futex(&word, FUTEX_WAIT_PRIVATE, 1));
  EXPECT_RESTARTED(0, futex(&word, FUTEX_WAIT_PRIVATE, 1), futex(&word, FUTEX_WAKE_PRIVATE, 1));
}

static void errors() {
  Word words[2] = {{0}, {0}};
  auto* crooked = reinterpret_cast<Word*>(reinterpret_cast<char*>(words) + 1);
  EXPECT_ERRNO(EINVAL, futex(crooked, FUTEX_WAIT_PRIVATE, 0));
  EXPECT_ERRNO(EINVAL, futex(crooked, FUTEX_WAKE_PRIVATE, 1));
  EXPECT_ERRNO(EFAULT, futex(nullptr, FUTEX_WAIT_PRIVATE, 0));
  EXPECT_ERRNO(ENOSYS, futex(words, 99, 0));
  EXPECT_ERRNO(EINVAL, futex(words, FUTEX_WAIT_BITSET_PRIVATE, 0, nullptr, nullptr, 0));
  void* const gone = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(gone, 4096);
  auto* const nowhere = static_cast<Word*>(gone);
  EXPECT_ERRNO(EFAULT, futex(nowhere, FUTEX_WAIT_PRIVATE, 0));
  EXPECT_ERRNO(EFAULT, futex(nowhere, FUTEX_WAIT, 0));
  EXPECT_ERRNO(EFAULT, futex_counts(nowhere, FUTEX_CMP_REQUEUE_PRIVATE, 1, 1, words, 0));
  EXPECT_ERRNO(EFAULT, futex_counts(words, FUTEX_WAKE_OP_PRIVATE, 1, 1, nowhere, 0));
  EXPECT_ERRNO(EINVAL, futex(words, FUTEX_WAKE_BITSET_PRIVATE, 1, nullptr, nullptr, 0));
}

static void wake_counts() {
  Word word{0};
  Sleepers sleepers(&word, 5);
  EXPECT_EQ(2, futex(&word, FUTEX_WAKE_PRIVATE, 2));
  EXPECT(sleepers.become(2));
  EXPECT_EQ(3, futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX));
  EXPECT(sleepers.become(5));
}

static void bit_sets_and_absolute_times() {
  Word word{0};
  for (int clock_flag : {0, FUTEX_CLOCK_REALTIME}) {
    clockid_t const clock = clock_flag == 0 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
    int const operation = FUTEX_WAIT_BITSET_PRIVATE | clock_flag;
    timespec deadline = from_now(25, clock);
    long long const start = now_us();
    while_others_tick(
        [&] { EXPECT_ERRNO(ETIMEDOUT, futex(&word, operation, 0, &deadline, nullptr, 1)); });
    EXPECT(now_us() - start >= 24000);
    deadline = from_now(-1000, clock);
    EXPECT_ERRNO(ETIMEDOUT, futex(&word, operation, 0, &deadline, nullptr, 1));
    EXPECT_ERRNO(EAGAIN, futex(&word, operation, 1, &deadline, nullptr, 1));
  }
  Sleepers ones(&word, 2, 1);
  Sleepers twos(&word, 2, 2);
  EXPECT_EQ(0, futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 9, nullptr, nullptr, 4));
  EXPECT_EQ(2, futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 9, nullptr, nullptr, 2));
  EXPECT(twos.become(2));
  EXPECT_EQ(0, ones.woken());
  EXPECT_EQ(1, futex(&word, FUTEX_WAKE_PRIVATE, 1));  // a plain wake matches any set
  EXPECT(ones.become(1));
  EXPECT_EQ(1, futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 9, nullptr, nullptr, 0xffffffff));
  EXPECT(ones.become(2));
}

static void requeueing() {
  Word from{0};
  Word to{0};
  {
    Sleepers sleepers(&from, 5);
    EXPECT_ERRNO(EAGAIN, futex_counts(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, 1, &to, 9));
    EXPECT_EQ(0, sleepers.woken());
    // Wakes one, moves two: CMP_REQUEUE counts both.
    EXPECT_EQ(3, futex_counts(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, 2, &to, 0));
    EXPECT(sleepers.become(1));
    EXPECT_EQ(2, futex(&to, FUTEX_WAKE_PRIVATE, INT_MAX));
    EXPECT(sleepers.become(3));
    EXPECT_EQ(2, futex(&from, FUTEX_WAKE_PRIVATE, INT_MAX));
    EXPECT(sleepers.become(5));
  }
  {
    Sleepers sleepers(&from, 3);
    long const answer = futex_counts(&from, FUTEX_REQUEUE_PRIVATE, 1, INT_MAX, &to, 0);
    EXPECT_EQ(3, answer);
    EXPECT(sleepers.become(1));
    EXPECT_EQ(0, futex(&from, FUTEX_WAKE_PRIVATE, INT_MAX));
    EXPECT_EQ(2, futex(&to, FUTEX_WAKE_PRIVATE, INT_MAX));
  }
}

static void wake_operations() {
  Word first{0};
  Word second{0};
  {
    Sleepers a(&first, 2);
    Sleepers b(&second, 2);
    // second = 1; its old value was 0, so second's sleepers are woken too.
    uint32_t const set_if_zero = FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_EQ, 0);
    EXPECT_EQ(3, futex_counts(&first, FUTEX_WAKE_OP_PRIVATE, 2, 1, &second, set_if_zero));
    EXPECT_EQ(1, second);
    EXPECT(a.become(2));
    EXPECT(b.become(1));
    uint32_t const add_if_big = FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_GT, 100);
    EXPECT_EQ(0, futex_counts(&first, FUTEX_WAKE_OP_PRIVATE, 9, 9, &second, add_if_big));
    EXPECT_EQ(6, second);
    EXPECT_EQ(1, futex(&second, FUTEX_WAKE_PRIVATE, 9));
  }
}

// The three-state lock of Drepper's paper, on the raw call.
static void a_lock_made_of_it() {
  static Word lock{0};
  static long counter = 0;
  std::vector<Pthread> threads;
  for (int i = 0; i < 10; ++i) {
    threads.emplace_back([] {
      for (int round = 0; round < 100; ++round) {
        uint32_t seen = 0;
        if (!lock.compare_exchange_strong(seen, 1)) {
          if (seen != 2) seen = lock.exchange(2);
          while (seen != 0) {
            futex(&lock, FUTEX_WAIT_PRIVATE, 2);
            seen = lock.exchange(2);
          }
        }
        long const value = counter;
        if (round % 8 == 0) sched_yield();
        if (round % 40 == 0) nap(1);
        counter = value + 1;
        if (lock.exchange(0) == 2) futex(&lock, FUTEX_WAKE_PRIVATE, 1);
      }
    });
  }
  threads.clear();
  EXPECT_EQ(1000, counter);
}

int main() {
  wait_answers();
  errors();
  wake_counts();
  bit_sets_and_absolute_times();
  requeueing();
  wake_operations();
  a_lock_made_of_it();
  return finish();
}
