// SPDX-License-Identifier: Apache-2.0
//
// Descriptors whose signals (SIGIO, SIGURG, F_SETSIG's) are for one fiber: fcntl(2), F_SETOWN_EX with F_OWNER_TID. A fiber's tid
// is no kernel thread's: the kernel is told that the process owns it, and the descriptor leads to the fiber. The
// kernel says which it is only after F_SETSIG; else those are meant that have something to tell. A signal may still be on its
// way when its descriptor is closed: a closed number keeps its fiber until it gets another owner.
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>

#include "hooks/hook.h"
#include "hooks/signal_calls.h"
#include "hooks/signals.h"
#include "hooks/thread.h"
#include "hooks/user_memory.h"
#include "scheduler/sys.h"
#include "scheduler/thread_block.h"

namespace coro {
namespace {

// Written under Critical, read by the trampoline at any instruction. By number: a duplicate has no owner that we know.
struct Owned {
  std::atomic<int> fd{-1};  // -2: being written
  std::atomic<Fiber*> fiber{nullptr};
  std::atomic<uint32_t> number{0};  // of the fiber: its memory may be another's by then
  std::atomic<bool> closed{false};
};
constexpr int most_owned = 256;
constinit Owned owned[most_owned];
std::atomic<int> owned_used{0};  // places from here on were never used
std::atomic<bool> process_owns{false};  // the program has set other owners, too

Owned* find(int fd) {
  for (int i = 0; i < owned_used.load(std::memory_order_relaxed); i++)
    if (owned[i].fd.load() == fd) return &owned[i];
  return nullptr;
}

Owned* open_one(int fd) {
  Owned* one = find(fd);
  return one && !one->closed.load() ? one : nullptr;
}

// A place for the number, marked as being written. Null: there is none.
Owned* reserve(int fd) {
  if (Owned* one = find(fd); one && one->fd.compare_exchange_strong(fd, -2)) return one;
  for (bool also_closed : {false, true}) {
    for (int i = 0; i < most_owned; i++) {
      int present = owned[i].fd.load();
      bool usable = present == -1 || (also_closed && present >= 0 && owned[i].closed.load());
      if (!usable || !owned[i].fd.compare_exchange_strong(present, -2)) continue;
      int used = owned_used.load();
      while (used <= i && !owned_used.compare_exchange_weak(used, i + 1)) {
      }
      return &owned[i];
    }
  }
  return nullptr;
}

void drop(int fd) {
  if (Owned* one = find(fd)) one->fd.compare_exchange_strong(fd, -1);
}

Fiber* living(const Owned& one) {
  Fiber* fiber = one.fiber.load();
  return fiber->number == one.number.load() && !is_ended(*fiber) ? fiber : nullptr;
}

// 0: it is dead.
int tid_of_owner(const Owned& one) {
  Fiber* fiber = living(one);
  return fiber ? thread_block::tid(fiber->context.thread_block) : 0;
}

bool has_news(int fd, bool urgent) {
  pollfd one{fd, static_cast<short>(urgent ? POLLPRI : POLLIN | POLLPRI), 0};
  return sys::call(SYS_poll, sys::as_long(&one), 1, 0) > 0;
}

// The kernel did not say for which descriptor. The fiber of one that has something to tell; further ones hear of it, too.
// If all is quiet again, any's, unless it can be for the process.
bool find_those_with_news(const siginfo_t& info, Fiber*& fiber) {
  bool found = false, any = false, urgent = info.si_signo == SIGURG;
  for (int i = 0; i < owned_used.load(); i++) {
    int fd = owned[i].fd.load();
    if (fd < 0 || owned[i].closed.load()) continue;
    bool news = has_news(fd, urgent);
    if (!news && (found || process_owns.load())) continue;
    Fiber* owner = living(owned[i]);
    any = true;
    if (!news) {
      if (!fiber) fiber = owner;
      continue;
    }
    if (found && fiber && owner && owner != fiber) send_to_fiber(*owner, info.si_signo, info);
    if (!found || !fiber) fiber = owner;
    found = true;
  }
  return any;
}

long tell_kernel(int fd, int process) {
  f_owner_ex owner{F_OWNER_PID, process};
  return real.fcntl(fd, F_SETOWN_EX, sys::as_long(&owner), 0, 0, 0, 0, 0);
}

int set_owner(Fiber& owner, int fd) {
  Critical inside;
  Owned* one = reserve(fd);
  if (!one) return static_cast<int>(failed(ENOMEM));
  one->fiber = &owner;
  one->number = owner.number;
  one->closed = false;
  one->fd = fd;
  long result = tell_kernel(fd, sys::getpid());
  if (result < 0) drop(fd);
  return static_cast<int>(result);
}

}  // namespace

void forget_owner(int fd) {
  if (!owned_used.load(std::memory_order_relaxed)) return;
  if (Owned* one = find(fd)) one->closed = true;
}

void disown_all_of(const Fiber& fiber) {
  for (int i = 0; i < owned_used.load(std::memory_order_relaxed); i++) {
    int fd = owned[i].fd.load();
    if (fd < 0 || owned[i].fiber.load() != &fiber || owned[i].closed.load()) continue;
    int saved = errno;
    tell_kernel(fd, 0);
    errno = saved;
    owned[i].closed = true;
  }
}

void forget_owners_in_child() {
  for (int i = 0; i < owned_used.load(); i++) owned[i].fd = -1;
}

bool is_for_owner(const siginfo_t& info, Fiber*& fiber) {
  if (!owned_used.load(std::memory_order_relaxed)) return false;
  if (info.si_code == SI_KERNEL && (info.si_signo == SIGIO || info.si_signo == SIGURG))
    return find_those_with_news(info, fiber);
  bool tells = info.si_code >= POLL_IN && info.si_code <= POLL_HUP && (info.si_signo == SIGIO || info.si_signo >= 34);
  Owned* one = tells ? find(info.si_fd) : nullptr;
  if (one) fiber = living(*one);
  return one;
}

int control_owner(int fd, int command, long argument) {
  f_owner_ex asked;
  auto* given = reinterpret_cast<f_owner_ex*>(argument);
  if (command == F_SETOWN_EX && virtual_signals() && read_user(given, asked) && asked.type == F_OWNER_TID)
    if (Fiber* owner = fiber_with_tid(asked.pid)) return set_owner(*owner, fd);
  int result = real.fcntl(fd, command, argument, 0, 0, 0, 0, 0);
  if (result == -1) return result;
  if (command == F_SETOWN || command == F_SETOWN_EX) {
    drop(fd);
    process_owns = true;
  }
  const Owned* one = open_one(fd);
  if (one && command == F_GETOWN) return tid_of_owner(*one);
  if (one && command == F_GETOWN_EX) *given = {F_OWNER_TID, tid_of_owner(*one)};
  return result;
}

}  // namespace coro
