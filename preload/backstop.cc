// SPDX-License-Identifier: Apache-2.0
//
// The filter is made by libseccomp when we are built (make_filter.cc); loading it for a carrier is one system call.
#include "preload/backstop.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include "scheduler/sys.h"

namespace coro {
namespace {

sock_filter program[] = {
#include "preload/filter.inc"
};
sock_fprog filter{sizeof program / sizeof *program, program};

}  // namespace

// A null program is a bad address only to who may load one.
const char* prepare_backstop() {
  unsigned trap = SECCOMP_RET_TRAP;
  if (sys::call(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, sys::as_long(&trap)) < 0) return "seccomp is denied here";
  if (sys::call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, 0) != -EFAULT) return "seccomp is denied here";
  return nullptr;
}

bool load_backstop() {
  if (sys::call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, sys::as_long(&filter)) == 0) return true;
  // Who lacks CAP_SYS_ADMIN must give up what set-user-id programs would bring. What this process starts is started
  // elsewhere and does not inherit it.
  return sys::call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         sys::call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, sys::as_long(&filter)) == 0;
}

}  // namespace coro
