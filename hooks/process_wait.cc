// SPDX-License-Identifier: Apache-2.0
//
// Waiting for children.
//  - One certain child, its end only: attempt with WNOHANG, then park on a pidfd, which is readable when it has ended.
//    A child's number cannot be taken by another process before somebody has waited for it; the attempt between opening
//    the pidfd and parking sees whether somebody has;
//  - any child, a process group, or stops and continues: nothing to poll for. The call itself runs on a helper;
//  - attempts are raw system calls: libc's functions would act on a cancellation while we hold a pidfd;
//  - a pidfd of ours has a high number, is closed on every path before handlers run or a cancellation unwinds, and is
//    closed in children that other fibers fork meanwhile;
//  - __WNOTHREAD and clone children are for debuggers, which wait on the kernel thread that attached: passed through.
//    A stop of a ptraced child does not wake a pidfd: see docs/limits.md.
#include <sys/syscall.h>

#include "hooks/away.h"
#include "hooks/process.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

// The handles that are open, by number, so that a forked child can close its copies.
constexpr int most_handles = 1 << 16;
std::atomic<uint64_t> handles[most_handles / 64];

void note_handle(int fd, bool open) {
  if (fd < 0 || fd >= most_handles) return;
  uint64_t bit = uint64_t{1} << (fd % 64);
  if (open)
    handles[fd / 64].fetch_or(bit);
  else
    handles[fd / 64].fetch_and(~bit);
}

// Takes over a new pidfd (or error).
int to_handle(long fd) {
  if (fd < 0) return -1;
  int handle = to_high_number(static_cast<int>(fd));
  note_handle(handle, true);
  return handle;
}

void close_handle(int handle) {
  note_handle(handle, false);
  forget_own_descriptor(handle);
  sys::close(handle);
}

// 0, or -errno, of a raw call as libc's callers hear it; `none` stays `none`.
constexpr long none = 0;
constexpr long found = 1;
long to_libc(long result) { return result < 0 ? failed(static_cast<int>(-result)) : result; }

// One look at the child through its handle. none: it had not ended; then parked, and `woken` tells why no longer.
template <class Open, class Attempt>
bool watch_child(Call call, Fiber* fiber, Open open, Attempt attempt, long& result, Woken& woken) {
  Critical::enter(fiber);
  int handle = to_handle(open());
  bool watched = handle >= 0;
  result = watched ? attempt() : none;
  woken = Woken::ready;
  if (watched && result == none) {
    Wait wait(to_reason(call), Cancellable::yes);
    wait.on(handle, way_in);
    woken = wait.park();
  }
  // Closed by a program that closes everything: the number may be another's by now.
  if (watched && woken != Woken::closed) close_handle(handle);
  Critical::leave(fiber);
  return watched;
}

// Raw attempt() until it answers: a result, or -errno; `none`: not yet. open() gives a new descriptor that is readable
// when it will answer, or an error. block() is libc's function.
template <class Open, class Attempt, class Block>
long until_ended(Call call, Fiber* fiber, Open open, Attempt attempt, Block block) {
  long result = attempt();
  while (result == none) {
    Woken woken;
    if (!watch_child(call, fiber, open, attempt, result, woken))
      return attempt_then_block(
          call, fiber, Cancellable::yes, [&] { return to_libc(attempt()); },
          [](long answer) { return answer != none; }, block);
    if (result != none) break;
    if (settle(woken, fiber, Rule::restarts) == Outcome::interrupted) return failed(EINTR);
    result = attempt();
  }
  Critical run_deferred_handlers;
  return to_libc(result);
}

long open_pidfd(long pid) { return sys::call(SYS_pidfd_open, pid, 0); }

// The handle must be ours to close: a copy of the program's pidfd.
long copy_pidfd(long fd) { return sys::call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0); }

// With WNOHANG: a run of looks that find nothing is a program spinning.
template <class Look>
long block_or_look(Fiber* fiber, Look look) {
  long result = look();
  if (result == none)
    note_fruitless(fiber);
  else
    fiber->fruitless = 0;
  return result;
}

pid_t wait_as_wait4(Call call, Fiber* fiber, pid_t pid, int* status, int options, rusage* usage) {
  auto attempt = [&] {
    return sys::call(SYS_wait4, pid, sys::as_long(status), options | WNOHANG, sys::as_long(usage));
  };
  auto block = [&]() -> long { return real.wait4(pid, status, options, usage); };
  if (options & (WNOHANG | __WNOTHREAD | __WCLONE)) return static_cast<pid_t>(block_or_look(fiber, block));
  test_cancel(fiber);
  if (pid > 0 && options == 0)
    return static_cast<pid_t>(
        until_ended(call, fiber, [&] { return open_pidfd(pid); }, attempt, block));
  return static_cast<pid_t>(attempt_then_block(
      call, fiber, Cancellable::yes, [&] { return to_libc(attempt()); },
      [](long result) { return result != none; }, block));
}

bool is_nonblocking(int fd) {
  long flags = sys::call(SYS_fcntl, fd, F_GETFL, 0);
  return flags >= 0 && flags & O_NONBLOCK;
}

int wait_as_waitid(Fiber* fiber, idtype_t kind, id_t id, siginfo_t* info, int options) {
  siginfo_t own;
  siginfo_t* where = info ? info : &own;
  auto attempt = [&]() -> long {
    long result = sys::call(SYS_waitid, kind, id, sys::as_long(where), options | WNOHANG, 0);
    return result < 0 ? result : where->si_pid ? found : none;
  };
  auto block = [&]() -> long { return real.waitid(kind, id, info, options) < 0 ? -1 : found; };
  long result;
  bool only_ends = (options & ~WNOWAIT) == WEXITED;
  if (only_ends && kind == P_PID)
    result = until_ended(Call::waitid, fiber, [&] { return open_pidfd(id); }, attempt, block);
  else if (only_ends && kind == P_PIDFD)
    result = until_ended(Call::waitid, fiber, [&] { return copy_pidfd(id); }, attempt, block);
  else
    result = attempt_then_block(
        Call::waitid, fiber, Cancellable::yes, [&] { return to_libc(attempt()); },
        [](long answer) { return answer != none; }, block);
  return result < 0 ? -1 : 0;
}

}  // namespace

void close_child_handles() {
  for (int fd = 0; fd < most_handles; fd += 64) {
    uint64_t bits = handles[fd / 64].load();
    if (bits) handles[fd / 64] = 0;
    for (; bits; bits &= bits - 1) sys::close(fd + __builtin_ctzll(bits));
  }
}

// waitpid(2): parks until the child has ended, or a signal.
HOOK(pid_t, waitpid, (pid_t pid, int* status, int options)) {
  Fiber* fiber = gate<Call::waitpid>();
  if (!fiber) return real.waitpid(pid, status, options);
  return wait_as_wait4(Call::waitpid, fiber, pid, status, options, nullptr);
}
HOOK_ALIAS(__waitpid, waitpid);

// wait(2): as waitpid for any child.
HOOK(pid_t, wait, (int* status)) {
  Fiber* fiber = gate<Call::wait>();
  if (!fiber) return real.wait(status);
  return wait_as_wait4(Call::wait, fiber, -1, status, 0, nullptr);
}
HOOK_ALIAS(__wait, wait);

// wait3(2), wait4(2): as waitpid, with the child's usage.
HOOK(pid_t, wait3, (int* status, int options, rusage* usage)) {
  Fiber* fiber = gate<Call::wait3>();
  if (!fiber) return real.wait3(status, options, usage);
  return wait_as_wait4(Call::wait3, fiber, -1, status, options, usage);
}

HOOK(pid_t, wait4, (pid_t pid, int* status, int options, rusage* usage)) {
  Fiber* fiber = gate<Call::wait4>();
  if (!fiber) return real.wait4(pid, status, options, usage);
  return wait_as_wait4(Call::wait4, fiber, pid, status, options, usage);
}

// waitid(2): as waitpid, of any kind.
HOOK(int, waitid, (idtype_t kind, id_t id, siginfo_t* info, int options)) {
  Fiber* fiber = gate<Call::waitid>();
  constexpr int passed = WNOHANG | __WNOTHREAD | __WCLONE;
  if (!fiber || options & passed || (kind == P_PIDFD && is_nonblocking(static_cast<int>(id))))
    return real.waitid(kind, id, info, options);
  test_cancel(fiber);
  return wait_as_waitid(fiber, kind, id, info, options);
}

}  // namespace coro
