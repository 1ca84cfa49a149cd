// SPDX-License-Identifier: Apache-2.0
//
// syscall(2): the raw doors. A system call that has a hook by its libc name goes to that hook, so a program that uses
// numbers is treated as one that uses names. The hooks are called by their exported names, on purpose: this file comes in
// by the front door. Where kernel and libc differ in their arguments (signal sets of 8 bytes, times that are written back)
// the difference is made up here. Not here: clone and vfork, which no C function may wrap.
#include <linux/sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "hooks/futex.h"
#include "hooks/sync.h"
#include "scheduler/sys.h"

#pragma GCC diagnostic ignored "-Wignored-attributes"

namespace coro {
namespace {

// The door to the hook called `name`, with libc's own type.
#define DOOR(name) extern "C" decltype(::name) door_##name __asm__(#name);
DOOR(read) DOOR(write) DOOR(readv) DOOR(writev) DOOR(pread64) DOOR(pwrite64) DOOR(sendfile64) DOOR(splice) DOOR(tee)
DOOR(vmsplice) DOOR(copy_file_range) DOOR(socket) DOOR(socketpair) DOOR(connect) DOOR(accept) DOOR(accept4)
DOOR(sendto) DOOR(recvfrom) DOOR(sendmsg) DOOR(recvmsg) DOOR(recvmmsg) DOOR(sendmmsg) DOOR(shutdown) DOOR(setsockopt)
DOOR(close) DOOR(close_range) DOOR(dup) DOOR(dup2) DOOR(dup3) DOOR(pipe) DOOR(pipe2) DOOR(fcntl) DOOR(ioctl)
DOOR(epoll_create1) DOOR(epoll_wait) DOOR(epoll_pwait) DOOR(epoll_pwait2) DOOR(poll) DOOR(ppoll) DOOR(select) DOOR(pselect)
DOOR(nanosleep) DOOR(clock_nanosleep) DOOR(sched_yield) DOOR(pause) DOOR(open) DOOR(openat) DOOR(creat) DOOR(flock)
DOOR(fsync) DOOR(fdatasync) DOOR(msync) DOOR(sync) DOOR(syncfs) DOOR(sync_file_range) DOOR(gettid) DOOR(tgkill)
DOOR(pthread_exit) DOOR(_exit) DOOR(fork) DOOR(wait4) DOOR(waitid) DOOR(execve) DOOR(execveat)
DOOR(prctl) DOOR(getcpu) DOOR(getpriority) DOOR(setpriority) DOOR(sched_getaffinity) DOOR(sched_setaffinity)
DOOR(sched_getscheduler) DOOR(sched_setscheduler) DOOR(sched_getparam) DOOR(sched_setparam)
DOOR(msgrcv) DOOR(msgsnd) DOOR(semop) DOOR(semtimedop) DOOR(mq_timedreceive) DOOR(mq_timedsend)
DOOR(capset) DOOR(personality) DOOR(setns) DOOR(unshare)
DOOR(sigprocmask) DOOR(sigpending) DOOR(sigsuspend) DOOR(sigtimedwait) DOOR(sigaltstack)
#undef DOOR

// Calls the hook with the registers' contents as its arguments.
template <class T>
T to(long value) {
  if constexpr (std::is_pointer_v<T>)
    return reinterpret_cast<T>(value);
  else
    return static_cast<T>(value);
}
template <class R, class... A, size_t... I>
long enter(R (*hook)(A...), const long* a, std::index_sequence<I...>) {
  return static_cast<long>(hook(to<A>(a[I])...));
}
template <class R, class... A>
long enter(R (*hook)(A...), const long* a) {
  return enter(hook, a, std::index_sequence_for<A...>{});
}
template <class R, class... A>
long enter(R (*hook)(A...) noexcept, const long* a) {
  return enter(static_cast<R (*)(A...)>(hook), a);
}

// The kernel's 8-byte signal set as libc's. Null stays null.
class SignalSet {
 public:
  explicit SignalSet(long address) : given_(address != 0) {
    sigemptyset(&set_);
    if (given_) memcpy(&set_, to<const void*>(address), 8);
  }
  operator sigset_t*() { return given_ ? &set_ : nullptr; }

 private:
  bool given_;
  sigset_t set_;
};

// The kernel writes what is left of the time back into the argument of ppoll and pselect6; libc does not.
class TimeLeft {
 public:
  explicit TimeLeft(long address) : time_(to<timespec*>(address)) {
    if (time_) end_ = now() + to_nanoseconds(*time_);
  }
  ~TimeLeft() {
    if (time_ && is_sane()) *time_ = to_timespec(end_ - now());
  }
  operator timespec*() { return time_; }

 private:
  bool is_sane() const { return time_->tv_sec >= 0 && has_valid_nanoseconds(*time_); }
  timespec* time_;
  int64_t end_ = 0;
};

long real_syscall(long number, const long* a) { return real.syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]); }

long change_mask(const long* a) {
  SignalSet set(a[1]), old(a[2]);
  if (a[3] != 8) return failed(EINVAL);
  long result = door_sigprocmask(static_cast<int>(a[0]), set, old);
  if (result == 0 && a[2]) memcpy(to<void*>(a[2]), old, 8);
  return result;
}

long pending(const long* a) {
  sigset_t set;
  long result = door_sigpending(&set);
  if (result == 0) memcpy(to<void*>(a[0]), &set, a[1] < 8 ? static_cast<size_t>(a[1]) : 8);
  return result;
}

long pselect6(const long* a) {
  TimeLeft time(a[4]);
  SignalSet mask(a[5] ? *to<const long*>(a[5]) : 0);
  return door_pselect(static_cast<int>(a[0]), to<fd_set*>(a[1]), to<fd_set*>(a[2]), to<fd_set*>(a[3]), time, mask);
}

long sleep_on_clock(const long* a) {
  int error = door_clock_nanosleep(static_cast<clockid_t>(a[0]), static_cast<int>(a[1]), to<const timespec*>(a[2]),
                                   to<timespec*>(a[3]));
  return error ? failed(error) : 0;
}

// The kernel answers how many bytes it wrote; libc does not tell.
long affinity_of(const long* a) {
  const long any_thread[] = {0, a[1], a[2], 0, 0, 0};
  long bytes = real_syscall(SYS_sched_getaffinity, any_thread);
  return bytes < 0 || enter(door_sched_getaffinity, a) < 0 ? -1 : bytes;
}

// The kernel answers 20 - nice, so that it is never negative.
long nice_of(const long* a) {
  int saved = errno;
  errno = 0;
  long nice = enter(door_getpriority, a);
  if (nice == -1 && errno) return -1;
  errno = saved;
  return 20 - nice;
}

// exit(2) ends the calling thread only.
long end_thread(const long* a) {
  if (!current) return real_syscall(SYS_exit, a);
  door_pthread_exit(nullptr);
  __builtin_unreachable();
}

// Waiting for data or time: those whose arguments differ.
long wait_call(long number, const long* a) {
  auto fd = static_cast<int>(a[0]), timeout = static_cast<int>(a[3]);
  switch (number) {
    case SYS_ppoll: {
      TimeLeft time(a[2]);
      return door_ppoll(to<pollfd*>(a[0]), static_cast<nfds_t>(a[1]), time, SignalSet(a[3]));
    }
    case SYS_pselect6: return pselect6(a);
    case SYS_epoll_pwait: return door_epoll_pwait(fd, to<epoll_event*>(a[1]), static_cast<int>(a[2]), timeout, SignalSet(a[4]));
    case SYS_epoll_pwait2:
      return door_epoll_pwait2(fd, to<epoll_event*>(a[1]), static_cast<int>(a[2]), to<timespec*>(a[3]), SignalSet(a[4]));
    case SYS_rt_sigsuspend: return door_sigsuspend(SignalSet(a[0]));
    case SYS_rt_sigtimedwait: return door_sigtimedwait(SignalSet(a[0]), to<siginfo_t*>(a[1]), to<timespec*>(a[2]));
    default: return sleep_on_clock(a);
  }
}

// Calls without a hook that may block for long: on a helper.
long call_away(long number, const long* a) {
  Away away(to_reason(Call::syscall));
  return real_syscall(number, a);
}

// lengths: a table
long enter_by_number(long number, const long* a) {
  switch (number) {
    case SYS_read: return enter(door_read, a);
    case SYS_write: return enter(door_write, a);
    case SYS_readv: return enter(door_readv, a);
    case SYS_writev: return enter(door_writev, a);
    case SYS_pread64: return enter(door_pread64, a);
    case SYS_pwrite64: return enter(door_pwrite64, a);
    case SYS_sendfile: return enter(door_sendfile64, a);
    case SYS_splice: return enter(door_splice, a);
    case SYS_tee: return enter(door_tee, a);
    case SYS_vmsplice: return enter(door_vmsplice, a);
    case SYS_copy_file_range: return enter(door_copy_file_range, a);
    case SYS_socket: return enter(door_socket, a);
    case SYS_socketpair: return enter(door_socketpair, a);
    case SYS_connect: return door_connect(static_cast<int>(a[0]), to<const sockaddr*>(a[1]), static_cast<socklen_t>(a[2]));
    case SYS_accept: return door_accept(static_cast<int>(a[0]), to<sockaddr*>(a[1]), to<socklen_t*>(a[2]));
    case SYS_accept4:
      return door_accept4(static_cast<int>(a[0]), to<sockaddr*>(a[1]), to<socklen_t*>(a[2]), static_cast<int>(a[3]));
    case SYS_sendto:
      return door_sendto(static_cast<int>(a[0]), to<void*>(a[1]), static_cast<size_t>(a[2]), static_cast<int>(a[3]),
                         to<const sockaddr*>(a[4]), static_cast<socklen_t>(a[5]));
    case SYS_recvfrom:
      return door_recvfrom(static_cast<int>(a[0]), to<void*>(a[1]), static_cast<size_t>(a[2]), static_cast<int>(a[3]),
                           to<sockaddr*>(a[4]), to<socklen_t*>(a[5]));
    case SYS_sendmsg: return enter(door_sendmsg, a);
    case SYS_recvmsg: return enter(door_recvmsg, a);
    case SYS_recvmmsg: return enter(door_recvmmsg, a);
    case SYS_sendmmsg: return enter(door_sendmmsg, a);
    case SYS_shutdown: return enter(door_shutdown, a);
    case SYS_setsockopt: return enter(door_setsockopt, a);
    case SYS_close: return enter(door_close, a);
    case SYS_close_range: return enter(door_close_range, a);
    case SYS_dup: return enter(door_dup, a);
    case SYS_dup2: return enter(door_dup2, a);
    case SYS_dup3: return enter(door_dup3, a);
    case SYS_pipe: return enter(door_pipe, a);
    case SYS_pipe2: return enter(door_pipe2, a);
    case SYS_fcntl: return door_fcntl(static_cast<int>(a[0]), static_cast<int>(a[1]), a[2]);
    case SYS_ioctl: return door_ioctl(static_cast<int>(a[0]), static_cast<unsigned long>(a[1]), a[2]);
    case SYS_epoll_create1: return enter(door_epoll_create1, a);
    case SYS_epoll_wait: return enter(door_epoll_wait, a);
    case SYS_poll: return enter(door_poll, a);
    case SYS_select: return enter(door_select, a);
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
    case SYS_ppoll:
    case SYS_pselect6:
    case SYS_rt_sigsuspend:
    case SYS_rt_sigtimedwait:
    case SYS_clock_nanosleep: return wait_call(number, a);
    case SYS_nanosleep: return enter(door_nanosleep, a);
    case SYS_sched_yield: return door_sched_yield();
    case SYS_pause: return door_pause();
    case SYS_open: return door_open(to<const char*>(a[0]), static_cast<int>(a[1]), a[2]);
    case SYS_openat: return door_openat(static_cast<int>(a[0]), to<const char*>(a[1]), static_cast<int>(a[2]), a[3]);
    case SYS_creat: return enter(door_creat, a);
    case SYS_flock: return enter(door_flock, a);
    case SYS_fsync: return enter(door_fsync, a);
    case SYS_fdatasync: return enter(door_fdatasync, a);
    case SYS_msync: return enter(door_msync, a);
    case SYS_sync: return door_sync(), 0;
    case SYS_syncfs: return enter(door_syncfs, a);
    case SYS_sync_file_range: return enter(door_sync_file_range, a);
    case SYS_msgrcv: return enter(door_msgrcv, a);
    case SYS_msgsnd: return enter(door_msgsnd, a);
    case SYS_semop: return enter(door_semop, a);
    case SYS_semtimedop: return enter(door_semtimedop, a);
    case SYS_mq_timedreceive: return enter(door_mq_timedreceive, a);
    case SYS_mq_timedsend: return enter(door_mq_timedsend, a);
    case SYS_gettid: return door_gettid();
    case SYS_prctl: return door_prctl(static_cast<int>(a[0]), a[1], a[2], a[3], a[4]);
    case SYS_getcpu: return enter(door_getcpu, a);
    case SYS_getpriority: return nice_of(a);
    case SYS_setpriority: return enter(door_setpriority, a);
    case SYS_sched_getaffinity: return affinity_of(a);
    case SYS_sched_setaffinity: return enter(door_sched_setaffinity, a);
    case SYS_sched_getscheduler: return enter(door_sched_getscheduler, a);
    case SYS_sched_setscheduler: return enter(door_sched_setscheduler, a);
    case SYS_sched_getparam: return enter(door_sched_getparam, a);
    case SYS_sched_setparam: return enter(door_sched_setparam, a);
    case SYS_tgkill: return enter(door_tgkill, a);
    case SYS_tkill: return door_tgkill(sys::getpid(), static_cast<pid_t>(a[0]), static_cast<int>(a[1]));
    case SYS_rt_sigprocmask: return change_mask(a);
    case SYS_rt_sigpending: return pending(a);
    case SYS_sigaltstack: return enter(door_sigaltstack, a);
    case SYS_exit: return end_thread(a);
    case SYS_exit_group: return door__exit(static_cast<int>(a[0])), 0;
    case SYS_fork: return door_fork();
    case SYS_execve: return enter(door_execve, a);
    case SYS_execveat: return enter(door_execveat, a);
    case SYS_capset: return enter(door_capset, a);
    case SYS_personality: return enter(door_personality, a);
    case SYS_setns: return enter(door_setns, a);
    case SYS_unshare: return enter(door_unshare, a);
    case SYS_wait4: return enter(door_wait4, a);
    case SYS_waitid: return a[4] ? call_away(number, a) : enter(door_waitid, a);
    case SYS_futex_waitv:
    case SYS_io_uring_enter:
    case SYS_io_getevents:
    case SYS_io_pgetevents: return call_away(number, a);
    default: return real_syscall(number, a);
  }
}

}  // namespace

// A call that came in past the hooks. A fiber.
long enter_trapped(long number, const long* a) {
  if (number == SYS_futex) return futex_trapped(current, a);
  if (number == SYS_vfork) return door_fork();
  return enter_by_number(number, a);
}

// syscall(2): as the call of that number. Takes six arguments, whatever the caller passed: on x86-64 that is harmless.
HOOK(long, syscall, (long number, long a, long b, long c, long d, long e, long f)) {
  if (!engine_started()) return real.syscall(number, a, b, c, d, e, f);
  Fiber* fiber = gate<Call::syscall>();
  const long arguments[] = {a, b, c, d, e, f};
  if (number == SYS_futex) return futex(fiber, arguments);
  NoCancellationPoint as_in_libc;
  return enter_by_number(number, arguments);
}

}  // namespace coro
