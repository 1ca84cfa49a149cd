// SPDX-License-Identifier: Apache-2.0
//
// What the thread half of tests/hooks shares beyond testing.h: a pthread that runs any callable, a
// ticker that proves the rest of the process goes on while one thread is blocked, a child process
// that runs a callable, and naps. Plain POSIX and C++20: these programs have never heard of libcoro.
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
#include <utility>

#include "testing.h"

// Sleeps that many milliseconds, to the end, whatever signals come.
inline void nap(int milliseconds) {
  timespec left{milliseconds / 1000, (milliseconds % 1000) * 1000000L};
  while (nanosleep(&left, &left) == -1 && errno == EINTR) {
  }
}

// The time on `clock` that many milliseconds from now (or ago).
inline timespec after(int milliseconds, clockid_t clock = CLOCK_REALTIME) {
  timespec now{};
  clock_gettime(clock, &now);
  long long const ns = now.tv_sec * 1000000000LL + now.tv_nsec + milliseconds * 1000000LL;
  return {static_cast<time_t>(ns / 1000000000LL), static_cast<long>(ns % 1000000000LL)};
}

// Milliseconds on the steady clock.
inline long long now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

// Waits until the question is answered yes; false after five seconds.
template <class Question>
bool comes_true(Question question) {
  for (long long const end = now_ms() + 5000; now_ms() < end; nap(1)) {
    if (question()) return true;
  }
  return question();
}

// A pthread that runs any callable. Must be joined or detached; the destructor joins.
class Thread {
 public:
  template <class Body>
  explicit Thread(Body body, const pthread_attr_t* attributes = nullptr) {
    auto* job = new std::function<void*()>([body = std::move(body)]() mutable -> void* {
      if constexpr (std::is_void_v<decltype(body())>) {
        body();
        return nullptr;
      } else {
        return body();
      }
    });
    EXPECT_EQ(pthread_create(&id_, attributes, &Thread::run, job), 0);
  }
  Thread(Thread&& other) noexcept : id_(other.id_), open_(std::exchange(other.open_, false)) {}
  Thread(const Thread&) = delete;
  ~Thread() {
    if (open_) join();
  }

  void* join() {
    void* result = nullptr;
    EXPECT_EQ(pthread_join(id_, &result), 0);
    open_ = false;
    return result;
  }
  pthread_t id() const { return id_; }
  // The thread was joined or detached by other means.
  void release() { open_ = false; }

 private:
  static void* run(void* argument) {
    std::unique_ptr<std::function<void*()>> job(static_cast<std::function<void*()>*>(argument));
    return (*job)();
  }

  pthread_t id_{};
  bool open_ = true;
};

// A thread that counts while others block. It blocks every signal, so that none is handled there.
class Ticker {
 public:
  Ticker()
      : thread_([this] {
          sigset_t all;
          sigfillset(&all);
          pthread_sigmask(SIG_SETMASK, &all, nullptr);
          for (; !stop_; nap(1)) ++ticks_;
        }) {
    EXPECT(comes_true([this] { return ticks() > 0; }));
  }
  ~Ticker() {
    stop_ = true;
    thread_.join();
  }
  int ticks() const { return ticks_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int> ticks_{0};
  Thread thread_;
};

// Runs `block`, which takes 10 ms or more, and expects that another thread got on meanwhile.
template <class Block>
void while_others_tick(Block block) {
  static Ticker& ticker = *new Ticker;  // never ended: the process's exit ends it
  int const before = ticker.ticks();
  block();
  EXPECT(ticker.ticks() - before >= 2);
}

// Forks, runs `body` in the child, and returns the status that waitpid tells. A body that returns
// ends its child with exit status 0; a failed EXPECT in it ends the child otherwise.
template <class Body>
int in_child(Body body) {
  fflush(nullptr);
  pid_t const child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    body();
    fflush(nullptr);
    _exit(0);
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

inline bool exited(int status, int code) { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
inline bool killed(int status, int number) {
  return WIFSIGNALED(status) && WTERMSIG(status) == number;
}
