// SPDX-License-Identifier: Apache-2.0
//
// What the files of the signals family share: delivery (signals.cc), the queue, the masks, and the hooks (signal_*.cc).
#pragma once

#include <signal.h>
#include <ucontext.h>

#include <cstdint>

#include "scheduler/fiber.h"

namespace coro {

constexpr int signal_count = 64;
constexpr uint64_t bit_of(int signal) { return uint64_t{1} << (signal - 1); }
// SIGKILL, SIGSTOP, and libc's SIGCANCEL and SIGSETXID (nptl/internal-signals.h).
constexpr uint64_t never_blocked = bit_of(SIGKILL) | bit_of(SIGSTOP) | bit_of(32) | bit_of(33);

inline uint64_t to_mask(const sigset_t& set) { return set.__val[0]; }
inline void from_mask(uint64_t mask, sigset_t& set) {
  sigemptyset(&set);
  set.__val[0] = mask;
}

const struct sigaction& action_of(int signal);  // as the program set it
inline bool has_handler(int signal) {
  auto handler = action_of(signal).sa_handler;
  return handler != SIG_DFL && handler != SIG_IGN;
}

// The kernel's mask in our trampoline. All but libc's own two: setuid's broadcast must reach a kernel thread there, too.
constexpr uint64_t closed_mask = ~(bit_of(32) | bit_of(33) | bit_of(SIGSYS));  // see sys::set_signal_mask

int install_action(int signal, const struct sigaction& action);  // -1 and errno, as sigaction(2)
void set_default_action(int signal);

// The fiber's virtual mask, and with it perhaps the carriers' kernel mask. Does not run what becomes deliverable.
void set_blocked(Fiber& fiber, uint64_t mask);

// Takes what the kernel has pending, of signals that its mask blocks here, to whoever is to have it. On a fiber.
void fetch_from_kernel(uint64_t set);

// In a fork's child: only the survivor's mask counts.
void recount_in_child(Fiber& survivor);

// What was sent to the process while no fiber accepted it. Not a fiber that runs.
Fiber& process_signals();

// Queues one instance of the signal and sets the pending bit. False: no room. Any instruction; never waits.
bool enqueue_info(Fiber& fiber, int signal, const siginfo_t& info, bool shared);

// Takes the oldest queued instance of the signal; clears the pending bit with the last. False: none is there.
bool dequeue_info(Fiber& fiber, int signal, siginfo_t& info);

// Takes one pending signal of the set that was directed at the fiber, lowest number first.
bool take_pending(Fiber& fiber, uint64_t set, siginfo_t& info);

// Makes what is pending for one, of the set, pending for another; `shared_only`: what was sent to the process.
void move_pending(Fiber& from, Fiber& to, uint64_t set, bool shared_only);
void drop_pending(Fiber& fiber, uint64_t set);
void drop_pending_timer(int timer);  // its expiries, whoever has them
void drop_queued_signals();

// The fiber does not block it, or is in sigwait for it.
inline bool accepts(const Fiber& fiber, uint64_t bit) { return !(fiber.blocked & bit) || fiber.awaited & bit; }

// A signal for the process: to a fiber that accepts it, else it waits until one does. Any instruction.
void send_to_process(int signal, const siginfo_t& info);
// The first kernel thread has the process's number: who sends a signal to that thread from outside means main.
bool is_for_main(const siginfo_t* info);
// Whose a signal is that has come in on the kernel thread that runs `self`; null: nobody accepts it.
Fiber* owner_of(Fiber& self, int signal, const siginfo_t* info, bool& shared);
// What was sent to the process and now is blocked by the fiber that had it finds another.
void give_up_blocked(Fiber& fiber, uint64_t set);
// The signal is ignored from now on: nobody has it pending.
void forget_pending(int signal);
// Whom the kernel would choose for a signal to the process; null: nobody accepts it now.
Fiber* choose_fiber(int signal);

// The fiber that a timer with SIGEV_THREAD_ID names (signal_timers.cc). False: it is no such timer.
bool is_for_timers_fiber(const siginfo_t& info, Fiber*& fiber);
void forget_timers_in_child();
// The same for a descriptor that a fiber owns (signal_owner.cc).
bool is_for_owner(const siginfo_t& info, Fiber*& fiber);
void forget_owners_in_child();
void disown_all_of(const Fiber& fiber);  // it has ended: the signals of what it owned go nowhere

// One of these two. False: it is for the process, or a kernel thread.
inline bool names_fiber(const siginfo_t& info, Fiber*& fiber) {
  return is_for_timers_fiber(info, fiber) || is_for_owner(info, fiber);
}

// An expiry was delivered: what timer_getoverrun(2) tells from now on.
void note_overruns(const siginfo_t& info);

// A signal that only says: look at what is pending for you.
void nudge(int kernel_thread, int signal);
bool is_nudge(const siginfo_t& info);

void mark_as_nudge(siginfo_t& info);

// A signal has come in on the kernel thread that runs `self`. True: a handler is to run here, its own, or, if it is marked as
// a nudge, those of pending ones. False: it was sent where it belongs, and the frame is ready to return from.
bool runs_here(Fiber& self, int signal, siginfo_t* info, ucontext_t* context);
[[noreturn]] void end_by_default(int signal);

// Where the kernel enters with a handled signal (signal_frame.cc), and where that goes on (signals.cc).
extern "C" void coro_signal_entry(int signal, siginfo_t* info, void* context);
extern "C" void coro_trampoline(int signal, siginfo_t* info, void* context);

// EngineConfig's callbacks.
void fiber_born(Fiber& fiber);
void fiber_ended(Fiber& fiber);
void deliver_signals_here();

}  // namespace coro
