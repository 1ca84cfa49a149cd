// SPDX-License-Identifier: Apache-2.0
//
// Trouble: signals to every thread and to the process, forks, limits. Real-time signals are counted: each that was
// sent to a thread is handled in it.
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <spawn.h>

#include "chaos.h"

namespace chaos {
namespace {

// Threads that may be signalled. `mutex`: nobody leaves while a signal is on its way to him.
constexpr int most_targets = 256;
struct Place {
  pthread_t thread;
  bool taken = false;
  long sent = 0;
} places[most_targets];
pthread_mutex_t places_mutex = PTHREAD_MUTEX_INITIALIZER;
thread_local volatile long counted_here = 0;

std::atomic<long> handled{0}, sent_to_threads{0}, counted{0}, process_sent{0}, process_handled{0};
const int by_value = SIGRTMIN + 1;    // to threads, counted
const int to_process = SIGRTMIN + 2;  // to the process, counted
const int awaited = SIGRTMIN + 3;     // for signal_waiter; blocked by all others
std::atomic<long> awaited_sent{0}, awaited_taken{0};

rlimit usual_descriptors, usual_memory;

void on_signal(int) { handled++; }
void on_value(int, siginfo_t* info, void*) {
  if (info->si_code != SI_QUEUE || info->si_value.sival_int != 4711) {
    dprintf(2, "a signal carries %d, code %d\n", info->si_value.sival_int, info->si_code);
    abort();
  }
  handled++;
  if (info->si_signo == by_value) {
    counted++;
    counted_here = counted_here + 1;
  } else {
    process_handled++;
  }
}

void install(int number, int flags, bool with_value = false) {
  struct sigaction action = {};
  action.sa_flags = flags | (with_value ? SA_SIGINFO : 0);
  if (with_value)
    action.sa_sigaction = on_value;
  else
    action.sa_handler = on_signal;
  MUST_BE(0, sigaction(number, &action, nullptr));
}

sigval value() {
  sigval result;
  result.sival_int = 4711;
  return result;
}

}  // namespace

long signals_handled() { return handled; }

void prepare_signals() {
  MUST_BE(0, getrlimit(RLIMIT_NOFILE, &usual_descriptors));
  MUST_BE(0, getrlimit(RLIMIT_AS, &usual_memory));
  install(SIGUSR1, 0);
  install(SIGUSR2, SA_RESTART);
  install(SIGALRM, SA_RESTART);
  install(SIGHUP, 0);
  install(by_value, SA_RESTART, true);
  install(to_process, 0, true);
  install(awaited, 0);
  signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, awaited);
  MUST_BE(0, pthread_sigmask(SIG_BLOCK, &set, nullptr));  // by all: they are made by this thread
}

sigset_t open_only_in_waits() {
  sigset_t set, open;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  MUST_BE(0, pthread_sigmask(SIG_BLOCK, &set, &open));
  sigdelset(&open, SIGUSR1);
  return open;
}

Target::Target() : place_(-1) {
  MUST_BE(0, pthread_mutex_lock(&places_mutex));
  for (int i = 0; i < most_targets && place_ < 0; i++)
    if (!places[i].taken) place_ = i;
  if (place_ >= 0) {
    places[place_] = {pthread_self(), true, 0};
    counted_here = 0;
  }
  MUST_BE(0, pthread_mutex_unlock(&places_mutex));
}

Target::~Target() {
  if (place_ < 0) return;
  MUST_BE(0, pthread_mutex_lock(&places_mutex));
  long sent = places[place_].sent;
  places[place_].taken = false;
  MUST_BE(0, pthread_mutex_unlock(&places_mutex));
  for (int64_t end = now_ms() + 10000; counted_here != sent; nap_us(100))
    if (now_ms() > end) die(__FILE__, __LINE__, "signals to a thread were lost", sent - counted_here);
}

void storm(Actor& self) {
  itimerval often{{0, 7000}, {0, 7000}};
  MUST_BE(0, setitimer(ITIMER_REAL, &often, nullptr));
  while (!stopping) {
    self.steps++;
    for (int burst = self.random.below(8); burst >= 0; burst--) {
      MUST_BE(0, pthread_mutex_lock(&places_mutex));
      Place& place = places[self.random.below(most_targets)];
      if (place.taken) {
        switch (self.random.below(3)) {
          case 0: MUST_BE(0, pthread_kill(place.thread, SIGUSR1)); break;
          case 1: MUST_BE(0, pthread_kill(place.thread, SIGUSR2)); break;
          case 2: {
            int error = pthread_sigqueue(place.thread, by_value, value());
            MUST(error == 0 || error == EAGAIN);
            if (error == 0) place.sent++, sent_to_threads++;
            break;
          }
        }
      }
      MUST_BE(0, pthread_mutex_unlock(&places_mutex));
    }
    if (self.random.one_in(4)) MUST_BE(0, kill(getpid(), SIGHUP));
    if (self.random.one_in(4) && sigqueue(getpid(), to_process, value()) == 0) process_sent++;
    if (self.random.one_in(4) && awaited_sent - awaited_taken < 100 && sigqueue(getpid(), awaited, value()) == 0)
      awaited_sent++;
    nap_us(200 + self.random.below(1500));
  }
  itimerval never{};
  MUST_BE(0, setitimer(ITIMER_REAL, &never, nullptr));
}

void signal_waiter(Actor& self) {
  Target target;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, awaited);
  timespec patience{0, 50000000};
  while (!stopping || awaited_taken < awaited_sent) {
    siginfo_t info;
    int number = sigtimedwait(&set, &info, &patience);
    MUST(number == awaited || errno == EAGAIN || errno == EINTR);
    self.steps++;
    if (number == awaited) {
      MUST_BE(4711, info.si_value.sival_int);
      awaited_taken++;
    }
  }
}

void check_signals_at_end() {
  for (int64_t end = now_ms() + 10000; process_handled < process_sent || counted < sent_to_threads; nap_us(1000))
    if (now_ms() > end) break;
  printf("signals: %ld handled, %ld of %ld to threads, %ld of %ld to the process, %ld of %ld waited for\n", handled.load(),
         counted.load(), sent_to_threads.load(), process_handled.load(), process_sent.load(), awaited_taken.load(),
         awaited_sent.load());
  MUST_BE(sent_to_threads.load(), counted.load());
  MUST_BE(process_sent.load(), process_handled.load());
  MUST_BE(awaited_sent.load(), awaited_taken.load());
}

namespace {

void put_limits_back() {
  MUST_BE(0, setrlimit(RLIMIT_NOFILE, &usual_descriptors));
  MUST_BE(0, setrlimit(RLIMIT_AS, &usual_memory));
}

void* in_a_childs_thread(void* argument) {
  char byte = 'c';
  nap_us(1000);
  MUST_BE(1, write(*static_cast<int*>(argument), &byte, 1));
  return nullptr;
}

// A child that goes on without exec: threads, pipes, its own sleeps.
[[noreturn]] void be_a_child(int code, bool makes_thread) {
  put_limits_back();
  if (makes_thread) {
    int fds[2];
    MUST_BE(0, pipe(fds));
    pthread_t thread;
    MUST_BE(0, pthread_create(&thread, nullptr, in_a_childs_thread, &fds[1]));
    char byte = 0;
    ssize_t n;
    do n = read(fds[0], &byte, 1);
    while (n < 0 && errno == EINTR);
    MUST_BE('c', byte);
    MUST_BE(0, pthread_join(thread, nullptr));
  } else {
    nap_us(500);
  }
  _exit(code);
}

void expect_status(pid_t child, int code) {
  int status = -1;
  pid_t got;
  do got = waitpid(child, &status, 0);
  while (got < 0 && errno == EINTR);
  MUST_BE(child, got);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != code) die(__FILE__, __LINE__, "the child's status", status);
}

}  // namespace

void forks(Actor& self) {
  Target target;
  while (!stopping) {
    self.steps++;
    int code = 1 + self.random.below(100);
    pid_t child = -1;
    switch (self.random.below(3)) {
      case 0:
      case 1: {
        bool makes_thread = self.random.one_in(2);
        child = fork();
        if (child == 0) be_a_child(code, makes_thread);
        MUST(child > 0 || is_shortage(errno));
        break;
      }
      case 2: {
        char name[] = "true";
        char* arguments[] = {name, nullptr};
        char* nothing[] = {nullptr};
        int error = posix_spawn(&child, "/bin/true", nullptr, nullptr, arguments, nothing);
        MUST(error == 0 || is_shortage(error));
        if (error) child = -1;
        code = 0;
        break;
      }
    }
    // Under a limit on memory /bin/true's loader cannot even start: 127, or a signal.
    if (child > 0 && code)
      expect_status(child, code);
    else if (child > 0)
      while (waitpid(child, nullptr, 0) < 0) MUST_BE(EINTR, errno);
    nap_us(10000 + self.random.below(30000));
  }
}

// For some milliseconds there are no more descriptors, or there is no more memory.
void limits(Actor& self) {
  while (!stopping) {
    self.steps++;
    nap_us(50000 + self.random.below(100000));
    if (self.random.one_in(2)) {
      rlimit few = usual_descriptors;
      few.rlim_cur = static_cast<rlim_t>(20 + self.random.below(60));  // poll(2) takes no more than this
      MUST_BE(0, setrlimit(RLIMIT_NOFILE, &few));
    } else {
      rlimit small = usual_memory;
      small.rlim_cur = 64 << 20;  // less than there is: nothing can be mapped
      MUST_BE(0, setrlimit(RLIMIT_AS, &small));
    }
    nap_us(1000 + self.random.below(8000));
    put_limits_back();
  }
}

}  // namespace chaos
