// SPDX-License-Identifier: Apache-2.0
//
// Running other programs, from main and from a thread: system (status, signals, SIGINT and SIGCHLD
// left as they were, nullptr), popen and pclose both ways, posix_spawn and posix_spawnp (file
// actions, attributes, errors), vfork then exec or _exit, the exec family; others tick meanwhile.
#include <spawn.h>
#include <sys/wait.h>

#include <string>
#include <vector>

#include "thread_testing.h"

extern char** environ;

static int status_of(pid_t child) {
  int status = -1;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  return status;
}

static void by_system() {
  while_others_tick([] { EXPECT(exited(system("sleep 0.03; exit 5"), 5)); });
  EXPECT_EQ(0, system("true"));
  EXPECT(system(nullptr) != 0);
  EXPECT(exited(system("exec /nonexistent/program 2>/dev/null"), 127));
  EXPECT(killed(system("kill -TERM $$"), SIGTERM));
  struct sigaction now = {};
  EXPECT_EQ(0, sigaction(SIGINT, nullptr, &now));
  EXPECT(now.sa_handler == SIG_DFL);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  EXPECT_EQ(0, sigismember(&mask, SIGCHLD));
  EXPECT_ERRNO(ECHILD, waitpid(-1, nullptr, WNOHANG));
}

static void a_system_is_not_ended_by_signals() {
  count_signal(SIGUSR1, 0);
  int const before = handled;
  {
    Kicker const kicker(pthread_self());
    EXPECT(exited(system("sleep 0.05; exit 6"), 6));
  }
  EXPECT(handled > before);
}

static void by_popen() {
  FILE* stream = popen("sleep 0.03; echo one; echo two; exit 3", "r");
  EXPECT(stream != nullptr);
  char line[64] = "";
  while_others_tick([&] { EXPECT(fgets(line, sizeof line, stream) != nullptr); });
  EXPECT(std::string(line) == "one\n");
  EXPECT(fgets(line, sizeof line, stream) != nullptr);
  EXPECT(fgets(line, sizeof line, stream) == nullptr);
  EXPECT(exited(pclose(stream), 3));

  stream = popen("read word; test \"$word\" = hello", "we");
  EXPECT(stream != nullptr);
  EXPECT(fputs("hello\n", stream) >= 0);
  EXPECT(exited(pclose(stream), 0));
  EXPECT(popen("true", "x") == nullptr && errno == EINVAL);
  stream = popen("sleep 0.03", "r");
  while_others_tick([&] { EXPECT(exited(pclose(stream), 0)); });
}

static std::string output_of(const std::function<void(int)>& start) {
  Pipe pipe(O_CLOEXEC);
  start(pipe.b);
  pipe.close_b();
  std::string text;
  char bytes[4096];
  for (ssize_t got = 0; (got = read(pipe.a, bytes, sizeof bytes)) > 0;) {
    text.append(bytes, static_cast<size_t>(got));
  }
  return text;
}

static void by_spawn() {
  pid_t child = -1;
  std::string const text = output_of([&](int out) {
    posix_spawn_file_actions_t actions;
    EXPECT_EQ(0, posix_spawn_file_actions_init(&actions));
    EXPECT_EQ(0, posix_spawn_file_actions_adddup2(&actions, out, 1));
    EXPECT_EQ(0, posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0));
    char* arguments[] = {const_cast<char*>("sh"), const_cast<char*>("-c"),
                         const_cast<char*>("sleep 0.02; echo $WORD; exit 4"), nullptr};
    char* environment[] = {const_cast<char*>("WORD=spawned"),
                           const_cast<char*>("PATH=/usr/bin:/bin"), nullptr};
    EXPECT_EQ(0, posix_spawn(&child, "/bin/sh", &actions, nullptr, arguments, environment));
    EXPECT_EQ(0, posix_spawn_file_actions_destroy(&actions));
  });
  EXPECT(text == "spawned\n");
  EXPECT(exited(status_of(child), 4));

  char* arguments[] = {const_cast<char*>("true"), nullptr};
  EXPECT_EQ(0, posix_spawnp(&child, "true", nullptr, nullptr, arguments, environ));
  EXPECT(exited(status_of(child), 0));
  errno = 77;
  EXPECT_EQ(ENOENT, posix_spawn(&child, "/nonexistent", nullptr, nullptr, arguments, environ));
  EXPECT_EQ(EACCES, posix_spawn(&child, "/etc/passwd", nullptr, nullptr, arguments, environ));
  EXPECT_ERRNO(ECHILD, waitpid(-1, nullptr, WNOHANG));
}

static void by_fork_and_exec() {
  pid_t child = fork();
  if (child == 0) {
    execl("/bin/sh", "sh", "-c", "sleep 0.02; exit 8", nullptr);
    _exit(126);
  }
  int status = -1;
  while_others_tick([&] { status = status_of(child); });
  EXPECT(exited(status, 8));
  child = fork();
  if (child == 0) {
    char* arguments[] = {const_cast<char*>("sh"), const_cast<char*>("-c"),
                         const_cast<char*>("test \"$A\" = b"), nullptr};
    char* environment[] = {const_cast<char*>("A=b"), nullptr};
    Pthread other([&] { execve("/bin/sh", arguments, environment); });  // takes the others along
    other.join();
    _exit(126);
  }
  EXPECT(exited(status_of(child), 0));
  child = fork();
  if (child == 0) {
    char const* const arguments[] = {"/nonexistent", nullptr};
    execv(arguments[0], const_cast<char**>(arguments));
    _exit(errno == ENOENT ? 11 : 12);
  }
  EXPECT(exited(status_of(child), 11));
}

static void by_vfork() {
  pid_t child = vfork();
  if (child == 0) {
    execl("/bin/sh", "sh", "-c", "exit 9", nullptr);
    _exit(126);
  }
  EXPECT(child > 0);
  EXPECT(exited(status_of(child), 9));
  child = vfork();
  if (child == 0) _exit(10);
  EXPECT(child > 0);
  EXPECT(exited(status_of(child), 10));
  child = vfork();
  if (child == 0) {
    execl("/nonexistent", "x", nullptr);
    _exit(13);
  }
  EXPECT(exited(status_of(child), 13));
}

int main() {
  auto all = [] {
    by_system();
    a_system_is_not_ended_by_signals();
    by_popen();
    by_spawn();
    by_fork_and_exec();
    by_vfork();
  };
  all();
  Pthread second([&] {
    where = "second";
    all();
  });
  second.join();
  return finish();
}
