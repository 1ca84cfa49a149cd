// SPDX-License-Identifier: Apache-2.0
//
// The soak program: what its parts share. Plain POSIX, nothing of the library's: it runs alone (the oracle) and under it.
// Actors are threads that work until `stopping`, check all they get, and tell that they go on. Everything that a signal, a
// limit or a closed descriptor may do to a call natively is allowed for; everything else is a failure and ends the
// program at once, where a debugger can look.
#pragma once

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

namespace chaos {

extern std::atomic<bool> stopping;

[[noreturn]] inline void die(const char* file, int line, const char* what, long got) {
  int error = errno;
  dprintf(2, "%s:%d: %s: %ld (errno %d, %s)\n", file, line, what, got, error, strerror(error));
  abort();
}
#define MUST(condition)                                                    \
  do {                                                                     \
    if (!(condition)) chaos::die(__FILE__, __LINE__, #condition, 0);       \
  } while (0)
#define MUST_BE(want, call)                                                \
  do {                                                                     \
    long got_ = (long)(call);                                              \
    if (got_ != (long)(want)) chaos::die(__FILE__, __LINE__, #call, got_); \
  } while (0)

inline int64_t now_ms() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

struct Random {
  uint64_t state;
  uint64_t next() {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
  }
  int below(int limit) { return static_cast<int>(next() % static_cast<unsigned>(limit)); }
  bool one_in(int many) { return below(many) == 0; }
};
Random random_of(int number);  // from the seed of the run

// A sleep that signals may cut short.
inline void nap_us(long us) {
  timespec time{us / 1000000, us % 1000000 * 1000};
  nanosleep(&time, nullptr);
}

// Descriptors, memory or threads may be short for a moment (limits.cc).
inline bool is_shortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == EAGAIN || error == ENOBUFS;
}
// Calls make() until it gives no -1 for want of resources or by a signal.
template <class Make>
long insist(Make make) {
  for (;;) {
    long result = make();
    if (result >= 0) return result;
    MUST(is_shortage(errno) || errno == EINTR);
    nap_us(500);
  }
}
// Makes a thread, however long it takes.
void start_thread(pthread_t* id, void* (*routine)(void*), void* argument, size_t stack = 0, bool detached = false);

// An actor: a thread of the whole run. Its number makes its random numbers; `steps` shows that it goes on.
struct Actor {
  const char* name;
  void (*body)(Actor&);
  int number;
  std::atomic<long> steps{0};
  pthread_t thread{};
  Random random{};
  Actor(const char* name, void (*body)(Actor&)) : name(name), body(body), number(0) {}
};

// A thread that the storm may signal, from here to the end of its scope. On the way out it has handled all that were sent.
class Target {
 public:
  Target();
  ~Target();
  Target(const Target&) = delete;

 private:
  int place_;
};

// Each is one actor's body.
void echo_server(Actor&);   // io.cc
void echo_client(Actor&);
void pipe_relay(Actor&);
void ready_mix(Actor&);
void close_in_use(Actor&);
void lock_traffic(Actor&);  // threads.cc
void round_and_round(Actor&);
void short_threads(Actor&);
void cancels(Actor&);
void overflows(Actor&);
void storm(Actor&);         // trouble.cc
void signal_waiter(Actor&);
void forks(Actor&);
void limits(Actor&);

// Blocks SIGUSR1 for the calling thread; the mask to wait with, in which it is open.
sigset_t open_only_in_waits();

void prepare_signals();
void prepare_threads();
void check_signals_at_end();
long signals_handled();

}  // namespace chaos
