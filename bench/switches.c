// SPDX-License-Identifier: Apache-2.0
//
// What it costs when threads hand over to one another. The runner pins it to one core, so every
// hand-over is a switch. Each kind repeats with twice the count until one batch lasts kBatch;
// only that last batch is printed, as one line of "name value" pairs.
//
//   switches yield       two threads call sched_yield: ns per call
//   switches semaphore   sem_post / sem_wait between two threads: ns per round trip (two switches)
//   switches condition   mutex and condition ping-pong: ns per round trip (two switches)
//   switches create      pthread_create and pthread_join of an empty thread: ns per thread
//   switches mutex       lock and unlock with nobody else there, in a program with a second,
//                        parked thread: ns per pair (no switch: the price of the hook itself)

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const uint64_t kBatch = 150000000;  // ns

static long count;  // what each thread of the present batch does
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned[2] = {PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER};
static int turn;
static sem_t semaphores[2];

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void check(int error, const char* what) {
  if (error == 0) return;
  fprintf(stderr, "%s: %s\n", what, strerror(error));
  exit(1);
}

static void run_two(void* (*work)(void*)) {
  pthread_t threads[2];
  for (intptr_t i = 0; i < 2; ++i) {
    check(pthread_create(&threads[i], NULL, work, (void*)i), "pthread_create");
  }
  for (int i = 0; i < 2; ++i) check(pthread_join(threads[i], NULL), "pthread_join");
}

static void* yield(void* unused) {
  (void)unused;
  for (long i = 0; i < count; ++i) sched_yield();
  return NULL;
}

static void* post_and_wait(void* argument) {
  intptr_t me = (intptr_t)argument;
  for (long i = 0; i < count; ++i) {
    while (sem_wait(&semaphores[me]) != 0) continue;
    sem_post(&semaphores[1 - me]);
  }
  return NULL;
}

static void* take_turns(void* argument) {
  int me = (int)(intptr_t)argument;
  for (long i = 0; i < count; ++i) {
    pthread_mutex_lock(&mutex);
    while (turn != me) pthread_cond_wait(&turned[me], &mutex);
    turn = 1 - me;
    pthread_cond_signal(&turned[turn]);
    pthread_mutex_unlock(&mutex);
  }
  return NULL;
}

static void* nothing(void* argument) { return argument; }

static void run_yield(void) { run_two(yield); }
static void run_semaphore(void) {
  sem_init(&semaphores[0], 0, 1);
  sem_init(&semaphores[1], 0, 0);
  run_two(post_and_wait);
}
static void run_condition(void) { run_two(take_turns); }
static void run_create(void) {
  for (long i = 0; i < count; ++i) {
    pthread_t thread;
    check(pthread_create(&thread, NULL, nothing, NULL), "pthread_create");
    check(pthread_join(thread, NULL), "pthread_join");
  }
}

static void* park(void* semaphore) {
  while (sem_wait(semaphore) != 0) continue;
  return NULL;
}
static void run_mutex(void) {
  sem_t leave;
  sem_init(&leave, 0, 0);
  pthread_t parked;
  check(pthread_create(&parked, NULL, park, &leave), "pthread_create");
  for (long i = 0; i < count; ++i) {
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
  }
  sem_post(&leave);
  check(pthread_join(parked, NULL), "pthread_join");
}

static const struct {
  const char* name;
  void (*run)(void);
  int operations;  // per count
} kinds[] = {
    {"yield", run_yield, 2},   {"semaphore", run_semaphore, 1}, {"condition", run_condition, 1},
    {"create", run_create, 1}, {"mutex", run_mutex, 1},
};

int main(int argc, char** argv) {
  for (size_t i = 0; argc == 2 && i < sizeof kinds / sizeof *kinds; ++i) {
    if (strcmp(argv[1], kinds[i].name) != 0) continue;
    for (count = 1000;; count *= 2) {
      uint64_t begin = now();
      kinds[i].run();
      uint64_t elapsed = now() - begin;
      if (elapsed < kBatch) continue;
      printf("ns %.2f count %ld\n", (double)elapsed / (double)count / kinds[i].operations, count);
      return 0;
    }
  }
  fprintf(stderr, "usage: switches yield|semaphore|condition|create|mutex\n");
  return 2;
}
