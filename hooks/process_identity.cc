// SPDX-License-Identifier: Apache-2.0
//
// The journal: calls that changed, for good, what the calling kernel thread may do or sees. They are made again on the
// kernel thread that starts a process. Namespaces are entered through descriptors that are opened when they are made.
#include "hooks/identity.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>

#include "hooks/hook.h"
#include "hooks/thread.h"
#include "scheduler/offload.h"
#include "scheduler/spinlock.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

struct Entry {
  long number;
  long arguments[5];
  __user_cap_header_struct header;  // of capset
  __user_cap_data_struct data[2];
};
constexpr int most_entries = 64;
Entry journal[most_entries];
std::atomic<int> entries{0};
Spinlock lock;

// A later entry of the same call with the same first argument takes the place of the earlier, where that is the whole
// meaning of the call. Beyond the journal's end nothing is kept.
void note(const Entry& entry, bool replaces) {
  Locked hold(lock);
  int count = entries.load();
  for (int i = 0; replaces && i < count; i++) {
    if (journal[i].number != entry.number || journal[i].arguments[0] != entry.arguments[0]) continue;
    journal[i] = entry;
    return;
  }
  if (count == most_entries) return;
  journal[count] = entry;
  entries.store(count + 1);
}

void replay() {
  for (int i = 0; i < entries.load(); i++) {
    Entry entry = journal[i];
    const long* a = entry.arguments;
    if (entry.number == SYS_capset)
      sys::call(SYS_capset, sys::as_long(&entry.header), sys::as_long(entry.data));
    else
      sys::call(entry.number, a[0], a[1], a[2], a[3], a[4]);
  }
}

bool is_inherited(int option) {
  switch (option) {
    case PR_SET_KEEPCAPS:
    case PR_CAPBSET_DROP:
    case PR_SET_TSC:
    case PR_SET_SECUREBITS:
    case PR_SET_TIMERSLACK:
    case PR_MCE_KILL:
    case PR_SET_NO_NEW_PRIVS:
    case PR_CAP_AMBIENT:
    case PR_SET_SPECULATION_CTRL: return true;
    default: return false;
  }
}

// The calling kernel thread has entered new namespaces: they can be entered again from elsewhere.
void note_namespaces(int flags) {
  constexpr struct { int flag; const char* path; } kinds[] = {
      {CLONE_NEWUSER, "/proc/thread-self/ns/user"},  {CLONE_NEWNET, "/proc/thread-self/ns/net"},
      {CLONE_NEWUTS, "/proc/thread-self/ns/uts"},    {CLONE_NEWIPC, "/proc/thread-self/ns/ipc"},
      {CLONE_NEWCGROUP, "/proc/thread-self/ns/cgroup"}, {CLONE_NEWPID, "/proc/thread-self/ns/pid_for_children"},
      {CLONE_NEWNS, "/proc/thread-self/ns/mnt"},
  };
  if (flags & (CLONE_FS | CLONE_NEWNS)) note({SYS_unshare, {CLONE_FS}, {}, {}}, false);
  for (const auto& kind : kinds) {
    if (!(flags & kind.flag)) continue;
    constexpr int at_cwd = -100;
    long fd = sys::call(SYS_openat, at_cwd, sys::as_long(kind.path), O_RDONLY | O_CLOEXEC, 0);
    if (fd >= 0) note({SYS_setns, {to_high_number(static_cast<int>(fd)), kind.flag}, {}, {}}, false);
  }
}

}  // namespace

Identity identity_of(const Fiber& fiber) {
  Identity identity;
  CPU_ZERO(&identity.affinity);
  bool is_first = is_first_thread(fiber);
  auto* set = is_first ? nullptr : static_cast<const cpu_set_t*>(fiber.traits.affinity);
  if (set)
    identity.affinity = *set;
  else
    sys::call(SYS_sched_getaffinity, sys::getpid(), sizeof identity.affinity, sys::as_long(&identity.affinity));
  identity.nice = 20 - fiber.traits.nice;
  identity.policy = fiber.traits.policy;
  identity.priority = fiber.traits.priority;
  if (is_first) {
    identity.nice = sys::call(SYS_getpriority, PRIO_PROCESS, sys::getpid());
    identity.policy = sys::call(SYS_sched_getscheduler, sys::getpid());
    sys::call(SYS_sched_getparam, sys::getpid(), sys::as_long(&identity.priority));
  }
  return identity;
}

bool assume_identity(const Identity& wanted) {
  cpu_set_t affinity;
  CPU_ZERO(&affinity);
  sys::call(SYS_sched_getaffinity, 0, sizeof affinity, sys::as_long(&affinity));
  if (memcmp(&affinity, &wanted.affinity, sizeof affinity) != 0)
    sys::call(SYS_sched_setaffinity, 0, sizeof affinity, sys::as_long(&wanted.affinity));
  bool spoiled = false;
  if (sys::call(SYS_getpriority, PRIO_PROCESS, 0) != wanted.nice) {
    sys::call(SYS_setpriority, PRIO_PROCESS, 0, 20 - wanted.nice);
    spoiled = true;
  }
  int priority = 0;
  sys::call(SYS_sched_getparam, 0, sys::as_long(&priority));
  if (sys::call(SYS_sched_getscheduler, 0) != wanted.policy || priority != wanted.priority) {
    sys::call(SYS_sched_setscheduler, 0, wanted.policy, sys::as_long(&wanted.priority));
    spoiled = true;
  }
  if (entries.load()) {
    replay();
    spoiled = true;
  }
  return spoiled;
}

void assume_identity_on_helper(const Fiber& fiber) {
  if (away_on(fiber) && assume_identity(identity_of(fiber))) spoil_helper();
}

void note_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
  if (!is_inherited(option)) return;
  Entry entry{SYS_prctl, {option, static_cast<long>(a), static_cast<long>(b), static_cast<long>(c), static_cast<long>(d)}, {}, {}};
  note(entry, option != PR_CAPBSET_DROP && option != PR_CAP_AMBIENT);
}

// capset(2), personality(2), unshare(2), setns(2): as libc, for the kernel thread that the fiber is on; and for the
// processes that it starts.
HOOK(int, capset, (cap_user_header_t header, const cap_user_data_t data)) {
  Entry entry{SYS_capset, {}, {}, {}};
  int result = real.capset(header, data);
  if (!current || result < 0) return result;
  entry.header = *header;
  memcpy(entry.data, data, header->version == _LINUX_CAPABILITY_VERSION_1 ? sizeof *data : sizeof entry.data);
  note(entry, true);
  return result;
}

HOOK(int, personality, (unsigned long persona)) {
  int result = real.personality(persona);
  if (current && result >= 0 && persona != 0xffffffff) note({SYS_personality, {static_cast<long>(persona)}, {}, {}}, false);
  return result;
}

HOOK(int, unshare, (int flags)) {
  int result = real.unshare(flags);
  if (current && result == 0) {
    KeepErrno keep;
    note_namespaces(flags);
  }
  return result;
}

HOOK(int, setns, (int fd, int kind)) {
  int result = real.setns(fd, kind);
  if (!current || result < 0) return result;
  KeepErrno keep;
  long copy = sys::call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0);
  if (copy >= 0) note({SYS_setns, {to_high_number(static_cast<int>(copy)), kind}, {}, {}}, false);
  return result;
}

}  // namespace coro
