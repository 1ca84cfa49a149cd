// SPDX-License-Identifier: Apache-2.0
//
// Pthread-specific data: values per thread, null in new threads, destructors at exit only for
// non-null values, the value already null when the destructor runs, up to
// PTHREAD_DESTRUCTOR_ITERATIONS rounds when destructors set values again, keys in ascending order
// within a round, no destructor after key_delete, a deleted key's value is not seen through a new
// key, many keys, the errors, C11 tss_*.
#include <limits.h>
#include <threads.h>

#include <algorithm>
#include <vector>

#include "thread_testing.h"

static void* word(long value) { return reinterpret_cast<void*>(value); }

static void one_value_per_thread() {
  pthread_key_t key;
  EXPECT_EQ(0, pthread_key_create(&key, nullptr));
  EXPECT(pthread_getspecific(key) == nullptr);
  EXPECT_EQ(0, pthread_setspecific(key, word(1)));
  std::vector<Pthread> threads;
  for (long i = 2; i < 20; ++i) {
    threads.emplace_back([key, i] {
      EXPECT(pthread_getspecific(key) == nullptr);
      EXPECT_EQ(0, pthread_setspecific(key, word(i)));
      for (int round = 0; round < 5; ++round) {
        nap(1);
        EXPECT(pthread_getspecific(key) == word(i));
      }
    });
  }
  threads.clear();
  EXPECT(pthread_getspecific(key) == word(1));
  EXPECT_EQ(0, pthread_key_delete(key));
}

static void errors() {
  pthread_key_t key;
  EXPECT_EQ(0, pthread_key_create(&key, nullptr));
  EXPECT_EQ(0, pthread_key_delete(key));
  errno = 77;
  EXPECT_EQ(EINVAL, pthread_key_delete(key));
  EXPECT_EQ(EINVAL, pthread_setspecific(key, word(1)));
  EXPECT(pthread_getspecific(key) == nullptr);
  EXPECT_EQ(EINVAL, pthread_setspecific(PTHREAD_KEYS_MAX + 5, word(1)));
  EXPECT_EQ(EINVAL, pthread_key_delete(PTHREAD_KEYS_MAX + 5));
  EXPECT_EQ(77, errno);
}

static pthread_key_t keys[4];
static std::vector<std::pair<int, long>> calls;  // (key, value)

template <int which>
static void note(void* value) {
  EXPECT(pthread_getspecific(keys[which]) == nullptr);
  calls.emplace_back(which, reinterpret_cast<long>(value));
}

static void destructors_of_non_null_values_in_key_order() {
  EXPECT_EQ(0, pthread_key_create(&keys[0], note<0>));
  EXPECT_EQ(0, pthread_key_create(&keys[1], note<1>));
  EXPECT_EQ(0, pthread_key_create(&keys[2], note<2>));
  EXPECT_EQ(0, pthread_key_create(&keys[3], nullptr));
  calls.clear();
  Pthread worker([] {
    EXPECT_EQ(0, pthread_setspecific(keys[2], word(22)));  // set in another order than created
    EXPECT_EQ(0, pthread_setspecific(keys[0], word(20)));
    EXPECT_EQ(0, pthread_setspecific(keys[3], word(23)));
    EXPECT_EQ(0, pthread_setspecific(keys[1], word(21)));
    EXPECT_EQ(0, pthread_setspecific(keys[1], nullptr));
  });
  worker.join();
  EXPECT_EQ(2U, calls.size());
  EXPECT(calls[0] == std::make_pair(0, 20L) || calls[0] == std::make_pair(2, 22L));
  EXPECT((calls[0].first < calls[1].first) == (keys[0] < keys[2]));
  for (pthread_key_t key : keys) EXPECT_EQ(0, pthread_key_delete(key));
}

static pthread_key_t stubborn;
static std::atomic<int> rounds{0};

static void rounds_of_destructors() {
  EXPECT_EQ(0, pthread_key_create(&stubborn, [](void* value) {
              ++rounds;
              pthread_setspecific(stubborn, value);  // never gives up
            }));
  Pthread worker([] { EXPECT_EQ(0, pthread_setspecific(stubborn, word(1))); });
  worker.join();
  EXPECT_EQ(PTHREAD_DESTRUCTOR_ITERATIONS, rounds);
  EXPECT_EQ(0, pthread_key_delete(stubborn));
}

static pthread_key_t first_key;
static pthread_key_t second_key;

static void a_destructor_sets_another_key() {
  static int seconds = 0;
  EXPECT_EQ(
      0, pthread_key_create(&first_key, [](void*) { pthread_setspecific(second_key, word(5)); }));
  EXPECT_EQ(0, pthread_key_create(&second_key, [](void* value) {
              EXPECT(value == word(5));
              nap(2);  // destructors may block
              ++seconds;
            }));
  Pthread worker([] { EXPECT_EQ(0, pthread_setspecific(first_key, word(4))); });
  worker.join();
  EXPECT_EQ(1, seconds);
  EXPECT_EQ(0, pthread_key_delete(first_key));
  EXPECT_EQ(0, pthread_key_delete(second_key));
}

static void a_deleted_key_has_no_destructor_and_leaks_no_value() {
  static std::atomic<int> destroyed{0};
  pthread_key_t key;
  EXPECT_EQ(0, pthread_key_create(&key, [](void*) { ++destroyed; }));
  std::atomic<int> step{0};
  Pthread worker([&] {
    EXPECT_EQ(0, pthread_setspecific(key, word(6)));
    step = 1;
    while (step != 2) nap(1);
    EXPECT(pthread_getspecific(key) == nullptr);  // the number is in use again, the value is not
  });
  EXPECT(comes_true([&] { return step == 1; }));
  EXPECT_EQ(0, pthread_key_delete(key));
  pthread_key_t again;
  EXPECT_EQ(0, pthread_key_create(&again, [](void*) { ++destroyed; }));
  EXPECT_EQ(key, again);
  step = 2;
  worker.join();
  EXPECT_EQ(0, destroyed);
  EXPECT_EQ(0, pthread_key_delete(again));
}

static void as_many_as_there_are() {
  static std::atomic<int> destroyed{0};
  std::vector<pthread_key_t> all;
  pthread_key_t key;
  int answer = 0;
  while ((answer = pthread_key_create(&key, [](void*) { ++destroyed; })) == 0) all.push_back(key);
  EXPECT_EQ(EAGAIN, answer);
  EXPECT(all.size() > PTHREAD_KEYS_MAX - 24U && all.size() <= PTHREAD_KEYS_MAX + 0U);
  Pthread worker([&] {
    for (pthread_key_t each : all) EXPECT_EQ(0, pthread_setspecific(each, word(each + 1L)));
    nap(1);
    for (pthread_key_t each : all) EXPECT(pthread_getspecific(each) == word(each + 1L));
  });
  worker.join();
  EXPECT_EQ(static_cast<int>(all.size()), destroyed);
  for (pthread_key_t each : all) EXPECT_EQ(0, pthread_key_delete(each));
}

static void c11() {
  static std::atomic<int> destroyed{0};
  tss_t key;
  EXPECT_EQ(thrd_success,
            tss_create(&key, [](void* value) { destroyed += static_cast<int>(long(value)); }));
  EXPECT(tss_get(key) == nullptr);
  EXPECT_EQ(thrd_success, tss_set(key, word(100)));
  thrd_t worker;
  EXPECT_EQ(thrd_success, thrd_create(
                              &worker,
                              [](void* place) {
                                tss_t const mine = *static_cast<tss_t*>(place);
                                EXPECT(tss_get(mine) == nullptr);
                                EXPECT_EQ(tss_set(mine, word(7)), thrd_success);
                                thrd_yield();
                                EXPECT(tss_get(mine) == word(7));
                                return 0;
                              },
                              &key));
  EXPECT_EQ(thrd_success, thrd_join(worker, nullptr));
  EXPECT_EQ(7, destroyed);
  EXPECT(tss_get(key) == word(100));
  tss_delete(key);
  EXPECT_EQ(7, destroyed);
}

int main() {
  one_value_per_thread();
  errors();
  destructors_of_non_null_values_in_key_order();
  rounds_of_destructors();
  a_destructor_sets_another_key();
  a_deleted_key_has_no_destructor_and_leaks_no_value();
  as_many_as_there_are();
  c11();
  return finish();
}
