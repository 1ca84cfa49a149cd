// SPDX-License-Identifier: Apache-2.0
//
// Processes and threads that a program with threads starts, by every call there is, begin clean: no seccomp filter, no
// NoNewPrivs, default SIGSYS, the caller's signal mask, its CPU affinity, nice value and what it did to itself (capset,
// prctl, personality, unshare, setns). Forks from many threads at once.
#include <aio.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <mqueue.h>
#include <netdb.h>
#include <sched.h>
#include <spawn.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <wordexp.h>

#include <string>
#include <vector>

#include "thread_testing.h"

extern "C" int capset(cap_user_header_t, const cap_user_data_t);

// The value of a line of the calling kernel thread's /proc status.
static std::string status_line(const char* name) {
  char line[256];
  std::string value;
  FILE* file = fopen("/proc/thread-self/status", "r");
  while (file && fgets(line, sizeof line, file)) {
    if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':') value = line + strlen(name) + 1;
  }
  if (file) fclose(file);
  while (!value.empty() && strchr(" \t\n", value.back())) value.pop_back();
  while (!value.empty() && strchr(" \t", value.front())) value.erase(0, 1);
  return value;
}

static void is_clean() {
  EXPECT(status_line("Seccomp") == "0");
  EXPECT(status_line("NoNewPrivs") == "0");
}

// What a shell says of itself.
static const char* const script =
    "while read name value; do case $name in Seccomp:|NoNewPrivs:|SigBlk:) echo $value;; esac; done </proc/self/status";
static const std::string clean = "0000000000000000\n0\n0\n";

static std::string read_all(int fd) {
  std::string text;
  char bytes[256];
  for (ssize_t got; (got = read(fd, bytes, sizeof bytes)) > 0;) text.append(bytes, static_cast<size_t>(got));
  return text;
}

static void forked() {
  EXPECT(exited(in_child(is_clean), 0));
  EXPECT(exited(in_child([] {  // goes on with threads of its own
                  Pipe pipe;
                  Pthread writer([&] {
                    nap(20);
                    EXPECT_EQ(1, write(pipe.b, "x", 1));
                  });
                  char byte;
                  EXPECT_EQ(1, read(pipe.a, &byte, 1));
                  EXPECT(exited(in_child(is_clean), 0));
                }),
                0));
}

static void executed() {
  Pipe pipe(O_CLOEXEC);
  pid_t const child = fork();
  if (child == 0) {
    dup2(pipe.b, 1);
    execl("/bin/sh", "sh", "-c", script, nullptr);
    _exit(1);
  }
  pipe.close_b();
  EXPECT(read_all(pipe.a) == clean);
  int status = 0;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT(exited(status, 0));
}

static void spawned() {
  Pipe pipe(O_CLOEXEC);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe.b, 1);
  const char* const arguments[] = {"sh", "-c", script, nullptr};
  pid_t child = -1;
  EXPECT_EQ(0, posix_spawn(&child, "/bin/sh", &actions, nullptr, const_cast<char**>(arguments), environ));
  EXPECT_EQ(ENOENT, posix_spawn(&child, "/no/such/program", &actions, nullptr, const_cast<char**>(arguments), environ) );
  posix_spawn_file_actions_destroy(&actions);
  pipe.close_b();
  EXPECT(read_all(pipe.a) == clean);
  while (waitpid(-1, nullptr, WNOHANG) > 0) continue;
}

static void by_shell() {
  FILE* in = popen(script, "r");
  EXPECT(in);
  if (!in) return;
  EXPECT(read_all(fileno(in)) == clean);
  EXPECT_EQ(0, pclose(in));
  EXPECT(exited(system("while read name value; do case $name in Seccomp:) exit $value;; esac; done </proc/self/status"), 0));
  wordexp_t words{};
  EXPECT_EQ(0, wordexp("$(grep ^Seccomp: /proc/self/status | cut -c10-)", &words, 0));
  EXPECT(words.we_wordc == 1 && !strcmp(words.we_wordv[0], "0"));
  wordfree(&words);
}

static void many_at_once() {
  std::vector<Pthread> threads;
  for (int i = 0; i < 100; ++i) {
    threads.emplace_back([i] {
      pid_t const child = fork();
      if (child == 0) _exit(i);
      int status = 0;
      EXPECT_EQ(child, waitpid(child, &status, 0));
      EXPECT_EQ(i << 8, status);  // exited(status, i)
    });
  }
}

// Threads of libc's own do not inherit a filter either: with every signal blocked, it would end the process.
static void libcs_threads() {
  char path[] = "/tmp/started_processes.XXXXXX";
  int const fd = NEED(mkstemp(path));
  unlink(path);
  char bytes[] = "0123456789";
  aiocb block{};
  block.aio_fildes = fd;
  block.aio_buf = bytes;
  block.aio_nbytes = 10;
  const aiocb* const list[] = {&block};
  EXPECT_EQ(0, aio_write(&block));
  while (aio_error(&block) == EINPROGRESS) aio_suspend(list, 1, nullptr);
  EXPECT_EQ(10, aio_return(&block));
  EXPECT_EQ(0, aio_fsync(O_SYNC, &block));
  while (aio_error(&block) == EINPROGRESS) nap(1);
  EXPECT_EQ(0, aio_read(&block));
  while (aio_error(&block) == EINPROGRESS) nap(1);
  EXPECT_EQ(10, aio_return(&block));
  block.aio_lio_opcode = LIO_READ;
  aiocb* const more[] = {&block};
  EXPECT_EQ(0, lio_listio(LIO_WAIT, more, 1, nullptr));
  EXPECT_EQ(10, aio_return(&block));
  gaicb question{};
  question.ar_name = "127.0.0.1";
  gaicb* questions[] = {&question};
  EXPECT_EQ(0, getaddrinfo_a(GAI_WAIT, questions, 1, nullptr));
  EXPECT_EQ(0, gai_error(&question));
  freeaddrinfo(question.ar_result);
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD;
  static std::atomic<int> fired;
  fired = 0;
  event.sigev_notify_function = [](sigval) {
    EXPECT(status_line("Seccomp") == "0");
    fired = 1;
  };
  EXPECT_ERRNO(EBADF, mq_notify(-1, &event));
  timer_t timer;
  EXPECT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
  itimerspec const soon{{0, 0}, {0, 1000000}};
  EXPECT_EQ(0, timer_settime(timer, 0, &soon, nullptr));
  EXPECT(comes_true([] { return fired.load() == 1; }));
  timer_delete(timer);
  close(fd);
}

// What the thread is must be what its child is.
static void inherited() {
  cpu_set_t mine, childs;
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR2);
  sigaddset(&blocked, SIGSYS);
  pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  EXPECT_EQ(0, sched_getaffinity(0, sizeof mine, &mine));
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); ++i)
    if (CPU_ISSET(i, &mine)) CPU_SET(i, &one);
  EXPECT_EQ(0, sched_setaffinity(0, sizeof one, &one));
  EXPECT_EQ(0, setpriority(PRIO_PROCESS, 0, 3));
  EXPECT(exited(in_child([&] {
                  EXPECT_EQ(0, sched_getaffinity(0, sizeof childs, &childs));
                  EXPECT(CPU_EQUAL(&one, &childs));
                  EXPECT_EQ(3, getpriority(PRIO_PROCESS, 0));
                  sigset_t now;
                  pthread_sigmask(SIG_BLOCK, nullptr, &now);
                  EXPECT(sigismember(&now, SIGUSR2) == 1 && sigismember(&now, SIGSYS) == 1);
                }),
                0));
  EXPECT(exited(system("test $(nice) = 3"), 0));
  pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr);
  EXPECT_EQ(0, sched_setaffinity(0, sizeof mine, &mine));
}

static void sigsys_is_the_programs() {
  struct sigaction action {}, seen {};
  action.sa_handler = [](int) {};
  EXPECT_EQ(0, sigaction(SIGSYS, nullptr, &seen));
  EXPECT(seen.sa_handler == SIG_DFL);
  count_signal(SIGSYS, 0);
  int const before = handled;
  EXPECT_EQ(0, raise(SIGSYS));
  EXPECT_EQ(0, kill(getpid(), SIGSYS));
  EXPECT(comes_true([&] { return handled == before + 2; }));
  EXPECT(signal(SIGSYS, SIG_DFL) != SIG_DFL);
  EXPECT(killed(in_child([] {
                  raise(SIGSYS);
                }),
                SIGSYS));
}

// Last: it cannot be undone.
static void changes_itself() {
  long const before = personality(0xffffffff);
  EXPECT_EQ(before, personality(static_cast<unsigned long>(before | ADDR_NO_RANDOMIZE)));
  EXPECT_EQ(0, prctl(PR_SET_TIMERSLACK, 123456, 0, 0, 0));
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct caps[2] = {};
  syscall(SYS_capget, &header, caps);
  header = {_LINUX_CAPABILITY_VERSION_3, 0};
  bool const may_unshare = unshare(CLONE_NEWUTS) == 0;
  if (may_unshare) EXPECT_EQ(0, sethostname("coro-test", 9));
  EXPECT_ERRNO(EBADF, setns(-1, 0));
  caps[0].effective &= ~(1u << CAP_SYS_NICE), caps[0].permitted &= ~(1u << CAP_SYS_NICE);
  caps[0].inheritable = 0, caps[1].inheritable = 0;
  EXPECT_EQ(0, capset(&header, caps));
  std::string const capabilities = status_line("CapEff");
  EXPECT(exited(in_child([&] {
                  EXPECT(personality(0xffffffff) & ADDR_NO_RANDOMIZE);
                  EXPECT_EQ(123456, prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0));
                  EXPECT(status_line("CapEff") == capabilities);
                  char name[64] = {};
                  gethostname(name, sizeof name);
                  EXPECT(!may_unshare || !strcmp(name, "coro-test"));
                }),
                0));
  EXPECT_EQ(0, system(may_unshare ? "test $(uname -n) = coro-test" : "true"));
  EXPECT_EQ(0, system(("grep -q " + capabilities + " /proc/self/status || test $(id -u) = 0").c_str()));
}

int main() {
  from_both([] {
    forked();
    executed();
    spawned();
    by_shell();
    many_at_once();
    libcs_threads();
  });
  Pthread([] {}).join();
  sigsys_is_the_programs();
  inherited();
  changes_itself();
  return finish();
}
