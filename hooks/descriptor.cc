// SPDX-License-Identifier: Apache-2.0
//
// Birth, copies and death of descriptors. Deaths must all be seen, because event loops keep lazy registrations by
// number: whoever waits is woken first (EBADF), then the number dies. Our own event loops' descriptors are hidden: a
// program that closes "all others" does not reach them.
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "hooks/retry.h"
#include "hooks/signals.h"
#include "scheduler/offload.h"

namespace coro {
namespace {

// After a number was given out again for a description that another number names too.
int note_copy(int from, int to) {
  if (to >= 0 && engine_started()) {
    if (from != to) duplicated(from, to);
  } else if (to >= 0) {
    if (Descriptor* d = descriptor(to)) {
      Descriptor* original = descriptor(from);
      if (original) original->duplicated = true;
      if (from != to) *d = {};
    }
  }
  return to;
}

bool hides(int fd) { return engine_started() && is_our_descriptor(fd); }

// Closes [first, last] around our own descriptors.
int close_around(unsigned first, unsigned last, int flags) {
  unsigned from = first;
  // The table of ours is short and the kernel's ranges are cheap: walk the descriptors that we hide.
  for (unsigned fd = first; fd <= last && fd < 65536; fd++) {
    if (!hides(static_cast<int>(fd))) continue;
    if (fd > from && real.close_range(from, fd - 1, flags) < 0) return -1;
    from = fd + 1;
    if (from == 0) return 0;
  }
  return from > last ? 0 : real.close_range(from, last, flags);
}

// Calls act(fd) for each of the program's that we know something of.
template <class Act>
void each_known(unsigned first, unsigned last, Act act) {
  for (unsigned fd = first; fd <= last && fd < 65536; fd++) {
    Descriptor* d = descriptor(static_cast<int>(fd));
    if (!d) break;
    if (!hides(static_cast<int>(fd)) && d->kind != Kind::unknown) act(static_cast<int>(fd));
  }
}

int close_now(int fd) {
  Dying dying(fd);
  return real.close(fd);
}

// `to` becomes another descriptor, if the call can succeed at all.
template <class Copy>
int copy_onto(int from, int to, Copy copy) {
  if (from == to || real.fcntl(from, F_GETFD, 0, 0, 0, 0, 0, 0) < 0) return note_copy(from, copy());
  Dying dying(to);
  return note_copy(from, copy());
}

}  // namespace

// close(2): wakes whoever waits on the descriptor, then closes it.
HOOK(int, close, (int fd)) {
  Fiber* fiber = gate<Call::close>();
  if (fiber) test_cancel(fiber);
  if (hides(fd)) {
    if (current) return static_cast<int>(failed(EBADF));
    note_loop_closes(fd);
  }
  Descriptor* d = fiber ? descriptor(fd) : nullptr;
  bool may_block = d && d->lingers;
  if (!may_block) return close_now(fd);
  died(fd);  // the number is free at once, the call takes longer
  Away away(to_reason(Call::close));
  return real.close(fd);
}
HOOK_ALIAS(__close, close);

// close_range(2): as close, for each.
HOOK(int, close_range, (unsigned first, unsigned last, int flags)) {
  if (!engine_started() || first > last) return real.close_range(first, last, flags);
  if (!flags)
    each_known(first, last, close_now);
  else if (!(flags & CLOSE_RANGE_CLOEXEC))
    each_known(first, last, died);  // the kernel makes a table of its own for this kernel thread first
  return close_around(first, last, flags);
}

// closefrom(3).
HOOK(void, closefrom, (int low)) {
  if (!engine_started()) return real.closefrom(low);
  hook_close_range(low < 0 ? 0 : static_cast<unsigned>(low), ~0u, 0);
}

// dup(2), dup2(2), dup3(2): the copy shares flags and time-outs with the original; what `to` was is dead.
HOOK(int, dup, (int fd)) { return note_copy(fd, real.dup(fd)); }

HOOK(int, dup2, (int from, int to)) {
  if (hides(to) || hides(from)) return static_cast<int>(failed(EBADF));
  return copy_onto(from, to, [=] { return real.dup2(from, to); });
}
HOOK_ALIAS(__dup2, dup2);

HOOK(int, dup3, (int from, int to, int flags)) {
  if (hides(to) || hides(from)) return static_cast<int>(failed(EBADF));
  return copy_onto(from, to, [=] { return real.dup3(from, to, flags); });
}

namespace {

bool is_lock_wait(int command) { return command == F_SETLKW || command == F_OFD_SETLKW; }

}  // namespace

int lock_region_away(int fd, int command, long argument);  // hooks/file.cc

// fcntl(2): O_NONBLOCK and copies are noted; F_SETLKW waits on a helper.
HOOK(int, fcntl, (int fd, int command, ...)) {
  va_list list;
  va_start(list, command);
  long argument = va_arg(list, long);
  va_end(list);
  Fiber* fiber = gate<Call::fcntl>();
  if (fiber && is_lock_wait(command)) return lock_region_away(fd, command, argument);
  if (is_about_owner(command)) return control_owner(fd, command, argument);
  int result = real.fcntl(fd, command, argument, 0, 0, 0, 0, 0);
  if (result < 0) return result;
  if (command == F_SETFL) set_nonblocking(fd, argument & O_NONBLOCK);
  if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) note_copy(fd, result);
  return result;
}
HOOK_ALIAS(__fcntl, fcntl);
HOOK_ALIAS(fcntl64, fcntl);

// ioctl(2): FIONBIO is noted.
HOOK(int, ioctl, (int fd, unsigned long request, ...)) {
  va_list list;
  va_start(list, request);
  long argument = va_arg(list, long);
  va_end(list);
  int result = real.ioctl(fd, request, argument, 0, 0, 0, 0, 0);
  if (result == 0 && request == FIONBIO) set_nonblocking(fd, *reinterpret_cast<int*>(argument));
  return result;
}

// pipe(2), pipe2(2): as libc; noted.
HOOK(int, pipe2, (int pair[2], int flags)) {
  int result = real.pipe2(pair, flags);
  if (result == 0)
    for (int i = 0; i < 2; i++) born(pair[i], Kind::pipe, flags & O_NONBLOCK);
  return result;
}
HOOK(int, pipe, (int pair[2])) { return hook_pipe2(pair, 0); }
HOOK_ALIAS(__pipe, pipe);

// epoll_create1(2): libev's own gets a high number, out of the way of programs that close the low ones.
HOOK(int, epoll_create1, (int flags)) {
  if (is_opening_loop()) return open_loop_descriptor(flags);
  return real.epoll_create1(flags);
}

// stdio and directory streams close descriptors inside libc.
HOOK(int, fclose, (FILE * file)) {
  died(fileno_unlocked(file));
  return real.fclose(file);
}
HOOK(FILE*, freopen, (const char* path, const char* mode, FILE* file)) {
  died(fileno_unlocked(file));
  return real.freopen(path, mode, file);
}
HOOK(FILE*, freopen64, (const char* path, const char* mode, FILE* file)) {
  died(fileno_unlocked(file));
  return real.freopen64(path, mode, file);
}
HOOK(int, closedir, (DIR * directory)) {
  if (directory) died(dirfd(directory));
  return real.closedir(directory);
}

// fcloseall(3): as libc, which flushes the streams and, whatever the manual says, closes no descriptor.
HOOK(int, fcloseall, (void)) { return real.fcloseall(); }

}  // namespace coro
