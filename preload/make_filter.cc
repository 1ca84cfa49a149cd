// SPDX-License-Identifier: Apache-2.0
//
// A tool of the build: prints the backstop's filter, made with libseccomp, as the inside of an array of sock_filter. It
// is the same for every process, so no process has to make it (6 ms, measured) or to have libseccomp.
// The only file with <seccomp.h>.
//
// Let through without the cookie is what cannot block, so that libc's own functions, given such arguments, need no help:
// receives and sends with MSG_DONTWAIT, poll and epoll_wait with time-out 0, the futex operations that neither wait nor
// wake. Trapped although they do not block:
//  - wakes, because a fiber that came in through a trap waits in our queue, not in the kernel's;
//  - close, because the death of a descriptor that the event loop knows must be seen;
//  - execve, fork, clone: what they make would inherit the filter (hooks/trap_clone.cc);
//  - rt_sigprocmask with a set that may block SIGSYS: libc blocks every signal around some of its own calls, and a filter
//    that meets a blocked SIGSYS ends the process.
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "preload/backstop.h"
#include "scheduler/sys.h"

namespace {

using coro::sys::cookie;

constexpr uint64_t upper_half = 0xffffffff00000000;

// The sixth register is not ours: the upper half is compared as "smaller or greater", because libseccomp has no masked
// "not equal".
constexpr scmp_arg_cmp no_cookie[] = {{5, SCMP_CMP_LT, static_cast<uint64_t>(cookie), 0},
                                      {5, SCMP_CMP_GT, static_cast<uint64_t>(cookie) | ~upper_half, 0}};

// Calls that trap whatever their arguments are.
constexpr int always[] = {
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(close), SCMP_SYS(ppoll), SCMP_SYS(select),
    SCMP_SYS(pselect6), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(connect), SCMP_SYS(recvmmsg), SCMP_SYS(wait4), SCMP_SYS(waitid),
    SCMP_SYS(flock), SCMP_SYS(pause), SCMP_SYS(rt_sigsuspend), SCMP_SYS(rt_sigtimedwait), SCMP_SYS(execve),
    SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(clone), SCMP_SYS(clone3),
};

// Calls that trap with some arguments only.
struct Partly {
  int number;
  int count;
  scmp_arg_cmp if_all[2];
};
constexpr scmp_arg_cmp low_half(unsigned argument, uint64_t value) {
  return {argument, SCMP_CMP_MASKED_EQ, 0xffffffff, value};
}
constexpr scmp_arg_cmp futex(int command) {
  return {1, SCMP_CMP_MASKED_EQ, FUTEX_CMD_MASK & 0xffffffff, static_cast<uint64_t>(command)};
}
constexpr scmp_arg_cmp not_zero(unsigned argument) { return {argument, SCMP_CMP_NE, 0, 0}; }
constexpr scmp_arg_cmp blocking(unsigned flags) { return {flags, SCMP_CMP_MASKED_EQ, MSG_DONTWAIT, 0}; }
constexpr Partly partly[] = {
    {SCMP_SYS(recvfrom), 1, {blocking(3)}},
    {SCMP_SYS(sendto), 1, {blocking(3)}},
    {SCMP_SYS(recvmsg), 1, {blocking(2)}},
    {SCMP_SYS(sendmsg), 1, {blocking(2)}},
    {SCMP_SYS(sendmmsg), 1, {blocking(3)}},
    {SCMP_SYS(poll), 1, {not_zero(2)}},
    {SCMP_SYS(epoll_wait), 1, {not_zero(3)}},
    {SCMP_SYS(futex), 1, {futex(FUTEX_WAIT)}},
    {SCMP_SYS(futex), 1, {futex(FUTEX_WAIT_BITSET)}},
    {SCMP_SYS(futex), 1, {futex(FUTEX_WAKE)}},
    {SCMP_SYS(futex), 1, {futex(FUTEX_WAKE_BITSET)}},
    {SCMP_SYS(futex), 1, {futex(FUTEX_REQUEUE)}},
    {SCMP_SYS(futex), 1, {futex(FUTEX_CMP_REQUEUE)}},
    {SCMP_SYS(futex), 1, {futex(FUTEX_WAKE_OP)}},
    {SCMP_SYS(rt_sigprocmask), 2, {low_half(0, SIG_BLOCK), not_zero(1)}},
    {SCMP_SYS(rt_sigprocmask), 2, {low_half(0, SIG_SETMASK), not_zero(1)}},
};

bool add_rules(scmp_filter_ctx context) {
  for (const scmp_arg_cmp& cookie : no_cookie) {
    for (int number : always)
      if (seccomp_rule_add_array(context, SCMP_ACT_TRAP, number, 1, &cookie)) return false;
    for (const Partly& call : partly) {
      const scmp_arg_cmp all[] = {cookie, call.if_all[0], call.if_all[1]};
      if (seccomp_rule_add_array(context, SCMP_ACT_TRAP, call.number, 1 + static_cast<unsigned>(call.count), all)) return false;
    }
  }
  return true;
}

// libseccomp gives its program to a file only. By the return's data the handler knows our traps from a program's own.
bool print_program(scmp_filter_ctx context) {
  int file = memfd_create("filter", MFD_CLOEXEC);
  if (file < 0 || seccomp_export_bpf(context, file) || lseek(file, 0, SEEK_SET)) return false;
  sock_filter one;
  while (read(file, &one, sizeof one) == sizeof one) {
    if (one.code == (BPF_RET | BPF_K) && one.k == SECCOMP_RET_TRAP) one.k |= coro::backstop_mark;
    printf("{0x%x, %d, %d, 0x%x},\n", one.code, one.jt, one.jf, one.k);
  }
  close(file);
  return fflush(stdout) == 0;
}

}  // namespace

int main() {
  scmp_filter_ctx context = seccomp_init(SCMP_ACT_ALLOW);
  if (!context) return 1;
  // A program of another architecture's calls (int 0x80) is left alone.
  seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
  seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
  return add_rules(context) && print_program(context) ? 0 : 1;
}
