// SPDX-License-Identifier: Apache-2.0
//
// 100 threads fork at once, while others allocate, print and lock: every child makes a thread,
// joins it and exits with its own status, every parent thread gets exactly its child's. Then 20
// threads run system() and popen() at once.
#include <string>
#include <vector>

#include "thread_testing.h"

static std::atomic<int> right{0};

static void fork_and_wait(int number) {
  pid_t const child = fork();
  if (child == 0) {
    int answer = 0;
    Pthread worker([&] {
      usleep(1000);
      answer = number;
    });
    worker.join();
    _exit(answer);
  }
  EXPECT(child > 0);
  int status = -1;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  if (exited(status, number)) ++right;
}

int main() {
  std::atomic<bool> stop{false};
  std::vector<Pthread> noise;
  for (int i = 0; i < 3; ++i) {
    noise.emplace_back([&] {
      while (!stop) {
        std::string text(1000, 'x');
        FILE* const null = fopen("/dev/null", "w");
        if (null != nullptr) {
          fprintf(null, "%s %.3f", text.c_str(), 1.5);
          fclose(null);
        }
        usleep(1000);
      }
    });
  }
  std::vector<Pthread> forkers;
  for (int i = 0; i < 100; ++i) forkers.emplace_back([i] { fork_and_wait(i + 1); });
  while_others_tick([&] { forkers.clear(); });
  EXPECT_EQ(100, right);
  stop = true;
  noise.clear();

  right = 0;
  for (int i = 0; i < 10; ++i) {
    forkers.emplace_back([i] {
      std::string const command = "sleep 0.02; exit " + std::to_string(i);
      if (exited(system(command.c_str()), i)) ++right;
    });
    forkers.emplace_back([i] {
      std::string const command = "sleep 0.02; echo " + std::to_string(i);
      FILE* const stream = popen(command.c_str(), "r");
      char line[16] = "";
      if (stream != nullptr && fgets(line, sizeof line, stream) != nullptr && atoi(line) == i &&
          pclose(stream) == 0) {
        ++right;
      }
    });
  }
  forkers.clear();
  EXPECT_EQ(20, right);
  EXPECT_ERRNO(ECHILD, waitpid(-1, nullptr, WNOHANG));
  return finish();
}
