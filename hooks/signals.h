// SPDX-License-Identifier: Apache-2.0
//
// Signals as the program sees them. Handlers are installed through our sigaction: the kernel calls our trampoline,
// which runs the program's handler at once when the right fiber is running and may be interrupted, and otherwise marks
// the signal pending for the right fiber and wakes it.
#pragma once

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

// Makes `signal` pending for a fiber and wakes it. 0 or an error number.
int send_to_fiber(Fiber& fiber, int signal, const siginfo_t& info);

// From now on masks are virtual: called when the engine starts, on the main fiber.
void adopt_signals();

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

// In a fork's child, on the forking fiber: drops what was pending for others.
void forget_signals_in_child(Fiber* survivor);

}  // namespace coro
