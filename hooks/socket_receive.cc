// SPDX-License-Identifier: Apache-2.0
//
// Receiving from sockets: one attempt with MSG_DONTWAIT and, when that would block and the program sees the socket as
// blocking, a wait. MSG_WAITALL collects; what only the kernel can do as a whole goes to a helper.
#include "hooks/retry.h"
#include "hooks/socket.h"
#include "scheduler/offload.h"

namespace coro {
namespace {

constexpr int never_waits = MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB;

// MSG_WAITALL: the kernel's blocking call waits for the full count; ours collects. take(done) receives into what is
// left. A partial count stands when something ends the wait early (recv(2)).
template <class Take>
ssize_t collect_all(Call call, Fiber* fiber, int fd, size_t size, Take take) {
  size_t done = 0;
  while (done < size) {
    int saved = errno;
    // When a part is there, a handler's SA_RESTART changes nothing (signal(7)).
    ssize_t result = until_ready(call, fiber, fd, way_in, 0, [&](bool blocks) { return take(done, blocks); },
                                 done ? Rule::interrupts : Rule::restarts);
    if (result < 0 && done) {
      errno = saved;
      break;
    }
    if (result < 0) return result;
    if (result == 0) break;
    done += static_cast<size_t>(result);
  }
  return static_cast<ssize_t>(done);
}

bool waits_for_all(int fd, int flags, size_t size) {
  return flags & MSG_WAITALL && !(flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB)) && size &&
         is_stream(fd);
}

// Bytes whose absence makes the next receive wait first; 0 where a short count says nothing.
size_t stream_size(int flags, size_t size) {
  return flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE) ? 0 : size;
}

// Receives that only the kernel can do as a whole go to a helper: with a low-water mark, or MSG_WAITALL on messages.
bool is_for_helper(Fiber* fiber, int fd) {
  Descriptor* d = known_descriptor(fd);
  if (!d || !d->odd || !is_blocking(fd, *d)) return false;
  test_cancel(fiber);
  return true;
}

// What recv and recvfrom have in common when they may park: take(done, flags) is the real call for what is left after
// `done` bytes.
template <class Take>
ssize_t receive_bytes(Call call, Fiber* fiber, int fd, size_t size, int flags, Take take) {
  if (is_for_helper(fiber, fd)) {
    Away away(to_reason(call));
    return take(size_t{0}, flags);
  }
  if (waits_for_all(fd, flags, size))
    return collect_all(call, fiber, fd, size,
                       [&](size_t done, bool blocks) { return take(done, flags | dont_wait(blocks)); });
  return until_ready(call, fiber, fd, way_in, stream_size(flags, size),
                     [&](bool blocks) { return take(size_t{0}, flags | dont_wait(blocks)); });
}

}  // namespace

ssize_t receive(int fd, void* buffer, size_t size, int flags) {
  Fiber* fiber = gate<Call::recv>();
  if (!fiber) return real.recv(fd, buffer, size, flags);
  if (flags & never_waits) return note_drained(fd, spin_watch(fiber, real.recv(fd, buffer, size, flags)));
  return receive_bytes(Call::recv, fiber, fd, size, flags, [&](size_t done, int how) {
    return real.recv(fd, static_cast<char*>(buffer) + done, size - done, how);
  });
}

// recv(2): parks until data, end of stream, error, a signal, or SO_RCVTIMEO.
HOOK(ssize_t, recv, (int fd, void* buffer, size_t size, int flags)) {
  return receive(fd, buffer, size, flags);
}

// recvfrom(2): as recv.
HOOK(ssize_t, recvfrom, (int fd, void* buffer, size_t size, int flags, sockaddr* address,
                         socklen_t* length)) {
  Fiber* fiber = gate<Call::recvfrom>();
  if (!fiber) return real.recvfrom(fd, buffer, size, flags, address, length);
  if (flags & never_waits)
    return spin_watch(fiber, real.recvfrom(fd, buffer, size, flags, address, length));
  return receive_bytes(Call::recvfrom, fiber, fd, size, flags, [&](size_t done, int how) {
    return real.recvfrom(fd, static_cast<char*>(buffer) + done, size - done, how, address, length);
  });
}

// recvmsg(2): as recv. MSG_WAITALL over several buffers, or with ancillary data, is left to a helper.
HOOK(ssize_t, recvmsg, (int fd, msghdr* message, int flags)) {
  Fiber* fiber = gate<Call::recvmsg>();
  if (!fiber) return real.recvmsg(fd, message, flags);
  if (flags & never_waits) return spin_watch(fiber, real.recvmsg(fd, message, flags));
  if (waits_for_all(fd, flags, 1) || is_for_helper(fiber, fd)) {
    test_cancel(fiber);
    Away away(to_reason(Call::recvmsg));
    return real.recvmsg(fd, message, flags);
  }
  return until_ready(Call::recvmsg, fiber, fd, way_in, 0, [&](bool blocks) {
    return real.recvmsg(fd, message, flags | dont_wait(blocks));
  });
}

namespace {

// Receives messages until count, the deadline, MSG_WAITFORONE, or a descriptor that the program sees as non-blocking.
int receive_messages(Fiber* fiber, int fd, mmsghdr* messages, unsigned count, int flags, const Deadline& deadline) {
  unsigned done = 0;
  while (done < count) {
    int saved = errno;
    // When one is there, a handler's SA_RESTART changes nothing (net/socket.c).
    Rule most = done ? Rule::interrupts : Rule::restarts;
    int got = until_ready(Call::recvmmsg, fiber, fd, way_in, 0, [&](bool blocks) {
      return real.recvmmsg(fd, messages + done, count - done, (flags & ~MSG_WAITFORONE) | dont_wait(blocks),
                           nullptr);
    }, most);
    if (got < 0 && !done) return got;
    if (got < 0) {
      errno = saved;
      break;
    }
    done += static_cast<unsigned>(got);
    if (flags & MSG_WAITFORONE || deadline.passed()) break;
    Descriptor* d = descriptor(fd);
    if (!d || !is_blocking(fd, *d)) break;
  }
  return static_cast<int>(done);
}

}  // namespace

// recvmmsg(2): parks for the first message; further ones as they are there, or until count, MSG_WAITFORONE or timeout.
HOOK(int, recvmmsg, (int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout)) {
  Fiber* fiber = gate<Call::recvmmsg>();
  if (!fiber) return real.recvmmsg(fd, messages, count, flags, timeout);
  if (flags & never_waits || (timeout && (timeout->tv_sec < 0 || timeout->tv_nsec >= 1000000000)))
    return spin_watch(fiber, real.recvmmsg(fd, messages, count, flags, timeout));
  // The kernel looks at the time-out only after each message (recvmmsg(2), BUGS).
  Deadline deadline = timeout ? Deadline::in(to_nanoseconds(*timeout)) : Deadline::never();
  int result = receive_messages(fiber, fd, messages, count, flags, deadline);
  if (timeout && result >= 0) *timeout = to_timespec(deadline.left());
  return result;
}

// __recv_chk, __recvfrom_chk: what recv and recvfrom become under _FORTIFY_SOURCE. libc's own door reports the overflow.
HOOK(ssize_t, __recv_chk, (int fd, void* buffer, size_t size, size_t room, int flags)) {
  if (size > room) return real.__recv_chk(fd, buffer, size, room, flags);
  return hook_recv(fd, buffer, size, flags);
}

HOOK(ssize_t, __recvfrom_chk, (int fd, void* buffer, size_t size, size_t room, int flags,
                               sockaddr* address, socklen_t* length)) {
  if (size > room) return real.__recvfrom_chk(fd, buffer, size, room, flags, address, length);
  return hook_recvfrom(fd, buffer, size, flags, address, length);
}

}  // namespace coro
