// SPDX-License-Identifier: Apache-2.0
//
// A process ends in whatever way while its threads hold robust mutexes that other processes share:
// the kernel gives each of them on with EOWNERDEAD. So it is too between this program and one that
// it starts with an empty environment.
#include <sys/mman.h>
#include <sys/wait.h>

#include "thread_testing.h"

constexpr int kThreads = 6;

struct Shared {
  pthread_mutex_t mutexes[kThreads * 2];
  pthread_mutex_t recursive, checking;
  pthread_mutex_t guard;  // of the condition; robust too
  pthread_cond_t cond;
  std::atomic<int> ready, go;
};
static Shared* shared;
static int memory = -1;

static void make(pthread_mutex_t* mutex, int type) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, type);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  EXPECT_EQ(0, pthread_mutex_init(mutex, &attributes));
  pthread_mutexattr_destroy(&attributes);
}

static void map_memory() {
  void* const address =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  EXPECT(address != MAP_FAILED);
  shared = static_cast<Shared*>(address);
}

static void make_anew() {
  memset(static_cast<void*>(shared), 0, sizeof *shared);
  for (pthread_mutex_t& mutex : shared->mutexes) make(&mutex, PTHREAD_MUTEX_NORMAL);
  make(&shared->recursive, PTHREAD_MUTEX_RECURSIVE);
  make(&shared->checking, PTHREAD_MUTEX_ERRORCHECK);
  make(&shared->guard, PTHREAD_MUTEX_NORMAL);
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  EXPECT_EQ(0, pthread_cond_init(&shared->cond, &attributes));
}

static void lock(pthread_mutex_t& mutex) { EXPECT_EQ(0, pthread_mutex_lock(&mutex)); }
static void unlock(pthread_mutex_t& mutex) { EXPECT_EQ(0, pthread_mutex_unlock(&mutex)); }

// Thread i of a process that is to die: holds two, has given up others, and has one of its own.
static void hold(int i) {
  static pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER;
  lock(own);
  unlock(own);
  pthread_mutex_t& first = shared->mutexes[2 * i];
  pthread_mutex_t& second = shared->mutexes[2 * i + 1];
  lock(first);
  lock(second);
  unlock(first);
  EXPECT_EQ(0, pthread_mutex_trylock(&first));
  if (i == 0) {
    lock(shared->recursive);
    lock(shared->recursive);
    unlock(shared->recursive);
    lock(shared->checking);
    EXPECT_EQ(EDEADLK, pthread_mutex_lock(&shared->checking));
  }
  if (i == 1) {  // gives it up and takes it again inside a wait
    lock(shared->guard);
    timespec const soon = from_now(5);
    EXPECT_EQ(ETIMEDOUT, pthread_cond_timedwait(&shared->cond, &shared->guard, &soon));
  }
  shared->ready++;
}

using End = void (*)();

[[noreturn]] static void hold_and_end(End end) {
  for (int i = 0; i < kThreads; i++) {
    Pthread([=] {
      hold(i);
      for (;;) nap(1000);
    }).release();
  }
  while (shared->go == 0) nap(1);
  if (failures) _exit(99);
  end();
  _exit(98);
}

static void expect_taken_over(pthread_mutex_t& mutex) {
  timespec const late = from_now(5000);
  EXPECT_EQ(EOWNERDEAD, pthread_mutex_timedlock(&mutex, &late));
  EXPECT_EQ(0, pthread_mutex_consistent(&mutex));
  unlock(mutex);
  lock(mutex);
  unlock(mutex);
}

// `child` has been started and will hold them.
static void outlive(pid_t child) {
  EXPECT(comes_true([] { return shared->ready == kThreads; }));
  for (pthread_mutex_t& mutex : shared->mutexes) EXPECT_EQ(EBUSY, pthread_mutex_trylock(&mutex));
  EXPECT_EQ(EBUSY, pthread_mutex_trylock(&shared->recursive));
  {
    Pthread waiter([] { expect_taken_over(shared->mutexes[0]); });  // begins before it dies
    nap(10);
    shared->go = 1;
  }
  for (pthread_mutex_t& mutex : shared->mutexes) {
    if (&mutex != &shared->mutexes[0]) expect_taken_over(mutex);
  }
  expect_taken_over(shared->recursive);
  expect_taken_over(shared->checking);
  expect_taken_over(shared->guard);
  int status = -1;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT(!exited(status, 99) && !exited(status, 98));
}

static void dies(End end) {
  make_anew();
  pid_t const child = fork();
  if (child == 0) hold_and_end(end);
  outlive(child);
}

static void by_kill() { kill(getpid(), SIGKILL); }
static void by_exit() { _exit(0); }
static void by_exec() {
  char name[] = "true";
  char* argv[] = {name, nullptr};
  execv("/bin/true", argv);
}

static pid_t start_stranger(const char* part) {
  pid_t const child = fork();
  if (child) return child;
  char number[20];
  snprintf(number, sizeof number, "%d", memory);
  execle("/proc/self/exe", "stranger", part, number, nullptr, static_cast<char**>(nullptr));
  _exit(97);
}

static void strangers() {
  make_anew();
  outlive(start_stranger("dies"));
  make_anew();  // and the other way round: it waits for what a child of ours holds
  pid_t const child = fork();
  if (child == 0) hold_and_end(by_kill);
  EXPECT(comes_true([] { return shared->ready == kThreads; }));
  pid_t const stranger = start_stranger("lives");
  EXPECT(comes_true([] { return shared->ready > kThreads; }));
  nap(10);
  shared->go = 1;
  int status = -1;
  EXPECT_EQ(stranger, waitpid(stranger, &status, 0));
  EXPECT(exited(status, 0));
  EXPECT_EQ(child, waitpid(child, &status, 0));
}

// A thread that ends while its process goes on.
static void a_thread_ends() {
  make_anew();
  Pthread([] { hold(0); }).join();
  for (int i : {0, 1}) expect_taken_over(shared->mutexes[i]);
  Pthread([] { lock(shared->mutexes[2]); }).join();
  EXPECT_EQ(EOWNERDEAD, pthread_mutex_lock(&shared->mutexes[2]));
  unlock(shared->mutexes[2]);  // not made consistent
  EXPECT_EQ(ENOTRECOVERABLE, pthread_mutex_lock(&shared->mutexes[2]));
}

int main(int argc, char** argv) {
  if (argc == 3) {
    memory = atoi(argv[2]);
    map_memory();
    if (strcmp(argv[1], "dies") == 0) hold_and_end(by_kill);
    shared->ready++;
    expect_taken_over(shared->mutexes[5]);
    return failures ? 1 : 0;
  }
  memory = NEED(memfd_create("mutexes", 0));
  NEED(ftruncate(memory, sizeof(Shared)));
  map_memory();
  from_both([] {
    dies(by_kill);
    dies(by_exit);
    dies(by_exec);
    strangers();
    a_thread_ends();
  });
  return finish();
}
