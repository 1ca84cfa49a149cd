// SPDX-License-Identifier: Apache-2.0
//
// Signals as the program sees them. Handlers are installed through our sigaction: the kernel calls our trampoline,
// which runs the program's handler at once when the right fiber is running and may be interrupted, and otherwise marks
// the signal pending for the right fiber and wakes it.
#pragma once

#include <fcntl.h>
#include <signal.h>

#include <cstdint>

#include "scheduler/fiber.h"

namespace coro {

enum class Handled : uint8_t {
  none,       // no handler ran: nothing was pending, or all is blocked
  restart,    // handlers ran, all with SA_RESTART
  interrupt,  // a handler without SA_RESTART ran
};

// Runs the pending, unblocked signals' handlers on the running fiber, outside any Wait. May not return (siglongjmp,
// pthread_exit). Keeps errno.
Handled run_handlers(Fiber* fiber);

// Makes `signal` pending for a fiber and wakes it; `shared`: it was sent to the process. 0 or an error number.
int send_to_fiber(Fiber& fiber, int signal, const siginfo_t& info, bool shared = false);
// The fiber has lost its hub to another kernel thread and keeps its own: who sent to it just then has found it nowhere.
void nudge_orphan(const Fiber& fiber, int kernel_thread);
// Before the first signal is sent to a fiber.
void expect_signals();

// While it lives a handler that runs on the fiber ends each of its waits, also if it ran before the wait began: for calls
// that open the mask while they wait (ppoll, sigsuspend).
class UntilHandled {
 public:
  explicit UntilHandled(Fiber* fiber)
      : fiber_(fiber), mark_before_(fiber->handlers_mark), ends_before_(fiber->handlers_end_waits) {
    fiber->handlers_mark = fiber->handlers_run;
    fiber->handlers_end_waits = true;
  }
  ~UntilHandled() {
    fiber_->handlers_mark = mark_before_;
    fiber_->handlers_end_waits = ends_before_;
  }
  UntilHandled(const UntilHandled&) = delete;

 private:
  Fiber* fiber_;
  uint32_t mark_before_;
  bool ends_before_;
};

// From now on masks are virtual: called when the engine starts, on the main fiber, with the alternate stack that it had.
void adopt_signals(const stack_t& alternate);

// The kernel's mask of the calling kernel thread becomes exactly the fiber's while this lives: around fork, exec and
// spawn, whose children inherit it.
class KernelMask {
 public:
  explicit KernelMask(const Fiber* fiber);
  ~KernelMask();
  KernelMask(const KernelMask&) = delete;

 private:
  bool set_ = false;
};

// A signal that came to another handler of ours and is the program's. From that handler.
void forward_signal(int signal, siginfo_t* info, void* context);

// fcntl(2)'s commands about whom a descriptor's signals are for, and the end of its number (signal_owner.cc).
inline bool is_about_owner(int command) {
  return command == F_SETOWN || command == F_SETOWN_EX || command == F_GETOWN || command == F_GETOWN_EX;
}
int control_owner(int fd, int command, long argument);
void forget_owner(int fd);

// In a fork's child, on the forking fiber: drops what was pending for others.
void forget_signals_in_child(Fiber* survivor);

}  // namespace coro
