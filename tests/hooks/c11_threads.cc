// SPDX-License-Identifier: Apache-2.0
//
// C11 threads: thrd_create/join/detach/exit/current/equal/yield/sleep with their result codes,
// mtx_* of every type (plain, timed, recursive), cnd_wait/timedwait/signal/broadcast, tss_* with
// destructors at thrd_exit.
#include <limits.h>
#include <threads.h>

#include <vector>

#include "thread_testing.h"

static int add_one(void* argument) {
  return static_cast<int>(reinterpret_cast<long>(argument)) + 1;
}

static void threads_and_results() {
  thrd_t id{};
  for (long value : {0L, 41L, -2L, static_cast<long>(INT_MAX) - 1, static_cast<long>(INT_MIN)}) {
    EXPECT_EQ(thrd_success, thrd_create(&id, add_one, reinterpret_cast<void*>(value)));
    guarded<int> result;
    EXPECT_EQ(thrd_success, thrd_join(id, &result));
    EXPECT_EQ(value + 1, result.value);
  }
  EXPECT_EQ(thrd_success, thrd_create(
                              &id, [](void*) -> int { thrd_exit(77); }, nullptr));
  int result = 0;
  EXPECT_EQ(thrd_success, thrd_join(id, &result));
  EXPECT_EQ(77, result);
  EXPECT_EQ(thrd_success, thrd_create(&id, add_one, nullptr));
  EXPECT_EQ(thrd_success, thrd_join(id, nullptr));
  EXPECT(thrd_equal(thrd_current(), thrd_current()) != 0);
  EXPECT(thrd_equal(thrd_current(), pthread_self()) != 0);
}

static void detached() {
  static std::atomic<bool> done{false};
  thrd_t id{};
  auto body = [](void*) -> int {
    done = true;
    return 0;
  };
  EXPECT_EQ(thrd_success, thrd_create(&id, body, nullptr));
  EXPECT_EQ(thrd_success, thrd_detach(id));
  EXPECT(comes_true([] { return done.load(); }));
}

static void on_alarm(int) {}

static void sleeping() {
  timespec const ten{0, 20000000};
  guarded<timespec> left;
  errno = 77;
  while_others_tick([&] { EXPECT_EQ(0, thrd_sleep(&ten, &left)); });
  EXPECT(left.untouched());
  timespec const wrong{0, 1000000000};
  EXPECT(thrd_sleep(&wrong, nullptr) < -1);
  timespec const zero{0, 0};
  EXPECT_EQ(0, thrd_sleep(&zero, nullptr));

  struct sigaction action = {};
  action.sa_handler = on_alarm;
  EXPECT_EQ(0, sigaction(SIGUSR1, &action, nullptr));
  Kicker const kicker(thrd_current());
  timespec const long_time{5, 0};
  timespec rest{};
  EXPECT_EQ(-1, thrd_sleep(&long_time, &rest));
  EXPECT(rest.tv_sec == 4);
  thrd_yield();
}

static void mutexes() {
  mtx_t mutex;
  EXPECT_EQ(thrd_success, mtx_init(&mutex, mtx_plain));
  EXPECT_EQ(thrd_success, mtx_lock(&mutex));
  EXPECT_EQ(thrd_busy, mtx_trylock(&mutex));
  Pthread other([&] {
    EXPECT_EQ(thrd_busy, mtx_trylock(&mutex));
    while_others_tick([&] { EXPECT_EQ(thrd_success, mtx_lock(&mutex)); });
    EXPECT_EQ(thrd_success, mtx_unlock(&mutex));
  });
  nap(40);
  EXPECT_EQ(thrd_success, mtx_unlock(&mutex));
  other.join();
  EXPECT_EQ(thrd_success, mtx_trylock(&mutex));
  EXPECT_EQ(thrd_success, mtx_unlock(&mutex));
  mtx_destroy(&mutex);

  for (int type : {mtx_plain | mtx_recursive, mtx_timed | mtx_recursive}) {
    EXPECT_EQ(thrd_success, mtx_init(&mutex, type));
    for (int i = 0; i < 5; ++i) EXPECT_EQ(thrd_success, mtx_lock(&mutex));
    EXPECT_EQ(thrd_success, mtx_trylock(&mutex));
    for (int i = 0; i < 6; ++i) EXPECT_EQ(thrd_success, mtx_unlock(&mutex));
    mtx_destroy(&mutex);
  }

  EXPECT_EQ(thrd_success, mtx_init(&mutex, mtx_timed));
  EXPECT_EQ(thrd_success, mtx_lock(&mutex));
  Pthread waiter([&] {
    timespec deadline = from_now(20);
    while_others_tick([&] { EXPECT_EQ(thrd_timedout, mtx_timedlock(&mutex, &deadline)); });
    deadline.tv_nsec = 1000000000;
    EXPECT_EQ(thrd_error, mtx_timedlock(&mutex, &deadline));
    deadline = from_now(4000);
    EXPECT_EQ(thrd_success, mtx_timedlock(&mutex, &deadline));
    EXPECT_EQ(thrd_success, mtx_unlock(&mutex));
  });
  nap(60);
  EXPECT_EQ(thrd_success, mtx_unlock(&mutex));
  waiter.join();
  mtx_destroy(&mutex);
}

static void conditions() {
  mtx_t mutex;
  cnd_t condition;
  EXPECT_EQ(thrd_success, mtx_init(&mutex, mtx_plain));
  EXPECT_EQ(thrd_success, cnd_init(&condition));
  EXPECT_EQ(thrd_success, mtx_lock(&mutex));
  timespec deadline = from_now(20);
  while_others_tick(
      [&] { EXPECT_EQ(thrd_timedout, cnd_timedwait(&condition, &mutex, &deadline)); });
  EXPECT_EQ(thrd_success, mtx_unlock(&mutex));

  int turn = 0;
  std::vector<Pthread> waiters;
  for (int i = 0; i < 8; ++i) {
    waiters.emplace_back([&] {
      mtx_lock(&mutex);
      while (turn == 0) EXPECT_EQ(thrd_success, cnd_wait(&condition, &mutex));
      ++turn;
      mtx_unlock(&mutex);
    });
  }
  nap(10);
  mtx_lock(&mutex);
  turn = 1;
  EXPECT_EQ(thrd_success, cnd_signal(&condition));
  EXPECT_EQ(thrd_success, cnd_broadcast(&condition));
  mtx_unlock(&mutex);
  waiters.clear();
  EXPECT_EQ(9, turn);
  cnd_destroy(&condition);
  mtx_destroy(&mutex);
}

static void own_data() {
  static std::atomic<long> destroyed{0};
  static tss_t key;
  auto body = [](void* value) -> int {
    EXPECT(tss_get(key) == nullptr);
    EXPECT_EQ(thrd_success, tss_set(key, value));
    nap(1);
    EXPECT(tss_get(key) == value);
    thrd_exit(0);
  };
  EXPECT_EQ(thrd_success,
            tss_create(&key, [](void* value) { destroyed += reinterpret_cast<long>(value); }));
  thrd_t ids[5];
  for (long i = 0; i < 5; ++i) {
    EXPECT_EQ(thrd_success, thrd_create(&ids[i], body, reinterpret_cast<void*>(i + 1)));
  }
  for (thrd_t id : ids) EXPECT_EQ(thrd_success, thrd_join(id, nullptr));
  EXPECT_EQ(15, destroyed);
  tss_delete(key);
  EXPECT(tss_get(key) == nullptr);
}

int main() {
  threads_and_results();
  detached();
  sleeping();
  mutexes();
  conditions();
  own_data();
  return finish();
}
