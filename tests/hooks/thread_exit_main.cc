// SPDX-License-Identifier: Apache-2.0
//
// pthread_exit from main: the others run on, the process ends with status 0 when the last of them
// ends, atexit handlers run in that last thread, main's destructors and cleanup handlers run,
// another thread can join main, stdout is flushed, and exit(n) by another thread still gives its
// own status. Everything happens in forked children, the last case in this very process.
#include <string.h>
#include <sys/mman.h>

#include "thread_testing.h"

struct Shared {
  std::atomic<int> order{0};
  std::atomic<int> worker_done{0};
  std::atomic<int> at_exit{0};
  std::atomic<int> destructor{0};
  std::atomic<int> cleanup{0};
  std::atomic<long> main_result{0};
};
static Shared* shared;

struct Mark {
  ~Mark() { shared->destructor = ++shared->order; }
};

static void spawn_detached(void* (*body)(void*), void* argument = nullptr) {
  pthread_t id;
  EXPECT_EQ(0, pthread_create(&id, nullptr, body, argument));
  EXPECT_EQ(0, pthread_detach(id));
}

static void* slow_worker(void*) {
  nap(40);
  shared->worker_done = ++shared->order;
  return nullptr;
}

static void others_run_on_and_status_is_0() {
  new (shared) Shared;
  int const status = in_child([] {
    atexit([] { shared->at_exit = ++shared->order; });
    spawn_detached(slow_worker);
    Mark const mark;
    pthread_cleanup_push([](void*) { shared->cleanup = ++shared->order; }, nullptr);
    pthread_exit(reinterpret_cast<void*>(9));  // the status is 0 all the same
    pthread_cleanup_pop(0);
  });
  EXPECT(exited(status, 0));
  EXPECT_EQ(1, shared->cleanup);
  EXPECT_EQ(2, shared->destructor);
  EXPECT_EQ(3, shared->worker_done);
  EXPECT_EQ(4, shared->at_exit);
}

static void exit_by_another_thread() {
  int const status = in_child([] {
    spawn_detached([](void*) -> void* {
      nap(30);
      exit(23);
    });
    pthread_exit(nullptr);
  });
  EXPECT(exited(status, 23));
}

static void alone_it_ends_the_process() {
  EXPECT(exited(in_child([] { pthread_exit(reinterpret_cast<void*>(3)); }), 0));
}

static void another_thread_joins_main() {
  new (shared) Shared;
  int const status = in_child([] {
    static pthread_t const main_thread = pthread_self();
    spawn_detached([](void*) -> void* {
      void* result = nullptr;
      if (pthread_join(main_thread, &result) == 0) {
        shared->main_result = reinterpret_cast<long>(result);
      }
      return nullptr;
    });
    nap(20);
    pthread_exit(reinterpret_cast<void*>(1234));
  });
  EXPECT(exited(status, 0));
  EXPECT_EQ(1234L, shared->main_result);
}

static void new_threads_after_main_has_gone() {
  new (shared) Shared;
  int const status = in_child([] {
    spawn_detached([](void*) -> void* {
      nap(20);
      for (int i = 0; i < 10; ++i) {
        Pthread next([] { ++shared->worker_done; });
        next.join();
      }
      spawn_detached([](void*) -> void* {
        nap(10);
        ++shared->worker_done;
        return nullptr;
      });
      return nullptr;
    });
    pthread_exit(nullptr);
  });
  EXPECT(exited(status, 0));
  EXPECT_EQ(11, shared->worker_done);
}

static void signals_still_end_it() {
  int const status = in_child([] {
    spawn_detached([](void*) -> void* {
      nap(20);
      kill(getpid(), SIGTERM);
      nap(3000);
      return nullptr;
    });
    pthread_exit(nullptr);
  });
  EXPECT(killed(status, SIGTERM));
}

int main() {
  void* memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  EXPECT(memory != MAP_FAILED);
  shared = new (memory) Shared;
  others_run_on_and_status_is_0();
  exit_by_another_thread();
  alone_it_ends_the_process();
  another_thread_joins_main();
  new_threads_after_main_has_gone();
  signals_still_end_it();

  // And now this process itself: PASS is printed by the thread that outlives main.
  spawn_detached([](void*) -> void* {
    nap(20);
    puts("PASS");
    return nullptr;
  });
  pthread_exit(nullptr);
}
