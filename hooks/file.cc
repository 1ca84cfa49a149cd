// SPDX-License-Identifier: Apache-2.0
//
// What may stall on a disk, on a lock of another process, or on a peer: on a helper kernel thread, when it really may.
//  - open(2) blocks on a FIFO until the peer comes, and on some devices (serial lines, tapes): stat() decides first.
//    Regular files are opened in place. No note is taken of the new number: deaths are always seen, so what the table
//    holds for it is either nothing or right;
//  - fsync and its kin on a file system in memory return at once: not worth a kernel thread;
//  - flock and lockf are tried without waiting first. A conversion by flock drops the old lock before it waits or
//    fails (flock(2)): the same in both forms.
#include <linux/magic.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "hooks/away.h"

namespace coro {
namespace {

bool is_quick_device(dev_t device) {
  constexpr unsigned memory = 1, consoles = 5, pty_slaves = 136;  // Linux's Documentation/admin-guide/devices.txt
  unsigned number = major(device);
  return number == memory || number == consoles || (number >= pty_slaves && number < pty_slaves + 8);
}

bool may_block_in_open(int directory, const char* path, int flags) {
  constexpr int never = O_NONBLOCK | O_PATH | O_DIRECTORY;
  if (flags & never || (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) return false;
  KeepErrno keep;
  struct stat status;
  if (fstatat(directory, path, &status, flags & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0) < 0) return false;
  if (S_ISFIFO(status.st_mode)) return (flags & O_ACCMODE) != O_RDWR;
  return S_ISCHR(status.st_mode) && !is_quick_device(status.st_rdev);
}

template <Call call, class Open>
int open_here_or_away(int directory, const char* path, int flags, Open open) {
  Fiber* fiber = gate<call>();
  if (!fiber) return open();
  test_cancel(fiber);
  if (!may_block_in_open(directory, path, flags)) return open();
  Away away(to_reason(call));
  return open();
}

// The mode that open's caller passed, where the flags say that there is one; else libc would read garbage too.
long mode_of(int flags, va_list list) {
  return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? static_cast<long>(va_arg(list, mode_t)) : 0;
}

}  // namespace

// open(2): parks on a FIFO until the peer comes, on a slow device until it answers.
HOOK(int, open, (const char* path, int flags, ...)) {
  va_list list;
  va_start(list, flags);
  long mode = mode_of(flags, list);
  va_end(list);
  return open_here_or_away<Call::open>(
      AT_FDCWD, path, flags, [&] { return real.open(path, flags, mode, 0, 0, 0, 0, 0); });
}
HOOK_ALIAS(__open, open);

HOOK(int, open64, (const char* path, int flags, ...)) {
  va_list list;
  va_start(list, flags);
  long mode = mode_of(flags, list);
  va_end(list);
  return open_here_or_away<Call::open64>(
      AT_FDCWD, path, flags, [&] { return real.open64(path, flags, mode, 0, 0, 0, 0, 0); });
}
HOOK_ALIAS(__open64, open64);

// openat(2): as open.
HOOK(int, openat, (int directory, const char* path, int flags, ...)) {
  va_list list;
  va_start(list, flags);
  long mode = mode_of(flags, list);
  va_end(list);
  return open_here_or_away<Call::openat>(directory, path, flags, [&] {
    return real.openat(directory, path, flags, mode, 0, 0, 0, 0, 0);
  });
}

HOOK(int, openat64, (int directory, const char* path, int flags, ...)) {
  va_list list;
  va_start(list, flags);
  long mode = mode_of(flags, list);
  va_end(list);
  return open_here_or_away<Call::openat64>(directory, path, flags, [&] {
    return real.openat64(directory, path, flags, mode, 0, 0, 0, 0, 0);
  });
}

// __open_2 and the like: what open becomes under _FORTIFY_SOURCE without a mode. libc's own door reports one missing.
HOOK(int, __open_2, (const char* path, int flags)) {
  return open_here_or_away<Call::__open_2>(AT_FDCWD, path, flags,
                                           [&] { return real.__open_2(path, flags); });
}

HOOK(int, __open64_2, (const char* path, int flags)) {
  return open_here_or_away<Call::__open64_2>(AT_FDCWD, path, flags,
                                             [&] { return real.__open64_2(path, flags); });
}

HOOK(int, __openat_2, (int directory, const char* path, int flags)) {
  return open_here_or_away<Call::__openat_2>(
      directory, path, flags, [&] { return real.__openat_2(directory, path, flags); });
}

HOOK(int, __openat64_2, (int directory, const char* path, int flags)) {
  return open_here_or_away<Call::__openat64_2>(
      directory, path, flags, [&] { return real.__openat64_2(directory, path, flags); });
}

// creat(2): as open.
HOOK(int, creat, (const char* path, mode_t mode)) {
  return open_here_or_away<Call::creat>(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC,
                                        [&] { return real.creat(path, mode); });
}

HOOK(int, creat64, (const char* path, mode_t mode)) {
  return open_here_or_away<Call::creat64>(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC,
                                          [&] { return real.creat64(path, mode); });
}

namespace {

// Whether writing fd back takes a disk. What is no file fails at once.
bool reaches_a_disk(int fd) {
  Descriptor* d = known_descriptor(fd);
  if (!d || d->kind != Kind::file) return false;
  KeepErrno keep;
  struct statfs status;
  if (fstatfs(fd, &status) < 0) return true;
  return status.f_type != TMPFS_MAGIC && status.f_type != RAMFS_MAGIC;
}

template <Call call, class Act>
auto act_away(bool may_stall, Act act) {
  Fiber* fiber = gate<call>();
  if (!fiber || !may_stall) return act();
  Away away(to_reason(call));
  return act();
}

}  // namespace

// fsync(2) and its kin: the disk is waited for on a helper. Their cancellation point is libc's own, before the work.
HOOK(int, fsync, (int fd)) {
  return act_away<Call::fsync>(on_hub() && reaches_a_disk(fd), [&] { return real.fsync(fd); });
}

HOOK(int, fdatasync, (int fd)) {
  return act_away<Call::fdatasync>(on_hub() && reaches_a_disk(fd), [&] { return real.fdatasync(fd); });
}

HOOK(int, syncfs, (int fd)) {
  return act_away<Call::syncfs>(on_hub() && reaches_a_disk(fd), [&] { return real.syncfs(fd); });
}

HOOK(int, sync_file_range, (int fd, off64_t offset, off64_t length, unsigned flags)) {
  return act_away<Call::sync_file_range>(flags && on_hub() && reaches_a_disk(fd), [&] {
    return real.sync_file_range(fd, offset, length, flags);
  });
}

HOOK(void, sync, (void)) {
  act_away<Call::sync>(true, [] { real.sync(); });
}

HOOK(int, msync, (void* address, size_t length, int flags)) {
  return act_away<Call::msync>(flags & MS_SYNC, [&] { return real.msync(address, length, flags); });
}

// tcdrain(3): parks until the terminal has sent everything.
HOOK(int, tcdrain, (int fd)) {
  Descriptor* d = on_hub() ? known_descriptor(fd) : nullptr;
  return act_away<Call::tcdrain>(d && d->kind == Kind::device, [&] { return real.tcdrain(fd); });
}

// flock(2): parks until the lock is free. Not a cancellation point.
HOOK(int, flock, (int fd, int operation)) {
  Fiber* fiber = gate<Call::flock>();
  if (!fiber || operation & LOCK_UN) return real.flock(fd, operation);
  if (operation & LOCK_NB) return spin_watch(fiber, real.flock(fd, operation));
  return attempt_then_block(
      Call::flock, fiber, Cancellable::no, [&] { return real.flock(fd, operation | LOCK_NB); },
      [](int result) { return result == 0 || errno != EWOULDBLOCK; },
      [&] { return real.flock(fd, operation); });
}

namespace {

// lockf(F_LOCK) finds deadlocks (EDEADLK) only when it would wait: that is block()'s answer, not the attempt's.
template <Call call, class Lock>
int lock_range(int fd, int command, Lock lock) {
  Fiber* fiber = gate<call>();
  if (!fiber) return lock(fd, command);
  if (command == F_TLOCK) return spin_watch(fiber, lock(fd, command));
  if (command != F_LOCK) return lock(fd, command);
  test_cancel(fiber);
  return attempt_then_block(
      call, fiber, Cancellable::yes, [&] { return lock(fd, F_TLOCK); },
      [](int result) { return result == 0 || (errno != EAGAIN && errno != EACCES); },
      [&] { return lock(fd, F_LOCK); });
}

}  // namespace

// fcntl(F_SETLKW), fcntl(F_OFD_SETLKW): parks until the range is free. For hooks/descriptor.cc.
int lock_region_away(int fd, int command, long argument) {
  constexpr int without_waiting = F_SETLK - F_SETLKW;
  static_assert(F_OFD_SETLK - F_OFD_SETLKW == without_waiting);
  auto lock = [&](int c) { return real.fcntl(fd, c, argument, 0, 0, 0, 0, 0); };
  test_cancel(current);
  return attempt_then_block(
      Call::fcntl, current, Cancellable::yes, [&] { return lock(command + without_waiting); },
      [](int result) { return result == 0 || (errno != EAGAIN && errno != EACCES); },
      [&] { return lock(command); });
}

// lockf(3): parks until the range is free.
HOOK(int, lockf, (int fd, int command, off_t length)) {
  return lock_range<Call::lockf>(fd, command, [&](int f, int c) { return real.lockf(f, c, length); });
}

HOOK(int, lockf64, (int fd, int command, off64_t length)) {
  return lock_range<Call::lockf64>(fd, command,
                                   [&](int f, int c) { return real.lockf64(f, c, length); });
}

}  // namespace coro
