// SPDX-License-Identifier: Apache-2.0
//
// What the plain programs of tests/hooks share: expectations, guard words, threads, a ticking
// thread and sockets on loopback. No framework and nothing of ours: such a program must be one that
// a libc author could have written, because it is run alone (the oracle) and under the library, and
// has to pass both times.
//
// A program calls from_both(cases) and ends with `return finish();`, which prints PASS. from_both
// runs the cases in main and then in a second thread, with a third thread ticking meanwhile: under
// the library each call is thus made by two fibers that may park. There is no watchdog here: the
// runner has the time-out.

#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <utility>

// ---- expectations ----

inline std::atomic<int> failures{0};
inline thread_local const char* where = "main";  // which thread a failure happened in

inline void fail(const char* file, int line, const char* text, long long want, long long got) {
  int saved = errno;
  failures++;
  dprintf(2, "%s:%d: [%s] %s: want %lld, got %lld (errno %d %s)\n", file, line, where, text, want,
          got, saved, strerror(saved));
  errno = saved;
}

// The condition holds.
#define EXPECT(condition)                                         \
  do {                                                            \
    if (!(condition)) fail(__FILE__, __LINE__, #condition, 1, 0); \
  } while (0)

// Two integers (or pointers) are equal.
#define EXPECT_EQ(want, got)                                        \
  do {                                                              \
    long long want_ = (long long)(want), got_ = (long long)(got);   \
    if (want_ != got_) fail(__FILE__, __LINE__, #got, want_, got_); \
  } while (0)

// The call returns `want` and leaves errno as it was.
#define EXPECT_OK(want, call)                                     \
  do {                                                            \
    errno = 77;                                                   \
    long long got_ = (long long)(call);                           \
    int errno_ = errno;                                           \
    long long want_ = (long long)(want);                          \
    if (want_ != got_)                                            \
      fail(__FILE__, __LINE__, #call, want_, got_);               \
    else if (errno_ != 77)                                        \
      fail(__FILE__, __LINE__, "errno after " #call, 77, errno_); \
  } while (0)

// The call returns -1 and errno is `code`.
#define EXPECT_ERRNO(code, call)                                      \
  do {                                                                \
    errno = 77;                                                       \
    long long got_ = (long long)(call);                               \
    int errno_ = errno;                                               \
    if (got_ != -1)                                                   \
      fail(__FILE__, __LINE__, #call, -1, got_);                      \
    else if (errno_ != (code))                                        \
      fail(__FILE__, __LINE__, "errno after " #call, (code), errno_); \
  } while (0)

// The value is a good descriptor; anything else ends the program, because all that follows would
// fail too.
#define NEED(fd) need((fd), __FILE__, __LINE__, #fd)
inline int need(int fd, const char* file, int line, const char* text) {
  if (fd >= 0) return fd;
  fail(file, line, text, 0, fd);
  _exit(1);
}

// Where a Stopwatch asked whether others ran, by line: how often they had, and how often not.
inline std::atomic<int> others_had_run[1000], others_had_not[1000];

// Says how the program went; the runner wants both the word and the status.
inline int finish() {
  for (int line = 0; line < 1000; line++) {
    if (others_had_not[line] && !others_had_run[line]) {
      fail("others never ran", line, "others_ran()", 1, 0);
    }
  }
  if (failures) return 1;
  puts("PASS");
  return 0;
}

// An out-parameter between two guard words, filled with `fill` so that "untouched" can be told.
template <class T>
struct guarded {
  static constexpr uint64_t word = 0x5ca1ab1e0ddba11;
  static constexpr unsigned char fill = 0xa5;
  volatile uint64_t before = word;
  T value;
  volatile uint64_t after = word;

  guarded() { memset((void*)&value, fill, sizeof value); }
  explicit guarded(T start) : value(start) {}
  ~guarded() { EXPECT(unbroken()); }
  T* operator&() { return &value; }
  bool unbroken() const { return before == word && after == word; }
  bool untouched() const { return untouched_from(0); }
  bool untouched_from(size_t offset) const {
    const unsigned char* bytes = (const unsigned char*)&value;
    for (size_t i = offset; i < sizeof value; i++) {
      if (bytes[i] != fill) return false;
    }
    return true;
  }
};

// ---- time ----

inline int64_t now_us(clockid_t clock = CLOCK_MONOTONIC) {
  timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

inline timespec to_timespec(int64_t us) { return {us / 1000000, us % 1000000 * 1000}; }

// Sleeps by usleep: the one call whose park count proves nothing, as every program's helpers use
// it.
inline void pause_ms(int ms) {
  int64_t end = now_us() + ms * 1000LL;
  for (int64_t left; (left = end - now_us()) > 0;) usleep(left);
}

// ---- threads ----

// A pthread that runs a callable and is joined when the object dies.
class Thread {
 public:
  template <class F>
  explicit Thread(F body) {
    F* own = new F(std::move(body));
    int error = pthread_create(
        &id_, nullptr,
        [](void* p) -> void* {
          F* f = static_cast<F*>(p);
          where = "helper";
          (*f)();
          delete f;
          return nullptr;
        },
        own);
    if (error) {
      dprintf(2, "pthread_create: %s\n", strerror(error));
      _exit(1);
    }
  }
  Thread(const Thread&) = delete;
  ~Thread() { join(); }
  void join() {
    if (joined_) return;
    joined_ = true;
    EXPECT_EQ(0, pthread_join(id_, nullptr));
  }
  pthread_t id() const { return id_; }

 private:
  pthread_t id_;
  bool joined_ = false;
};

// Runs `action` in a thread of its own after some milliseconds.
template <class F>
Thread after(int ms, F action) {
  return Thread([ms, action]() mutable {
    pause_ms(ms);
    action();
  });
}

// Runs body(0) … body(count - 1) in threads of their own and waits for them all.
template <class F>
void in_threads(int count, F body) {
  Thread** all = new Thread*[count];
  for (int i = 0; i < count; i++) all[i] = new Thread([body, i]() mutable { body(i); });
  for (int i = 0; i < count; i++) delete all[i];
  delete[] all;
}

// Counts milliseconds, roughly, in a thread of its own: it stands still if a blocked call stops
// everybody.
class Ticker {
 public:
  static inline std::atomic<long> ticks{0};
  Ticker()
      : thread_([this] {
          while (!stop_) {
            ticks++;
            usleep(1000);
          }
        }) {}
  ~Ticker() { stop_ = true; }

 private:
  std::atomic<bool> stop_{false};
  Thread thread_;
};

// How long something took, and whether the ticker ran meanwhile.
class Stopwatch {
 public:
  int64_t us() const { return now_us() - start_; }
  bool took_between(int min_ms, int max_ms) const {
    int64_t took = us();
    if (took >= min_ms * 1000LL && took <= max_ms * 1000LL) return true;
    dprintf(2, "[%s] took %lld us, not between %d and %d ms\n", where, (long long)took, min_ms,
            max_ms);
    return false;
  }
  // Notes the answer; finish() judges, because on a busy machine a thread may get no turn in 30 ms
  // once, but hardly each time that a line is passed.
  bool others_ran(int line = __builtin_LINE()) const {
    (Ticker::ticks > ticks_ ? others_had_run : others_had_not)[line % 1000]++;
    return true;
  }

 private:
  int64_t start_ = now_us();
  long ticks_ = Ticker::ticks;
};

// The call waited for somebody else's deed, made after 20 ms: that deed shows that others ran
// meanwhile.
#define EXPECT_WAITED(stopwatch)                \
  do {                                          \
    EXPECT((stopwatch).took_between(15, 4000)); \
  } while (0)

// Runs the cases in main, then in a second thread, while a third one ticks.
template <class F>
void from_both(F cases) {
  Ticker ticker;
  cases();
  Thread second([&] {
    where = "second";
    cases();
  });
}

// ---- signals ----

inline std::atomic<int> handled{0};          // handlers run so far
inline std::atomic<pthread_t> handled_in{};  // and the thread that ran the last one

// Installs a handler that counts; flags as in sigaction (0, SA_RESTART).
inline void count_signal(int signal, int flags) {
  struct sigaction action = {};
  action.sa_handler = [](int) {
    handled++;
    handled_in = pthread_self();
  };
  action.sa_flags = flags;
  EXPECT_EQ(0, sigaction(signal, &action, nullptr));
}

// Sends SIGUSR1 to a thread every 10 ms, so that one of them is sure to hit the call being tested.
class Kicker {
 public:
  explicit Kicker(pthread_t target)
      : thread_([this, target] {
          while (true) {
            pause_ms(10);
            if (stop_) break;
            pthread_kill(target, SIGUSR1);
          }
        }) {}
  ~Kicker() { stop_ = true; }

 private:
  std::atomic<bool> stop_{false};
  Thread thread_;
};

// The call made here is ended by a handler without SA_RESTART: -1 and EINTR.
#define EXPECT_INTERRUPTED(call)                       \
  do {                                                 \
    count_signal(SIGUSR1, 0);                          \
    int handled_before_ = handled;                     \
    Stopwatch stopwatch_;                              \
    {                                                  \
      Kicker kicker_(pthread_self());                  \
      EXPECT_ERRNO(EINTR, call);                       \
    }                                                  \
    EXPECT(handled > handled_before_);                 \
    EXPECT(pthread_equal(handled_in, pthread_self())); \
  } while (0)

// Three signals with SA_RESTART do not end the call; `deed`, done by the same helper after them,
// does.
#define EXPECT_RESTARTED(want, call, deed) \
  do {                                     \
    count_signal(SIGUSR1, SA_RESTART);     \
    int handled_before_ = handled;         \
    pthread_t target_ = pthread_self();    \
    Thread helper_([&] {                   \
      for (int i_ = 0; i_ < 3; i_++) {     \
        pause_ms(10);                      \
        pthread_kill(target_, SIGUSR1);    \
      }                                    \
      pause_ms(10);                        \
      deed;                                \
    });                                    \
    EXPECT_EQ(want, call);                 \
    helper_.join();                        \
    EXPECT(handled > handled_before_);     \
  } while (0)

// ---- sockets on loopback, ports picked by the kernel ----

inline sockaddr_in loopback(int port = 0) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

inline sockaddr_in address_of(int fd) {
  sockaddr_in address = {};
  socklen_t length = sizeof address;
  EXPECT_EQ(0, getsockname(fd, (sockaddr*)&address, &length));
  return address;
}

inline int bound_socket(int type) {
  int fd = NEED(socket(AF_INET, type, 0));
  sockaddr_in address = loopback();
  NEED(bind(fd, (sockaddr*)&address, sizeof address));
  return fd;
}

inline int listener(int backlog = 64) {
  int fd = bound_socket(SOCK_STREAM);
  NEED(listen(fd, backlog));
  return fd;
}

inline int connect_to(const sockaddr_in& address, int type = SOCK_STREAM) {
  int fd = NEED(socket(AF_INET, type, 0));
  NEED(connect(fd, (const sockaddr*)&address, sizeof address));
  return fd;
}

// Two ends that close themselves.
struct Ends {
  int a = -1, b = -1;
  ~Ends() {
    close_a();
    close_b();
  }
  void close_a() {
    if (a >= 0) close(a);
    a = -1;
  }
  void close_b() {
    if (b >= 0) close(b);
    b = -1;
  }
};

// A connected pair of TCP sockets over loopback; a is the client.
struct Tcp : Ends {
  Tcp() {
    int server = listener();
    a = connect_to(address_of(server));
    b = NEED(accept(server, nullptr, nullptr));
    close(server);
  }
};

// A unix socketpair.
struct Pair : Ends {
  explicit Pair(int type = SOCK_STREAM) {
    int fds[2];
    NEED(socketpair(AF_UNIX, type, 0, fds));
    a = fds[0];
    b = fds[1];
  }
};

// A pipe: a is the end to read, b the end to write.
struct Pipe : Ends {
  explicit Pipe(int flags = 0) {
    int fds[2];
    NEED(pipe2(fds, flags));
    a = fds[0];
    b = fds[1];
  }
};

inline bool is_nonblocking(int fd) { return fcntl(fd, F_GETFL) & O_NONBLOCK; }

inline void set_nonblocking(int fd, bool on) {
  int flags = fcntl(fd, F_GETFL);
  EXPECT_EQ(0, fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

inline void set_timeout(int fd, int option, int ms) {
  timeval time = {ms / 1000, ms % 1000 * 1000};
  EXPECT_EQ(0, setsockopt(fd, SOL_SOCKET, option, &time, sizeof time));
}

// Writes without blocking until the descriptor takes no more; says how much went in. Not for TCP,
// which moves bytes on to the other side some time later and then has room again: there only a huge
// send is sure to wait.
inline long fill_up(int fd) {
  static const char bytes[4096] = {};
  bool was = is_nonblocking(fd);
  set_nonblocking(fd, true);
  long total = 0;
  for (size_t chunk = sizeof bytes; chunk; chunk /= 4096) {
    for (ssize_t n; (n = write(fd, bytes, chunk)) > 0;) total += n;
  }
  set_nonblocking(fd, was);
  return total;
}

// Reads exactly that much, or until the end.
inline long drain(int fd, long size) {
  char bytes[16384];
  long total = 0;
  while (total < size) {
    long want = size - total < (long)sizeof bytes ? size - total : (long)sizeof bytes;
    ssize_t n = read(fd, bytes, want);
    if (n <= 0) break;
    total += n;
  }
  return total;
}
