// SPDX-License-Identifier: Apache-2.0
//
// pthread_cond_wait, signal and broadcast: waits let others run and give up the mutex meanwhile,
// signal wakes at least one and as many signals as waiters wake them all, broadcast wakes
// everybody, nobody stays asleep (producers and consumers over many rounds), wakes without waiters
// are not remembered.
#include <vector>

#include "thread_testing.h"

struct Place {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  int tickets = 0;
  int waiting = 0;
  int served = 0;
  void lock() { EXPECT_EQ(0, pthread_mutex_lock(&mutex)); }
  void unlock() { EXPECT_EQ(0, pthread_mutex_unlock(&mutex)); }
};

static Pthread waiter(Place& place) {
  return Pthread([&place] {
    place.lock();
    ++place.waiting;
    errno = 77;
    while (place.tickets == 0) EXPECT_EQ(0, pthread_cond_wait(&place.condition, &place.mutex));
    EXPECT_EQ(77, errno);
    --place.tickets;
    --place.waiting;
    ++place.served;
    place.unlock();
  });
}

static bool all_wait(Place& place, int count) {
  return comes_true([&] {
    place.lock();
    bool const yes = place.waiting == count;
    place.unlock();
    return yes;
  });
}

static void one_waits() {
  Place place;
  Pthread other([&] {
    nap(30);
    place.lock();  // free while main waits
    place.tickets = 1;
    EXPECT_EQ(0, pthread_cond_signal(&place.condition));
    nap(5);
    ++place.served;  // the waiter comes back only after the unlock
    place.unlock();
  });
  place.lock();
  while_others_tick([&] {
    while (place.tickets == 0) EXPECT_EQ(0, pthread_cond_wait(&place.condition, &place.mutex));
  });
  EXPECT_EQ(1, place.served);
  place.unlock();
  other.join();
  EXPECT_EQ(0, pthread_cond_destroy(&place.condition));
}

static void one_signal_each() {
  Place place;
  std::vector<Pthread> threads;
  for (int i = 0; i < 20; ++i) threads.push_back(waiter(place));
  EXPECT(all_wait(place, 20));
  for (int i = 1; i <= 20; ++i) {
    place.lock();
    ++place.tickets;
    EXPECT_EQ(0, pthread_cond_signal(&place.condition));
    place.unlock();
    EXPECT(comes_true([&] {
      place.lock();
      bool const yes = place.served == i;
      place.unlock();
      return yes;
    }));
  }
  threads.clear();
}

static void signals_without_the_mutex_and_in_a_row() {
  Place place;
  std::vector<Pthread> threads;
  for (int i = 0; i < 20; ++i) threads.push_back(waiter(place));
  EXPECT(all_wait(place, 20));
  place.lock();
  place.tickets = 20;
  place.unlock();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(0, pthread_cond_signal(&place.condition));
  threads.clear();
  EXPECT_EQ(20, place.served);
}

static void broadcast_wakes_all() {
  Place place;
  std::vector<Pthread> threads;
  for (int round = 1; round <= 3; ++round) {
    for (int i = 0; i < 50; ++i) threads.push_back(waiter(place));
    EXPECT(all_wait(place, 50));
    place.lock();
    place.tickets = 50;
    EXPECT_EQ(0, pthread_cond_broadcast(&place.condition));
    place.unlock();
    threads.clear();
    EXPECT_EQ(50 * round, place.served);
  }
  EXPECT_EQ(0, pthread_cond_destroy(&place.condition));
}

static void wakes_are_not_remembered() {
  Place place;
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(0, pthread_cond_signal(&place.condition));
    EXPECT_EQ(0, pthread_cond_broadcast(&place.condition));
  }
  Pthread thread = waiter(place);
  EXPECT(all_wait(place, 1));
  nap(20);
  place.lock();
  EXPECT_EQ(1, place.waiting);
  place.tickets = 1;
  EXPECT_EQ(0, pthread_cond_signal(&place.condition));
  place.unlock();
}

// A bounded buffer of 3 with 6 producers and 6 consumers: every item arrives once.
static void no_wake_is_lost() {
  struct Buffer : Place {
    pthread_cond_t space = PTHREAD_COND_INITIALIZER;
    std::vector<int> items;
    long sum = 0;
  };
  static Buffer buffer;
  std::vector<Pthread> threads;
  for (int p = 0; p < 6; ++p) {
    threads.emplace_back([p] {
      for (int i = 0; i < 200; ++i) {
        buffer.lock();
        while (buffer.items.size() == 3) pthread_cond_wait(&buffer.space, &buffer.mutex);
        buffer.items.push_back(p * 1000 + i);
        pthread_cond_signal(&buffer.condition);
        buffer.unlock();
        if (i % 16 == 0) sched_yield();
      }
    });
    threads.emplace_back([] {
      for (int i = 0; i < 200; ++i) {
        buffer.lock();
        while (buffer.items.empty()) pthread_cond_wait(&buffer.condition, &buffer.mutex);
        buffer.sum += buffer.items.back();
        buffer.items.pop_back();
        pthread_cond_signal(&buffer.space);
        buffer.unlock();
      }
    });
  }
  threads.clear();
  long want = 0;
  for (int p = 0; p < 6; ++p) {
    for (int i = 0; i < 200; ++i) want += p * 1000 + i;
  }
  EXPECT_EQ(want, buffer.sum);
  EXPECT(buffer.items.empty());
}

static void two_take_turns() {
  static Place place;
  static int turn = 0;
  auto player = [](int mine) {
    for (int i = 0; i < 300; ++i) {
      place.lock();
      while (turn != mine) pthread_cond_wait(&place.condition, &place.mutex);
      turn = 1 - mine;
      pthread_cond_signal(&place.condition);
      place.unlock();
    }
  };
  Pthread a([&] { player(0); });
  Pthread b([&] { player(1); });
  a.join();
  b.join();
  EXPECT_EQ(0, turn);
}

int main() {
  one_waits();
  one_signal_each();
  signals_without_the_mutex_and_in_a_row();
  broadcast_wakes_all();
  wakes_are_not_remembered();
  no_wake_is_lost();
  two_take_turns();
  return finish();
}
