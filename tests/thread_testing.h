// SPDX-License-Identifier: Apache-2.0
//
// What the thread half of tests/hooks shares beyond testing.h: a pthread with attributes and a
// result, a check that others run while one thread is blocked, a forked child that runs a callable,
// and times. Plain POSIX: these programs have never heard of libcoro.
#pragma once

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include "testing.h"

// Sleeps that many milliseconds to the end, whatever signals come.
inline void nap(int milliseconds) { pause_ms(milliseconds); }

// The time on `clock` that many milliseconds from now (or ago).
inline timespec from_now(int milliseconds, clockid_t clock = CLOCK_REALTIME) {
  timespec now{};
  clock_gettime(clock, &now);
  long long const ns = now.tv_sec * 1000000000LL + now.tv_nsec + milliseconds * 1000000LL;
  return {static_cast<time_t>(ns / 1000000000LL), static_cast<long>(ns % 1000000000LL)};
}

// Milliseconds on the steady clock.
inline long long now_ms() { return now_us() / 1000; }

// Waits until the question is answered yes; false after five seconds.
template <class Question>
bool comes_true(Question question) {
  for (long long const end = now_ms() + 5000; now_ms() < end; nap(1)) {
    if (question()) return true;
  }
  return question();
}

// A pthread that runs any callable, with attributes and a result; joined when the object dies
// unless it was joined before or released.
class Pthread {
 public:
  template <class Body>
  explicit Pthread(Body body, const pthread_attr_t* attributes = nullptr) {
    auto* job = new std::function<void*()>([body = std::move(body)]() mutable -> void* {
      if constexpr (std::is_void_v<decltype(body())>) {
        body();
        return nullptr;
      } else {
        return body();
      }
    });
    int const error = pthread_create(&id_, attributes, &Pthread::run, job);
    EXPECT_EQ(0, error);
    if (error != 0) _exit(1);
  }
  Pthread(Pthread&& other) noexcept : id_(other.id_), open_(std::exchange(other.open_, false)) {}
  Pthread(const Pthread&) = delete;
  ~Pthread() {
    if (open_) join();
  }

  void* join() {
    void* result = nullptr;
    EXPECT_EQ(0, pthread_join(id_, &result));
    open_ = false;
    return result;
  }
  pthread_t id() const { return id_; }
  void release() { open_ = false; }

 private:
  static void* run(void* argument) {
    std::unique_ptr<std::function<void*()>> job(static_cast<std::function<void*()>*>(argument));
    where = "helper";
    return (*job)();
  }

  pthread_t id_{};
  bool open_ = true;
};

struct Ticks {
  pid_t owner = 0;  // a forked child has not its parent's ticker
  int ticked = 0, stood_still = 0;
};
inline Ticks ticks_beside;

// Runs `block`, which takes 20 ms or more, and expects that another thread got on meanwhile. The
// ticking thread blocks all signals and lives until the process ends.
template <class Block>
void while_others_tick(Block block) {
  Ticks& seen = ticks_beside;
  if (seen.owner != getpid()) {
    seen = {getpid(), 0, 0};
    sigset_t all;
    sigset_t old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    new Ticker;
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
    long const first = Ticker::ticks;
    EXPECT(comes_true([&] { return Ticker::ticks > first; }));
  }
  long const before = Ticker::ticks;
  long long const start = now_us();
  block();
  // On a busy machine the event may have come before the block: then there is nothing to prove. And there a thread may get
  // no turn in 20 ms once, but hardly twice.
  if (now_us() - start >= 15000) (Ticker::ticks > before ? seen.ticked : seen.stood_still)++;
  EXPECT(seen.stood_still <= seen.ticked + 1);
}

// Forks, runs `body` in the child, and returns the status that waitpid tells. A body that returns
// ends its child with status 0, or 99 if an expectation failed in it.
template <class Body>
int in_child(Body body) {
  fflush(nullptr);
  pid_t const child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    failures = 0;
    body();
    fflush(nullptr);
    _exit(failures == 0 ? 0 : 99);
  }
  int status = -1;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  return status;
}

inline bool exited(int status, int code) {
  return WIFEXITED(status) && WEXITSTATUS(status) == code;
}
inline bool killed(int status, int number) {
  return WIFSIGNALED(status) && WTERMSIG(status) == number;
}
