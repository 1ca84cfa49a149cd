// SPDX-License-Identifier: Apache-2.0
// A thread-per-connection line server that lives by signals, as daemons do:
//   SIGHUP reads the greeting file again, SIGCHLD reaps, SIGALRM (every 20 ms) does housekeeping,
//   SIGTERM stops with status 0, SIGINT stops with status 3.
// Its first argument says how the signals reach main, its second names the greeting file:
//   flag      handlers set flags, without SA_RESTART; main's accept returns EINTR
//   pipe      handlers write into a pipe, with SA_RESTART; main polls pipe and listener
//   sigwait   all blocked; a thread of its own sits in sigwait and wakes main by the same pipe
//   signalfd  all blocked; main polls a signalfd and the listener
// Connection threads block the signals, as daemons' workers do.
// Lines: "greeting", "spawn N" (a child that exits with N), "children", "ticks", "sleep MS", anything else echoes.
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "serve.h"

static const int kSignals[] = {SIGHUP, SIGCHLD, SIGALRM, SIGTERM, SIGINT};
enum { kSignalCount = sizeof kSignals / sizeof *kSignals };

static const char* greeting_file;
static char greeting[256];
static pthread_rwlock_t greeting_lock = PTHREAD_RWLOCK_INITIALIZER;
static atomic_int reaped, last_status, ticks, exit_status = -1;
static volatile sig_atomic_t pending[NSIG];
static int listener, wake_pipe[2];

static sigset_t our_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  for (int i = 0; i < kSignalCount; ++i) sigaddset(&set, kSignals[i]);
  return set;
}

// ---- what each signal means, run by main outside any handler ----

static void reload(void) {
  FILE* file = fopen(greeting_file, "r");
  if (!file) die(greeting_file);
  pthread_rwlock_wrlock(&greeting_lock);
  if (!fgets(greeting, sizeof greeting, file)) greeting[0] = 0;
  pthread_rwlock_unlock(&greeting_lock);
  fclose(file);
}

static void reap(void) {
  int status;
  while (waitpid(-1, &status, WNOHANG) > 0) {
    last_status = WEXITSTATUS(status);
    ++reaped;
  }
}

static void react(int number) {
  switch (number) {
    case SIGHUP: reload(); break;
    case SIGCHLD: reap(); break;
    case SIGALRM: ++ticks; break;
    case SIGTERM: exit_status = 0; break;
    case SIGINT: exit_status = 3; break;
  }
}

// ---- connections ----

static void spawn(const char* line) {
  char command[64];
  snprintf(command, sizeof command, "exit %d", atoi(line + 6));
  pid_t child = fork();
  if (child == 0) {
    execl("/bin/sh", "sh", "-c", command, (char*)NULL);
    _exit(127);
  }
  if (child < 0) die("fork");
}

static int sleep_through(int milliseconds) {
  struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
  int interrupted = 0;
  while (nanosleep(&left, &left)) ++interrupted;
  return interrupted;
}

static void reply(const char* line, char* answer, size_t size) {
  if (strcmp(line, "greeting\n") == 0) {
    pthread_rwlock_rdlock(&greeting_lock);
    snprintf(answer, size, "%s", greeting);
    pthread_rwlock_unlock(&greeting_lock);
  } else if (strncmp(line, "spawn ", 6) == 0) {
    spawn(line);
    snprintf(answer, size, "spawned\n");
  } else if (strcmp(line, "children\n") == 0) {
    snprintf(answer, size, "%d %d\n", reaped, last_status);
  } else if (strcmp(line, "ticks\n") == 0) {
    snprintf(answer, size, "%d\n", ticks);
  } else if (strncmp(line, "sleep ", 6) == 0) {
    snprintf(answer, size, "interrupted %d times\n", sleep_through(atoi(line + 6)));
  } else {
    snprintf(answer, size, "%s", line);
  }
}

// One line, read byte by byte: what comes after it stays in the socket.
static int read_line(int fd, char* line, size_t size) {
  size_t length = 0;
  while (length + 1 < size && read(fd, line + length, 1) == 1) {
    if (line[length++] != '\n') continue;
    line[length] = 0;
    return 1;
  }
  return 0;
}

static void* converse(void* argument) {
  int fd = (int)(long)argument;
  char line[512], answer[512];
  while (read_line(fd, line, sizeof line)) {
    reply(line, answer, sizeof answer);
    if (!write_all(fd, answer, strlen(answer))) break;
  }
  close(fd);
  return NULL;
}

static void start_thread(void* (*function)(void*), int fd) {
  pthread_t thread;
  sigset_t ours = our_signals(), before;
  pthread_sigmask(SIG_BLOCK, &ours, &before);
  int error = pthread_create(&thread, NULL, function, (void*)(long)fd);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error) exit(1);
  pthread_detach(thread);
}

static void accept_one(void) {
  int fd = accept(listener, NULL, NULL);
  if (fd >= 0)
    start_thread(converse, fd);
  else if (errno != EINTR && errno != EAGAIN)
    die("accept");
}

// ---- the four ways a signal reaches main ----

static void remember(int number) { pending[number] = 1; }

static void serve_by_flags(void) {
  while (exit_status < 0) {
    accept_one();  // a signal that comes just before it is seen at the next tick
    for (int i = 0; i < kSignalCount; ++i) {
      if (!pending[kSignals[i]]) continue;
      pending[kSignals[i]] = 0;
      react(kSignals[i]);
    }
  }
}

static void tell_main(int number) {
  int before = errno;
  unsigned char byte = (unsigned char)number;
  if (write(wake_pipe[1], &byte, 1) != 1) abort();
  errno = before;
}

static int signal_from_pipe(void) {
  unsigned char byte;
  return read(wake_pipe[0], &byte, 1) == 1 ? byte : 0;
}

static int signal_fd;

static int signal_from_signalfd(void) {
  struct signalfd_siginfo info;
  return read(signal_fd, &info, sizeof info) == sizeof info ? (int)info.ssi_signo : 0;
}

static void serve_by_poll(int fd, int (*next_signal)(void)) {
  struct pollfd polled[] = {{.fd = fd, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
  while (exit_status < 0) {
    if (poll(polled, 2, -1) < 0 && errno != EINTR) die("poll");
    if (polled[0].revents & POLLIN) react(next_signal());
    if (polled[1].revents & POLLIN) accept_one();
    polled[0].revents = polled[1].revents = 0;
  }
}

static void* wait_for_signals(void* unused) {
  sigset_t ours = our_signals();
  int number;
  (void)unused;
  while (sigwait(&ours, &number) == 0) tell_main(number);
  return NULL;
}

// The signals are blocked until each way is ready for them.
static void let_in(void (*handler)(int), int flags) {
  sigset_t ours = our_signals();
  for (int i = 0; i < kSignalCount; ++i) on_signal(kSignals[i], handler, flags);
  if (pthread_sigmask(SIG_UNBLOCK, &ours, NULL)) die("pthread_sigmask");
}

static void serve(const char* way) {
  struct itimerval often = {{0, 20000}, {0, 20000}};
  sigset_t ours = our_signals();
  if (pthread_sigmask(SIG_BLOCK, &ours, NULL) || pipe(wake_pipe)) die("pipe");
  setitimer(ITIMER_REAL, &often, NULL);
  if (strcmp(way, "flag") == 0) {
    let_in(remember, 0);
    return serve_by_flags();
  }
  if (strcmp(way, "pipe") == 0) {
    let_in(tell_main, SA_RESTART);
    return serve_by_poll(wake_pipe[0], signal_from_pipe);
  }
  if (strcmp(way, "sigwait") == 0) {
    start_thread(wait_for_signals, 0);
    return serve_by_poll(wake_pipe[0], signal_from_pipe);
  }
  signal_fd = signalfd(-1, &ours, SFD_CLOEXEC);
  serve_by_poll(signal_fd, signal_from_signalfd);
}

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: signals_server flag|pipe|sigwait|signalfd GREETING-FILE\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  greeting_file = argv[2];
  reload();
  listener = listen_somewhere();
  serve(argv[1]);
  printf("stopped\n");
  return exit_status;
}
