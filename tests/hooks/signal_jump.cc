// SPDX-License-Identifier: Apache-2.0
//
// siglongjmp out of a handler: out of a blocked read, a sleep and a poll, from main and from a
// thread, many times in a row, with the mask restored; SIGSEGV and SIGFPE handlers that jump or
// mend the page and return; sigaltstack per thread (handler runs there, SS_ONSTACK seen, stack
// overflow survived), faults in one thread while others run; plain setjmp/longjmp across a wait.
#include <poll.h>
#include <setjmp.h>
#include <sys/mman.h>

#include <vector>

#include "thread_testing.h"

static thread_local sigjmp_buf back;
static thread_local volatile int jumps = 0;

static void jump(int) {
  jumps = jumps + 1;
  siglongjmp(back, 1);
}

static void install(int number, void (*handler)(int), int flags = 0) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  EXPECT_EQ(0, sigaction(number, &action, nullptr));
}

template <class Call>
static void jumps_out_of(Call call) {
  pthread_t const self = pthread_self();
  jumps = 0;
  std::atomic<bool> armed{false};
  Pthread kicker([self, &armed] {
    while (!armed) nap(1);
    nap(20);
    pthread_kill(self, SIGUSR1);
  });
  if (sigsetjmp(back, 1) == 0) {
    armed = true;
    call();
    EXPECT(false);  // it must not return
  }
  EXPECT_EQ(1, jumps);
  sigset_t now;
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  EXPECT_EQ(0, sigismember(&now, SIGUSR1));  // the handler's mask was undone
}

static void out_of_blocked_calls() {
  install(SIGUSR1, jump);
  Pipe const pipe;
  Tcp const tcp;
  char byte = 0;
  for (int i = 0; i < 3; ++i) {
    while_others_tick([&] { jumps_out_of([&] { (void)!read(pipe.a, &byte, 1); }); });
    jumps_out_of([&] { recv(tcp.a, &byte, 1, 0); });
    jumps_out_of([] { usleep(5000000); });
    jumps_out_of([] { poll(nullptr, 0, 5000); });
    jumps_out_of([] { pause(); });
  }
  // The descriptors and everything else work on.
  EXPECT_EQ(1, write(pipe.b, "x", 1));
  EXPECT_OK(1, read(pipe.a, &byte, 1));
  Pthread writer([&] {
    nap(15);
    EXPECT_EQ(1, write(pipe.b, "y", 1));
  });
  while_others_tick([&] { EXPECT_OK(1, read(pipe.a, &byte, 1)); });
}

static void faults() {
  install(SIGSEGV, jump, SA_NODEFER);
  install(SIGFPE, jump, SA_NODEFER);
  jumps = 0;
  volatile int zero = 0;
  volatile int seven = 7;
  for (int i = 0; i < 5; ++i) {
    if (sigsetjmp(back, 1) == 0) *reinterpret_cast<volatile int*>(8) = 1;
    if (sigsetjmp(back, 1) == 0) zero = seven / zero;
    nap(1);
  }
  EXPECT_EQ(10, jumps);
}

static char* page = nullptr;

static void mend(int, siginfo_t* info, void*) {
  if (info->si_addr == page + 100) mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

static void a_mended_page() {
  page = static_cast<char*>(mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  struct sigaction action = {};
  action.sa_sigaction = mend;
  action.sa_flags = SA_SIGINFO;
  EXPECT_EQ(0, sigaction(SIGSEGV, &action, nullptr));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(0, mprotect(page, 4096, PROT_NONE));
    page[100] = static_cast<char>(i + 1);  // faults, is mended, goes on
    EXPECT_EQ(i + 1, page[100]);
  }
  EXPECT_EQ(0, munmap(page, 4096));
  signal(SIGSEGV, SIG_DFL);
}

static thread_local volatile bool was_on_it = false;
static thread_local volatile bool said_so = false;
static thread_local char* alternate = nullptr;
constexpr size_t kAlternate = 128 << 10;

static void look_where(int) {
  char here = 0;
  was_on_it = alternate < &here && &here < alternate + kAlternate;
  stack_t now{};
  said_so = sigaltstack(nullptr, &now) == 0 && now.ss_flags == SS_ONSTACK;
}

static void alternate_stacks() {
  stack_t old{};
  EXPECT_OK(0, sigaltstack(nullptr, &old));
  EXPECT_EQ(SS_DISABLE, old.ss_flags);  // none is inherited
  alternate = static_cast<char*>(malloc(kAlternate));
  stack_t mine{};
  mine.ss_sp = alternate;
  mine.ss_size = kAlternate;
  EXPECT_OK(0, sigaltstack(&mine, nullptr));
  install(SIGUSR2, look_where, SA_ONSTACK);
  for (int i = 0; i < 3; ++i) {
    was_on_it = false;
    said_so = false;
    EXPECT_EQ(0, raise(SIGUSR2));
    EXPECT(was_on_it && said_so);
    nap(2);  // and still so after a wait
    EXPECT_EQ(0, sigaltstack(nullptr, &old));
    EXPECT(old.ss_sp == alternate && old.ss_size == kAlternate && old.ss_flags == 0);
  }
  stack_t tiny{};
  tiny.ss_sp = alternate;
  tiny.ss_size = 100;
  EXPECT_ERRNO(ENOMEM, sigaltstack(&tiny, nullptr));
  stack_t off{};
  off.ss_flags = SS_DISABLE;
  EXPECT_OK(0, sigaltstack(&off, nullptr));
  install(SIGUSR2, look_where, SA_ONSTACK);
  was_on_it = true;
  EXPECT_EQ(0, raise(SIGUSR2));
  EXPECT(!was_on_it);
  free(alternate);
}

__attribute__((noinline)) static int bottomless(int depth) {
  volatile char frame[512];
  frame[0] = static_cast<char>(depth);
  if (depth < 0) return frame[0];
  return bottomless(depth + 1) + frame[0];
}

static void an_overflow_is_survived() {
  install(SIGSEGV, jump, SA_ONSTACK | SA_NODEFER);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256 << 10);
  Pthread deep(
      [] {
        stack_t mine{};
        mine.ss_size = kAlternate;
        mine.ss_sp = malloc(kAlternate);
        EXPECT_EQ(0, sigaltstack(&mine, nullptr));
        for (int i = 1; i <= 3; ++i) {
          if (sigsetjmp(back, 1) == 0) bottomless(0);
          EXPECT_EQ(i, jumps);
          nap(1);
        }
        mine.ss_flags = SS_DISABLE;
        sigaltstack(&mine, nullptr);
      },
      &attributes);
  deep.join();
  pthread_attr_destroy(&attributes);
  signal(SIGSEGV, SIG_DFL);
}

static void a_plain_jump_across_waits() {
  std::vector<Pthread> threads;
  for (int i = 0; i < 5; ++i) {
    threads.emplace_back([] {
      jmp_buf here;
      volatile int rounds = 0;
      if (setjmp(here) < 4) {
        nap(1);
        rounds = rounds + 1;
        longjmp(here, rounds);
      }
      EXPECT_EQ(4, rounds);
    });
  }
}

int main() {
  out_of_blocked_calls();
  faults();
  a_mended_page();
  alternate_stacks();
  a_plain_jump_across_waits();
  Pthread second([] {
    where = "second";
    out_of_blocked_calls();
    faults();
    alternate_stacks();
  });
  second.join();
  an_overflow_is_survived();
  return finish();
}
