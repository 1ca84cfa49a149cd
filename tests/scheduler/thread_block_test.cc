// SPDX-License-Identifier: Apache-2.0
#include "scheduler/thread_block.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

#include "tests/scheduler/testing.h"

namespace coro {
namespace {

thread_local int counted = 7;

// A block in memory of its own.
struct Made {
  explicit Made(int tid) : memory(nullptr) {
    size_t size = thread_block::size() + 8192;
    EXPECT_EQ(0, posix_memalign(&memory, 4096, size));
    memset(memory, 0, size);
    block = thread_block::make(static_cast<char*>(memory) + size, tid);
    if (block) thread_block::link(block);
  }
  ~Made() {
    thread_block::unlink(block);
    thread_block::release(block);
    free(memory);
  }
  template <class T>
  T& of(T& mine) {  // this thread's variable, in that block
    auto distance = reinterpret_cast<char*>(&mine) - static_cast<char*>(this_thread_block());
    return *reinterpret_cast<T*>(static_cast<char*>(block) + distance);
  }
  void* memory;
  void* block;
};

TEST(thread_block, is_made_with_its_tid_and_initial_values) {
  counted = 8;
  Made made(12345);
  EXPECT_EQ(12345, thread_block::tid(made.block));
  EXPECT_EQ(0u, reinterpret_cast<uintptr_t>(made.block) % thread_block::alignment());
  EXPECT_EQ(0, *thread_block::cancel_word(made.block));
  EXPECT_EQ(7, made.of(counted));
  EXPECT_EQ(0, made.of(errno));
  thread_block::set_tid(made.block, 54321);
  EXPECT_EQ(54321, thread_block::tid(made.block));
}

TEST(thread_block, renewed_it_is_as_new) {
  Made made(1);
  made.of(counted) = 9;
  *thread_block::cancel_word(made.block) = thread_block::cancel_requested;
  thread_block::renew(made.block, 2);
  EXPECT_EQ(7, made.of(counted));
  EXPECT_EQ(0, *thread_block::cancel_word(made.block));
  EXPECT_EQ(2, thread_block::tid(made.block));
}

TEST(thread_block, the_main_threads_tid_is_the_kernels) {
  EXPECT_EQ(sys::getpid(), thread_block::tid(main_fiber()->context.thread_block));
}

TEST(thread_block, ctype_and_locale_work_on_it) {
  Spawned a([] {
    EXPECT_TRUE(isalpha('x'));
    EXPECT_EQ('X', toupper('x'));
    EXPECT_DOUBLE_EQ(2.5, strtod("2.5", nullptr));
    EXPECT_STREQ("C", setlocale(LC_ALL, nullptr));
    locale_t other = newlocale(LC_ALL_MASK, "C", nullptr);
    uselocale(other);
    rest(millisecond);
    EXPECT_EQ(other, uselocale(nullptr));
    uselocale(LC_GLOBAL_LOCALE);
    freelocale(other);
  });
  EXPECT_EQ(LC_GLOBAL_LOCALE, uselocale(nullptr));
}

std::atomic<int> destroyed{0};

TEST(thread_block, key_destructors_get_the_values_of_their_fiber) {
  pthread_key_t key;
  static Notes<intptr_t> values;
  pthread_key_create(&key, [](void* value) { values.add(reinterpret_cast<intptr_t>(value)); });
  pthread_setspecific(key, reinterpret_cast<void*>(99));
  for (intptr_t i = 1; i <= 3; i++)
    Spawned a([&] {
      EXPECT_EQ(nullptr, pthread_getspecific(key));
      pthread_setspecific(key, reinterpret_cast<void*>(i));
    });
  EXPECT_EQ((std::vector<intptr_t>{1, 2, 3}), values.all());
  EXPECT_EQ(reinterpret_cast<void*>(99), pthread_getspecific(key));
  pthread_key_delete(key);
}

TEST(thread_block, keys_beyond_the_first_block_work_too) {
  std::vector<pthread_key_t> keys(200);
  destroyed = 0;
  for (pthread_key_t& key : keys) pthread_key_create(&key, [](void*) { destroyed++; });
  for (int round = 1; round <= 2; round++) {
    Spawned a([&] {
      for (pthread_key_t key : keys) {
        EXPECT_EQ(nullptr, pthread_getspecific(key));
        pthread_setspecific(key, &destroyed);
      }
    });
    a.join();
    EXPECT_EQ(200 * round, destroyed);
  }
  for (pthread_key_t key : keys) pthread_key_delete(key);
}

TEST(thread_block, a_destructor_that_sets_its_key_again_is_called_four_times) {
  static pthread_key_t key;
  destroyed = 0;
  pthread_key_create(&key, [](void* value) {
    destroyed++;
    pthread_setspecific(key, value);
  });
  Spawned a([] { pthread_setspecific(key, &key); });
  a.join();
  EXPECT_EQ(PTHREAD_DESTRUCTOR_ITERATIONS, destroyed);
  pthread_key_delete(key);
  pthread_key_create(&key, nullptr);
  Spawned b([] { EXPECT_EQ(nullptr, pthread_getspecific(key)); });  // what was left is gone
  b.join();
  pthread_key_delete(key);
}

struct Counting {
  ~Counting() { destroyed++; }
  int value = 3;
};
thread_local Counting counting;

TEST(thread_block, thread_local_destructors_run_when_the_fiber_ends) {
  destroyed = 0;
  for (int i = 1; i <= 3; i++) {
    Spawned a([] { EXPECT_EQ(3, std::exchange(counting.value, 4)); });
    a.join();
    EXPECT_EQ(i, destroyed);
  }
}

TEST(thread_block, destructors_may_park) {
  struct Slow {
    ~Slow() {
      rest(millisecond);
      destroyed++;
    }
  };
  destroyed = 0;
  Spawned a([] {
    static thread_local Slow slow;
    (void)&slow;
  });
  a.join();
  EXPECT_EQ(1, destroyed);
}

thread_local char much[80'000];  // more than a carrier's base and a pooled stack keep for themselves

TEST(thread_block, a_program_may_have_much_thread_local_data) {
  for (int i = 0; i < 3; i++)
    Spawned a([&] {
      EXPECT_EQ(0, much[0] + much[sizeof much - 1]);
      memset(much, 1, sizeof much);
      rest(millisecond);
      EXPECT_EQ(2, much[0] + much[sizeof much - 1]);
    });
}

TEST(thread_block, a_robust_mutex_of_an_ended_fiber_is_given_on) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_t mutex;
  pthread_mutex_init(&mutex, &attributes);
  Spawned a([&] { EXPECT_EQ(0, pthread_mutex_lock(&mutex)); });
  a.join();
  EXPECT_EQ(EOWNERDEAD, pthread_mutex_lock(&mutex));
  EXPECT_EQ(0, pthread_mutex_consistent(&mutex));
  EXPECT_EQ(0, pthread_mutex_unlock(&mutex));
  EXPECT_EQ(0, pthread_mutex_destroy(&mutex));
  pthread_mutexattr_destroy(&attributes);
}

TEST(thread_block, a_recursive_mutex_knows_its_fiber) {
  pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
  EXPECT_EQ(0, pthread_mutex_lock(&mutex));
  EXPECT_EQ(0, pthread_mutex_lock(&mutex));
  Spawned a([&] { EXPECT_EQ(EBUSY, pthread_mutex_trylock(&mutex)); });
  a.join();
  EXPECT_EQ(0, pthread_mutex_unlock(&mutex));
  EXPECT_EQ(0, pthread_mutex_unlock(&mutex));
}

}  // namespace
}  // namespace coro
