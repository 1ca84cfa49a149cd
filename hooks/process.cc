// SPDX-License-Identifier: Apache-2.0
//
// fork and its kin, and the exits that run no handlers. libc's own fork does the work, on the fiber's stack: the child's
// only thread is that fiber. Where the carrier has the backstop's filter, the fiber is on a clean helper meanwhile. All
// else that is ours hangs on fork handlers, not on the hooks, so that forks inside libc (daemon, forkpty) are covered too.
//  - The child inherits the kernel's signal mask: the carrier's becomes the fiber's for the fork;
//  - between our prepare handler and our parent or child handler only libc itself runs: nothing parks, no handler;
//  - what other kernel threads were doing is undone in the child by restart_engine_in_child(), before any handler of
//    the program's runs there;
//  - vfork's child would run on this fiber's stack, in memory that other kernel threads go on changing, and could park:
//    once the engine runs it is given fork's semantics. Before, it is libc's, and no frame of ours may sit between.
#include "hooks/process.h"

#include "hooks/clean_helper.h"
#include "hooks/fd_table.h"
#include "hooks/identity.h"
#include "hooks/signals.h"
#include "hooks/thread.h"
#include "scheduler/carrier.h"
#include "scheduler/offload.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

// libc's fork takes this lock of its own (recursive) after the last handler, ours. Whoever holds it
// may be in a write that needs the engine to end, fflush(NULL) in a full pipe: so it is taken while the engine runs.
extern "C" void _IO_list_lock();
extern "C" void _IO_list_unlock();
extern "C" void _IO_list_resetlock();

Identity wanted_in_child;  // of the forking fiber, whose helper has that of others

// Lets signal handlers run again, those that came meanwhile at once.
void leave_critical(Fiber* fiber) {
  Critical::leave(fiber);
  Critical now;
}

// libc's function that hides a fork, in the child: 0, 1 and 2 now mean something else.
void standard_descriptors_died() {
  for (int fd = 0; fd < 3; fd++) died(fd);
}

}  // namespace

void before_fork() {
  Fiber* fiber = current;
  if (!fiber) return;
  Critical::enter(fiber);
  if (away_on(*fiber)) wanted_in_child = identity_of(*fiber);
  sys::set_exact_signal_mask(fiber->blocked);
  hold_engine();
}

void after_fork_in_parent() {
  KeepErrno keep;
  note_fork();
  Fiber* fiber = current;
  if (!fiber) return;
  release_engine();
  if (fiber->hub.load(std::memory_order_relaxed)) sys::set_signal_mask(carrier_mask());  // else it is the fiber's
  leave_critical(fiber);
}

// The kernel's mask stays the fiber's: it is the only one now.
void after_fork_in_child() {
  KeepErrno keep;
  note_fork();
  Fiber* fiber = current;
  if (!fiber) return;
  release_engine();
  bool was_away = away_on(*fiber);
  restart_engine_in_child();
  bare_child = false;
  close_child_handles();
  forget_signals_in_child(fiber);
  if (was_away) assume_identity(wanted_in_child);
  apply_traits_in_child(*fiber, was_away);
  leave_critical(fiber);
}

namespace {

void prepare() {
  if (current) _IO_list_lock();
  before_fork();
}

void go_on_in_parent() {
  after_fork_in_parent();
  if (current) _IO_list_unlock();
}

void go_on_in_child() {
  if (current) _IO_list_resetlock();
  after_fork_in_child();
}

}  // namespace

void go_on_in_bare_child() {
  after_fork_in_child();
  bare_child = true;
}

void watch_forks() { pthread_atfork(prepare, go_on_in_parent, go_on_in_child); }

// fork(2): the child has one fiber, the caller, and can make new ones.
HOOK(pid_t, fork, (void)) {
  return run_clean<Call::fork>([] { return real.fork(); });
}
HOOK_ALIAS(__fork, fork);

// _Fork(3): as fork, without handlers of the program's, and without libc's hold on its own locks.
HOOK(pid_t, _Fork, (void)) {
  return run_clean<Call::_Fork>([] {
    before_fork();
    pid_t pid = real._Fork();
    if (pid == 0)
      go_on_in_bare_child();
    else
      after_fork_in_parent();
    return pid;
  });
}

namespace {

pid_t fork_for_vfork() {
  return run_clean<Call::vfork>([] { return real.fork(); });
}

extern "C" __attribute__((used, visibility("hidden"))) pid_t (*coro_vfork_target())() {
  resolve_real();
  return engine_started() ? fork_for_vfork : real.vfork;
}

}  // namespace

// vfork(2): libc's own in a program without threads; fork's semantics in one with. A tail jump: it returns twice.
extern "C" __attribute__((naked)) pid_t hook_vfork(void) __asm__("vfork");
HOOK(pid_t, vfork, (void)) {
  __asm__(
      "subq $8, %rsp\n\t"
      ".cfi_adjust_cfa_offset 8\n\t"
      "call coro_vfork_target\n\t"
      "addq $8, %rsp\n\t"
      ".cfi_adjust_cfa_offset -8\n\t"
      "jmp *%rax");
}
HOOK_ALIAS(__vfork, vfork);

// daemon(3): as libc.
HOOK(int, daemon, (int nochdir, int noclose)) {
  int result = run_clean<Call::daemon>([&] { return real.daemon(nochdir, noclose); });
  if (result == 0 && !noclose) standard_descriptors_died();
  return result;
}

// forkpty(3): as libc.
HOOK(int, forkpty, (int* master, char* name, const termios* mode, const winsize* size)) {
  int result = run_clean<Call::forkpty>([&] { return real.forkpty(master, name, mode, size); });
  if (result == 0) standard_descriptors_died();
  return result;
}

namespace {

// A child of libc's vfork runs in its parent's memory: it must not write, and so use up, its parent's report. That
// happens only before the engine runs, when there is nothing to report.
void report() {
  if (engine_started()) report_at_exit();
}

}  // namespace

// _exit(2): as libc, after the report.
HOOK(void, _exit, (int status)) {
  report();
  real._exit(status);
}

HOOK(void, _Exit, (int status)) {
  report();
  real._Exit(status);
}

HOOK(void, quick_exit, (int status)) {
  report();
  real.quick_exit(status);
}

}  // namespace coro
