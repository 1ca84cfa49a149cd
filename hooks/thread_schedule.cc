// SPDX-License-Identifier: Apache-2.0
//
// How urgently a thread runs. Fibers run when their hub lets them, so what a fiber asks for is checked as the kernel
// would check it, kept for those who ask, inherited, and without effect. For the process's first thread it is also done
// in the kernel, for the first kernel thread: a program that renices itself is reniced.
// A call by number means a fiber by 0 (the caller) or by its tid; other numbers are the kernel's business.
#include <sched.h>
#include <sys/resource.h>

#include "hooks/thread.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

// CAP_SYS_NICE is effective.
bool may_raise_freely() {
  struct {
    uint32_t version = 0x20080522;  // _LINUX_CAPABILITY_VERSION_3
    int pid = 0;
  } header;
  struct {
    uint32_t effective, permitted, inheritable;
  } data[2] = {};
  constexpr uint32_t sys_nice = 1u << 23;
  return sys::call(SYS_capget, sys::as_long(&header), sys::as_long(data)) == 0 && data[0].effective & sys_nice;
}

rlim_t soft_limit(int what) {
  rlimit limit{};
  sys::call(SYS_prlimit64, 0, what, 0, sys::as_long(&limit));
  return limit.rlim_cur;
}

constexpr int reset_on_fork = 0x40000000;  // SCHED_RESET_ON_FORK

}  // namespace

int check_schedule(int policy, int priority) {
  policy &= ~reset_on_fork;
  bool realtime = policy == SCHED_FIFO || policy == SCHED_RR;
  if (!realtime && policy != SCHED_OTHER && policy != SCHED_BATCH && policy != SCHED_IDLE) return EINVAL;
  if (priority < (realtime ? 1 : 0) || priority > (realtime ? 99 : 0)) return EINVAL;
  if (realtime && static_cast<rlim_t>(priority) > soft_limit(RLIMIT_RTPRIO) && !may_raise_freely()) return EPERM;
  return 0;
}

namespace {

int set_schedule(Fiber& fiber, int policy, int priority) {
  if (int error = check_schedule(policy, priority)) return error;
  fiber.traits.policy = policy;
  fiber.traits.priority = priority;
  return 0;
}

// The first thread's, in the kernel and remembered for those who inherit it. -1 and errno.
template <class SetInKernel>
int set_first_thread(Fiber& fiber, int policy, int priority, SetInKernel set) {
  int result = set();
  if (result == 0) {
    fiber.traits.policy = policy;
    fiber.traits.priority = priority;
  }
  return result;
}

}  // namespace

// pthread_setschedparam(3) and friends: checked, kept with the fiber; main's in the kernel.
HOOK(int, pthread_setschedparam, (pthread_t id, int policy, const sched_param* parameter)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target) return real.pthread_setschedparam(id, policy, parameter);
  if (is_ended(*target)) return ESRCH;
  int priority = parameter->sched_priority;
  if (!is_first_thread(*target)) return set_schedule(*target, policy, priority);
  return set_first_thread(*target, policy, priority, [&] { return real.pthread_setschedparam(id, policy, parameter); });
}
HOOK(int, pthread_setschedprio, (pthread_t id, int priority)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target) return real.pthread_setschedprio(id, priority);
  if (is_ended(*target)) return ESRCH;
  int policy = target->traits.policy;
  if (!is_first_thread(*target)) return set_schedule(*target, policy, priority);
  return set_first_thread(*target, policy, priority, [&] { return real.pthread_setschedprio(id, priority); });
}
HOOK(int, pthread_getschedparam, (pthread_t id, int* policy, sched_param* parameter)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target || is_first_thread(*target)) return real.pthread_getschedparam(id, policy, parameter);
  if (is_ended(*target)) return ESRCH;
  *policy = target->traits.policy & ~reset_on_fork;
  parameter->sched_priority = target->traits.priority;
  return 0;
}

// sched_setscheduler(2) and friends: the same by number.
HOOK(int, sched_setscheduler, (pid_t number, int policy, const sched_param* parameter)) {
  Fiber* fiber = meant(number);
  if (!fiber) return real.sched_setscheduler(number, policy, parameter);
  int priority = parameter->sched_priority;
  if (!is_first_thread(*fiber)) return to_result(set_schedule(*fiber, policy, priority));
  return set_first_thread(*fiber, policy, priority,
                          [&] { return real.sched_setscheduler(sys::getpid(), policy, parameter); });
}
HOOK_ALIAS(__sched_setscheduler, sched_setscheduler);
HOOK(int, sched_getscheduler, (pid_t number)) {
  Fiber* fiber = meant_and_virtual(number);
  return fiber ? fiber->traits.policy : real.sched_getscheduler(number);
}
HOOK_ALIAS(__sched_getscheduler, sched_getscheduler);
HOOK(int, sched_setparam, (pid_t number, const sched_param* parameter)) {
  Fiber* fiber = meant(number);
  if (!fiber) return real.sched_setparam(number, parameter);
  int policy = fiber->traits.policy, priority = parameter->sched_priority;
  if (!is_first_thread(*fiber)) return to_result(set_schedule(*fiber, policy, priority));
  return set_first_thread(*fiber, policy, priority, [&] { return real.sched_setparam(sys::getpid(), parameter); });
}
HOOK(int, sched_getparam, (pid_t number, sched_param* parameter)) {
  Fiber* fiber = meant_and_virtual(number);
  if (!fiber) return real.sched_getparam(number, parameter);
  parameter->sched_priority = fiber->traits.priority;
  return 0;
}
HOOK_ALIAS(__sched_getparam, sched_getparam);

namespace {

int within_bounds(int nice) { return nice < -20 ? -20 : nice > 19 ? 19 : nice; }

// 0 or EACCES, as setpriority(2).
int set_nice(Fiber& fiber, int nice) {
  nice = within_bounds(nice);
  bool lower = nice < fiber.traits.nice;
  if (lower && static_cast<rlim_t>(20 - nice) > soft_limit(RLIMIT_NICE) && !may_raise_freely()) return EACCES;
  fiber.traits.nice = nice;
  return 0;
}

}  // namespace

void set_kernel_schedule(const Traits& traits, const Traits& before) {
  KeepErrno keep_errno;
  auto* set = static_cast<const cpu_set_t*>(traits.affinity);
  if (set) real.sched_setaffinity(0, sizeof *set, set);
  if (traits.nice != before.nice) real.setpriority(PRIO_PROCESS, 0, traits.nice);
  sched_param parameter{};
  parameter.sched_priority = traits.priority;
  bool same = traits.policy == before.policy && traits.priority == before.priority;
  if (!same) real.sched_setscheduler(0, traits.policy, &parameter);
}

// sched_rr_get_interval(2): for a policy other than SCHED_RR the kernel answers by what the nice value gives; so it is asked of the
// calling kernel thread.
HOOK(int, sched_rr_get_interval, (pid_t number, timespec* interval)) {
  return real.sched_rr_get_interval(meant_and_virtual(number) ? 0 : number, interval);
}

// setpriority(2), getpriority(2): of one thread, kept with the fiber; main's in the kernel.
HOOK(int, setpriority, (__priority_which_t which, id_t who, int nice)) {
  Fiber* fiber = which == PRIO_PROCESS ? meant(static_cast<pid_t>(who)) : nullptr;
  if (!fiber) return real.setpriority(which, who, nice);
  if (!is_first_thread(*fiber)) return to_result(set_nice(*fiber, nice));
  int result = real.setpriority(which, static_cast<id_t>(sys::getpid()), nice);
  if (result == 0) fiber->traits.nice = within_bounds(nice);
  return result;
}
HOOK(int, getpriority, (__priority_which_t which, id_t who)) {
  auto number = static_cast<pid_t>(who);
  Fiber* fiber = which == PRIO_PROCESS ? meant_and_virtual(number) : nullptr;
  return fiber ? fiber->traits.nice : real.getpriority(which, static_cast<id_t>(number));
}

// nice(2): EPERM where setpriority says EACCES.
HOOK(int, nice, (int change)) {
  Fiber* self = current;
  if (!self) return real.nice(change);
  int wanted = within_bounds(self->traits.nice + change);
  if (hook_setpriority(PRIO_PROCESS, 0, wanted) == 0) return wanted;
  errno = errno == EACCES ? EPERM : errno;
  return -1;
}

}  // namespace coro
