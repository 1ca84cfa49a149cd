// SPDX-License-Identifier: Apache-2.0
//
// syscall(SYS_futex, ...) with priority inheritance: a lock made of LOCK_PI, LOCK_PI2, TRYLOCK_PI and UNLOCK_PI, the
// word's contents, absolute time-outs on both clocks, EDEADLK, EPERM, ESRCH, EAGAIN, EINVAL, EFAULT, handlers that do not
// end the wait, and a condition made of WAIT_REQUEUE_PI and CMP_REQUEUE_PI.
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <vector>

#include "thread_testing.h"

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

using Word = std::atomic<uint32_t>;

static long futex(Word* word, int operation, const timespec* time = nullptr) {
  return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, 0, time, nullptr, 0);
}
static uint32_t own() { return static_cast<uint32_t>(gettid()); }

// As a program would use it: the kernel only when it must.
class Lock {
 public:
  void lock() {
    uint32_t free = 0;
    if (!word_.compare_exchange_strong(free, own())) EXPECT_EQ(0, futex(&word_, FUTEX_LOCK_PI));
    EXPECT_EQ(own(), word_ & FUTEX_TID_MASK);
  }
  void unlock() {
    uint32_t held = own();
    if (!word_.compare_exchange_strong(held, 0)) EXPECT_EQ(0, futex(&word_, FUTEX_UNLOCK_PI));
  }
  Word* word() { return &word_; }

 private:
  Word word_{0};
};

static void alone() {
  Word word{0};
  EXPECT_OK(0, futex(&word, FUTEX_LOCK_PI));
  EXPECT_EQ(own(), word);
  EXPECT_ERRNO(EDEADLK, futex(&word, FUTEX_LOCK_PI));
  EXPECT_ERRNO(EDEADLK, futex(&word, FUTEX_TRYLOCK_PI));
  EXPECT_OK(0, futex(&word, FUTEX_UNLOCK_PI));
  EXPECT_EQ(0, word);
  EXPECT_ERRNO(EPERM, futex(&word, FUTEX_UNLOCK_PI));
  EXPECT_OK(0, futex(&word, FUTEX_TRYLOCK_PI));
  EXPECT_EQ(own(), word);
  EXPECT_OK(0, futex(&word, FUTEX_UNLOCK_PI));
  word = FUTEX_OWNER_DIED;
  EXPECT_OK(0, futex(&word, FUTEX_LOCK_PI));
  EXPECT_EQ(own() | FUTEX_OWNER_DIED, word);
  EXPECT_OK(0, futex(&word, FUTEX_UNLOCK_PI));
}

static void errors() {
  Word word{0x3ffffffe};  // nobody's tid
  EXPECT_ERRNO(ESRCH, futex(&word, FUTEX_LOCK_PI));
  EXPECT_ERRNO(EPERM, futex(&word, FUTEX_UNLOCK_PI));
  timespec const bad{0, 1000000000};
  EXPECT_ERRNO(EINVAL, futex(&word, FUTEX_LOCK_PI, &bad));
  auto* crooked = reinterpret_cast<Word*>(reinterpret_cast<char*>(&word) + 1);
  EXPECT_ERRNO(EINVAL, futex(crooked, FUTEX_LOCK_PI));
  void* gone = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(gone, 4096);
  EXPECT_ERRNO(EFAULT, futex(static_cast<Word*>(gone), FUTEX_LOCK_PI));
}

static void time_outs() {
  Word word{0};
  std::atomic<bool> held{false}, stop{false};
  Pthread holder([&] {
    EXPECT_EQ(0, futex(&word, FUTEX_LOCK_PI));
    held = true;
    while (!stop) nap(1);
    EXPECT_EQ(0, futex(&word, FUTEX_UNLOCK_PI));
  });
  EXPECT(comes_true([&] { return held.load(); }));
  EXPECT_ERRNO(EAGAIN, futex(&word, FUTEX_TRYLOCK_PI));
  EXPECT_ERRNO(EPERM, futex(&word, FUTEX_UNLOCK_PI));
  timespec time = from_now(30, CLOCK_REALTIME);
  long long start = now_us();
  while_others_tick([&] { EXPECT_ERRNO(ETIMEDOUT, futex(&word, FUTEX_LOCK_PI, &time)); });
  EXPECT(now_us() - start >= 29000);
  time = from_now(30, CLOCK_MONOTONIC);
  start = now_us();
  errno = 0;
  long const result = futex(&word, FUTEX_LOCK_PI2, &time);
  if (errno != ENOSYS) {  // Linux 5.14
    EXPECT_EQ(-1, result);
    EXPECT_EQ(ETIMEDOUT, errno);
    EXPECT(now_us() - start >= 29000);
  }
  stop = true;
}

static void handlers_do_not_end_it() {
  Lock lock;
  lock.lock();
  count_signal(SIGUSR1, 0);
  std::atomic<bool> begun{false};
  Pthread waiter([&] {
    begun = true;
    lock.lock();
    lock.unlock();
  });
  EXPECT(comes_true([&] { return begun && *lock.word() & FUTEX_WAITERS; }));
  int const before = handled;
  EXPECT_EQ(0, pthread_kill(waiter.id(), SIGUSR1));
  EXPECT(comes_true([&] { return handled > before; }));
  nap(10);
  lock.unlock();
}

static void many_share_it() {
  Lock lock;
  int count = 0;
  std::vector<Pthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 100; ++k) {
        lock.lock();
        int const seen = count;
        if (k % 10 == 0) sched_yield();
        count = seen + 1;
        lock.unlock();
      }
    });
  }
  threads.clear();
  EXPECT_EQ(800, count);
  EXPECT_EQ(0, *lock.word());
}

static void a_condition() {
  Lock lock;
  Word sequence{0};
  int tickets = 0, waiting = 0;
  std::atomic<int> through{0};
  std::vector<Pthread> threads;
  for (int i = 0; i < 5; ++i) {
    threads.emplace_back([&] {
      lock.lock();
      ++waiting;
      uint32_t const seen = sequence;
      lock.unlock();
      // EAGAIN: the broadcast came before the wait.
      long const result = syscall(SYS_futex, &sequence, FUTEX_WAIT_REQUEUE_PI | FUTEX_PRIVATE_FLAG, seen, nullptr,
                                  lock.word(), 0);
      if (result < 0) {
        EXPECT_EQ(EAGAIN, errno);
        lock.lock();
      }
      EXPECT_EQ(own(), *lock.word() & FUTEX_TID_MASK);
      --tickets;
      lock.unlock();
      ++through;
    });
  }
  auto all_wait = [&] {
    lock.lock();
    bool const all = waiting == 5;
    lock.unlock();
    return all;
  };
  EXPECT(comes_true(all_wait));
  nap(30);
  EXPECT_ERRNO(EAGAIN, syscall(SYS_futex, &sequence, FUTEX_CMP_REQUEUE_PI | FUTEX_PRIVATE_FLAG, 1, INT_MAX, lock.word(), 7));
  EXPECT_ERRNO(EINVAL, syscall(SYS_futex, &sequence, FUTEX_CMP_REQUEUE_PI | FUTEX_PRIVATE_FLAG, 2, INT_MAX, lock.word(), 0));
  lock.lock();
  tickets = 5;
  EXPECT_EQ(5, syscall(SYS_futex, &sequence, FUTEX_CMP_REQUEUE_PI | FUTEX_PRIVATE_FLAG, 1, INT_MAX, lock.word(), 0));
  sequence = 1;
  nap(10);
  EXPECT_EQ(0, through);
  lock.unlock();
  threads.clear();
  EXPECT_EQ(0, tickets);

  timespec time = from_now(20, CLOCK_MONOTONIC);
  EXPECT_ERRNO(ETIMEDOUT, syscall(SYS_futex, &sequence, FUTEX_WAIT_REQUEUE_PI | FUTEX_PRIVATE_FLAG, 1, &time, lock.word(), 0));
}

int main() {
  from_both([] {
    alone();
    errors();
    time_outs();
    handlers_do_not_end_it();
    many_share_it();
    a_condition();
  });
  return finish();
}
