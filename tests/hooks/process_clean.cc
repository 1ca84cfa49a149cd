// SPDX-License-Identifier: Apache-2.0
//
// A program started by fork and exec or by popen, from main or a thread, starts clean: it blocks
// and ignores what its maker blocked and ignored and nothing else, catches nothing, has nothing
// pending, one thread, the same seccomp state and NoNewPrivs as its maker's maker, and no strange
// descriptors.
#include <algorithm>
#include <string>

#include "thread_testing.h"

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

static std::string field(const std::string& text, const char* name) {
  size_t const at = text.find(name);
  return at == std::string::npos ? "?" : text.substr(at, text.find('\n', at) - at);
}

static std::string contents_of(const std::string& path) {
  std::string text;
  FILE* const file = fopen(path.c_str(), "r");
  if (file == nullptr) return text;
  char line[256];
  while (fgets(line, sizeof line, file) != nullptr) text += line;
  fclose(file);
  return text;
}

// The status file of a program that this process started by fork and exec, or by popen.
static std::string status_of_child(bool by_popen) {
  if (by_popen) {
    FILE* const stream = popen("exec cat /proc/self/status", "r");
    std::string text;
    char line[256];
    while (fgets(line, sizeof line, stream) != nullptr) text += line;
    EXPECT(exited(pclose(stream), 0));
    return text;
  }
  std::string const text = output_of([](int out) {
    if (fork() == 0) {
      dup2(out, 1);
      execlp("cat", "cat", "/proc/self/status", nullptr);
      _exit(126);
    }
  });
  EXPECT(wait(nullptr) > 0);
  return text;
}

// The program's own view of its mask and of what it ignores, in the words of the status file.
static std::string blocked_here() {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  unsigned long long bits = 0;
  for (int i = 1; i <= 64; ++i) bits |= sigismember(&mask, i) == 1 ? 1ULL << (i - 1) : 0;
  char text[40];
  snprintf(text, sizeof text, "SigBlk:\t%016llx", bits);
  return text;
}
static std::string ignored_here() {
  unsigned long long bits = 0;
  for (int i = 1; i <= 64; ++i) {
    struct sigaction action = {};
    if (sigaction(i, nullptr, &action) == 0 && action.sa_handler == SIG_IGN)
      bits |= 1ULL << (i - 1);
  }
  char text[40];
  snprintf(text, sizeof text, "SigIgn:\t%016llx", bits);
  return text;
}

static void children_start_clean() {
  count_signal(SIGUSR1, 0);
  sigset_t usr2;
  sigset_t old;
  sigemptyset(&usr2);
  sigaddset(&usr2, SIGUSR2);
  // The runner's word on what a process here inherits.
  std::string const runner = contents_of("/proc/" + std::to_string(getppid()) + "/status");
  for (int round = 0; round < 4; ++round) {
    if (round == 2) {  // what the caller blocks and ignores is blocked and ignored there
      pthread_sigmask(SIG_BLOCK, &usr2, &old);
      signal(SIGURG, SIG_IGN);
    }
    std::string const text = status_of_child(round % 2 == 1);
    EXPECT(field(text, "SigBlk") == blocked_here());
    // posix_spawn, and so popen, leaves glibc's own 32 and 33 ignored in the child.
    std::string ignored = field(text, "SigIgn");
    if (round % 2 == 1) ignored.replace(ignored.size() - 9, 2, "00");
    EXPECT(ignored == ignored_here());
    EXPECT(field(text, "SigCgt") == "SigCgt:\t0000000000000000");
    EXPECT(field(text, "SigPnd") == "SigPnd:\t0000000000000000");
    EXPECT(field(text, "Threads") == "Threads:\t1");
    for (const char* name : {"NoNewPrivs", "Seccomp:", "Seccomp_filters", "TracerPid"}) {
      EXPECT(field(text, name) == field(runner, name));
    }
  }
  signal(SIGURG, SIG_DFL);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

// Only the descriptors that the program itself has without close-on-exec.
static void no_strange_descriptors() {
  std::string const text = output_of([](int out) {
    if (fork() == 0) {
      dup2(out, 1);
      execlp("ls", "ls", "/proc/self/fd", nullptr);
      _exit(126);
    }
  });
  EXPECT(wait(nullptr) > 0);
  std::string want;
  for (int fd = 0; fd < 1024; ++fd) {
    int const flags = fcntl(fd, F_GETFD);
    if (flags != -1 && (flags & FD_CLOEXEC) == 0) want += std::to_string(fd) + "\n";
  }
  // ls has one more open, the lowest free number, for the directory it lists.
  long const lines = std::count(text.begin(), text.end(), '\n');
  EXPECT_EQ(std::count(want.begin(), want.end(), '\n') + 1, lines);
}

int main() {
  auto all = [] {
    children_start_clean();
    no_strange_descriptors();
  };
  all();
  Pthread second([&] {
    where = "second";
    all();
  });
  second.join();
  return finish();
}
