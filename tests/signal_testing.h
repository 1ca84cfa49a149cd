// SPDX-License-Identifier: Apache-2.0
//
// How one row of signal(7)'s table is tried: a call that blocks, signals that come while it does,
// and what ends it. In main the signals are sent to the process, to other threads by pthread_kill.
#pragma once

#include <functional>

#include "thread_testing.h"

// The kernel gives a signal for the process to main if main does not block it.
inline void send_to(pthread_t target, bool is_main) {
  if (is_main)
    kill(getpid(), SIGUSR1);
  else
    pthread_kill(target, SIGUSR1);
}

inline bool in_main() { return getpid() == gettid(); }

// A thread that no signal is for.
class Sender {
 public:
  template <class Body>
  explicit Sender(Body body) : thread_(unblocked(std::move(body))) {
    pthread_sigmask(SIG_SETMASK, &old_, nullptr);
  }
  void join() { thread_.join(); }

 private:
  template <class Body>
  Body unblocked(Body body) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old_);
    return body;
  }
  sigset_t old_;
  Thread thread_;
};

using Call = std::function<long()>;
using Deed = std::function<void()>;

// One round: signals whose handler has these flags come every few milliseconds until the call is
// over, or, if there is a deed that ends the call, two of them before the deed.
struct Round {
  long result = 0;
  int error = 0;
  bool timely = false;  // signals came, and it ended soon
};
inline Round round_of(int flags, const Call& call, const Deed& deed) {
  std::atomic<bool> over{false};
  pthread_t const target = pthread_self();
  bool const main = in_main();
  count_signal(SIGUSR1, flags);
  int const before = handled;
  long long const start = now_ms();
  Round round;
  {
    Sender sender([&] {
      for (int sent = 0; !over && (!deed || sent < 2); sent++) {
        nap(4);
        if (!over) send_to(target, main);
      }
      nap(4);
      if (deed) deed();
    });
    errno = 77;
    round.result = call();
    round.error = errno;
    over = true;
  }
  round.timely = handled > before && now_ms() - start < 3000;
  return round;
}

inline void judge(const char* name, int flags, const Round& round, long result, int error) {
  if (round.result == result && round.error == error && round.timely) return;
  failures++;
  dprintf(2, "[%s] %s %s SA_RESTART: %ld and errno %d, not %ld and %d%s\n", where, name,
          flags & SA_RESTART ? "with" : "without", round.result, round.error, result, error,
          round.timely ? "" : "; not in time");
}

// What the handler does to the call.
inline void ends(const char* name, int flags, const Call& call) {
  judge(name, flags, round_of(flags, call, nullptr), -1, EINTR);
}
inline void goes_on(const char* name, int flags, long result, const Call& call, const Deed& deed) {
  judge(name, flags, round_of(flags, call, deed), result, 77);
}

// The three kinds of calls. EINTR without SA_RESTART; with it the call goes on until the deed, and
// gives the result.
inline void restarts(const char* name, long result, const Call& call, const Deed& deed) {
  ends(name, 0, call);
  goes_on(name, SA_RESTART, result, call, deed);
}
// EINTR in both cases.
inline void never_restarts(const char* name, const Call& call) {
  ends(name, 0, call);
  ends(name, SA_RESTART, call);
}
// Neither; the result of the second round may depend on the first, so both are made anew.
template <class Prepare>
void never_ends(const char* name, long result, Prepare prepare) {
  for (int flags : {0, SA_RESTART}) {
    auto [call, deed] = prepare();
    goes_on(name, flags, result, call, deed);
  }
}
// What was done before the signal is told, in both cases.
inline void tells_part(const char* name, long result, const Call& call) {
  for (int flags : {0, SA_RESTART}) judge(name, flags, round_of(flags, call, nullptr), result, 77);
}

// pthread functions return the error.
inline long to_errno(int error) {
  if (!error) return 0;
  errno = error;
  return -1;
}
