// SPDX-License-Identifier: Apache-2.0
//
// Where a thread runs. Fibers run where their hub runs, so the set of a fiber is checked as the kernel would check it,
// kept for those who ask, inherited, and without effect. That of the process's first thread is also set in the kernel,
// for the first kernel thread: a program that pins itself is pinned.
//  - sched_getcpu(3) never names a CPU outside of the caller's set;
//  - the kernel grants a set cut down to what the process's cpuset allows, which is not to be asked for: the first set
//    that reaches beyond what is known to be granted is tried out on the calling kernel thread.
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/thread.h"
#include "scheduler/spinlock.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

// --- sets of CPUs: few distinct ones, each kept once and for ever ---

struct KeptSet {
  cpu_set_t set;
  KeptSet* next;
};
Spinlock keeping;
KeptSet* kept_sets = nullptr;
cpu_set_t granted, refused;  // what setaffinity was seen to grant and not to
const cpu_set_t* of_process = nullptr;  // of fibers that have none: the first thread's, before it changed its own

// Null: no memory.
const cpu_set_t* keep(const cpu_set_t& set) {
  Critical inside;
  Locked hold(keeping);
  for (KeptSet* kept = kept_sets; kept; kept = kept->next)
    if (CPU_EQUAL(&kept->set, &set)) return &kept->set;
  auto* fresh = static_cast<KeptSet*>(malloc(sizeof(KeptSet)));
  if (!fresh) return nullptr;
  *fresh = {set, kept_sets};
  kept_sets = fresh;
  return &fresh->set;
}

cpu_set_t copy_of(const cpu_set_t* set, size_t size) {
  cpu_set_t copy;
  CPU_ZERO(&copy);
  memcpy(&copy, set, size < sizeof copy ? size : sizeof copy);
  return copy;
}

const cpu_set_t* set_of(const Fiber& fiber) {
  return static_cast<const cpu_set_t*>(fiber.traits.affinity ? fiber.traits.affinity : of_process);
}

bool kernel_set_of(int tid, cpu_set_t& set) {
  CPU_ZERO(&set);
  return sys::call(SYS_sched_getaffinity, tid, sizeof set, sys::as_long(&set)) >= 0;
}

// What the kernel would make of the set: tried out on this kernel thread. False: EINVAL.
bool try_out(cpu_set_t& set) {
  cpu_set_t before;
  if (!kernel_set_of(0, before)) return false;
  cpu_set_t wanted = set;
  bool may = sys::call(SYS_sched_setaffinity, 0, sizeof set, sys::as_long(&set)) == 0 && kernel_set_of(0, set);
  sys::call(SYS_sched_setaffinity, 0, sizeof before, sys::as_long(&before));
  if (!may) CPU_ZERO(&set);
  CPU_OR(&granted, &granted, &set);
  CPU_XOR(&wanted, &wanted, &set);
  CPU_OR(&refused, &refused, &wanted);
  return may;
}

// Cuts the set down to what the kernel grants. False: nothing is left (EINVAL).
bool cut_down(cpu_set_t& set) {
  Critical inside;
  Locked hold(keeping);
  cpu_set_t known, unknown;
  CPU_OR(&known, &granted, &refused);
  CPU_AND(&unknown, &set, &known);
  CPU_XOR(&unknown, &unknown, &set);
  if (CPU_COUNT(&unknown) && !try_out(set)) return false;
  CPU_AND(&set, &set, &granted);
  return CPU_COUNT(&set) != 0;
}

// The process's first thread is pinned in the kernel. 0 or an error number.
int pin_first_thread(Fiber& fiber, size_t size, const cpu_set_t* set) {
  cpu_set_t before, after;
  bool known = kernel_set_of(sys::getpid(), before);
  if (real.sched_setaffinity(sys::getpid(), size, set) < 0) return errno;
  if (!of_process && known) of_process = keep(before);
  if (kernel_set_of(sys::getpid(), after)) fiber.traits.affinity = keep(after);
  return 0;
}

// 0 or an error number.
int set_affinity(Fiber& fiber, size_t size, const cpu_set_t* set) {
  KeepErrno keep_errno;
  if (is_first_thread(fiber)) return pin_first_thread(fiber, size, set);
  cpu_set_t wanted = copy_of(set, size);
  if (!cut_down(wanted)) return EINVAL;
  const cpu_set_t* kept = keep(wanted);
  if (!kept) return ENOMEM;
  fiber.traits.affinity = kept;
  return 0;
}

// The kernel judges the size and fills in what the fiber has not set. 0 or an error number.
int get_affinity(const Fiber& fiber, size_t size, cpu_set_t* set) {
  KeepErrno keep_errno;
  if (real.sched_getaffinity(sys::getpid(), size, set) < 0) return errno;
  const cpu_set_t* own = set_of(fiber);
  if (is_first_thread(fiber) || !own) return 0;
  memset(set, 0, size);
  memcpy(set, own, size < sizeof *own ? size : sizeof *own);
  return 0;
}

}  // namespace

int affinity_of(const pthread_attr_t* attributes, Traits& traits) {
  cpu_set_t set, all;
  memset(&all, 0xff, sizeof all);
  if (pthread_attr_getaffinity_np(attributes, sizeof set, &set) || CPU_EQUAL(&set, &all)) return 0;
  if (!cut_down(set)) return EINVAL;
  traits.affinity = keep(set);
  return traits.affinity ? 0 : ENOMEM;
}

bool affinity_of(const Fiber& fiber, cpu_set_t& set) {
  CPU_ZERO(&set);
  return get_affinity(fiber, sizeof set, &set) == 0;
}

// pthread_setaffinity_np(3), pthread_getaffinity_np(3): kept with the fiber; main's also in the kernel.
HOOK(int, pthread_setaffinity_np, (pthread_t id, size_t size, const cpu_set_t* set)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  return target ? set_affinity(*target, size, set) : real.pthread_setaffinity_np(id, size, set);
}
HOOK(int, pthread_getaffinity_np, (pthread_t id, size_t size, cpu_set_t* set)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  return target ? get_affinity(*target, size, set) : real.pthread_getaffinity_np(id, size, set);
}

// sched_setaffinity(2), sched_getaffinity(2): the same by number.
HOOK(int, sched_setaffinity, (pid_t number, size_t size, const cpu_set_t* set)) {
  Fiber* fiber = meant(number);
  return fiber ? to_result(set_affinity(*fiber, size, set)) : real.sched_setaffinity(number, size, set);
}
HOOK(int, sched_getaffinity, (pid_t number, size_t size, cpu_set_t* set)) {
  Fiber* fiber = meant(number);
  return fiber ? to_result(get_affinity(*fiber, size, set)) : real.sched_getaffinity(number, size, set);
}

namespace {

// The CPU that the caller is told: where it runs if that is in its set, else the set's first.
unsigned cpu_to_tell(const cpu_set_t& set, unsigned cpu) {
  if (CPU_ISSET(cpu, &set)) return cpu;
  for (cpu = 0; cpu < CPU_SETSIZE && !CPU_ISSET(cpu, &set);) cpu++;
  return cpu;
}

}  // namespace

// sched_getcpu(3), getcpu(2): a CPU of the fiber's set.
HOOK(int, sched_getcpu, (void)) {
  Fiber* self = current;
  const cpu_set_t* set = self ? set_of(*self) : nullptr;
  if (!set) return real.sched_getcpu();
  unsigned cpu = 0;
  return real.getcpu(&cpu, nullptr) < 0 ? -1 : static_cast<int>(cpu_to_tell(*set, cpu));
}
HOOK(int, getcpu, (unsigned* cpu, unsigned* node)) {
  Fiber* self = current;
  const cpu_set_t* set = self ? set_of(*self) : nullptr;
  int result = real.getcpu(cpu, node);
  if (set && result == 0 && cpu) *cpu = cpu_to_tell(*set, *cpu);
  return result;
}

}  // namespace coro
