// SPDX-License-Identifier: Apache-2.0
//
// What a thread is called: its number and its name. The kernel knows the process's first thread by both; every other
// fiber has a number that no kernel thread has, and a name that is only kept.
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "hooks/identity.h"
#include "hooks/thread.h"
#include "scheduler/sys.h"
#include "scheduler/thread_block.h"

namespace coro {
namespace {

constexpr int first_number_of_fibers = 1 << 28;  // scheduler/fiber.cc

int number_of(const Fiber& fiber) { return thread_block::tid(fiber.context.thread_block); }

struct Search {
  int tid;
  Fiber* found;
};

Traits adopted;  // main's when the engine started

// The first kernel thread, whichever runs the first fiber now.
bool is_first_kernel_thread() { return sys::gettid() == sys::getpid(); }

// Sets the name of the process's first kernel thread. 0 or an error number.
int set_kernel_name(const char* name) {
  if (is_first_kernel_thread()) return static_cast<int>(-sys::call(SYS_prctl, PR_SET_NAME, sys::as_long(name)));
  constexpr int at_cwd = -100, write_only = 1;
  char path[] = "/proc/self/comm";  // of the first thread, as `self` is the process
  long fd = sys::call(SYS_openat, at_cwd, sys::as_long(path), write_only, 0);
  if (fd < 0) return static_cast<int>(-fd);
  long written = sys::write(static_cast<int>(fd), name, strlen(name));
  sys::close(static_cast<int>(fd));
  return written < 0 ? static_cast<int>(-written) : 0;
}

// As the kernel: what is too long is cut. 0 or an error number.
int set_name(Fiber& fiber, const char* name) {
  char kept[sizeof fiber.traits.name] = {};
  memcpy(kept, name, strnlen(name, sizeof kept - 1));
  int error = is_first_thread(fiber) ? set_kernel_name(kept) : 0;
  if (!error) memcpy(fiber.traits.name, kept, sizeof kept);
  return error;
}

// The first thread's name may have been changed in /proc.
const char* name_of(Fiber& fiber) {
  if (is_first_thread(fiber) && is_first_kernel_thread())
    sys::call(SYS_prctl, PR_GET_NAME, sys::as_long(fiber.traits.name));
  return fiber.traits.name;
}

}  // namespace

Fiber* fiber_with_tid(int tid) {
  if (Fiber* main = main_fiber())
    if (tid == sys::getpid()) return main;
  if (tid < first_number_of_fibers && tid != sys::getpid()) return nullptr;
  Search search{tid, nullptr};
  each_live_fiber(
      [](Fiber& fiber, void* argument) {
        auto* wanted = static_cast<Search*>(argument);
        if (number_of(fiber) == wanted->tid) wanted->found = &fiber;
      },
      &search);
  return search.found;
}

Fiber* meant(pid_t number) {
  if (!engine_started()) return nullptr;
  return number == 0 ? current : fiber_with_tid(number);
}

Fiber* meant_and_virtual(pid_t& number) {
  Fiber* fiber = meant(number);
  if (!fiber || !is_first_thread(*fiber)) return fiber;
  number = sys::getpid();
  return nullptr;
}

bool is_first_thread(const Fiber& fiber) { return number_of(fiber) == sys::getpid(); }

void adopt_traits() {
  Traits& traits = current->traits;
  sys::call(SYS_prctl, PR_GET_NAME, sys::as_long(traits.name));
  long nice = sys::call(SYS_getpriority, PRIO_PROCESS, 0);  // 20 - nice
  traits.nice = nice > 0 ? static_cast<int>(20 - nice) : 0;
  long policy = sys::call(SYS_sched_getscheduler, 0);
  traits.policy = policy > 0 ? static_cast<int>(policy) : 0;
  sys::call(SYS_sched_getparam, 0, sys::as_long(&traits.priority));
  adopted = traits;
}

Traits traits_of_caller() {
  if (Fiber* self = current) {
    name_of(*self);
    return self->traits;
  }
  Traits traits;
  sys::call(SYS_prctl, PR_GET_NAME, sys::as_long(traits.name));
  return traits;
}

void apply_traits_in_child(Fiber& fiber, bool was_away) {
  if (!fiber.is_main || was_away) set_kernel_name(fiber.traits.name);
  if (fiber.is_main) return;
  set_kernel_schedule(fiber.traits, adopted);
}

// gettid(2): each fiber has its own; main's is the process id.
HOOK(pid_t, gettid, (void)) {
  Fiber* self = current;
  return self ? number_of(*self) : real.gettid();
}

// pthread_setname_np(3), pthread_getname_np(3): kept with the fiber; main's is the process's, in the kernel. libc looks for
// the thread in /proc, where one that has ended is no more.
HOOK(int, pthread_setname_np, (pthread_t id, const char* name)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target) return real.pthread_setname_np(id, name);
  if (strlen(name) >= sizeof target->traits.name) return ERANGE;
  return is_ended(*target) ? ENOENT : set_name(*target, name);
}
HOOK(int, pthread_getname_np, (pthread_t id, char* name, size_t size)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target) return real.pthread_getname_np(id, name, size);
  if (size < sizeof target->traits.name) return ERANGE;
  if (is_ended(*target)) return ENOENT;
  memcpy(name, name_of(*target), sizeof target->traits.name);
  return 0;
}

// prctl(2): PR_SET_NAME and PR_GET_NAME are the fiber's; the rest as libc.
HOOK(int, prctl, (int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)) {
  Fiber* self = current;
  if (!self || (option != PR_SET_NAME && option != PR_GET_NAME)) {
    int result = real.prctl(option, static_cast<long>(a), static_cast<long>(b), static_cast<long>(c), static_cast<long>(d), 0, 0);
    if (result >= 0) note_prctl(option, a, b, c, d);
    return result;
  }
  if (option == PR_SET_NAME) {
    int error = set_name(*self, reinterpret_cast<const char*>(a));
    return error ? static_cast<int>(failed(error)) : 0;
  }
  memcpy(reinterpret_cast<char*>(a), name_of(*self), sizeof self->traits.name);
  return 0;
}

// pthread_getcpuclockid(3): CPU time is the kernel thread's; a fiber's clock is that of whichever runs the caller.
HOOK(int, pthread_getcpuclockid, (pthread_t id, clockid_t* clock)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target || (target->is_main && target != current)) return real.pthread_getcpuclockid(id, clock);
  if (is_ended(*target)) return ESRCH;
  *clock = CLOCK_THREAD_CPUTIME_ID;
  return 0;
}

}  // namespace coro
