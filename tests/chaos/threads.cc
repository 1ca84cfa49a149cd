// SPDX-License-Identifier: Apache-2.0
//
// Threads: locks, conditions, semaphores, barriers under load with sums that must come out; thousands of short lives;
// cancellations; stack overflows that are survived.
#include <limits.h>
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>

#include "chaos.h"

namespace chaos {
namespace {

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
pthread_rwlock_t many = PTHREAD_RWLOCK_INITIALIZER;
long items = 0, given = 0, taken = 0;  // under lock
long left = 0, right = 0;              // equal, under `many`

timespec soon(Random& random) {
  timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  time.tv_nsec += random.below(5000000);
  if (time.tv_nsec >= 1000000000) time.tv_sec++, time.tv_nsec -= 1000000000;
  return time;
}

void give(Random& random) {
  MUST_BE(0, pthread_mutex_lock(&lock));
  items++, given++;
  MUST_BE(0, random.one_in(3) ? pthread_cond_broadcast(&changed) : pthread_cond_signal(&changed));
  MUST_BE(0, pthread_mutex_unlock(&lock));
}

void take(Random& random) {
  timespec until = soon(random);
  int error = random.one_in(2) ? pthread_mutex_lock(&lock) : pthread_mutex_timedlock(&lock, &until);
  if (error == ETIMEDOUT) return;
  MUST_BE(0, error);
  for (int tries = 0; items == 0 && tries < 3; tries++) {
    until = soon(random);
    error = pthread_cond_timedwait(&changed, &lock, &until);
    MUST(error == 0 || error == ETIMEDOUT);
  }
  if (items) items--, taken++;
  MUST_BE(0, pthread_mutex_unlock(&lock));
}

void read_or_write(Random& random) {
  if (random.one_in(4)) {
    MUST_BE(0, pthread_rwlock_wrlock(&many));
    left++;
    if (random.one_in(3)) sched_yield();
    right++;
  } else {
    MUST_BE(0, pthread_rwlock_rdlock(&many));
    MUST_BE(left, right);
    if (random.one_in(3)) sched_yield();
    MUST_BE(left, right);
  }
  MUST_BE(0, pthread_rwlock_unlock(&many));
}

}  // namespace

void lock_traffic(Actor& self) {
  Target target;
  while (!stopping) {
    self.steps++;
    switch (self.random.below(4)) {
      case 0: give(self.random); break;
      case 1: take(self.random); break;
      case 2: read_or_write(self.random); break;
      case 3: nap_us(self.random.below(200)); break;
    }
    MUST_BE(0, pthread_mutex_lock(&lock));
    MUST_BE(given, taken + items);
    MUST_BE(0, pthread_mutex_unlock(&lock));
  }
}

namespace {

struct Ring {
  static constexpr int count = 4;
  pthread_barrier_t barrier;
  sem_t turns[count];
  std::atomic<int> inside{0};
  long rounds = 0, laps = 0;
  struct Member {
    Ring* ring;
    int number;
  } members[count];

  static void* run(void* argument) {
    Target target;
    auto& member = *static_cast<Member*>(argument);
    Ring& ring = *member.ring;
    for (long round = 0; round < ring.rounds; round++) {
      ring.inside++;
      int result = pthread_barrier_wait(&ring.barrier);
      MUST(result == 0 || result == PTHREAD_BARRIER_SERIAL_THREAD);
      MUST_BE(count, ring.inside.load());
      pthread_barrier_wait(&ring.barrier);
      ring.inside--;
      pthread_barrier_wait(&ring.barrier);
      // A token goes round.
      while (sem_wait(&ring.turns[member.number]) != 0) MUST_BE(EINTR, errno);
      ring.laps++;
      MUST_BE(0, sem_post(&ring.turns[(member.number + 1) % count]));
    }
    return nullptr;
  }
};

}  // namespace

void round_and_round(Actor& self) {
  while (!stopping) {
    self.steps++;
    Ring ring;
    ring.rounds = 5 + self.random.below(50);
    MUST_BE(0, pthread_barrier_init(&ring.barrier, nullptr, Ring::count));
    for (int i = 0; i < Ring::count; i++) MUST_BE(0, sem_init(&ring.turns[i], 0, i == 0));
    pthread_t threads[Ring::count];
    for (int i = 0; i < Ring::count; i++) ring.members[i] = {&ring, i};
    for (int i = 0; i < Ring::count; i++) start_thread(&threads[i], Ring::run, &ring.members[i]);
    for (pthread_t thread : threads) MUST_BE(0, pthread_join(thread, nullptr));
    MUST_BE(ring.rounds * Ring::count, ring.laps);
    MUST_BE(0, pthread_barrier_destroy(&ring.barrier));
    for (sem_t& turn : ring.turns) MUST_BE(0, sem_destroy(&turn));
  }
}

namespace {

pthread_key_t key;
std::atomic<long> keys_set{0}, keys_destroyed{0};
thread_local int mine = 7;

void* live_shortly(void* argument) {
  MUST_BE(7, mine);
  mine = 8;
  if (pthread_setspecific(key, argument) == 0) keys_set++;
  void* memory = malloc(100 + reinterpret_cast<uintptr_t>(argument) % 5000);
  if (memory) memset(memory, 1, 100);
  sched_yield();
  free(memory);
  return argument;
}

}  // namespace

void prepare_threads() {
  MUST_BE(0, pthread_key_create(&key, [](void*) { keys_destroyed++; }));
}

void short_threads(Actor& self) {
  Target target;
  constexpr int many_at_once = 40;
  while (!stopping) {
    pthread_t threads[many_at_once];
    auto* argument = reinterpret_cast<void*>(self.random.next() | 1);
    size_t stack = self.random.one_in(2) ? 0 : 64 << 10;
    for (pthread_t& thread : threads) start_thread(&thread, live_shortly, argument, stack);
    for (pthread_t thread : threads) {
      void* result = nullptr;
      MUST_BE(0, pthread_join(thread, &result));
      MUST(result == argument);
      self.steps++;
    }
    MUST_BE(keys_set.load(), keys_destroyed.load());
  }
}

namespace {

struct Victim {
  int how;
  int pipe[2];
  sem_t never;
  std::atomic<bool> cleaned{false};
};

void clean_up(void* argument) { static_cast<Victim*>(argument)->cleaned = true; }

void unlock_and_clean(void* argument) {
  MUST_BE(0, pthread_mutex_unlock(static_cast<pthread_mutex_t*>(argument)));
}

void* wait_for_the_end(void* argument) {
  auto& victim = *static_cast<Victim*>(argument);
  pthread_cleanup_push(clean_up, argument);
  for (;;) {
    char byte;
    switch (victim.how) {
      case 0: (void)!read(victim.pipe[0], &byte, 1); break;
      case 1: sem_wait(&victim.never); break;
      case 2: sleep(100); break;
      case 3: {
        pollfd one{victim.pipe[0], POLLIN, 0};
        poll(&one, 1, -1);
        break;
      }
      case 4: {
        static pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER;
        static pthread_cond_t nobodys = PTHREAD_COND_INITIALIZER;
        MUST_BE(0, pthread_mutex_lock(&own));
        pthread_cleanup_push(unlock_and_clean, &own);
        MUST_BE(0, pthread_cond_wait(&nobodys, &own));
        pthread_cleanup_pop(1);
        break;
      }
      case 5: {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGRTMAX);
        siginfo_t info;
        sigwaitinfo(&set, &info);
        break;
      }
      case 6: {
        sigset_t open = open_only_in_waits();
        ppoll(nullptr, 0, nullptr, &open);
        break;
      }
      default: pthread_testcancel(); sched_yield();
    }
  }
  pthread_cleanup_pop(0);
  return nullptr;
}

}  // namespace

void cancels(Actor& self) {
  Target target;
  while (!stopping) {
    self.steps++;
    Victim victim;
    victim.how = self.random.below(8);
    insist([&] { return pipe(victim.pipe); });
    MUST_BE(0, sem_init(&victim.never, 0, 0));
    pthread_t thread;
    start_thread(&thread, wait_for_the_end, &victim);
    if (self.random.one_in(2)) nap_us(self.random.below(1000));
    MUST_BE(0, pthread_cancel(thread));
    void* result = nullptr;
    MUST_BE(0, pthread_join(thread, &result));
    MUST(result == PTHREAD_CANCELED && victim.cleaned);
    for (int fd : victim.pipe) MUST_BE(0, close(fd));
    MUST_BE(0, sem_destroy(&victim.never));
  }
}

namespace {

thread_local sigjmp_buf escape;
thread_local volatile bool digs = false;
std::atomic<long> escapes{0};

void on_fault(int, siginfo_t* info, void*) {
  if (!digs) {
    dprintf(2, "a fault at %p that nobody asked for\n", info->si_addr);
    signal(SIGSEGV, SIG_DFL);
    return;
  }
  digs = false;
  escapes++;
  siglongjmp(escape, 1);
}

#pragma GCC diagnostic ignored "-Winfinite-recursion"
__attribute__((noinline)) int dig(volatile char* above) {
  volatile char frame[512];
  frame[0] = above ? above[0] : 1;
  return dig(frame) + frame[0];
}

void* overflow(void* argument) {
  static constexpr size_t size = 64 << 10;
  auto* memory = static_cast<char*>(argument);
  stack_t stack{};
  stack.ss_sp = memory;
  stack.ss_size = size;
  MUST_BE(0, sigaltstack(&stack, nullptr));
  for (int i = 0; i < 3; i++) {
    long before = escapes;
    if (sigsetjmp(escape, 1) == 0) {
      digs = true;
      dig(nullptr);
    }
    MUST(escapes > before);
    nap_us(200);
  }
  stack.ss_flags = SS_DISABLE;
  MUST_BE(0, sigaltstack(&stack, nullptr));
  return nullptr;
}

}  // namespace

void overflows(Actor& self) {
  static char memory[2][64 << 10];
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  MUST_BE(0, sigaction(SIGSEGV, &action, nullptr));
  while (!stopping) {
    self.steps++;
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) start_thread(&threads[i], overflow, memory[i], 128 << 10);
    for (pthread_t thread : threads) MUST_BE(0, pthread_join(thread, nullptr));
    nap_us(self.random.below(5000));
  }
}

}  // namespace chaos
