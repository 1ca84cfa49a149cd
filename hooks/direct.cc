// SPDX-License-Identifier: Apache-2.0
//
// The cookie is the upper half of the sixth argument. Where the kernel reads that argument as 32 bits it keeps its own
// lower half. Three calls have a pointer or a size there: recvfrom becomes recvmsg, epoll_pwait and pselect6 are made
// without a mask, which is set and put back around them (they come here only when hooks pass through).
// A direct call is a cancellation point at its entry where libc's function is one.
#include "hooks/direct.h"

#include <string.h>
#include <sys/syscall.h>

#include "hooks/hook.h"
#include "hooks/signals.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

Real libc;  // the table as it was

// Whether the calling kernel thread may have the filter: it runs a fiber, and is no helper; or it is in a hub's loop.
bool may_have_filter() {
  if (Fiber* fiber = current) return !fiber->helper_tid.load(std::memory_order_relaxed);
  return is_hub_block(this_thread_block());
}

long to_libc(long result) { return result < 0 && result > -4096 ? failed(static_cast<int>(-result)) : result; }

template <class T>
long word(T value) {
  if constexpr (std::is_pointer_v<T>)
    return reinterpret_cast<long>(value);
  else
    return static_cast<long>(value);
}

template <class... A>
long point(long number, A... arguments) {
  if (Fiber* fiber = current) test_cancel(fiber);
  return to_libc(sys::call(number, word(arguments)...));
}

long with_low_half(long value) { return sys::cookie | (value & 0xffffffff); }

// The kernel's mask of this kernel thread is another one for the length of a call.
class OtherMask {
 public:
  explicit OtherMask(const void* set) : given_(set) {
    uint64_t mask = 0;
    if (set) memcpy(&mask, set, sizeof mask);
    if (set) old_ = sys::set_signal_mask(mask);
  }
  ~OtherMask() {
    if (given_) sys::set_signal_mask(old_);
  }
  OtherMask(const OtherMask&) = delete;

 private:
  bool given_;
  uint64_t old_ = 0;
};

long receive_from(const long* a) {
  if (!a[4]) return sys::call(SYS_recvfrom, a[0], a[1], a[2], a[3], 0);
  iovec one{reinterpret_cast<void*>(a[1]), static_cast<size_t>(a[2])};
  msghdr message{};
  auto* length = reinterpret_cast<socklen_t*>(a[5]);
  if (!length) return -EFAULT;
  message.msg_name = reinterpret_cast<void*>(a[4]);
  message.msg_namelen = *length;
  message.msg_iov = &one;
  message.msg_iovlen = 1;
  long result = sys::call(SYS_recvmsg, a[0], sys::as_long(&message), a[3]);
  if (result >= 0) *length = message.msg_namelen;
  return result;
}

long pselect_direct(const long* a) {
  const long* set = reinterpret_cast<const long*>(a[5]);
  OtherMask mask(set ? reinterpret_cast<const void*>(set[0]) : nullptr);
  auto* time = reinterpret_cast<const timespec*>(a[4]);
  timeval rounded{};
  if (time && (time->tv_sec < 0 || time->tv_nsec < 0 || time->tv_nsec >= 1'000'000'000)) return -EINVAL;
  if (time) rounded = {time->tv_sec, (time->tv_nsec + 999) / 1000};
  return sys::call(SYS_select, a[0], a[1], a[2], a[3], time ? sys::as_long(&rounded) : 0);
}

// --- real.<name> ---

#define DIRECT(result, name, arguments, pass, call)                \
  result direct_##name arguments {                                 \
    if (!may_have_filter()) return libc.name pass;                 \
    return static_cast<result>(call);                              \
  }

DIRECT(ssize_t, read, (int fd, void* to, size_t size), (fd, to, size), point(SYS_read, fd, to, size))
DIRECT(ssize_t, write, (int fd, const void* from, size_t size), (fd, from, size), point(SYS_write, fd, from, size))
DIRECT(ssize_t, readv, (int fd, const iovec* to, int count), (fd, to, count), point(SYS_readv, fd, to, count))
DIRECT(ssize_t, writev, (int fd, const iovec* from, int count), (fd, from, count), point(SYS_writev, fd, from, count))
DIRECT(int, close, (int fd), (fd), point(SYS_close, fd))
DIRECT(int, poll, (pollfd * fds, nfds_t count, int timeout), (fds, count, timeout), point(SYS_poll, fds, count, timeout))
DIRECT(int, epoll_wait, (int epoll, epoll_event* events, int most, int timeout), (epoll, events, most, timeout),
       point(SYS_epoll_wait, epoll, events, most, timeout))
DIRECT(int, select, (int limit, fd_set* in, fd_set* out, fd_set* except, timeval* time), (limit, in, out, except, time),
       point(SYS_select, limit, in, out, except, time))
DIRECT(int, accept, (int fd, sockaddr* from, socklen_t* length), (fd, from, length), point(SYS_accept, fd, from, length))
DIRECT(int, accept4, (int fd, sockaddr* from, socklen_t* length, int flags), (fd, from, length, flags),
       point(SYS_accept4, fd, from, length, flags))
DIRECT(int, connect, (int fd, const sockaddr* to, socklen_t length), (fd, to, length), point(SYS_connect, fd, to, length))
DIRECT(ssize_t, recvmsg, (int fd, msghdr* message, int flags), (fd, message, flags), point(SYS_recvmsg, fd, message, flags))
DIRECT(ssize_t, sendmsg, (int fd, const msghdr* message, int flags), (fd, message, flags),
       point(SYS_sendmsg, fd, message, flags))
DIRECT(int, recvmmsg, (int fd, mmsghdr* messages, unsigned count, int flags, timespec* time),
       (fd, messages, count, flags, time), point(SYS_recvmmsg, fd, messages, count, flags, time))
DIRECT(int, sendmmsg, (int fd, mmsghdr* messages, unsigned count, int flags), (fd, messages, count, flags),
       point(SYS_sendmmsg, fd, messages, count, flags))
DIRECT(ssize_t, recv, (int fd, void* to, size_t size, int flags), (fd, to, size, flags),
       point(SYS_recvfrom, fd, to, size, flags, 0))
DIRECT(ssize_t, send, (int fd, const void* from, size_t size, int flags), (fd, from, size, flags),
       point(SYS_sendto, fd, from, size, flags, 0, with_low_half(0)))
DIRECT(ssize_t, sendto, (int fd, const void* from, size_t size, int flags, const sockaddr* to, socklen_t length),
       (fd, from, size, flags, to, length), point(SYS_sendto, fd, from, size, flags, to, with_low_half(length)))
DIRECT(int, nanosleep, (const timespec* time, timespec* rest), (time, rest), point(SYS_nanosleep, time, rest))
DIRECT(pid_t, wait4, (pid_t pid, int* status, int options, rusage* usage), (pid, status, options, usage),
       point(SYS_wait4, pid, status, options, usage))
DIRECT(int, waitid, (idtype_t kind, id_t id, siginfo_t* info, int options), (kind, id, info, options),
       point(SYS_waitid, kind, id, info, options, 0))
DIRECT(int, flock, (int fd, int operation), (fd, operation), to_libc(sys::call(SYS_flock, fd, operation)))
DIRECT(int, pause, (), (), point(SYS_pause))
DIRECT(int, sigsuspend, (const sigset_t* set), (set), point(SYS_rt_sigsuspend, set, 8))

ssize_t direct_recvfrom(int fd, void* to, size_t size, int flags, sockaddr* from, socklen_t* length) {
  if (!may_have_filter()) return libc.recvfrom(fd, to, size, flags, from, length);
  if (Fiber* fiber = current) test_cancel(fiber);
  const long a[] = {fd, word(to), word(size), flags, word(from), word(length)};
  // What cannot block needs no cookie.
  return to_libc(flags & MSG_DONTWAIT ? sys::call(SYS_recvfrom, a[0], a[1], a[2], a[3], a[4], a[5]) : receive_from(a));
}

int direct_clock_nanosleep(clockid_t clock, int flags, const timespec* time, timespec* rest) {
  if (!may_have_filter()) return libc.clock_nanosleep(clock, flags, time, rest);
  if (Fiber* fiber = current) test_cancel(fiber);
  if (clock == CLOCK_THREAD_CPUTIME_ID) return EINVAL;  // as libc
  return static_cast<int>(-sys::call(SYS_clock_nanosleep, clock, flags, word(time), word(rest)));
}

int direct_ppoll(pollfd* fds, nfds_t count, const timespec* time, const sigset_t* mask) {
  if (!may_have_filter()) return libc.ppoll(fds, count, time, mask);
  timespec copy{};
  if (time) copy = *time;
  return static_cast<int>(point(SYS_ppoll, fds, count, time ? &copy : nullptr, mask, 8));
}

int direct_pselect(int limit, fd_set* in, fd_set* out, fd_set* except, const timespec* time, const sigset_t* mask) {
  if (!may_have_filter()) return libc.pselect(limit, in, out, except, time, mask);
  if (Fiber* fiber = current) test_cancel(fiber);
  const long set[] = {word(mask), 8};
  const long a[] = {limit, word(in), word(out), word(except), word(time), word(set)};
  return static_cast<int>(to_libc(pselect_direct(a)));
}

int direct_epoll_pwait(int epoll, epoll_event* events, int most, int timeout, const sigset_t* mask) {
  if (!may_have_filter()) return libc.epoll_pwait(epoll, events, most, timeout, mask);
  OtherMask other(mask);
  return static_cast<int>(point(SYS_epoll_pwait, epoll, events, most, timeout, 0));
}

int direct_epoll_pwait2(int epoll, epoll_event* events, int most, const timespec* time, const sigset_t* mask) {
  if (!may_have_filter()) return libc.epoll_pwait2(epoll, events, most, time, mask);
  OtherMask other(mask);
  return static_cast<int>(point(SYS_epoll_pwait2, epoll, events, most, time, 0));
}

int direct_sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* time) {
  if (!may_have_filter()) return libc.sigtimedwait(set, info, time);
  long result = point(SYS_rt_sigtimedwait, set, info, time, 8);
  if (result >= 0 && info && info->si_code == SI_TKILL) info->si_code = SI_USER;  // as libc
  return static_cast<int>(result);
}

long direct_syscall(long number, long a, long b, long c, long d, long e, long f) {
  if (!may_have_filter()) return libc.syscall(number, a, b, c, d, e, f);
  const long arguments[] = {a, b, c, d, e, f};
  return to_libc(call_direct(number, arguments));
}

}  // namespace

// lengths: a table
long call_direct(long number, const long* a) {
  switch (number) {
    case SYS_recvfrom: return receive_from(a);
    case SYS_pselect6: return pselect_direct(a);
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2: {
      OtherMask mask(reinterpret_cast<const void*>(a[4]));
      return sys::call(number, a[0], a[1], a[2], a[3], 0);
    }
    case SYS_futex:
    case SYS_sendto: return sys::call(number, a[0], a[1], a[2], a[3], a[4], with_low_half(a[5]));
    // The others that trap have fewer arguments.
    case SYS_read:
    case SYS_write:
    case SYS_readv:
    case SYS_writev:
    case SYS_close:
    case SYS_poll:
    case SYS_ppoll:
    case SYS_select:
    case SYS_epoll_wait:
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
    case SYS_accept:
    case SYS_accept4:
    case SYS_connect:
    case SYS_recvmsg:
    case SYS_sendmsg:
    case SYS_recvmmsg:
    case SYS_sendmmsg:
    case SYS_wait4:
    case SYS_waitid:
    case SYS_flock:
    case SYS_pause:
    case SYS_rt_sigsuspend:
    case SYS_rt_sigtimedwait:
    case SYS_execve:
    case SYS_execveat:
    case SYS_fork:
    case SYS_vfork: return sys::call(number == SYS_vfork ? SYS_fork : number, a[0], a[1], a[2], a[3], a[4]);
    default: return sys::call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  }
}

void call_directly() {
  libc = real;
#define TAKE(name) real.name = direct_##name;
  TAKE(read) TAKE(write) TAKE(readv) TAKE(writev) TAKE(close) TAKE(poll) TAKE(ppoll) TAKE(select) TAKE(pselect)
  TAKE(epoll_wait) TAKE(epoll_pwait) TAKE(epoll_pwait2) TAKE(accept) TAKE(accept4) TAKE(connect) TAKE(recv) TAKE(recvfrom)
  TAKE(recvmsg) TAKE(recvmmsg) TAKE(send) TAKE(sendto) TAKE(sendmsg) TAKE(sendmmsg) TAKE(nanosleep) TAKE(clock_nanosleep)
  TAKE(wait4) TAKE(waitid) TAKE(flock) TAKE(pause) TAKE(sigsuspend) TAKE(sigtimedwait) TAKE(syscall)
#undef TAKE
}

}  // namespace coro
