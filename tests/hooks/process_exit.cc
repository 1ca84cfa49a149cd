// SPDX-License-Identifier: Apache-2.0
//
// How a process with threads ends, each in a forked child: exit and return from main while others
// are blocked or busy, exit from another thread (atexit handlers and static destructors run there,
// in reverse order, and may use locks and threads), two exits at once, _exit, quick_exit with its
// own handlers, stdio flushed or not, thread_local destructors of the exiting thread only,
// daemon().
#include <sys/mman.h>
#include <sys/wait.h>

#include <string>
#include <vector>

#include "thread_testing.h"

// What a child wrote to its standard output, and how it ended.
struct Outcome {
  std::string text;
  int status = -1;
};

template <class Body>
static Outcome outcome_of(Body body) {
  Pipe pipe;
  fflush(nullptr);
  pid_t const child = fork();
  if (child == 0) {
    failures = 0;
    dup2(pipe.b, 1);
    pipe.close_a();
    pipe.close_b();
    setvbuf(stdout, nullptr, _IOFBF, 4096);
    body();
    exit(0);
  }
  pipe.close_b();
  Outcome outcome;
  char bytes[256];
  for (ssize_t got = 0; (got = read(pipe.a, bytes, sizeof bytes)) > 0;) {
    outcome.text.append(bytes, static_cast<size_t>(got));
  }
  EXPECT_EQ(child, waitpid(child, &outcome.status, 0));
  return outcome;
}

static void block_in_many_ways() {
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  static Pipe& pipe = *new Pipe;
  pthread_mutex_lock(&mutex);
  Pthread([] { sleep(100); }).release();
  Pthread([] {
    char byte = 0;
    (void)!read(pipe.a, &byte, 1);
  }).release();
  Pthread([] { pthread_mutex_lock(&mutex); }).release();
  Pthread([] {
    pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&own);
    for (;;) pthread_cond_wait(&condition, &own);
  }).release();
  Pthread([] {
    for (;;) sched_yield();
  }).release();
  nap(10);
}

static void others_do_not_keep_it() {
  for (int code : {0, 17}) {
    EXPECT(exited(outcome_of([code] {
                    block_in_many_ways();
                    exit(code);
                  }).status,
                  code));
    EXPECT(exited(outcome_of([code] {
                    block_in_many_ways();
                    _exit(code);
                  }).status,
                  code));
  }
  EXPECT(exited(outcome_of([] {
                  Pthread other([] {
                    nap(10);
                    block_in_many_ways();
                    _exit(21);
                  });
                  other.join();
                }).status,
                21));
}

static void handlers_in_the_thread_that_exits() {
  Outcome const outcome = outcome_of([] {
    static std::atomic<pthread_t> exiting{0};
    atexit([] { printf("last "); });
    atexit([] {
      printf(exiting == pthread_self() ? "here " : "elsewhere ");
      Pthread late([] {
        usleep(1000);
        printf("late ");
      });
      late.join();
    });
    on_exit([](int code, void* word) { printf("%s%d ", static_cast<char*>(word), code); },
            const_cast<char*>("code"));
    printf("buffered ");
    Pthread other([] {
      exiting = pthread_self();
      usleep(5000);
      exit(31);
    });
    other.join();
    printf("not reached ");
  });
  EXPECT(exited(outcome.status, 31));
  EXPECT(outcome.text == "buffered code31 here late last ");
}

struct Speaks {
  ~Speaks() { printf("%s ", word_); }
  const char* word_;
};

static void destructors() {
  Outcome const outcome = outcome_of([] {
    static Speaks const by_static{"static"};
    (void)by_static;
    Pthread blocked([] {
      static thread_local Speaks other{"never"};
      other.word_ = "never";
      sleep(100);
    });
    blocked.release();
    nap(10);
    Pthread exiting([] {
      static thread_local Speaks own{"own"};
      own.word_ = "own";
      exit(0);
    });
    exiting.join();
  });
  EXPECT(exited(outcome.status, 0));
  EXPECT(outcome.text == "own static ");
}

static void no_flush() {
  Outcome const outcome = outcome_of([] {
    atexit([] { printf("handler"); });
    printf("lost");
    Pthread other([] { _exit(3); });
    other.join();
  });
  EXPECT(exited(outcome.status, 3));
  EXPECT(outcome.text.empty());
}

static void quick() {
  Outcome const outcome = outcome_of([] {
    atexit([] { (void)!write(1, "never", 5); });
    at_quick_exit([] { (void)!write(1, "second", 6); });
    at_quick_exit([] { (void)!write(1, "first ", 6); });
    Pthread other([] { quick_exit(12); });
    other.join();
  });
  EXPECT(exited(outcome.status, 12));
  EXPECT(outcome.text == "first second");
}

static void a_slow_exit_while_others_run() {
  Outcome const outcome = outcome_of([] {
    static std::atomic<int> beats{0};
    atexit([] {
      int const before = beats;
      usleep(30000);
      printf(beats > before ? "running" : "stopped");  // threads run on during exit
    });
    Pthread([] {
      for (;; usleep(1000)) ++beats;
    }).release();
    exit(0);
  });
  EXPECT(exited(outcome.status, 0));
  EXPECT(outcome.text == "running");
}

static void a_daemon() {
  Outcome const outcome = outcome_of([] {
    Pthread([] { nap(5000); }).release();
    pid_t const before = getpid();
    if (daemon(1, 1) != 0) exit(1);
    bool const moved = getpid() != before && getsid(0) != getppid();
    // A daemon makes its threads after it was born.
    int sum = 0;
    std::vector<Pthread> threads;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    for (int i = 1; i <= 4; ++i) {
      threads.emplace_back([&, i] {
        usleep(2000);
        pthread_mutex_lock(&mutex);
        sum += i;
        pthread_mutex_unlock(&mutex);
      });
    }
    threads.clear();
    printf("%d %d", moved ? 1 : 0, sum);
  });
  EXPECT(exited(outcome.status, 0));  // of the parent, which left at once
  EXPECT(outcome.text == "1 10");     // of the daemon
}

int main() {
  auto all = [] {
    others_do_not_keep_it();
    handlers_in_the_thread_that_exits();
    destructors();
    no_flush();
    quick();
    a_slow_exit_while_others_run();
    a_daemon();
  };
  all();
  Pthread second([&] {
    where = "second";
    all();
  });
  second.join();

  // And this very process returns from main with threads blocked, a busy one too.
  block_in_many_ways();
  return finish();
}
