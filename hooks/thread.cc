// SPDX-License-Identifier: Apache-2.0
//
// pthread_create makes a fiber; join, detach, exit and cancel act on it. Keys, setcancelstate, setcanceltype,
// testcancel and pthread_self need no hook: libc keeps their state in the thread block, and every fiber has one.
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "hooks/retry.h"
#include "hooks/signal_table.h"
#include "hooks/signals.h"
#include "preload/self.h"
#include "scheduler/check.h"
#include "scheduler/offload.h"
#include "scheduler/sys.h"
#include "scheduler/thread_block.h"

namespace coro {
namespace {

LoopKind loop_kind() {
  std::string_view name = options().loop;
  if (name == "epoll") return LoopKind::epoll;
  if (name == "poll") return LoopKind::poll;
  if (name == "select") return LoopKind::select;
  if (name == "io_uring") return LoopKind::io_uring;
  return LoopKind::automatic;
}

const char* reason_name(Reason reason) { return name_of(static_cast<Call>(reason)); }

bool is_traced_call(Reason reason) { return reason && options().trace.covers(reason - 1u); }

// glibc's mallopt(3); another allocator in its place may lack it.
void limit_arenas() {
  constexpr int arena_max = -8;  // M_ARENA_MAX
  auto tune = reinterpret_cast<int (*)(int, int)>(dlsym(RTLD_DEFAULT, "mallopt"));
  if (tune) tune(arena_max, 1);
}

// Starts the engine with the first thread. False: the program keeps kernel threads.
bool may_make_fibers() {
  if (engine_started()) return true;
  static bool refused = false;
  if (refused || !options().patch.covers(Switch::thread) || drives_its_own_threads()) return false;
  EngineConfig config;
  config.hubs = options().hubs;
  config.loop = loop_kind();
  config.stack_pool = options().stack_pool;
  config.offload_threads = options().offload_threads;
  config.create_thread = real.pthread_create;
  config.exit_process = exit;
  bool signals = options().patch.covers(Switch::signal);
  config.deliver_signals = deliver_signals_here;
  config.fiber_born = signals ? fiber_born : nullptr;
  config.fiber_ended = signals ? fiber_ended : nullptr;
  config.reason_name = reason_name;
  config.is_traced = options().trace.any() ? is_traced_call : nullptr;
  if (const char* trouble_text = start_engine(config)) {
    refused = true;
    trouble({"threads stay kernel threads: ", trouble_text});
    return false;
  }
  if (signals) adopt_signals();
  // One arena serves fibers that share a kernel thread; unless the user tuned malloc, spare him the others.
  if (options().hubs == 1 && !getenv("MALLOC_ARENA_MAX") && !getenv("GLIBC_TUNABLES")) limit_arenas();
  return true;
}

size_t default_stack_size() {
  pthread_attr_t defaults;
  size_t size = 8 << 20;
  if (pthread_getattr_default_np(&defaults) == 0) {
    pthread_attr_getstacksize(&defaults, &size);
    pthread_attr_destroy(&defaults);
  }
  return size;
}

// Reads what a thread attribute object says. 0 or an error number.
int read_attributes(const pthread_attr_t* attributes, FiberSpec& spec) {
  if (!attributes) {
    size_t ours = options().stack_size;
    spec.stack_size = ours ? ours : default_stack_size();
    return 0;
  }
  int detached = 0;
  pthread_attr_getdetachstate(attributes, &detached);
  spec.detached = detached == PTHREAD_CREATE_DETACHED;
  pthread_attr_getguardsize(attributes, &spec.guard);
  pthread_attr_getstacksize(attributes, &spec.stack_size);
  void* low = nullptr;
  size_t size = 0;
  pthread_attr_getstack(attributes, &low, &size);
  // Without pthread_attr_setstack glibc keeps a null top: low is then -size.
  if (reinterpret_cast<size_t>(low) + size != 0) {
    spec.users_stack = low;
    spec.stack_size = size;
    if (size < thread_block::size() + 2048) return EINVAL;
  }
  sigset_t mask;
  if (pthread_attr_getsigmask_np(attributes, &mask) == 0) spec.blocked = to_mask(mask);
  return 0;
}

// Scheduling attributes are checked as the kernel would and kept for those who ask; hubs do not have priorities.
void keep_scheduling(const pthread_attr_t* attributes, Fiber& fiber) {
  fiber.schedule_policy = SCHED_OTHER;
  fiber.schedule_priority = 0;
  int inherit = PTHREAD_INHERIT_SCHED;
  if (attributes) pthread_attr_getinheritsched(attributes, &inherit);
  if (inherit == PTHREAD_INHERIT_SCHED) {
    if (!current) return;
    fiber.schedule_policy = current->schedule_policy;
    fiber.schedule_priority = current->schedule_priority;
    return;
  }
  sched_param parameter{};
  pthread_attr_getschedpolicy(attributes, &fiber.schedule_policy);
  pthread_attr_getschedparam(attributes, &parameter);
  fiber.schedule_priority = parameter.sched_priority;
}

int create(pthread_t* id, const pthread_attr_t* attributes, FiberSpec& spec) {
  spec.blocked = current ? current->blocked : sys::signal_mask();
  if (int error = read_attributes(attributes, spec)) return error;
  Critical inside;
  Fiber* fiber = make_fiber(spec, id);
  if (!fiber) return EAGAIN;
  keep_scheduling(attributes, *fiber);
  return 0;
}

}  // namespace

// pthread_create(3): a fiber, ready to run; the caller goes on.
HOOK(int, pthread_create, (pthread_t* id, const pthread_attr_t* attributes, void* (*start)(void*), void* argument)) {
  KeepErrno keep;
  if (!may_make_fibers()) return real.pthread_create(id, attributes, start, argument);
  gate<Call::pthread_create>();
  FiberSpec spec;
  spec.start = start;
  spec.argument = argument;
  return create(id, attributes, spec);
}

// thrd_create(3): as pthread_create, for a routine that returns int.
HOOK(int, thrd_create, (thrd_t * id, thrd_start_t start, void* argument)) {
  if (!may_make_fibers()) return real.thrd_create(id, start, argument);
  gate<Call::thrd_create>();
  FiberSpec spec;
  spec.start = reinterpret_cast<void* (*)(void*)>(reinterpret_cast<void*>(start));
  spec.argument = argument;
  spec.c11 = true;
  return create(id, nullptr, spec) ? thrd_nomem : thrd_success;
}

namespace {

// Whether the caller may become the joiner of the target (nptl/pthread_join_common.c). 0 or an error number.
int begin_join(Fiber* self, Fiber& target) {
  if (target.life.load() & Fiber::flag_detached) return EINVAL;
  if (&target == self || self->joiner == &target) return EDEADLK;
  Fiber* nobody = nullptr;
  return std::atomic_ref<Fiber*>(target.joiner).compare_exchange_strong(nobody, self) ? 0 : EINVAL;
}

// Parks until the target is done. 0 or ETIMEDOUT.
int wait_done(Call call, Fiber* self, Fiber& target, const Deadline& deadline) {
  while (!is_done(target)) {
    Woken woken;
    {
      Wait wait(to_reason(call), Cancellable::yes);
      wait.enqueue(&target.life);
      if (is_done(target)) break;
      wait.until(deadline);
      woken = wait.park();
    }
    if (woken == Woken::timed_out && !is_done(target)) return ETIMEDOUT;
    if (self->is_cancelled()) {
      target.joiner = nullptr;
      test_cancel(self);
    }
    settle(woken, self, Rule::restarts);
  }
  return 0;
}

int join(Call call, Fiber* self, pthread_t id, void** result, const Deadline& deadline) {
  KeepErrno keep;
  Fiber* target = fiber_of(id);
  if (!target) {
    Away away(to_reason(call));
    return real.pthread_join(id, result);
  }
  if (int error = begin_join(self, *target)) return error;
  if (self->is_cancelled()) {
    target->joiner = nullptr;
    test_cancel(self);
  }
  if (int error = wait_done(call, self, *target, deadline)) {
    target->joiner = nullptr;
    return error;
  }
  if (result) *result = target->result;
  Critical inside;
  forget_fiber(*target);
  return 0;
}

bool has_valid_nanoseconds(const timespec* time) {
  return !time || (time->tv_nsec >= 0 && time->tv_nsec < 1'000'000'000);
}

}  // namespace

// pthread_join(3): parks until the thread ends.
HOOK(int, pthread_join, (pthread_t id, void** result)) {
  Fiber* self = gate<Call::pthread_join>();
  if (!self) return real.pthread_join(id, result);
  return join(Call::pthread_join, self, id, result, Deadline::never());
}

// pthread_clockjoin_np(3), pthread_timedjoin_np(3): until an absolute time.
HOOK(int, pthread_clockjoin_np, (pthread_t id, void** result, clockid_t clock, const timespec* time)) {
  Fiber* self = gate<Call::pthread_clockjoin_np>();
  if (!self) return real.pthread_clockjoin_np(id, result, clock, time);
  if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC) return EINVAL;
  if (!has_valid_nanoseconds(time) && !is_done(*fiber_of(id))) return EINVAL;
  Deadline deadline = time ? Deadline::at_time(clock, *time) : Deadline::never();
  return join(Call::pthread_clockjoin_np, self, id, result, deadline);
}
HOOK(int, pthread_timedjoin_np, (pthread_t id, void** result, const timespec* time)) {
  Fiber* self = gate<Call::pthread_timedjoin_np>();
  if (!self) return real.pthread_timedjoin_np(id, result, time);
  return hook_pthread_clockjoin_np(id, result, CLOCK_REALTIME, time);
}

// pthread_tryjoin_np(3): EBUSY while it runs.
HOOK(int, pthread_tryjoin_np, (pthread_t id, void** result)) {
  Fiber* self = gate<Call::pthread_tryjoin_np>();
  Fiber* target = self ? fiber_of(id) : nullptr;
  if (!target) return real.pthread_tryjoin_np(id, result);
  if (!is_done(*target)) {
    note_fruitless(self);
    return EBUSY;
  }
  return join(Call::pthread_tryjoin_np, self, id, result, Deadline::never());
}

// thrd_join(3).
HOOK(int, thrd_join, (thrd_t id, int* result)) {
  Fiber* self = gate<Call::thrd_join>();
  if (!self) return real.thrd_join(id, result);
  void* value = nullptr;
  if (join(Call::thrd_join, self, id, &value, Deadline::never())) return thrd_error;
  if (result) *result = static_cast<int>(reinterpret_cast<intptr_t>(value));
  return thrd_success;
}

// pthread_detach(3).
HOOK(int, pthread_detach, (pthread_t id)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target) return real.pthread_detach(id);
  gate<Call::pthread_detach>();
  Critical inside;
  return detach_fiber(*target) ? 0 : EINVAL;
}
HOOK(int, thrd_detach, (thrd_t id)) {
  return hook_pthread_detach(id) ? thrd_error : thrd_success;
}

namespace {

// libc ends main's frame like this: if it is the last real thread, exit(0), else it ends the kernel thread
// (sysdeps/nptl/libc_start_call_main.h). The kernel thread carries a hub, so it must be the last: exit(0) then first
// runs what was registered last, which waits for the other fibers. The exit status is 0, as when the last thread ends.
void wait_for_others() { wait_until_alone(to_reason(Call::pthread_exit)); }

void prepare_exit_of_main() {
  atexit(wait_for_others);
  __atomic_store_n(thread_block::real_thread_count(), 1u, __ATOMIC_SEQ_CST);
}

}  // namespace

// pthread_exit(3): unwinds the fiber, running cleanup handlers and destructors.
HOOK(void, pthread_exit, (void* result)) {
  if (Fiber* self = current) {
    gate<Call::pthread_exit>();
    self->exited = true;
    self->result = result;
    if (self->is_main) prepare_exit_of_main();
  }
  real.pthread_exit(result);
  __builtin_unreachable();
}
HOOK(void, thrd_exit, (int result)) { hook_pthread_exit(reinterpret_cast<void*>(static_cast<intptr_t>(result))); }

namespace {

// A fiber that is away blocks in the kernel like any thread. libc marks its cancellation points by the asynchronous bit
// while it is in one (nptl/cancellation.c); SIGCANCEL interrupts it, and ours acts as libc's own handler does.
void on_cancel_signal(int, siginfo_t*, void*) {
  Fiber* self = current;
  if (!self || !self->is_cancelled()) return;
  if (*self->cancel_word & thread_block::cancel_asynchronous) pthread_testcancel();
}

// The kernel's struct sigaction. libc refuses to install a handler for SIGCANCEL, so we do it ourselves, with the
// restorer that libc gives to every handler (its unwind information makes pthread_exit out of a handler work).
struct KernelAction {
  void (*handler)(int, siginfo_t*, void*);
  unsigned long flags;
  void* restorer;
  uint64_t mask;
};
constexpr unsigned long has_restorer = 0x04000000;
constexpr int sigcancel = 32;

void install_cancel_handler() {
  struct sigaction probe {}, before {};
  KernelAction model{};
  probe.sa_handler = [](int) {};
  real.sigaction(SIGRTMAX, &probe, &before);
  sys::call(SYS_rt_sigaction, SIGRTMAX, 0, sys::as_long(&model), 8);
  real.sigaction(SIGRTMAX, &before, nullptr);
  KernelAction ours{on_cancel_signal, SA_SIGINFO | has_restorer, model.restorer, 0};
  sys::call(SYS_rt_sigaction, sigcancel, sys::as_long(&ours), 0, 8);
}

void interrupt_away(Fiber& target) {
  int helper = away_on(target);
  if (!helper) return;
  static std::atomic<bool> installed{false};
  if (!installed.exchange(true)) install_cancel_handler();
  sys::call(SYS_tgkill, sys::getpid(), helper, sigcancel);
}

}  // namespace

// pthread_cancel(3): deferred; acted on at the target's next cancellation point, at once if it is parked in one.
HOOK(int, pthread_cancel, (pthread_t id)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target) return real.pthread_cancel(id);
  gate<Call::pthread_cancel>();
  if (is_ended(*target)) return 0;
  using namespace thread_block;
  int before = __atomic_fetch_or(target->cancel_word, cancel_requested, __ATOMIC_SEQ_CST);
  if (before & (cancel_requested | cancel_exiting | cancel_disabled)) return 0;
  if (target == current) {
    if (before & cancel_asynchronous) pthread_testcancel();
    return 0;
  }
  Critical inside;
  wake_cancelled(*target, before & cancel_asynchronous);
  interrupt_away(*target);
  return 0;
}

// gettid(2): each fiber has its own; main's is the process id.
HOOK(pid_t, gettid, (void)) {
  Fiber* self = current;
  return self ? thread_block::tid(self->context.thread_block) : real.gettid();
}

// pthread_getattr_np(3): the fiber's stack and guard as they are.
HOOK(int, pthread_getattr_np, (pthread_t id, pthread_attr_t* attributes)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target || target->is_main) return real.pthread_getattr_np(id, attributes);
  KeepErrno keep;
  if (int error = pthread_attr_init(attributes)) return error;
  pthread_attr_setguardsize(attributes, target->asked_guard);
  bool detached = target->life.load() & Fiber::flag_detached;
  pthread_attr_setdetachstate(attributes, detached ? PTHREAD_CREATE_DETACHED : PTHREAD_CREATE_JOINABLE);
  pthread_attr_setschedpolicy(attributes, target->schedule_policy);
  return pthread_attr_setstack(attributes, target->stack.bottom, target->stack.size);
}

// pthread_setname_np(3), pthread_getname_np(3): kept with the fiber; main's is the process's, in the kernel.
HOOK(int, pthread_setname_np, (pthread_t id, const char* name)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target || target->is_main) return real.pthread_setname_np(id, name);
  size_t length = strlen(name);
  if (length >= sizeof target->name) return ERANGE;
  memset(target->name, 0, sizeof target->name);
  memcpy(target->name, name, length);
  return 0;
}
HOOK(int, pthread_getname_np, (pthread_t id, char* name, size_t size)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target || target->is_main || !target->name[0])
    return real.pthread_getname_np(main_fiber() && target ? main_fiber()->id() : id, name, size);
  if (size < sizeof target->name) return ERANGE;
  memcpy(name, target->name, sizeof target->name);
  return 0;
}

namespace {

int remember_affinity(Fiber& fiber, const cpu_set_t& set) {
  if (!fiber.affinity) fiber.affinity = malloc(sizeof set);
  if (!fiber.affinity) return ENOMEM;
  memcpy(fiber.affinity, &set, sizeof set);
  return 0;
}

}  // namespace

// pthread_setaffinity_np(3): checked as the kernel checks it and remembered. Fibers run where their hub runs.
HOOK(int, pthread_setaffinity_np, (pthread_t id, size_t size, const cpu_set_t* set)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target || target->is_main) return real.pthread_setaffinity_np(id, size, set);
  cpu_set_t allowed, both;
  CPU_ZERO(&allowed);
  if (sys::call(SYS_sched_getaffinity, sys::getpid(), sizeof allowed, sys::as_long(&allowed)) < 0) return EINVAL;
  size_t bytes = size < sizeof both ? size : sizeof both;
  CPU_ZERO(&both);
  memcpy(&both, set, bytes);
  CPU_AND(&both, &both, &allowed);
  if (CPU_COUNT(&both) == 0) return EINVAL;
  return remember_affinity(*target, both);
}
HOOK(int, pthread_getaffinity_np, (pthread_t id, size_t size, cpu_set_t* set)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target || target->is_main) return real.pthread_getaffinity_np(id, size, set);
  if (!target->affinity) return real.pthread_getaffinity_np(main_fiber() ? main_fiber()->id() : pthread_self(), size, set);
  memset(set, 0, size);
  memcpy(set, target->affinity, size < sizeof(cpu_set_t) ? size : sizeof(cpu_set_t));
  return 0;
}

namespace {

int check_priority(int policy, int priority) {
  int least = sched_get_priority_min(policy), most = sched_get_priority_max(policy);
  return least < 0 || priority < least || priority > most ? EINVAL : 0;
}

}  // namespace

// pthread_setschedparam(3) and friends: checked, remembered, without effect among fibers.
HOOK(int, pthread_setschedparam, (pthread_t id, int policy, const sched_param* parameter)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target || target->is_main) return real.pthread_setschedparam(id, policy, parameter);
  KeepErrno keep;
  if (int error = check_priority(policy, parameter->sched_priority)) return error;
  target->schedule_policy = policy;
  target->schedule_priority = parameter->sched_priority;
  return 0;
}
HOOK(int, pthread_setschedprio, (pthread_t id, int priority)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target || target->is_main) return real.pthread_setschedprio(id, priority);
  KeepErrno keep;
  if (int error = check_priority(target->schedule_policy, priority)) return error;
  target->schedule_priority = priority;
  return 0;
}
HOOK(int, pthread_getschedparam, (pthread_t id, int* policy, sched_param* parameter)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target || target->is_main) return real.pthread_getschedparam(id, policy, parameter);
  *policy = target->schedule_policy;
  parameter->sched_priority = target->schedule_priority;
  return 0;
}

// pthread_getcpuclockid(3): CPU time is the kernel thread's; a fiber's clock is that of the process's first thread.
HOOK(int, pthread_getcpuclockid, (pthread_t id, clockid_t* clock)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target || target->is_main) return real.pthread_getcpuclockid(id, clock);
  if (is_ended(*target)) return ESRCH;
  *clock = CLOCK_THREAD_CPUTIME_ID;
  return 0;
}

}  // namespace coro
