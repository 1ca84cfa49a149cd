// SPDX-License-Identifier: Apache-2.0
//
// chaos SECONDS [SEED]: all actors at once for that long. Prints PASS, or where it failed; aborts when an actor has stood
// still for long, so that a debugger or the core tells why.
#include <dirent.h>

#include "chaos.h"

namespace chaos {

std::atomic<bool> stopping{false};
static uint64_t seed = 1;

Random random_of(int number) {
  Random random{(seed + static_cast<uint64_t>(number)) * 0x9E3779B97F4A7C15u | 1};
  for (int i = 0; i < 8; i++) random.next();
  return random;
}

void start_thread(pthread_t* id, void* (*routine)(void*), void* argument, size_t stack, bool detached) {
  pthread_attr_t attributes;
  MUST_BE(0, pthread_attr_init(&attributes));
  if (stack) MUST_BE(0, pthread_attr_setstacksize(&attributes, stack));
  if (detached) MUST_BE(0, pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED));
  int error;
  while ((error = pthread_create(id, &attributes, routine, argument)) != 0) {
    errno = error;
    MUST(is_shortage(error));
    nap_us(500);
  }
  pthread_attr_destroy(&attributes);
}

namespace {

constexpr int patience_ms = 40000;

// Descriptors of the program's own: files, pipes, sockets. High numbers are left to whatever runs it, and an event loop may
// lie among ours when it had to be made under a limit.
int open_descriptors() {
  DIR* folder = opendir("/proc/self/fd");
  MUST(folder);
  int count = 0;
  while (dirent* entry = readdir(folder)) {
    int fd = atoi(entry->d_name);
    char target[12] = "";
    if (readlinkat(dirfd(folder), entry->d_name, target, sizeof target - 1) < 0) continue;
    count += fd > 2 && fd < 900 && fd != dirfd(folder) && strcmp(target, "anon_inode:") != 0;
  }
  closedir(folder);
  return count;
}

void show_descriptors() {
  for (int fd = 3; fd < 900; fd++) {
    char path[40], target[200] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (readlink(path, target, sizeof target - 1) > 0) dprintf(2, "descriptor %d is %s\n", fd, target);
  }
}

void* act(void* argument) {
  auto& actor = *static_cast<Actor*>(argument);
  actor.body(actor);
  return nullptr;
}

Actor actors[] = {
    {"echo server", echo_server},   {"echo client", echo_client},     {"echo client", echo_client},
    {"echo client", echo_client},   {"echo client", echo_client},     {"echo client", echo_client},
    {"echo client", echo_client},   {"pipe relay", pipe_relay},       {"pipe relay", pipe_relay},
    {"ready mix", ready_mix},       {"ready mix", ready_mix},         {"close in use", close_in_use},
    {"lock traffic", lock_traffic}, {"lock traffic", lock_traffic},   {"lock traffic", lock_traffic},
    {"lock traffic", lock_traffic}, {"round and round", round_and_round},
    {"short threads", short_threads}, {"cancels", cancels},           {"overflows", overflows},
    {"storm", storm},               {"signal waiter", signal_waiter}, {"forks", forks},
    {"limits", limits},
};
constexpr int actor_count = sizeof actors / sizeof *actors;

struct Watched {
  long steps = -1;
  int64_t since = 0;
};

void watch(Watched* watched) {
  int64_t time = now_ms();
  for (int i = 0; i < actor_count; i++) {
    long steps = actors[i].steps;
    if (steps != watched[i].steps) {
      watched[i] = {steps, time};
    } else if (time - watched[i].since > patience_ms) {
      dprintf(2, "actor %d, %s, stands still after %ld steps\n", i, actors[i].name, steps);
      abort();
    }
  }
}

void run(int64_t milliseconds) {
  Watched watched[actor_count];
  for (int i = 0; i < actor_count; i++) {
    actors[i].number = i;
    actors[i].random = random_of(i);
    start_thread(&actors[i].thread, act, &actors[i]);
  }
  int64_t end = now_ms() + milliseconds;
  while (now_ms() < end) {
    nap_us(200000);
    watch(watched);
  }
  stopping = true;
  int64_t patience = now_ms() + patience_ms;
  for (Actor& actor : actors) {
    while (pthread_tryjoin_np(actor.thread, nullptr) != 0) {
      if (now_ms() > patience) {
        dprintf(2, "actor %s does not end\n", actor.name);
        abort();
      }
      nap_us(5000);
    }
  }
}

}  // namespace
}  // namespace chaos

int main(int argc, char** argv) {
  using namespace chaos;
  double seconds = argc > 1 ? atof(argv[1]) : 10;
  seed = argc > 2 ? strtoull(argv[2], nullptr, 10) : static_cast<uint64_t>(time(nullptr));
  printf("seed %llu\n", static_cast<unsigned long long>(seed));
  fflush(stdout);
  prepare_signals();
  prepare_threads();
  int before = open_descriptors();
  run(static_cast<int64_t>(seconds * 1000));
  check_signals_at_end();
  for (int tries = 0; open_descriptors() != before && tries < 50; tries++) nap_us(100000);
  if (open_descriptors() != before) show_descriptors();
  MUST_BE(before, open_descriptors());
  for (Actor& actor : actors) printf("%s: %ld\n", actor.name, actor.steps.load());
  puts("PASS");
  return 0;
}
