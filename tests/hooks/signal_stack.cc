// SPDX-License-Identifier: Apache-2.0
//
// Alternate stacks, one for each thread: handlers with SA_ONSTACK run there and say so; faults and
// stack overflows of several threads at once are handled on their own stacks, return or jump out,
// may block meanwhile; what kills a process natively (no alternate stack, a fault in the handler)
// does; SS_AUTODISARM, errors, what is told.
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <ucontext.h>

#include "thread_testing.h"

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

static constexpr size_t kSize = 64 << 10;
static thread_local char* alternate;
static thread_local sigjmp_buf back;
static thread_local volatile int runs = 0;
static thread_local volatile bool was_on = false;
static thread_local char* volatile address = nullptr;

static bool is_on_it(const void* here) {
  return here >= alternate && here < alternate + kSize;
}

static void use_alternate(unsigned flags = 0) {
  if (!alternate) alternate = static_cast<char*>(malloc(kSize));
  stack_t stack{};
  stack.ss_sp = alternate;
  stack.ss_size = kSize;
  stack.ss_flags = static_cast<int>(flags);
  EXPECT_EQ(0, sigaltstack(&stack, nullptr));
}
static void use_none() {
  stack_t stack{};
  stack.ss_flags = SS_DISABLE;
  EXPECT_EQ(0, sigaltstack(&stack, nullptr));
}

static void note(int, siginfo_t* info, void*) {
  runs = runs + 1;
  char here;
  was_on = is_on_it(&here);
  address = static_cast<char*>(info->si_addr);
}

static void install(int number, void (*handler)(int, siginfo_t*, void*), int flags) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | flags;
  EXPECT_EQ(0, sigaction(number, &action, nullptr));
}

static void where_handlers_run() {
  Pipe const pipe;
  use_alternate();
  install(SIGUSR1, note, SA_ONSTACK);
  install(SIGUSR2, note, 0);
  raise(SIGUSR1);
  EXPECT(runs == 1 && was_on);
  raise(SIGUSR2);
  EXPECT(runs == 2 && !was_on);
  pthread_t const self = pthread_self();
  {
    auto sender = after(10, [self] { pthread_kill(self, SIGUSR1); });
    char byte;
    EXPECT_ERRNO(EINTR, read(pipe.a, &byte, 1));
  }
  EXPECT(runs == 3 && was_on);
  use_none();
  raise(SIGUSR1);
  EXPECT(runs == 4 && !was_on);
  runs = 0;
}

static void what_is_told() {
  use_alternate();
  stack_t told{};
  EXPECT_EQ(0, sigaltstack(nullptr, &told));
  EXPECT(told.ss_sp == alternate && told.ss_size == kSize && told.ss_flags == 0);
  install(SIGUSR1,
          [](int, siginfo_t*, void* context) {
            runs = runs + 1;
            stack_t inside{};
            EXPECT_EQ(0, sigaltstack(nullptr, &inside));
            EXPECT(inside.ss_sp == alternate && inside.ss_flags == SS_ONSTACK);
            stack_t none{};
            none.ss_flags = SS_DISABLE;
            EXPECT_ERRNO(EPERM, sigaltstack(&none, nullptr));
            auto* interrupted = static_cast<ucontext_t*>(context);
            EXPECT(interrupted->uc_stack.ss_sp == alternate && interrupted->uc_stack.ss_size == kSize);
          },
          SA_ONSTACK);
  raise(SIGUSR1);
  EXPECT_EQ(1, runs);
  stack_t small{};
  small.ss_sp = alternate;
  small.ss_size = 1000;
  EXPECT_ERRNO(ENOMEM, sigaltstack(&small, nullptr));
  stack_t odd{};
  odd.ss_sp = alternate;
  odd.ss_size = kSize;
  odd.ss_flags = 0x40;
  EXPECT_ERRNO(EINVAL, sigaltstack(&odd, nullptr));
  odd.ss_flags = SS_ONSTACK;  // taken as 0, says the man page
  EXPECT_EQ(0, sigaltstack(&odd, &told));
  EXPECT(told.ss_sp == alternate && told.ss_flags == 0);
  use_none();
  EXPECT_EQ(0, sigaltstack(nullptr, &told));
  EXPECT(told.ss_flags == SS_DISABLE);
  runs = 0;
}

static void disarmed_while_it_runs() {
  use_alternate(SS_AUTODISARM);
  install(SIGUSR1,
          [](int, siginfo_t*, void*) {
            char here;
            EXPECT(is_on_it(&here));
            stack_t inside{};
            EXPECT_EQ(0, sigaltstack(nullptr, &inside));
            EXPECT_EQ(SS_DISABLE, inside.ss_flags);
            runs = runs + 1;
          },
          SA_ONSTACK);
  raise(SIGUSR1);
  EXPECT_EQ(1, runs);
  stack_t told{};
  EXPECT_EQ(0, sigaltstack(nullptr, &told));
  EXPECT(told.ss_sp == alternate && static_cast<unsigned>(told.ss_flags) == SS_AUTODISARM);
  use_none();
  runs = 0;
}

// Deep recursion until the guard; not optimised into a loop.
#pragma GCC diagnostic ignored "-Winfinite-recursion"
__attribute__((noinline)) static int dig(volatile char* above) {
  volatile char frame[512];
  frame[0] = above ? above[0] : 1;
  return dig(frame) + frame[0];
}

static void jump_back(int, siginfo_t* info, void*) {
  note(0, info, nullptr);
  siglongjmp(back, 1);
}

static void overflow_once(bool blocks) {
  static thread_local volatile bool sleeps;
  sleeps = blocks;
  install(SIGSEGV,
          [](int number, siginfo_t* info, void* context) {
            if (sleeps) usleep(2000);
            jump_back(number, info, context);
          },
          SA_ONSTACK);
  runs = 0;
  if (sigsetjmp(back, 1) == 0) dig(nullptr);
  EXPECT(runs == 1 && was_on);
  sigset_t now;
  pthread_sigmask(SIG_BLOCK, nullptr, &now);
  EXPECT(!sigismember(&now, SIGSEGV));
  char byte;
  Pipe const pipe;
  auto writer = after(1, [&pipe] { (void)!write(pipe.b, "x", 1); });
  EXPECT_EQ(1, read(pipe.a, &byte, 1));  // and it goes on as a thread like any other
}

static void overflows_of_several() {
  in_threads(4, [](int) {
    use_alternate();
    for (int i = 0; i < 6; i++) {
      overflow_once(i % 2);
      usleep(500);
    }
    use_none();
    free(alternate);
  });
}

static void faults_that_are_mended() {
  long const page = sysconf(_SC_PAGESIZE);
  for (int flags : {0, SA_ONSTACK}) {
    install(SIGSEGV,
            [](int, siginfo_t* info, void*) {
              note(0, info, nullptr);
              usleep(1000);  // others run, and fault, meanwhile
              char* start = reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(info->si_addr) & ~4095ul);
              EXPECT_EQ(0, mprotect(start, 4096, PROT_READ | PROT_WRITE));
            },
            flags);
    in_threads(4, [&](int number) {
      use_alternate();
      for (int i = 0; i < 5; i++) {
        runs = 0;
        char* memory = static_cast<char*>(
            mmap(nullptr, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        double volatile exact = number + 0.25;
        double kept = exact * 3;
        memory[17] = static_cast<char>(number + 1);
        EXPECT(kept == exact * 3);
        EXPECT_EQ(number + 1, memory[17]);
        EXPECT(runs == 1 && address == memory + 17);
        EXPECT_EQ(flags != 0, was_on);
        munmap(memory, page);
      }
      use_none();
      free(alternate);
    });
  }
}

static void no_core() {
  rlimit const none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
}

static void what_kills() {
  install(SIGSEGV, jump_back, SA_ONSTACK);
  use_none();
  int status = in_child([] {
    no_core();
    if (sigsetjmp(back, 1) == 0) dig(nullptr);  // no stack for the handler
    _exit(5);
  });
  EXPECT(killed(status, SIGSEGV));
  install(SIGSEGV, [](int, siginfo_t*, void*) { *static_cast<volatile int*>(nullptr) = 1; }, 0);
  status = in_child([] {
    no_core();
    *static_cast<volatile int*>(nullptr) = 1;  // a fault in the fault's handler
    _exit(5);
  });
  EXPECT(killed(status, SIGSEGV));
  install(SIGSEGV, jump_back, 0);
  status = in_child([] {
    no_core();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    if (sigsetjmp(back, 1) == 0) *static_cast<volatile int*>(nullptr) = 1;  // blocked: not to be handled
    _exit(5);
  });
  EXPECT(killed(status, SIGSEGV));
  // With SA_NODEFER a fault in the handler is a fault like another.
  install(SIGSEGV,
          [](int, siginfo_t* info, void*) {
            note(0, info, nullptr);
            if (runs < 3) *static_cast<volatile int*>(nullptr) = 1;
            siglongjmp(back, 1);
          },
          SA_NODEFER | SA_ONSTACK);
  use_alternate();
  runs = 0;
  if (sigsetjmp(back, 1) == 0) *static_cast<volatile int*>(nullptr) = 1;
  EXPECT(runs == 3 && was_on);
  // A signal that somebody sent is no fault: it can be blocked.
  install(SIGSEGV, note, 0);
  runs = 0;
  raise(SIGSEGV);
  EXPECT_EQ(1, runs);
  use_none();
  signal(SIGSEGV, SIG_DFL);
}

static void with_other_faults() {
  install(SIGFPE, jump_back, SA_ONSTACK);
  install(SIGILL, jump_back, 0);
  install(SIGTRAP, note, 0);
  use_alternate();
  runs = 0;
  static volatile int zero = 0;
  if (sigsetjmp(back, 1) == 0) zero = 7 / zero;
  EXPECT(runs == 1 && was_on);
  if (sigsetjmp(back, 1) == 0) __asm__ volatile("ud2");
  EXPECT(runs == 2 && !was_on);
  __asm__ volatile("int3");
  EXPECT_EQ(3, runs);
  use_none();
}

int main() {
  from_both([] {
    where_handlers_run();
    what_is_told();
    disarmed_while_it_runs();
    overflows_of_several();
    faults_that_are_mended();
    what_kills();
    with_other_faults();
  });
  return finish();
}
