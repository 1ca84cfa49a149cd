// SPDX-License-Identifier: Apache-2.0
//
// pthread_barrier_*: nobody passes before all came, PTHREAD_BARRIER_SERIAL_THREAD exactly once a
// round, hundreds of rounds, a count of one, destroy right after the last wait, errors; a wait lets
// others run. pthread_spin_*: exclusion, trylock, and a holder that waits while another spins.
#include <vector>

#include "thread_testing.h"

static void nobody_passes_before_all_came() {
  pthread_barrier_t barrier;
  EXPECT_EQ(0, pthread_barrier_init(&barrier, nullptr, 5));
  std::atomic<int> passed{0};
  std::atomic<int> serial{0};
  auto wait = [&] {
    errno = 77;
    int const answer = pthread_barrier_wait(&barrier);
    EXPECT_EQ(77, errno);
    if (answer == PTHREAD_BARRIER_SERIAL_THREAD) {
      ++serial;
    } else {
      EXPECT_EQ(0, answer);
    }
    ++passed;
  };
  std::vector<Pthread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(wait);
  nap(20);
  EXPECT_EQ(0, passed);
  while_others_tick([&] {
    Pthread last([&] {
      nap(20);
      wait();
    });
    threads.clear();
  });
  EXPECT_EQ(5, passed);
  EXPECT_EQ(1, serial);
  EXPECT_EQ(0, pthread_barrier_destroy(&barrier));
}

static void many_rounds() {
  constexpr int kThreads = 8;
  constexpr int kRounds = 150;
  static pthread_barrier_t barrier;
  static std::atomic<int> serial{0};
  static std::atomic<int> arrived[kRounds];
  EXPECT_EQ(0, pthread_barrier_init(&barrier, nullptr, kThreads));
  std::vector<Pthread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([i] {
      for (int round = 0; round < kRounds; ++round) {
        if ((i + round) % 11 == 0) sched_yield();
        ++arrived[round];
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) ++serial;
        EXPECT_EQ(kThreads, arrived[round]);
      }
    });
  }
  threads.clear();
  EXPECT_EQ(kRounds, serial);
  EXPECT_EQ(0, pthread_barrier_destroy(&barrier));
}

static void of_one() {
  pthread_barrier_t barrier;
  EXPECT_EQ(0, pthread_barrier_init(&barrier, nullptr, 1));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(PTHREAD_BARRIER_SERIAL_THREAD, pthread_barrier_wait(&barrier));
  }
  EXPECT_EQ(0, pthread_barrier_destroy(&barrier));
}

static void destroyed_by_the_serial_one() {
  for (int i = 0; i < 50; ++i) {
    auto* barrier = new pthread_barrier_t;
    EXPECT_EQ(0, pthread_barrier_init(barrier, nullptr, 3));
    auto wait = [barrier] {
      if (pthread_barrier_wait(barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
        EXPECT_EQ(0, pthread_barrier_destroy(barrier));  // waits for the others to leave
        memset(static_cast<void*>(barrier), 0xff, sizeof *barrier);
        delete barrier;
      }
    };
    Pthread a(wait);
    Pthread b(wait);
    wait();
  }
}

static void errors() {
  pthread_barrier_t barrier;
  errno = 77;
  EXPECT_EQ(EINVAL, pthread_barrier_init(&barrier, nullptr, 0));
  EXPECT_EQ(EINVAL, pthread_barrier_init(&barrier, nullptr, 0xffffffffU));
  pthread_barrierattr_t attributes;
  EXPECT_EQ(0, pthread_barrierattr_init(&attributes));
  int value = -1;
  EXPECT_EQ(0, pthread_barrierattr_getpshared(&attributes, &value));
  EXPECT_EQ(PTHREAD_PROCESS_PRIVATE, value);
  EXPECT_EQ(EINVAL, pthread_barrierattr_setpshared(&attributes, 99));
  EXPECT_EQ(0, pthread_barrierattr_destroy(&attributes));
  EXPECT_EQ(77, errno);
}

static void spinning() {
  static pthread_spinlock_t lock;
  static long value = 0;
  EXPECT_EQ(0, pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE));
  std::vector<Pthread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([] {
      for (int round = 0; round < 300; ++round) {
        EXPECT_EQ(0, pthread_spin_lock(&lock));
        long const seen = value;
        value = seen + 1;
        EXPECT_EQ(0, pthread_spin_unlock(&lock));
        if (round % 50 == 0) sched_yield();
      }
    });
  }
  threads.clear();
  EXPECT_EQ(1800, value);
  EXPECT_EQ(0, pthread_spin_lock(&lock));
  EXPECT_EQ(EBUSY, pthread_spin_trylock(&lock));
  Pthread other([] { EXPECT_EQ(EBUSY, pthread_spin_trylock(&lock)); });
  other.join();
  EXPECT_EQ(0, pthread_spin_unlock(&lock));
  EXPECT_EQ(0, pthread_spin_trylock(&lock));
  EXPECT_EQ(0, pthread_spin_unlock(&lock));
}

static void the_holder_waits_while_others_spin() {
  static pthread_spinlock_t lock;
  EXPECT_EQ(0, pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE));
  std::atomic<bool> held{false};
  Pthread holder([&] {
    EXPECT_EQ(0, pthread_spin_lock(&lock));
    held = true;
    nap(20);  // unwise but legal: the spinner must not keep the holder from coming back
    EXPECT_EQ(0, pthread_spin_unlock(&lock));
  });
  EXPECT(comes_true([&] { return held.load(); }));
  std::vector<Pthread> spinners;
  for (int i = 0; i < 3; ++i) {
    spinners.emplace_back([] {
      EXPECT_EQ(0, pthread_spin_lock(&lock));
      EXPECT_EQ(0, pthread_spin_unlock(&lock));
    });
  }
  spinners.clear();
  holder.join();
  EXPECT_EQ(0, pthread_spin_destroy(&lock));
}

int main() {
  nobody_passes_before_all_came();
  many_rounds();
  of_one();
  destroyed_by_the_serial_one();
  errors();
  spinning();
  the_holder_waits_while_others_spin();
  return finish();
}
