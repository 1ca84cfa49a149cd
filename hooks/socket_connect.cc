// SPDX-License-Identifier: Apache-2.0
//
// Connections: accept and connect. O_NONBLOCK is never changed on a description that others could see: accept polls
// first, connect switches it only on a socket that this process made and shares with nobody, and goes to a helper
// otherwise.
#include <netinet/in.h>

#include "hooks/retry.h"
#include "scheduler/offload.h"
#include "scheduler/spinlock.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

bool is_listening(int fd, Descriptor& d) {
  if (!d.is_socket() || d.listens) return d.listens;
  KeepErrno keep;
  int listens = 0;
  socklen_t length = sizeof listens;
  d.listens = getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens;
  return d.listens;
}

// accept has no MSG_DONTWAIT: poll tells whether it would block. On a socket that is ours alone nobody can take the
// connection in between, because fibers of other hubs wait for their turn. Raw calls: libc's would act on a
// cancellation, and unwind, with the lock held. EAGAIN: there is none.
int accept_now(int fd, sockaddr* address, socklen_t* length, int flags) {
  static constinit Spinlock turns[64];
  Critical inside;
  Locked turn(turns[fd % 64]);
  pollfd ready{fd, POLLIN, 0};
  if (sys::call(SYS_poll, sys::as_long(&ready), 1, 0) == 0) return -EAGAIN;
  return static_cast<int>(sys::call(SYS_accept4, fd, sys::as_long(address), sys::as_long(length), flags));
}

// A description that others share may lose the connection to them: then the blocking call itself runs on a helper.
template <class Accept>
int accept_when_ready(Call call, Fiber* fiber, int fd, sockaddr* address, socklen_t* length, int flags, Accept accept) {
  test_cancel(fiber);
  Descriptor* d = known_descriptor(fd);
  if (!d || !is_listening(fd, *d) || !is_blocking(fd, *d)) return spin_watch(fiber, accept());
  Deadline deadline = deadline_of(fd, *d, way_in);
  Rule rule = deadline.is_never() ? Rule::restarts : Rule::interrupts;
  pollfd ready{fd, POLLIN, 0};
  for (;;) {
    bool mine = d->is_private();
    int result = mine ? accept_now(fd, address, length, flags) : 0;
    if (mine && result != -EAGAIN) return result < 0 ? static_cast<int>(failed(-result)) : result;
    if (!mine && real.poll(&ready, 1, 0) != 0) break;
    Outcome outcome = wait_descriptor(call, fiber, fd, way_in, deadline, rule);
    if (int error = to_errno(outcome)) return static_cast<int>(failed(error));
  }
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
  int result = fiber ? accept_when_ready(Call::accept, fiber, fd, address, length, 0, call) : call();
  note_accepted(result, false, fd);
  return result;
}

// accept4(2): as accept.
HOOK(int, accept4, (int fd, sockaddr* address, socklen_t* length, int flags)) {
  Fiber* fiber = flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC) ? nullptr : gate<Call::accept4>();
  auto call = [&] { return real.accept4(fd, address, length, flags); };
  int result = fiber ? accept_when_ready(Call::accept4, fiber, fd, address, length, flags, call) : call();
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

// On a socket of ours alone: starts connecting, and waits for the outcome.
int connect_and_wait(Fiber* fiber, int fd, Descriptor& d, const sockaddr* address, socklen_t length) {
  int saved = errno;
  if (try_to_connect(fd, address, length) == 0) return 0;
  if (errno == EAGAIN && address->sa_family == AF_UNIX) {  // full backlog: nothing to poll for
    errno = saved;
    return connect_away(address, length, fd);
  }
  if (errno != EINPROGRESS && errno != EALREADY) return -1;
  if (int error = wait_connected(fiber, fd, d, address, length, errno)) return static_cast<int>(failed(error));
  errno = saved;
  return 0;
}

}  // namespace

// connect(2): parks until connected, refused, timed out (SO_SNDTIMEO), or a signal.
HOOK(int, connect, (int fd, const sockaddr* address, socklen_t length)) {
  Fiber* fiber = gate<Call::connect>();
  if (!fiber) return real.connect(fd, address, length);
  test_cancel(fiber);
  Descriptor* d = known_descriptor(fd);
  if (!d || !d->is_socket() || !is_blocking(fd, *d) || !address) return real.connect(fd, address, length);
  d->drained = 0;
  // Datagram sockets only take note of the peer.
  if (d->kind == Kind::packet && (address->sa_family == AF_INET || address->sa_family == AF_INET6))
    return real.connect(fd, address, length);
  if (!d->is_private()) return connect_away(address, length, fd);
  return connect_and_wait(fiber, fd, *d, address, length);
}
HOOK_ALIAS(__connect, connect);

}  // namespace coro
