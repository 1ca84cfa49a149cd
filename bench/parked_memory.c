// SPDX-License-Identifier: Apache-2.0
//
// What a parked thread costs in memory, the kernel's share included: N threads with default
// attributes, each parked in read(2) on a socket of its own, or all in pthread_cond_wait. Prints
// per-thread growth between "sockets are open, no thread yet" and "all N are parked":
//   rss           VmRSS of this process: stacks, thread blocks, the library's own books
//   page_tables   VmPTE of this process
//   kernel_stack  KernelStack of /proc/meminfo (whole machine)
//   slab          Slab of /proc/meminfo (whole machine): task_struct, VMAs, epoll items, ...
// and their sum in bytes, the time pthread_create took, and the kernel threads at the end.
// The two whole-machine figures are only as quiet as the machine: hence several runs, medians.
//
//   parked_memory read|condition THREADS

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct usage {
  double rss, page_tables, kernel_stack, slab;  // kB
  double kernel_threads;
};

static int (*sockets)[2];
static int arrived;
static int released;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t release = PTHREAD_COND_INITIALIZER;

static void die(const char* what) {
  perror(what);
  exit(1);
}

static void sleep_ms(long ms) {
  struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  nanosleep(&time, NULL);
}

static double field(const char* path, const char* name) {
  FILE* file = fopen(path, "r");
  if (!file) die(path);
  char line[256];
  double value = 0;
  size_t length = strlen(name);
  while (fgets(line, sizeof line, file)) {
    if (strncmp(line, name, length) == 0 && line[length] == ':') value = atof(line + length + 1);
  }
  fclose(file);
  return value;
}

static struct usage measure(void) {
  sleep_ms(300);  // lets the kernel bury what ended before, and the last thread reach its wait
  return (struct usage){
      .rss = field("/proc/self/status", "VmRSS"),
      .page_tables = field("/proc/self/status", "VmPTE"),
      .kernel_stack = field("/proc/meminfo", "KernelStack"),
      .slab = field("/proc/meminfo", "Slab"),
      .kernel_threads = field("/proc/self/status", "Threads"),
  };
}

static void* park_in_read(void* argument) {
  __atomic_fetch_add(&arrived, 1, __ATOMIC_RELAXED);
  char byte;
  if (read(sockets[(intptr_t)argument][0], &byte, 1) != 1) die("read");
  return NULL;
}

static void* park_in_condition(void* unused) {
  (void)unused;
  pthread_mutex_lock(&mutex);
  __atomic_fetch_add(&arrived, 1, __ATOMIC_RELAXED);
  while (!released) pthread_cond_wait(&release, &mutex);
  pthread_mutex_unlock(&mutex);
  return NULL;
}

// Opens a pair of sockets per thread; makes do with fewer threads where descriptors run out.
static int open_sockets(int count) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) die("getrlimit");
  rlim_t wanted = (rlim_t)count * 2 + 100;
  if (limit.rlim_max < wanted) {  // root may
    struct rlimit higher = {.rlim_cur = wanted, .rlim_max = wanted};
    if (setrlimit(RLIMIT_NOFILE, &higher) == 0) limit = higher;
  }
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) die("setrlimit");
  if (limit.rlim_max < wanted) count = (int)(limit.rlim_max - 100) / 2;
  for (int i = 0; i < count; ++i) {
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets[i]) != 0) die("socketpair");
  }
  return count;
}

int main(int argc, char** argv) {
  int count = argc == 3 ? atoi(argv[2]) : 0;
  if (count <= 0) {
    fprintf(stderr, "usage: parked_memory read|condition THREADS\n");
    return 2;
  }
  int reading = strcmp(argv[1], "read") == 0;
  sockets = calloc((size_t)count, sizeof *sockets);
  pthread_t* threads = calloc((size_t)count, sizeof *threads);
  if (!sockets || !threads) die("calloc");
  memset(threads, 1, (size_t)count * sizeof *threads);  // touched before the first measurement
  if (reading) count = open_sockets(count);

  struct usage before = measure();
  struct timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (intptr_t i = 0; i < count; ++i) {
    int error =
        pthread_create(&threads[i], NULL, reading ? park_in_read : park_in_condition, (void*)i);
    if (error != 0) {
      fprintf(stderr, "pthread_create of thread %d: %s\n", (int)i, strerror(error));
      _exit(1);
    }
  }
  while (__atomic_load_n(&arrived, __ATOMIC_RELAXED) < count) sleep_ms(1);
  clock_gettime(CLOCK_MONOTONIC, &end);
  struct usage after = measure();

  pthread_mutex_lock(&mutex);
  released = 1;
  pthread_cond_broadcast(&release);
  pthread_mutex_unlock(&mutex);
  for (int i = 0; i < count; ++i) {
    if (reading && write(sockets[i][1], "x", 1) != 1) die("write");
  }
  for (int i = 0; i < count; ++i) pthread_join(threads[i], NULL);

  double each = 1024.0 / count;  // kB for all to bytes for one
  double rss = (after.rss - before.rss) * each;
  double page_tables = (after.page_tables - before.page_tables) * each;
  double kernel_stack = (after.kernel_stack - before.kernel_stack) * each;
  double slab = (after.slab - before.slab) * each;
  double ns = (double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec);
  printf(
      "total %.0f rss %.0f page_tables %.0f kernel_stack %.0f slab %.0f create_us %.2f "
      "threads %d kernel_threads %.0f\n",
      rss + page_tables + kernel_stack + slab, rss, page_tables, kernel_stack, slab,
      ns / 1e3 / count, count, after.kernel_threads);
  return 0;
}
