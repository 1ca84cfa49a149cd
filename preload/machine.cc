// SPDX-License-Identifier: Apache-2.0
#include "preload/machine.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

namespace coro {
namespace {

constexpr unsigned long hwcap2_fsgsbase = 2;  // AT_HWCAP2 bit 1
constexpr int guard_install = 102;            // MADV_GUARD_INSTALL, Linux 6.13

// Loads a filter that allows everything, in a child, because a filter cannot be taken off again.
bool can_load_filter() {
  pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    sock_fprog filter = {1, &allow};
    unsigned trap = SECCOMP_RET_TRAP;
    bool loaded = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                  syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &trap) == 0 &&
                  syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0;
    _exit(loaded ? 0 : 1);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && status == 0;
}

bool can_guard() {
  size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* memory = mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  bool guarded = madvise(memory, page, guard_install) == 0;
  munmap(memory, page);
  return guarded;
}

}  // namespace

Machine probe_machine() {
  utsname name{};
  uname(&name);
  return {name.release, (getauxval(AT_HWCAP2) & hwcap2_fsgsbase) != 0, can_load_filter(), can_guard()};
}

}  // namespace coro
