// SPDX-License-Identifier: Apache-2.0
//
// Scale, once: 2,000 threads with small stacks wait in pthread_cond_wait at the same time, each has
// its own id and its own value, all are woken by one broadcast (then again one by one by signals)
// and joined.
#include <limits.h>

#include <set>
#include <vector>

#include "thread_testing.h"

constexpr int kThreads = 2000;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate = PTHREAD_COND_INITIALIZER;
static pthread_cond_t bell = PTHREAD_COND_INITIALIZER;
static int waiting = 0;  // at the gate, first time
static int again = 0;    // and the second time
static bool opened = false;
static int tickets = 0;
static std::set<pid_t> tids;
static __thread long mine = 0;

static void* body(void* argument) {
  mine = reinterpret_cast<long>(argument);
  pthread_mutex_lock(&mutex);
  tids.insert(gettid());
  if (++waiting == kThreads) pthread_cond_signal(&bell);
  while (!opened) pthread_cond_wait(&gate, &mutex);
  pthread_mutex_unlock(&mutex);

  pthread_mutex_lock(&mutex);
  if (++again == kThreads) pthread_cond_signal(&bell);
  while (tickets == 0) pthread_cond_wait(&gate, &mutex);
  --tickets;
  pthread_mutex_unlock(&mutex);
  return reinterpret_cast<void*>(mine);
}

static void until_all_are_in(const int& counter) {
  while (counter != kThreads) EXPECT_EQ(0, pthread_cond_wait(&bell, &mutex));
}

int main() {
  pthread_attr_t attributes;
  EXPECT_EQ(0, pthread_attr_init(&attributes));
  EXPECT_EQ(0, pthread_attr_setstacksize(&attributes, 64 << 10));
  std::vector<pthread_t> ids(kThreads);
  for (long i = 0; i < kThreads; ++i) {
    EXPECT_EQ(0, pthread_create(&ids[static_cast<size_t>(i)], &attributes, body,
                                reinterpret_cast<void*>(i)));
  }
  pthread_mutex_lock(&mutex);
  until_all_are_in(waiting);
  EXPECT_EQ(kThreads, tids.size());
  opened = true;
  pthread_cond_broadcast(&gate);
  until_all_are_in(again);
  pthread_mutex_unlock(&mutex);
  for (int i = 0; i < kThreads; ++i) {
    pthread_mutex_lock(&mutex);
    ++tickets;
    pthread_cond_signal(&gate);
    pthread_mutex_unlock(&mutex);
  }
  for (long i = 0; i < kThreads; ++i) {
    void* result = nullptr;
    EXPECT_EQ(0, pthread_join(ids[static_cast<size_t>(i)], &result));
    EXPECT_EQ(i, reinterpret_cast<long>(result));
  }
  EXPECT_EQ(0, tickets);
  EXPECT_EQ(kThreads, (std::set<pthread_t>(ids.begin(), ids.end()).size()));
  EXPECT_EQ(0, pthread_attr_destroy(&attributes));
  return finish();
}
