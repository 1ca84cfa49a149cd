// SPDX-License-Identifier: Apache-2.0
//
// The doors of setjmp.h by name: __sigsetjmp with and without the mask, then longjmp, _longjmp,
// siglongjmp and __longjmp_chk (what they become under _FORTIFY_SOURCE): the value (0 becomes 1),
// the mask, frames left behind, waits between, out of a handler on an alternate stack; a jump
// into a frame that has returned ends a checked program.
#include <setjmp.h>
#include <sys/mman.h>

#include "thread_testing.h"

extern "C" [[noreturn]] void __longjmp_chk(jmp_buf target, int value);

using Jump = void (*)(jmp_buf, int);
static const Jump jumps[] = {
    [](jmp_buf target, int value) { longjmp(target, value); },
    [](jmp_buf target, int value) { _longjmp(target, value); },
    [](jmp_buf target, int value) { siglongjmp(target, value); },
    [](jmp_buf target, int value) { __longjmp_chk(target, value); },
};

static bool is_blocked(int number) {
  sigset_t now;
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  return sigismember(&now, number);
}

static void change(int how, int number) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  EXPECT_EQ(0, pthread_sigmask(how, &set, nullptr));
}

__attribute__((noinline)) static void from_below(int depth, Jump jump, jmp_buf target, int value) {
  volatile char frame[256];
  frame[depth] = 1;
  EXPECT_EQ(1, frame[depth]);
  if (depth > 0) from_below(depth - 1, jump, target, value);
  usleep(100);
  jump(target, value);
}

static void values_and_masks(Jump jump, int const saves) {
  jmp_buf target;
  volatile int rounds = 0;
  int const got = __sigsetjmp(target, saves);
  if (rounds > 0) {
    EXPECT_EQ(rounds, got);
    EXPECT_EQ(!saves, is_blocked(SIGUSR2));
    nap(1);
    EXPECT_EQ(!saves, is_blocked(SIGUSR2));  // also after a wait
  }
  if (rounds < 4) {
    change(SIG_BLOCK, SIGUSR2);
    rounds = rounds + 1;
    from_below(20, jump, target, rounds == 1 ? 0 : rounds);  // 0 is made 1
    EXPECT(false);
  }
  EXPECT_EQ(4, rounds);
  change(SIG_UNBLOCK, SIGUSR2);
}

static thread_local jmp_buf back;
static thread_local volatile int handlers = 0;
static thread_local Jump way_back;

// The alternate stack lies above or below the thread's own, whichever the caller allocated.
static void out_of_a_handler(Jump jump, char* alternate, size_t size) {
  stack_t stack = {};
  stack.ss_sp = alternate;
  stack.ss_size = size;
  EXPECT_OK(0, sigaltstack(&stack, nullptr));
  Pthread([] {  // another thread's is another
    static char other[64 << 10];
    stack_t stack = {};
    stack.ss_sp = other;
    stack.ss_size = sizeof other;
    EXPECT_OK(0, sigaltstack(&stack, nullptr));
  })
      .join();
  struct sigaction action = {};
  action.sa_handler = [](int) {
    handlers = handlers + 1;
    way_back(back, 5);
  };
  action.sa_flags = SA_ONSTACK;
  EXPECT_OK(0, sigaction(SIGUSR1, &action, nullptr));
  way_back = jump;
  handlers = 0;
  volatile int rounds = 0;
  while (rounds < 3) {
    rounds = rounds + 1;
    int const got = __sigsetjmp(back, 1);
    if (got == 0) {
      pthread_kill(pthread_self(), SIGUSR1);
      EXPECT(false);
    }
    EXPECT_EQ(5, got);
    EXPECT(!is_blocked(SIGUSR1));
    EXPECT_EQ(rounds, handlers);
  }
  stack.ss_flags = SS_DISABLE;
  EXPECT_OK(0, sigaltstack(&stack, nullptr));
}

__attribute__((noinline)) static void set_and_return(jmp_buf target) {
  volatile char frame[4096];
  frame[0] = 0;
  if (__sigsetjmp(target, 0) != frame[0]) _exit(1);
}

static void into_a_dead_frame() {
  int const status = in_child([] {
    dup2(open("/dev/null", O_WRONLY), 2);
    jmp_buf target;
    set_and_return(target);
    __longjmp_chk(target, 1);
  });
  EXPECT(killed(status, SIGABRT));
}

int main() {
  constexpr size_t size = 64 << 10;
  auto map = [] {
    return static_cast<char*>(
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  };
  char* const early = map();  // before the second thread's stack, so above it
  auto cases = [&](char* alternate) {
    for (Jump jump : jumps) {
      values_and_masks(jump, 0);
      values_and_masks(jump, 1);
      out_of_a_handler(jump, alternate, size);
    }
    into_a_dead_frame();
  };
  cases(early);
  Pthread([&] {
    where = "second";
    cases(early);
    cases(map());
  }).join();
  return finish();
}
