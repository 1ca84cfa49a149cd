// SPDX-License-Identifier: Apache-2.0
//
// A malloc with a lock like libc's: a word, waited for and woken by raw calls. Whoever may need it meanwhile: threads
// that wait for new descriptors, those that compute while they hold it, those that are woken in another's place.
#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <atomic>

#include "thread_testing.h"

static std::atomic<int> word{0};     // 0 free, 1 taken, 2 taken and perhaps waited for
static std::atomic<int> waiting{0};  // who found it taken

static void raw_futex(int code, int value) {
  long result;
  register long r10 asm("r10") = 0;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(static_cast<long>(SYS_futex)), "D"(&word), "S"(static_cast<long>(code)),
                 "d"(static_cast<long>(value)), "r"(r10)
               : "rcx", "r11", "memory");
}

static void lock() {
  int free = 0;
  if (word.compare_exchange_strong(free, 1)) return;
  waiting++;
  while (word.exchange(2) != 0) raw_futex(FUTEX_WAIT_PRIVATE, 2);
  waiting--;
}

static void unlock() {
  if (word.exchange(0) == 2) raw_futex(FUTEX_WAKE_PRIVATE, 1);
}

// Memory that is never given back.
alignas(16) static char pool[64 << 20];
static size_t used = 0;

static void* take(size_t bytes) {
  size_t room = (bytes + 31) & ~size_t{15};
  lock();
  char* piece = used + room <= sizeof pool ? pool + used : nullptr;
  if (piece) used += room;
  unlock();
  if (!piece) return nullptr;
  *reinterpret_cast<size_t*>(piece) = bytes;
  return piece + 16;
}

extern "C" {
void* malloc(size_t bytes) { return take(bytes); }
void free(void*) {}
void* calloc(size_t count, size_t bytes) { return take(count * bytes); }
void* realloc(void* old, size_t bytes) {
  void* fresh = take(bytes);
  if (!old || !fresh) return fresh;
  size_t before = *reinterpret_cast<size_t*>(static_cast<char*>(old) - 16);
  return memcpy(fresh, old, before < bytes ? before : bytes);
}
void* memalign(size_t, size_t bytes) { return take(bytes + 16); }
}

static void* wait_for_it(void* argument) {
  pollfd one{static_cast<Pipe*>(argument)->a, POLLIN, 0};
  EXPECT_EQ(1, poll(&one, 1, -1));
  return nullptr;
}

static void compute(int milliseconds) {
  Stopwatch watch;
  while (watch.us() < milliseconds * 1000) {
  }
}

// Holds the lock, computing, until so many wait for it or 200 ms have gone; then for long enough for a hub to lose
// patience with a thread that computes.
static void hold(int milliseconds, int many) {
  lock();
  compute(milliseconds);
  Stopwatch watch;
  while (waiting < many && watch.us() < 200'000) {
  }
  compute(50);
  unlock();
}

static void* allocate(void*) {
  EXPECT(malloc(16));
  return nullptr;
}

// More descriptors at once than before: what waits for them needs more memory, and finds the lock taken.
static void waits_for_many_descriptors() {
  constexpr int most = 32;
  static Pipe pipes[most];
  for (int count = 2; count <= most; count *= 4) {
    pthread_t readers[most];
    for (int i = 0; i < count; i++) EXPECT_EQ(0, pthread_create(&readers[i], nullptr, wait_for_it, &pipes[i]));
    hold(0, 1);
    for (int i = 0; i < count; i++) EXPECT_EQ(1, write(pipes[i].b, "x", 1));
    hold(0, 1);
    char byte;
    for (int i = 0; i < count; i++) EXPECT_EQ(0, pthread_join(readers[i], nullptr));
    for (int i = 0; i < count; i++) EXPECT_EQ(1, read(pipes[i].a, &byte, 1));
  }
}

static void* write_late(void* argument) {
  auto* pipe = static_cast<Pipe*>(argument);
  nap(1250);
  for (int i = 0; i < 200; i++) EXPECT_EQ(1, write(pipe[i].b, "x", 1));
  return nullptr;
}

// One waits for the lock so long that it does so in the kernel, before others do that are not to be kept waiting.
static void long_wait() {
  constexpr int most = 200;
  static Pipe pipes[most];
  pthread_t readers[most], writer, patient;
  for (int i = 0; i < most; i++) EXPECT_EQ(0, pthread_create(&readers[i], nullptr, wait_for_it, &pipes[i]));
  if (fork() == 0) {
    pause_ms(50);
    _exit(0);
  }
  EXPECT(waitpid(-1, nullptr, 0) > 0);  // libcoro has a helper from now on, and needs no memory for another
  EXPECT_EQ(0, pthread_create(&writer, nullptr, write_late, pipes));
  EXPECT_EQ(0, pthread_create(&patient, nullptr, allocate, nullptr));
  hold(1450, 2);
  EXPECT_EQ(0, pthread_join(patient, nullptr));
  EXPECT_EQ(0, pthread_join(writer, nullptr));
  for (auto& one : readers) EXPECT_EQ(0, pthread_join(one, nullptr));
}

static void* allocate_much(void* argument) {
  for (int i = 0; i < 2000; i++) {
    EXPECT(malloc(16));
    if (i % 100 == 0) sched_yield();
  }
  return argument;
}

static void crowds() {
  pthread_t threads[8];
  for (auto& one : threads) EXPECT_EQ(0, pthread_create(&one, nullptr, allocate_much, nullptr));
  for (int i = 0; i < 3; i++) hold(0, 1);
  for (auto& one : threads) EXPECT_EQ(0, pthread_join(one, nullptr));
}

int main() {
  waits_for_many_descriptors();
  long_wait();
  crowds();
  return finish();
}
