// SPDX-License-Identifier: Apache-2.0
//
// Conditions with every kind of mutex (EPERM where an error-checking one is not owned), destroyed
// right after the broadcast as POSIX allows, and with signal handlers that run in the waiting
// thread without ending its wait.
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

static void other_kinds_of_mutex() {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  Place place;
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
  pthread_mutex_init(&place.mutex, &attributes);
  errno = 77;
  EXPECT_EQ(EPERM, pthread_cond_wait(&place.condition, &place.mutex));
  timespec const deadline = from_now(1000);
  EXPECT_EQ(EPERM, pthread_cond_timedwait(&place.condition, &place.mutex, &deadline));
  EXPECT_EQ(77, errno);
  for (int type : {PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ADAPTIVE_NP}) {
    for (int protocol : {PTHREAD_PRIO_NONE, PTHREAD_PRIO_INHERIT}) {
      Place own;
      pthread_mutexattr_settype(&attributes, type);
      pthread_mutexattr_setprotocol(&attributes, protocol);
      EXPECT_EQ(0, pthread_mutex_init(&own.mutex, &attributes));
      Pthread one = waiter(own);
      EXPECT(all_wait(own, 1));
      own.lock();
      own.tickets = 1;
      EXPECT_EQ(0, pthread_cond_broadcast(&own.condition));
      own.unlock();
      one.join();
      EXPECT_EQ(1, own.served);
    }
  }
  pthread_mutexattr_destroy(&attributes);
}

static void destroyed_by_the_one_who_broadcasts() {
  for (int i = 0; i < 30; ++i) {
    auto* place = new Place;
    Pthread a = waiter(*place);
    Pthread b = waiter(*place);
    EXPECT(all_wait(*place, 2));
    place->lock();
    place->tickets = 2;
    EXPECT_EQ(0, pthread_cond_broadcast(&place->condition));
    place->unlock();
    EXPECT_EQ(0, pthread_cond_destroy(&place->condition));  // POSIX allows it at once
    a.join();
    b.join();
    delete place;
  }
}

static void a_signal_handler_does_not_end_the_wait() {
  count_signal(SIGUSR1, 0);
  Place place;
  int answer = -1;
  int rounds = 0;
  Pthread thread([&] {
    place.lock();
    ++place.waiting;
    for (; place.tickets == 0; ++rounds)
      answer = pthread_cond_wait(&place.condition, &place.mutex);
    place.unlock();
  });
  EXPECT(all_wait(place, 1));
  int const before = handled;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(0, pthread_kill(thread.id(), SIGUSR1));
    EXPECT(comes_true([&] { return handled == before + i + 1; }));
    EXPECT(handled_in == thread.id());
  }
  place.lock();
  place.tickets = 1;
  pthread_cond_signal(&place.condition);
  place.unlock();
  thread.join();
  EXPECT_EQ(0, answer);
  EXPECT_EQ(1, rounds);
}

static std::atomic<bool> in_handler{false}, leave_handler{false};

// One wait without a loop: it must end, though nobody stood in the queue when the signal came.
template <class Signal>
static void what_comes_while_a_handler_runs_is_not_lost(Signal send) {
  struct sigaction action{};
  action.sa_handler = [](int) {
    in_handler = true;
    while (!leave_handler) usleep(1000);
  };
  EXPECT_EQ(0, sigaction(SIGUSR2, &action, nullptr));
  in_handler = leave_handler = false;
  Place place;
  Pthread thread([&] {
    place.lock();
    ++place.waiting;
    EXPECT_EQ(0, pthread_cond_wait(&place.condition, &place.mutex));
    place.unlock();
  });
  EXPECT(all_wait(place, 1));
  EXPECT_EQ(0, pthread_kill(thread.id(), SIGUSR2));
  EXPECT(comes_true([] { return in_handler.load(); }));
  EXPECT_EQ(0, send(&place.condition));
  leave_handler = true;
  thread.join();
}

// pthread_mutex_destroy says EBUSY as long as somebody waits for a condition with the mutex.
static void the_mutex_of_a_waiter_is_in_use() {
  for (int type : {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK}) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, type);
    pthread_mutex_t mutex;
    EXPECT_EQ(0, pthread_mutex_init(&mutex, &attributes));
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    bool waiting = false, done = false;
    Pthread thread([&] {
      EXPECT_EQ(0, pthread_mutex_lock(&mutex));
      waiting = true;
      while (!done) EXPECT_EQ(0, pthread_cond_wait(&condition, &mutex));
      EXPECT_EQ(0, pthread_mutex_unlock(&mutex));
    });
    auto locked = [&](auto look) {
      EXPECT_EQ(0, pthread_mutex_lock(&mutex));
      bool const seen = look();
      EXPECT_EQ(0, pthread_mutex_unlock(&mutex));
      return seen;
    };
    EXPECT(comes_true([&] { return locked([&] { return waiting; }); }));
    EXPECT_EQ(EBUSY, pthread_mutex_destroy(&mutex));
    locked([&] { return done = true; });
    EXPECT_EQ(0, pthread_cond_signal(&condition));
    thread.join();
    EXPECT_EQ(0, pthread_mutex_destroy(&mutex));
  }
}

int main() {
  other_kinds_of_mutex();
  destroyed_by_the_one_who_broadcasts();
  a_signal_handler_does_not_end_the_wait();
  what_comes_while_a_handler_runs_is_not_lost(pthread_cond_signal);
  what_comes_while_a_handler_runs_is_not_lost(pthread_cond_broadcast);
  the_mutex_of_a_waiter_is_in_use();
  return finish();
}
