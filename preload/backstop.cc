// SPDX-License-Identifier: Apache-2.0
//
// The only file with <seccomp.h>. libseccomp is opened when the first fiber is made, used to make the program, and its
// result kept: loading it for a carrier is then one system call without malloc, locks or libseccomp's own state.
//
// Let through without the cookie is what cannot block, so that libc's own functions, given such arguments, need no help:
// receives and sends with MSG_DONTWAIT, poll and epoll_wait with time-out 0, the futex operations that neither wait nor
// wake. Wakes trap, because a fiber that came in through a trap waits in our queue, not in the kernel's. close traps,
// because the death of a descriptor that the event loop knows must be seen. execve traps: see backstop.h.
#include "preload/backstop.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "preload/real.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

constexpr int most_instructions = 2048;
sock_filter program[most_instructions];
sock_fprog filter{0, program};

#define SECCOMP_FUNCTIONS(X) \
  X(seccomp_init) X(seccomp_release) X(seccomp_attr_set) X(seccomp_rule_add_array) X(seccomp_export_bpf)
struct Seccomp {
#define X(name) decltype(&::name) name;
  SECCOMP_FUNCTIONS(X)
#undef X
} library;

const char* load_library() {
  void* handle = dlopen("libseccomp.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!handle) return "libseccomp.so.2 is not installed (Debian: libseccomp2)";
#define X(name)                                                                                  \
  if (!(library.name = reinterpret_cast<decltype(library.name)>(dlsym(handle, #name)))) return "libseccomp.so.2 lacks " #name;
  SECCOMP_FUNCTIONS(X)
#undef X
  return nullptr;
}

constexpr uint64_t upper_half = 0xffffffff00000000;

// The sixth register is not ours: the upper half is compared as "smaller or greater", because libseccomp has no masked
// "not equal".
struct NoCookie {
  scmp_arg_cmp below{5, SCMP_CMP_LT, static_cast<uint64_t>(sys::cookie), 0};
  scmp_arg_cmp above{5, SCMP_CMP_GT, static_cast<uint64_t>(sys::cookie) | ~upper_half, 0};
};

// Calls that trap whatever their arguments are.
constexpr int always[] = {
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(close), SCMP_SYS(ppoll), SCMP_SYS(select),
    SCMP_SYS(pselect6), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(connect), SCMP_SYS(recvmmsg), SCMP_SYS(wait4), SCMP_SYS(waitid),
    SCMP_SYS(flock), SCMP_SYS(pause), SCMP_SYS(rt_sigsuspend), SCMP_SYS(rt_sigtimedwait), SCMP_SYS(execve),
    SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork),
};

// Calls of which some cannot block.
struct Partly {
  int number;
  scmp_arg_cmp blocks;
};
constexpr Partly partly[] = {
    {SCMP_SYS(recvfrom), {3, SCMP_CMP_MASKED_EQ, MSG_DONTWAIT, 0}},
    {SCMP_SYS(sendto), {3, SCMP_CMP_MASKED_EQ, MSG_DONTWAIT, 0}},
    {SCMP_SYS(recvmsg), {2, SCMP_CMP_MASKED_EQ, MSG_DONTWAIT, 0}},
    {SCMP_SYS(sendmsg), {2, SCMP_CMP_MASKED_EQ, MSG_DONTWAIT, 0}},
    {SCMP_SYS(sendmmsg), {3, SCMP_CMP_MASKED_EQ, MSG_DONTWAIT, 0}},
    {SCMP_SYS(poll), {2, SCMP_CMP_MASKED_EQ, 0, 0}},
};

const char* add_rules(scmp_filter_ctx context) {
  const NoCookie no_cookie;
  const scmp_arg_cmp either[] = {no_cookie.below, no_cookie.above};
  for (const scmp_arg_cmp& cookie : either) {
    for (int number : always)
      if (library.seccomp_rule_add_array(context, SCMP_ACT_TRAP, number, 1, &cookie)) return "libseccomp refuses a rule";
    for (const Partly& call : partly) {
      scmp_arg_cmp both[] = {call.blocks, cookie};
      if (call.number == SCMP_SYS(poll)) both[0] = {2, SCMP_CMP_NE, 0, 0};
      if (library.seccomp_rule_add_array(context, SCMP_ACT_TRAP, call.number, 2, both)) return "libseccomp refuses a rule";
    }
    scmp_arg_cmp wait[] = {{3, SCMP_CMP_NE, 0, 0}, cookie};
    if (library.seccomp_rule_add_array(context, SCMP_ACT_TRAP, SCMP_SYS(epoll_wait), 2, wait)) return "libseccomp refuses a rule";
    constexpr int commands[] = {FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_WAKE, FUTEX_WAKE_BITSET, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP};
    for (int command : commands) {
      scmp_arg_cmp futex[] = {{1, SCMP_CMP_MASKED_EQ, FUTEX_CMD_MASK & 0xffffffff, static_cast<uint64_t>(command)}, cookie};
      if (library.seccomp_rule_add_array(context, SCMP_ACT_TRAP, SCMP_SYS(futex), 2, futex)) return "libseccomp refuses a rule";
    }
  }
  return nullptr;
}

// What libseccomp made, through a memory file.
const char* take_program(scmp_filter_ctx context) {
  int file = static_cast<int>(sys::call(SYS_memfd_create, sys::as_long("coro"), 1 /* MFD_CLOEXEC */));
  if (file < 0) return "no descriptor for the filter";
  const char* trouble = library.seccomp_export_bpf(context, file) ? "libseccomp cannot make the filter" : nullptr;
  long size = trouble ? 0 : sys::call(SYS_pread64, file, sys::as_long(program), sizeof program, 0);
  sys::close(file);
  if (trouble) return trouble;
  if (size <= 0 || size == sizeof program) return "the filter is too large";
  filter.len = static_cast<unsigned short>(static_cast<size_t>(size) / sizeof *program);
  return nullptr;
}

// Whether the kernel would take it, without loading it: a null program is a bad address only to who may load one.
const char* probe() {
  unsigned trap = SECCOMP_RET_TRAP;
  if (sys::call(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, sys::as_long(&trap)) < 0) return "seccomp is denied here";
  if (sys::call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, 0) != -EFAULT) return "seccomp is denied here";
  return nullptr;
}

}  // namespace

const char* prepare_backstop() {
  if (const char* trouble = probe()) return trouble;
  if (const char* trouble = load_library()) return trouble;
  scmp_filter_ctx context = library.seccomp_init(SCMP_ACT_ALLOW);
  if (!context) return "no memory for the filter";
  // A program of another architecture's calls (int 0x80) is left alone.
  library.seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
  library.seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
  const char* trouble = add_rules(context);
  if (!trouble) trouble = take_program(context);
  library.seccomp_release(context);
  return trouble;
}

bool load_backstop() {
  if (sys::call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, sys::as_long(&filter)) == 0) return true;
  // Who lacks CAP_SYS_ADMIN must give up what set-user-id programs would bring. What this process starts is started
  // elsewhere and does not inherit it.
  return sys::call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         sys::call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, sys::as_long(&filter)) == 0;
}

}  // namespace coro
