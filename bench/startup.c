// SPDX-License-Identifier: Apache-2.0
//
// What preloading adds to a program that makes no thread: runs PROGRAM again and again by
// posix_spawn, in turn with and without LD_PRELOAD=LIBRARY CORO_HUBS=1, from spawn to waitpid.
// The first kWarmUp pairs are not counted. Prints the medians in microseconds.
//
//   startup PAIRS LIBRARY PROGRAM

#define _GNU_SOURCE
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kWarmUp = 10, kSecondsForOne = 5 };

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static pid_t running;

static void end_hung_program(int signal) {
  (void)signal;
  kill(running, SIGKILL);
}

static double time_one(char* program, char** environment) {
  char* arguments[] = {program, NULL};
  double begin = now();
  int error = posix_spawn(&running, program, NULL, NULL, arguments, environment);
  if (error != 0) {
    fprintf(stderr, "%s: %s\n", program, strerror(error));
    exit(1);
  }
  alarm(kSecondsForOne);
  int status;
  while (waitpid(running, &status, 0) != running) continue;
  double elapsed = now() - begin;
  alarm(0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    fprintf(stderr, "%s ended with status %#x%s\n", program, (unsigned)status,
            environment[0] ? " (preloaded)" : "");
    exit(1);
  }
  return elapsed;
}

static int ascending(const void* a, const void* b) {
  double difference = *(const double*)a - *(const double*)b;
  return (difference > 0) - (difference < 0);
}

static double median(double* values, int count) {
  qsort(values, (size_t)count, sizeof *values, ascending);
  return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

int main(int argc, char** argv) {
  int pairs = argc == 4 ? atoi(argv[1]) : 0;
  if (pairs <= 0) {
    fprintf(stderr, "usage: startup PAIRS LIBRARY PROGRAM\n");
    return 2;
  }
  signal(SIGALRM, end_hung_program);
  char preload[4096];
  snprintf(preload, sizeof preload, "LD_PRELOAD=%s", argv[2]);
  char* alone[] = {NULL};
  char* coro[] = {preload, "CORO_HUBS=1", NULL};
  double* times[2] = {calloc((size_t)pairs, sizeof(double)), calloc((size_t)pairs, sizeof(double))};
  if (!times[0] || !times[1]) return 1;
  for (int i = -kWarmUp; i < pairs; ++i) {
    double without = time_one(argv[3], alone);
    double with = time_one(argv[3], coro);
    if (i < 0) continue;
    times[0][i] = without;
    times[1][i] = with;
  }
  printf("alone %.1f coro %.1f\n", median(times[0], pairs), median(times[1], pairs));
  return 0;
}
