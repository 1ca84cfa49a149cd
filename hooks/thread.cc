// SPDX-License-Identifier: Apache-2.0
//
// pthread_create makes a fiber. How it ends: thread_end.cc; what it is called and how it is scheduled: thread_name.cc,
// thread_schedule.cc. Keys, setcancelstate, setcanceltype, testcancel and pthread_self need no hook: libc keeps their
// state in the thread block, and every fiber has one.
#include "hooks/thread.h"

#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/signal_table.h"
#include "hooks/audit.h"
#include "hooks/signals.h"
#include "hooks/trap.h"
#include "preload/profile.h"
#include "preload/self.h"
#include "scheduler/check.h"
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
void limit_arenas(int most) {
  constexpr int arena_max = -8;  // M_ARENA_MAX
  auto tune = reinterpret_cast<int (*)(int, int)>(dlsym(RTLD_DEFAULT, "mallopt"));
  if (tune) tune(arena_max, most);
}

void after_hand_off(const Fiber& fiber, int kernel_thread) {
  if (options().patch.covers(Switch::signal)) nudge_orphan(fiber, kernel_thread);
  if (options().audit) note_hand_off(fiber, kernel_thread);
}

// Starts the engine with the first thread. False: the program keeps kernel threads.
bool may_make_fibers() {
  if (engine_started()) return true;
  static bool refused = false;
  if (refused || !options().patch.covers(Switch::thread) || drives_its_own_threads()) return false;
  EngineConfig config;
  config.hubs = hubs_wanted();
  config.loop = loop_kind();
  config.stack_pool = options().stack_pool;
  config.offload_threads = options().offload_threads;
  config.create_thread = real.pthread_create;
  config.join_thread = real.pthread_join;
  config.exit_process = exit;
  bool signals = options().patch.covers(Switch::signal);
  config.deliver_signals = deliver_signals_here;
  config.fault_stacks = signals;
  config.fiber_born = signals ? fiber_born : nullptr;
  config.fiber_ended = signals ? fiber_ended : nullptr;
  config.reason_name = reason_name;
  config.is_traced = options().trace.any() ? is_traced_call : nullptr;
  stack_t mains_alternate{};
  real.sigaltstack(nullptr, &mains_alternate);
  config.load_filter = start_backstop();
  config.handed_off = signals || options().audit ? after_hand_off : nullptr;
  if (signals) expect_signals();
  if (const char* trouble_text = start_engine(config)) {
    if (trouble_text == thread_block::no_kernel_thread) return false;  // real.pthread_create fails as it would alone
    refused = true;
    trouble({"threads stay kernel threads: ", trouble_text});
    return false;
  }
  if (signals) adopt_signals(mains_alternate);
  adopt_traits();
  watch_end_of_main();
  // One arena serves fibers that share a kernel thread; unless the user tuned malloc, spare him the others.
  if (!getenv("MALLOC_ARENA_MAX") && !getenv("GLIBC_TUNABLES")) limit_arenas(config.hubs);
  return true;
}

// Reads what a thread attribute object says. 0 or an error number.
int read_attributes(const pthread_attr_t* attributes, FiberSpec& spec) {
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
  }
  if (spec.stack_size < thread_block::size() + 2048) return EINVAL;
  sigset_t mask;
  if (pthread_attr_getsigmask_np(attributes, &mask) == 0) spec.blocked = to_mask(mask);
  return 0;
}

// What the new thread has from its maker, or from the attributes when they say so.
int choose_traits(const pthread_attr_t* attributes, Traits& traits) {
  traits = traits_of_caller();
  if (int error = affinity_of(attributes, traits)) return error;
  int inherit = PTHREAD_INHERIT_SCHED;
  pthread_attr_getinheritsched(attributes, &inherit);
  traits.explicit_schedule = inherit != PTHREAD_INHERIT_SCHED;
  if (!traits.explicit_schedule) return 0;
  sched_param parameter{};
  pthread_attr_getschedpolicy(attributes, &traits.policy);
  pthread_attr_getschedparam(attributes, &parameter);
  traits.priority = parameter.sched_priority;
  return check_schedule(traits.policy, traits.priority);
}

int create_with(pthread_t* id, const pthread_attr_t* attributes, FiberSpec& spec, size_t stack_size) {
  spec.blocked = current ? current->blocked : sys::signal_mask();
  if (int error = read_attributes(attributes, spec)) return error;
  if (stack_size) spec.stack_size = stack_size;
  if (int error = choose_traits(attributes, spec.traits)) return error;
  return make_fiber(spec, id) ? 0 : EAGAIN;
}

// Without attributes: as pthread_setattr_default_np(3) said, and CORO_STACK_SIZE.
int create(pthread_t* id, const pthread_attr_t* attributes, FiberSpec& spec) {
  if (attributes) return create_with(id, attributes, spec, 0);
  pthread_attr_t defaults;
  if (int error = pthread_getattr_default_np(&defaults)) return error == ENOMEM ? EAGAIN : error;
  int error = create_with(id, &defaults, spec, options().stack_size);
  pthread_attr_destroy(&defaults);
  return error;
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

void tell_schedule(const Traits& traits, pthread_attr_t* attributes) {
  sched_param parameter{traits.priority};
  pthread_attr_setinheritsched(attributes, traits.explicit_schedule ? PTHREAD_EXPLICIT_SCHED : PTHREAD_INHERIT_SCHED);
  pthread_attr_setschedpolicy(attributes, traits.policy);
  pthread_attr_setschedparam(attributes, &parameter);
}

}  // namespace

// pthread_getattr_np(3): the fiber's stack and guard as they are: whole pages; a stack of the program's own has no guard.
HOOK(int, pthread_getattr_np, (pthread_t id, pthread_attr_t* attributes)) {
  Fiber* target = engine_started() ? fiber_of(id) : nullptr;
  if (!target || target->is_main) return real.pthread_getattr_np(id, attributes);
  KeepErrno keep;
  if (int error = pthread_attr_init(attributes)) return error;
  pthread_attr_setguardsize(attributes, target->stack.guard);
  bool detached = target->life.load() & Fiber::flag_detached;
  pthread_attr_setdetachstate(attributes, detached ? PTHREAD_CREATE_DETACHED : PTHREAD_CREATE_JOINABLE);
  tell_schedule(target->traits, attributes);
  cpu_set_t set;
  if (affinity_of(*target, set)) pthread_attr_setaffinity_np(attributes, sizeof set, &set);
  return pthread_attr_setstack(attributes, target->stack.bottom, target->stack.size);
}

}  // namespace coro
