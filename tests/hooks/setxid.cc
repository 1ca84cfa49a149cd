// SPDX-License-Identifier: Apache-2.0
//
// Credentials are the process's, whichever thread changes them: setuid and its kin by main, by
// another thread, while a thread waits for a child, while one is blocked in stdio, in a child
// forked by a thread, after main has ended; afterwards every kernel thread has them, and the call
// came back. As root the ids are another user's, else they are one's own.
#include <dirent.h>
#include <grp.h>
#include <string.h>
#include <sys/wait.h>

#include <optional>
#include <string>

#include "thread_testing.h"

static uid_t const nobody = getuid() == 0 ? 65534 : getuid();
static gid_t const nogroup = getuid() == 0 ? 65534 : getgid();

// How many kernel threads the process has; each must have these ids, four times (real, effective,
// saved, file system).
static int kernel_threads_with(uid_t user, gid_t group) {
  std::string const users = "Uid:" + (" " + std::to_string(user)) + (" " + std::to_string(user)) +
                            (" " + std::to_string(user)) + (" " + std::to_string(user));
  std::string const groups = "Gid:" + (" " + std::to_string(group)) + (" " + std::to_string(group)) +
                             (" " + std::to_string(group)) + (" " + std::to_string(group));
  int count = 0;
  DIR* tasks = opendir("/proc/self/task");
  EXPECT(tasks != nullptr);
  while (dirent const* entry = readdir(tasks)) {
    if (entry->d_name[0] == '.') continue;
    std::string const path = std::string("/proc/self/task/") + entry->d_name + "/status";
    FILE* status = fopen(path.c_str(), "r");
    if (!status) continue;
    char line[256];
    while (fgets(line, sizeof line, status)) {
      std::string text;
      for (char const* at = line; *at && *at != '\n'; ++at) text += *at == '\t' ? ' ' : *at;
      if (text.rfind("State: Z", 0) == 0) break;  // main, when it has ended
      if (text.rfind("Uid:", 0) == 0) EXPECT(text == users);
      if (text.rfind("Gid:", 0) == 0) EXPECT(text == groups);
    }
    fclose(status);
    ++count;
  }
  closedir(tasks);
  return count;
}

static void become_nobody() {
  if (nobody != getuid()) EXPECT_EQ(0, setgroups(1, &nogroup));
  EXPECT_EQ(0, setegid(nogroup));
  EXPECT_EQ(0, setgid(nogroup));
  EXPECT_EQ(0, setresgid(nogroup, nogroup, nogroup));
  EXPECT_EQ(0, seteuid(nobody));
  EXPECT_EQ(0, seteuid(getuid()));
  EXPECT_EQ(0, setuid(nobody));
  EXPECT_EQ(0, setreuid(nobody, nobody));
  EXPECT_EQ(0, setresuid(nobody, nobody, nobody));
  EXPECT(kernel_threads_with(nobody, nogroup) >= 1);
  EXPECT_EQ(nobody, getuid());
  EXPECT_EQ(nobody, geteuid());
  if (getuid() != 0) EXPECT_ERRNO(EPERM, setuid(0));
  EXPECT(kernel_threads_with(nobody, nogroup) >= 1);
}

// Threads of several kinds, for as long as the object lives: they sleep, wait for a child, read a
// pipe through stdio.
class Crowd {
 public:
  Crowd() {
    child_ = fork();
    EXPECT(child_ >= 0);
    if (child_ == 0) {
      char byte;
      while (read(pipe_.a, &byte, 1) < 0) continue;
      _exit(3);
    }
    for (auto& sleeper : sleepers_) {
      sleeper.emplace([this] {
        while (!stop_) nap(2);
      });
    }
    waiter_.emplace([this] {
      int status = 0;
      EXPECT_EQ(child_, waitpid(-1, &status, 0));  // any child
      EXPECT(exited(status, 3));
    });
    reader_.emplace([this] {
      char line[16];
      FILE* stream = fdopen(dup(text_.a), "r");
      EXPECT(stream && fgets(line, sizeof line, stream));
      fclose(stream);
    });
    nap(40);
  }
  ~Crowd() {
    stop_ = true;
    EXPECT_EQ(5, write(text_.b, "line\n", 5));
    EXPECT_EQ(1, write(pipe_.b, "x", 1));
    for (auto& sleeper : sleepers_) sleeper->join();
    waiter_->join();
    reader_->join();
  }

 private:
  std::atomic<bool> stop_{false};
  Pipe pipe_{O_CLOEXEC}, text_{O_CLOEXEC};
  pid_t child_ = -1;
  std::optional<Pthread> sleepers_[3], waiter_, reader_;
};

static void by_main() {
  EXPECT(exited(in_child([] {
                  Crowd const crowd;
                  become_nobody();
                }), 0));
}

static void by_another_thread() {
  EXPECT(exited(in_child([] {
                  Crowd const crowd;
                  Pthread other([] { become_nobody(); });
                  other.join();
                  EXPECT_EQ(nobody, getuid());
                }), 0));
}

static void by_a_thread_of_a_child_that_a_thread_forked() {
  Pthread forker([] {
    EXPECT(exited(in_child([] {
                    Crowd const crowd;
                    Pthread other([] { become_nobody(); });
                    other.join();
                    become_nobody();
                  }), 0));
  });
  forker.join();
}

static void after_main_has_ended() {
  EXPECT(exited(in_child([] {
                  Pthread last([] {
                    nap(20);
                    Crowd const crowd;
                    become_nobody();
                    exit(failures == 0 ? 0 : 99);
                  });
                  last.release();
                  pthread_exit(nullptr);
                }), 0));
}

static void while_threads_come_and_go() {
  EXPECT(exited(in_child([] {
                  std::atomic<bool> stop{false};
                  Pthread maker([&] {
                    while (!stop) Pthread([] { nap(1); }).join();
                  });
                  Crowd const crowd;
                  for (int i = 0; i < 50; ++i) {
                    EXPECT_EQ(0, seteuid(nobody));
                    EXPECT_EQ(0, seteuid(getuid()));
                  }
                  become_nobody();
                  stop = true;
                  maker.join();
                }), 0));
}

// Who has root only as saved id gets back the effective id by setuid, and not the real one: each kernel thread must
// change once, for a second time it would be root already.
static void each_kernel_thread_changes_once() {
  if (getuid() != 0) return;
  auto regain = [] {
    EXPECT_EQ(0, setuid(0));
    uid_t real = 0, effective = 0, saved = 0;
    EXPECT_EQ(0, getresuid(&real, &effective, &saved));
    EXPECT(real == nobody && effective == 0 && saved == 0);
    EXPECT_EQ(0, setresuid(nobody, nobody, -1));
  };
  EXPECT(exited(in_child([=] {
                  EXPECT_EQ(0, setresuid(nobody, nobody, -1));
                  Crowd const crowd;
                  regain();
                  Pthread other(regain);
                  other.join();
                  regain();
                }), 0));
}

int main() {
  {
    Crowd const crowd;  // this process itself keeps its ids
    EXPECT_EQ(0, setuid(getuid()));
  }
  by_main();
  by_another_thread();
  by_a_thread_of_a_child_that_a_thread_forked();
  after_main_has_ended();
  while_threads_come_and_go();
  each_kernel_thread_changes_once();
  return finish();
}
