// SPDX-License-Identifier: Apache-2.0
//
// Sockets. A receive or send is one attempt with MSG_DONTWAIT and, when that would block and the program sees the
// socket as blocking, a wait. O_NONBLOCK is never changed on a description that others could see: accept polls first,
// connect switches it only on a socket that this process made and shares with nobody, and goes to a helper otherwise.
#include <netinet/in.h>
#include <string.h>

#include "hooks/retry.h"
#include "scheduler/offload.h"

namespace coro {
namespace {

Kind kind_of_type(int type) {
  return (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) == SOCK_STREAM ? Kind::stream : Kind::packet;
}

size_t total_size(const iovec* vectors, size_t count) {
  size_t total = 0;
  for (size_t i = 0; i < count; i++) total += vectors[i].iov_len;
  return total;
}

bool is_stream(int fd) {
  Descriptor* d = known_descriptor(fd);
  return d && d->kind == Kind::stream;
}

// MSG_WAITALL: the kernel's blocking call waits for the full count; ours collects. take(done) receives into what is
// left. A partial count stands when something ends the wait early (recv(2)).
template <class Take>
ssize_t collect_all(Call call, Fiber* fiber, int fd, size_t size, Take take) {
  size_t done = 0;
  while (done < size) {
    int saved = errno;
    ssize_t result = until_ready(call, fiber, fd, way_in, 0, [&](bool blocks) { return take(done, blocks); });
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

constexpr int dont_wait(bool blocks) { return blocks ? 0 : MSG_DONTWAIT; }

constexpr int never_waits = MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB;

// Receives that only the kernel can do as a whole go to a helper: with a low-water mark, or MSG_WAITALL on messages.
bool is_for_helper(Fiber* fiber, int fd) {
  Descriptor* d = known_descriptor(fd);
  if (!d || !d->odd || !is_blocking(fd, *d)) return false;
  test_cancel(fiber);
  return true;
}

}  // namespace

// socket(2): as libc; we note that the descriptor is ours and how the program sees it.
HOOK(int, socket, (int domain, int type, int protocol)) {
  int fd = real.socket(domain, type, protocol);
  if (fd >= 0) born(fd, kind_of_type(type), type & SOCK_NONBLOCK);
  return fd;
}

// socketpair(2): as libc; noted.
HOOK(int, socketpair, (int domain, int type, int protocol, int pair[2])) {
  int result = real.socketpair(domain, type, protocol, pair);
  if (result == 0)
    for (int i = 0; i < 2; i++) born(pair[i], kind_of_type(type), type & SOCK_NONBLOCK);
  return result;
}

// setsockopt(2): as libc; SO_RCVTIMEO and SO_SNDTIMEO bound our waits, so what we knew of them is forgotten.
HOOK(int, setsockopt, (int fd, int level, int name, const void* value, socklen_t length)) {
  int result = real.setsockopt(fd, level, name, value, length);
  if (result == 0 && level == SOL_SOCKET) note_option(fd, name, value, length);
  return result;
}

// shutdown(2): as libc. Who waits on the descriptor looks again: a unix socket shut down for sending ends its blocked
// senders without an event that epoll would tell.
HOOK(int, shutdown, (int fd, int how)) {
  if (Descriptor* d = descriptor(fd)) d->drained = 0;
  int result = real.shutdown(fd, how);
  if (result == 0) {
    KeepErrno keep;
    nudge_descriptor(fd);
  }
  return result;
}

// recv(2): parks until data, end of stream, error, a signal, or SO_RCVTIMEO.
HOOK(ssize_t, recv, (int fd, void* buffer, size_t size, int flags)) {
  Fiber* fiber = gate<Call::recv>();
  if (!fiber) return real.recv(fd, buffer, size, flags);
  if (flags & never_waits) return note_drained(fd, spin_watch(fiber, real.recv(fd, buffer, size, flags)));
  if (is_for_helper(fiber, fd)) {
    Away away(to_reason(Call::recv));
    return real.recv(fd, buffer, size, flags);
  }
  if (waits_for_all(fd, flags, size))
    return collect_all(Call::recv, fiber, fd, size, [&](size_t done, bool blocks) {
      return real.recv(fd, static_cast<char*>(buffer) + done, size - done, flags | dont_wait(blocks));
    });
  return until_ready(Call::recv, fiber, fd, way_in, stream_size(flags, size), [&](bool blocks) {
    return real.recv(fd, buffer, size, flags | dont_wait(blocks));
  });
}

// recvfrom(2): as recv.
HOOK(ssize_t, recvfrom, (int fd, void* buffer, size_t size, int flags, sockaddr* address,
                         socklen_t* length)) {
  Fiber* fiber = gate<Call::recvfrom>();
  if (!fiber) return real.recvfrom(fd, buffer, size, flags, address, length);
  if (flags & never_waits)
    return spin_watch(fiber, real.recvfrom(fd, buffer, size, flags, address, length));
  if (is_for_helper(fiber, fd)) {
    Away away(to_reason(Call::recvfrom));
    return real.recvfrom(fd, buffer, size, flags, address, length);
  }
  if (waits_for_all(fd, flags, size))
    return collect_all(Call::recvfrom, fiber, fd, size, [&](size_t done, bool blocks) {
      return real.recvfrom(fd, static_cast<char*>(buffer) + done, size - done,
                           flags | dont_wait(blocks), address, length);
    });
  return until_ready(Call::recvfrom, fiber, fd, way_in, stream_size(flags, size), [&](bool blocks) {
    return real.recvfrom(fd, buffer, size, flags | dont_wait(blocks), address, length);
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

// recvmmsg(2): parks for the first message; further ones as they are there, or until count, MSG_WAITFORONE or timeout.
HOOK(int, recvmmsg, (int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout)) {
  Fiber* fiber = gate<Call::recvmmsg>();
  if (!fiber) return real.recvmmsg(fd, messages, count, flags, timeout);
  if (flags & never_waits || (timeout && (timeout->tv_sec < 0 || timeout->tv_nsec >= 1000000000)))
    return spin_watch(fiber, real.recvmmsg(fd, messages, count, flags, timeout));
  // The kernel looks at the time-out only after each message (recvmmsg(2), BUGS).
  Deadline deadline = timeout ? Deadline::in(to_nanoseconds(*timeout)) : Deadline::never();
  unsigned done = 0;
  while (done < count) {
    int saved = errno;
    int got = until_ready(Call::recvmmsg, fiber, fd, way_in, 0, [&](bool blocks) {
      return real.recvmmsg(fd, messages + done, count - done, (flags & ~MSG_WAITFORONE) | dont_wait(blocks),
                           nullptr);
    });
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
  if (timeout) *timeout = to_timespec(deadline.left());
  return static_cast<int>(done);
}

// send(2): parks until everything is queued, as the blocking call does.
HOOK(ssize_t, send, (int fd, const void* buffer, size_t size, int flags)) {
  Fiber* fiber = gate<Call::send>();
  if (!fiber || flags & MSG_DONTWAIT) return real.send(fd, buffer, size, flags);
  return until_all(Call::send, fiber, fd, size, [&](size_t done, bool blocks) {
    return real.send(fd, static_cast<const char*>(buffer) + done, size - done, flags | dont_wait(blocks));
  });
}

// sendto(2): as send.
HOOK(ssize_t, sendto, (int fd, const void* buffer, size_t size, int flags, const sockaddr* address,
                       socklen_t length)) {
  Fiber* fiber = gate<Call::sendto>();
  if (!fiber || flags & MSG_DONTWAIT) return real.sendto(fd, buffer, size, flags, address, length);
  return until_all(Call::sendto, fiber, fd, size, [&](size_t done, bool blocks) {
    return real.sendto(fd, static_cast<const char*>(buffer) + done, size - done,
                       flags | dont_wait(blocks), address, length);
  });
}

// sendmsg(2): as send. Ancillary data goes with the first bytes, as in the kernel.
HOOK(ssize_t, sendmsg, (int fd, const msghdr* message, int flags)) {
  Fiber* fiber = gate<Call::sendmsg>();
  if (!fiber || flags & MSG_DONTWAIT) return real.sendmsg(fd, message, flags);
  // The kernel reads the message first: after the first attempt the pointers in it are known to be good.
  ssize_t first = until_ready(Call::sendmsg, fiber, fd, way_out, 0,
                              [&](bool blocks) { return real.sendmsg(fd, message, flags | dont_wait(blocks)); });
  if (first <= 0 || !is_stream(fd)) return first;
  size_t size = total_size(message->msg_iov, message->msg_iovlen);
  if (static_cast<size_t>(first) >= size || !is_blocking(fd, *descriptor(fd))) return first;
  return until_all(Call::sendmsg, fiber, fd, size, [&](size_t done, bool blocks) {
    msghdr rest = *message;
    VectorTail tail(message->msg_iov, static_cast<int>(message->msg_iovlen), done);
    rest.msg_iov = tail.vectors();
    rest.msg_iovlen = static_cast<size_t>(tail.count());
    rest.msg_control = nullptr;
    rest.msg_controllen = 0;
    return real.sendmsg(fd, &rest, flags | dont_wait(blocks));
  }, static_cast<size_t>(first));
}

// sendmmsg(2): message by message; what went out before a failure stands.
HOOK(int, sendmmsg, (int fd, mmsghdr* messages, unsigned count, int flags)) {
  Fiber* fiber = gate<Call::sendmmsg>();
  if (!fiber || flags & MSG_DONTWAIT) return real.sendmmsg(fd, messages, count, flags);
  if (is_stream(fd)) {
    unsigned sent = 0;
    for (; sent < count; sent++) {
      int saved = errno;
      ssize_t size = hook_sendmsg(fd, &messages[sent].msg_hdr, flags);
      if (size < 0 && !sent) return -1;
      if (size < 0) {
        errno = saved;
        break;
      }
      messages[sent].msg_len = static_cast<unsigned>(size);
    }
    return static_cast<int>(sent);
  }
  unsigned sent = 0;
  while (sent < count) {
    int saved = errno;
    int result = until_ready(Call::sendmmsg, fiber, fd, way_out, 0, [&](bool blocks) {
      return real.sendmmsg(fd, messages + sent, count - sent, flags | dont_wait(blocks));
    });
    if (result < 0 && !sent) return result;
    if (result < 0) {
      errno = saved;
      break;
    }
    sent += static_cast<unsigned>(result);
    Descriptor* d = descriptor(fd);
    if (!result || !d || !is_blocking(fd, *d)) break;
  }
  return static_cast<int>(sent);
}

namespace {

bool is_listening(int fd, Descriptor& d) {
  if (!d.is_socket() || d.listens) return d.listens;
  KeepErrno keep;
  int listens = 0;
  socklen_t length = sizeof listens;
  d.listens = getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens;
  return d.listens;
}

// accept has no MSG_DONTWAIT: poll tells whether it would block. Nobody can take the connection in between if the
// socket is ours alone and fibers of this hub only; otherwise the blocking call itself runs on a helper.
template <class Accept>
int accept_when_ready(Call call, Fiber* fiber, int fd, Accept accept) {
  test_cancel(fiber);
  Descriptor* d = known_descriptor(fd);
  if (!d || !is_listening(fd, *d) || !is_blocking(fd, *d)) return spin_watch(fiber, accept());
  bool may_race = !d->is_private() || hub_count() > 1;
  Deadline deadline = deadline_of(fd, *d, way_in);
  Rule rule = deadline.is_never() ? Rule::restarts : Rule::interrupts;
  pollfd ready{fd, POLLIN, 0};
  while (real.poll(&ready, 1, 0) == 0) {
    Outcome outcome = wait_descriptor(call, fiber, fd, way_in, deadline, rule);
    if (int error = to_errno(outcome)) return static_cast<int>(failed(error));
  }
  if (!may_race) return accept();
  Away away(to_reason(call));
  return accept();
}

void note_accepted(int fd, bool nonblocking, int listener) {
  if (fd < 0) return;
  Descriptor* from = descriptor(listener);
  Kind kind = from && from->is_socket() ? from->kind : Kind::stream;
  born(fd, kind, nonblocking);
}

}  // namespace

// accept(2): parks until a connection, an error, a signal, or SO_RCVTIMEO.
HOOK(int, accept, (int fd, sockaddr* address, socklen_t* length)) {
  Fiber* fiber = gate<Call::accept>();
  auto call = [&] { return real.accept(fd, address, length); };
  int result = fiber ? accept_when_ready(Call::accept, fiber, fd, call) : call();
  note_accepted(result, false, fd);
  return result;
}

// accept4(2): as accept.
HOOK(int, accept4, (int fd, sockaddr* address, socklen_t* length, int flags)) {
  Fiber* fiber = flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC) ? nullptr : gate<Call::accept4>();
  auto call = [&] { return real.accept4(fd, address, length, flags); };
  int result = fiber ? accept_when_ready(Call::accept4, fiber, fd, call) : call();
  note_accepted(result, flags & SOCK_NONBLOCK, fd);
  return result;
}

namespace {

// Starts, or asks after, the connection without blocking: switches O_NONBLOCK on for the one call, on a description of ours alone.
int try_to_connect(int fd, const sockaddr* address, socklen_t length) {
  Critical inside;
  long flags = real.fcntl(fd, F_GETFL, 0, 0, 0, 0, 0, 0);
  real.fcntl(fd, F_SETFL, flags | O_NONBLOCK, 0, 0, 0, 0, 0);
  int result = real.connect(fd, address, length);
  KeepErrno keep;
  real.fcntl(fd, F_SETFL, flags, 0, 0, 0, 0, 0);
  return result;
}

int connect_away(const sockaddr* address, socklen_t length, int fd) {
  Away away(to_reason(Call::connect));
  return real.connect(fd, address, length);
}

// Waits for the outcome of a connection under way and fetches it with a further connect, which also lets the kernel
// settle the socket's state. `pending`: what the attempt said (EINPROGRESS, or EALREADY of an earlier one).
int wait_connected(Fiber* fiber, int fd, Descriptor& d, const sockaddr* address, socklen_t length, int pending) {
  Deadline deadline = deadline_of(fd, d, way_out);
  Rule rule = deadline.is_never() ? Rule::restarts : Rule::interrupts;
  for (;;) {
    Outcome outcome = wait_descriptor(Call::connect, fiber, fd, way_out, deadline, rule);
    if (outcome == Outcome::timed_out) return pending;  // socket(7), SO_SNDTIMEO
    if (int error = to_errno(outcome)) return error;
    if (try_to_connect(fd, address, length) == 0) return 0;
    if (errno != EALREADY && errno != EINPROGRESS) return errno;
  }
}

}  // namespace

// connect(2): parks until connected, refused, timed out (SO_SNDTIMEO), or a signal.
HOOK(int, connect, (int fd, const sockaddr* address, socklen_t length)) {
  Fiber* fiber = gate<Call::connect>();
  if (!fiber) return real.connect(fd, address, length);
  test_cancel(fiber);
  Descriptor* d = known_descriptor(fd);
  if (!d || !d->is_socket() || !is_blocking(fd, *d) || !address) return real.connect(fd, address, length);
  int saved = errno;
  d->drained = 0;
  // Datagram sockets only take note of the peer.
  if (d->kind == Kind::packet && (address->sa_family == AF_INET || address->sa_family == AF_INET6))
    return real.connect(fd, address, length);
  if (!d->is_private()) return connect_away(address, length, fd);
  if (try_to_connect(fd, address, length) == 0) return 0;
  if (errno == EAGAIN && address->sa_family == AF_UNIX) {  // full backlog: nothing to poll for
    errno = saved;
    return connect_away(address, length, fd);
  }
  if (errno != EINPROGRESS && errno != EALREADY) return -1;
  if (int error = wait_connected(fiber, fd, *d, address, length, errno)) return static_cast<int>(failed(error));
  errno = saved;
  return 0;
}

HOOK_ALIAS(__connect, connect);
HOOK_ALIAS(__send, send);

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
