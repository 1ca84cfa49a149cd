// SPDX-License-Identifier: Apache-2.0
//
// Kernel threads and processes that are made past pthread_create and fork by their public names: with the function that
// dlsym finds in libc (as jemalloc does for its background thread), with raw clone and clone3 instructions. With every
// signal blocked or none they run, wait, print, end and are joined; processes and programs that start so begin clean.
#include <dlfcn.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <initializer_list>

#include "thread_testing.h"

// As the kernel answers: a value or -errno.
static inline __attribute__((always_inline)) long raw(long number, long a = 0, long b = 0, long c = 0, long d = 0,
                                                      long e = 0, long f = 0) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}
template <class T>
static inline __attribute__((always_inline)) long at(T* pointer) {
  return reinterpret_cast<long>(pointer);
}

static int word = 0;

// --- by libc's own pthread_create ---

using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
using Join = int (*)(pthread_t, void**);

struct Task {
  Pipe pipe;
  bool blocked;
};

static void* work(void* argument) {
  auto& task = *static_cast<Task*>(argument);
  sigset_t mask;
  EXPECT_EQ(0, pthread_sigmask(SIG_SETMASK, nullptr, &mask));
  EXPECT_EQ(task.blocked, sigismember(&mask, SIGUSR1) == 1);
  EXPECT_EQ(task.blocked, sigismember(&mask, SIGTERM) == 1);
  char text[8] = {};
  EXPECT_EQ(5, read(task.pipe.a, text, 8));
  EXPECT_EQ(5, raw(SYS_read, task.pipe.a, at(text), 8));
  timespec const time{0, 20000000};
  EXPECT_EQ(0, nanosleep(&time, nullptr));
  EXPECT_EQ(0, raw(SYS_nanosleep, at(&time)));
  while (__atomic_load_n(&word, __ATOMIC_SEQ_CST) == 0) syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, nullptr);
  FILE* out = fopen("/dev/null", "w");
  EXPECT(out && fprintf(out, "%s\n", text) > 0 && fclose(out) == 0);
  void* memory = malloc(300000);
  EXPECT(memory);
  free(memory);
  return &task;
}

static void made_by(void* create, void* join, bool blocked) {
  EXPECT(create && join);
  if (!create || !join) return;
  word = 0;
  Task task;
  task.blocked = blocked;
  sigset_t all, old;
  sigfillset(&all);
  if (blocked) EXPECT_EQ(0, pthread_sigmask(SIG_SETMASK, &all, &old));
  pthread_t id;
  EXPECT_EQ(0, reinterpret_cast<Create>(create)(&id, nullptr, work, &task));
  if (blocked) EXPECT_EQ(0, pthread_sigmask(SIG_SETMASK, &old, nullptr));
  for (int i = 0; i < 2; ++i) {
    nap(15);
    EXPECT_EQ(5, write(task.pipe.b, "hello", 5));
  }
  nap(60);
  __atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
  EXPECT(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1) >= 0);
  void* result = nullptr;
  EXPECT_EQ(0, reinterpret_cast<Join>(join)(id, &result));
  EXPECT(result == &task);
}

static void made_by_libcs_own(bool blocked) {
  void* libc = dlopen("libc.so.6", RTLD_NOW);
  EXPECT(libc);
  made_by(dlsym(libc, "pthread_create"), dlsym(libc, "pthread_join"), blocked);
  made_by(dlsym(RTLD_NEXT, "pthread_create"), dlsym(RTLD_NEXT, "pthread_join"), blocked);
}

// --- by clone and clone3 ---

constexpr size_t stack_size = 64 << 10;
alignas(64) static char raw_stack[stack_size];
static int raw_pipe[2], answer_pipe[2];
static pid_t alive = 0;
constexpr unsigned long thread_flags =
    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;

// Raw calls only: it has its maker's thread block.
static __attribute__((used, optimize("no-stack-protector"))) void raw_thread() {
  char text[8] = {};
  long ok = raw(SYS_read, raw_pipe[0], at(text), 8) == 3;
  timespec const time{0, 20000000};
  ok &= raw(SYS_nanosleep, at(&time)) == 0;
  ok &= raw(SYS_futex, at(&word), FUTEX_WAIT_PRIVATE, 0, at(&time)) == -ETIMEDOUT;
  uint64_t const all = ~0ul;
  ok &= raw(SYS_rt_sigprocmask, SIG_SETMASK, at(&all), 0, 8) == 0;
  ok &= raw(SYS_write, answer_pipe[1], at(text), ok ? 3 : 1) > 0;
  raw(SYS_exit, 0);
}

// Makes it; registers that calls keep, and the stack, are the kernel's to hand on.
static long start_raw(long number, long a, long b, long c, long d) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = 0;
  register long r12 asm("r12") = reinterpret_cast<long>(raw_thread);
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jne 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "call *%%r12\n\t"
      "hlt\n"
      "1:"
      : "=a"(result)
      : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r12)
      : "rcx", "r11", "memory");
  return result;
}

static void raw_threads() {
  EXPECT_EQ(0, pipe(raw_pipe));
  EXPECT_EQ(0, pipe(answer_pipe));
  for (long const number : {SYS_clone, SYS_clone3}) {
    word = 0;
    alive = 1;
    clone_args arguments{};
    arguments.flags = thread_flags;
    arguments.child_tid = static_cast<uint64_t>(at(&alive));
    arguments.stack = static_cast<uint64_t>(at(raw_stack));
    arguments.stack_size = stack_size;
    long const tid = number == SYS_clone ? start_raw(number, thread_flags, at(raw_stack + stack_size), 0, at(&alive))
                                         : start_raw(number, at(&arguments), sizeof arguments, 0, 0);
    EXPECT(tid > 0);
    nap(30);
    EXPECT_EQ(3, write(raw_pipe[1], "abc", 3));
    char text[8] = {};
    EXPECT_EQ(3, read(answer_pipe[0], text, 8));
    EXPECT(comes_true([] { return __atomic_load_n(&alive, __ATOMIC_SEQ_CST) == 0; }));
  }
  for (int const fd : {raw_pipe[0], raw_pipe[1], answer_pipe[0], answer_pipe[1]}) close(fd);
  EXPECT_EQ(-EINVAL, raw(SYS_clone, CLONE_THREAD, at(raw_stack + stack_size)));
  EXPECT_EQ(-EINVAL, raw(SYS_clone3, 0, 8));
  EXPECT_EQ(-EFAULT, raw(SYS_clone3, 16, sizeof(clone_args)));
}

// The value of a line of the calling kernel thread's /proc status, as a number.
static long status_line(const char* name) {
  char line[256];
  long value = -1;
  FILE* file = fopen("/proc/thread-self/status", "r");
  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, name, strlen(name)) == 0) value = strtol(line + strlen(name), nullptr, 10);
  if (file) fclose(file);
  return value;
}

static int sleeper(void*) {
  timespec const time{0, 20000000};
  return raw(SYS_nanosleep, at(&time)) == 0 && status_line("Seccomp:") == 0 ? 7 : 1;
}

static int wait_for(long child) {
  int status = -1;
  EXPECT(child > 0);
  EXPECT_EQ(child, waitpid(static_cast<pid_t>(child), &status, __WALL));
  return status;
}

static void raw_processes() {
  for (long const flags : {0l, static_cast<long>(CLONE_VM | CLONE_VFORK)}) {
    clone_args arguments{};
    arguments.flags = static_cast<uint64_t>(flags);
    arguments.exit_signal = SIGCHLD;
    bool const is_vfork = flags != 0;  // its child may do nothing but end or exec
    for (long const number : {SYS_clone, SYS_clone3}) {
      long const child = number == SYS_clone ? raw(number, flags | SIGCHLD) : raw(number, at(&arguments), sizeof arguments);
      if (child == 0 && is_vfork) raw(SYS_exit_group, 7);
      if (child == 0) {
        failures = 0;
        EXPECT_EQ(0, status_line("Seccomp:"));
        Pipe pipe;
        Pthread reader([&] {
          char byte;
          EXPECT_EQ(1, read(pipe.a, &byte, 1));
        });
        nap(20);
        EXPECT_EQ(1, write(pipe.b, "x", 1));
        reader.join();
        _exit(failures ? 99 : 7);
      }
      EXPECT(exited(wait_for(child), 7));
    }
  }
  // libc's function, with a stack: a process with a copy of the memory, and one that shares it.
  for (int const flags : {0, CLONE_VM | CLONE_VFORK})
    EXPECT(exited(wait_for(clone(sleeper, raw_stack + stack_size, flags | SIGCHLD, nullptr)), 7));
}

static void raw_exec() {
  char* arguments[] = {const_cast<char*>("sh"), const_cast<char*>("-c"),
                       const_cast<char*>("read x </proc/version && exec sleep 0.02"), nullptr};
  char* environment[] = {nullptr};
  long const child = raw(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD);
  if (child == 0) {
    raw(SYS_execve, at("/bin/sh"), at(arguments), at(environment));
    raw(SYS_exit_group, 1);
  }
  EXPECT(exited(wait_for(child), 0));
}

// --- masks past the hooks ---

static void masks() {
  uint64_t const all = ~0ul;
  uint64_t old = 1, seen = 0;
  EXPECT_EQ(0, raw(SYS_rt_sigprocmask, SIG_SETMASK, at(&all), at(&old), 8));
  EXPECT_EQ(0ul, old);
  Pipe pipe;
  char byte;
  Pthread writer([&] {
    nap(20);
    EXPECT_EQ(1, write(pipe.b, "x", 1));
  });
  EXPECT_EQ(1, raw(SYS_read, pipe.a, at(&byte), 1));  // a blocked SIGSYS would end us here
  writer.join();
  EXPECT_EQ(0, raw(SYS_rt_sigprocmask, SIG_SETMASK, at(&old), at(&seen), 8));
  EXPECT_EQ(-EINVAL, raw(SYS_rt_sigprocmask, SIG_SETMASK, at(&old), 0, 4));
  EXPECT_EQ(-EFAULT, raw(SYS_rt_sigprocmask, SIG_SETMASK, 16, 0, 8));
  EXPECT_EQ(-EINVAL, raw(SYS_rt_sigprocmask, 77, at(&old), 0, 8));
}

// Contexts carry masks, given to the kernel inside libc.
static ucontext_t context_of_main, other;
static int turns = 0;
static void on_other_stack() {
  char byte;
  Pipe pipe;
  EXPECT_EQ(1, write(pipe.b, "x", 1));
  EXPECT_EQ(1, raw(SYS_read, pipe.a, at(&byte), 1));
  for (;; ++turns) swapcontext(&other, &context_of_main);
}
static void contexts() {
  EXPECT_EQ(0, getcontext(&other));
  sigfillset(&other.uc_sigmask);
  other.uc_stack.ss_sp = raw_stack;
  other.uc_stack.ss_size = stack_size;
  makecontext(&other, on_other_stack, 0);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(0, swapcontext(&context_of_main, &other));
  EXPECT_EQ(4, turns);
  turns = 0;
}

static void all() {
  made_by_libcs_own(false);
  made_by_libcs_own(true);
  raw_threads();
  raw_processes();
  raw_exec();
  masks();
  contexts();
}

int main() {
  Ticker ticker;
  all();
  Pthread second([] {
    where = "second";
    all();
  });
  second.join();
  return finish();
}
