// SPDX-License-Identifier: Apache-2.0
//
// Detached threads: detached while it runs, detached after it ended, detached from birth by its
// attribute, detaching itself; what a second detach and a join hear; detached threads really run to
// their end and hundreds of them, one after the other, leave nothing behind that stops the next.
#include "thread_testing.h"

static std::atomic<int> finished{0};

static void while_it_runs() {
  std::atomic<bool> go{false};
  Pthread worker([&] {
    while (!go) nap(1);
    ++finished;
  });
  errno = 77;
  EXPECT_EQ(0, pthread_detach(worker.id()));
  EXPECT_EQ(EINVAL, pthread_detach(worker.id()));
  EXPECT_EQ(EINVAL, pthread_join(worker.id(), nullptr));
  EXPECT_EQ(EBUSY, pthread_tryjoin_np(worker.id(), nullptr));  // glibc looks at "runs" first
  EXPECT_EQ(77, errno);
  worker.release();
  int const before = finished;
  go = true;
  EXPECT(comes_true([&] { return finished == before + 1; }));
  nap(5);  // `go` must outlive the thread
}

static void after_it_ended() {
  for (int i = 0; i < 20; ++i) {
    int const before = finished;
    Pthread worker([] { ++finished; });
    EXPECT(comes_true([&] { return finished == before + 1; }));
    EXPECT_EQ(0, pthread_detach(worker.id()));
    worker.release();
  }
}

static void from_birth() {
  pthread_attr_t attributes;
  EXPECT_EQ(0, pthread_attr_init(&attributes));
  EXPECT_EQ(0, pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED));
  std::atomic<bool> go{false};
  std::atomic<int> state{-1};
  int const before = finished;
  Pthread worker(
      [&] {
        pthread_attr_t own;
        int mine = -1;
        if (pthread_getattr_np(pthread_self(), &own) == 0) {
          pthread_attr_getdetachstate(&own, &mine);
          pthread_attr_destroy(&own);
        }
        state = mine;
        while (!go) nap(1);
        ++finished;
      },
      &attributes);
  EXPECT_EQ(EINVAL, pthread_join(worker.id(), nullptr));
  EXPECT_EQ(EINVAL, pthread_detach(worker.id()));
  worker.release();
  go = true;
  EXPECT(comes_true([&] { return finished == before + 1; }));
  EXPECT_EQ(PTHREAD_CREATE_DETACHED, state);
  EXPECT_EQ(0, pthread_attr_destroy(&attributes));
  nap(5);
}

static void itself() {
  int const before = finished;
  std::atomic<int> answer{-1};
  Pthread worker([&] {
    answer = pthread_detach(pthread_self());
    ++finished;
  });
  worker.release();
  EXPECT(comes_true([&] { return finished == before + 1; }));
  EXPECT_EQ(0, answer);
}

static void* count_one(void*) {
  sched_yield();
  ++finished;
  return nullptr;
}

static void hundreds() {
  finished = 0;
  pthread_attr_t attributes;
  EXPECT_EQ(0, pthread_attr_init(&attributes));
  EXPECT_EQ(0, pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED));
  EXPECT_EQ(0, pthread_attr_setstacksize(&attributes, 64 << 10));
  for (int i = 0; i < 600; ++i) {
    pthread_t id;
    EXPECT_EQ(0, pthread_create(&id, &attributes, count_one, nullptr));
    if (i % 50 == 49) nap(1);
  }
  EXPECT(comes_true([] { return finished == 600; }));
  EXPECT_EQ(0, pthread_attr_destroy(&attributes));
}

int main() {
  while_it_runs();
  after_it_ended();
  from_birth();
  itself();
  hundreds();
  return finish();
}
