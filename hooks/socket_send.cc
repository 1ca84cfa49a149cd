// SPDX-License-Identifier: Apache-2.0
//
// Sending to sockets. As the blocking calls do, ours return when everything is queued: on streams the rest of a partial
// send is sent after a wait; what went out before a failure stands.
#include "hooks/io.h"
#include "hooks/retry.h"
#include "hooks/socket.h"

namespace coro {

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
HOOK_ALIAS(__send, send);

namespace {

// Sends what is left of a message after its first `done` bytes, which took the ancillary data with them.
ssize_t send_rest(Call call, Fiber* fiber, int fd, const msghdr* message, size_t size, int flags, size_t done) {
  return until_all(call, fiber, fd, size, [&](size_t sent, bool blocks) {
    msghdr rest = *message;
    VectorTail tail(message->msg_iov, static_cast<int>(message->msg_iovlen), sent);
    rest.msg_iov = tail.vectors();
    rest.msg_iovlen = static_cast<size_t>(tail.count());
    rest.msg_control = nullptr;
    rest.msg_controllen = 0;
    return real.sendmsg(fd, &rest, flags | dont_wait(blocks));
  }, done);
}

// `most`: as in until_ready.
ssize_t send_message(Call call, Fiber* fiber, int fd, const msghdr* message, int flags, Rule most) {
  // The kernel reads the message first: after the first attempt the pointers in it are known to be good.
  ssize_t first = until_ready(call, fiber, fd, way_out, 0,
                              [&](bool blocks) { return real.sendmsg(fd, message, flags | dont_wait(blocks)); }, most);
  if (first <= 0 || !is_stream(fd)) return first;
  size_t size = total_size(message->msg_iov, message->msg_iovlen);
  if (static_cast<size_t>(first) >= size || !is_blocking(fd, *descriptor(fd))) return first;
  return send_rest(call, fiber, fd, message, size, flags, static_cast<size_t>(first));
}

// What a handler does to a call of several messages: when one has gone, its SA_RESTART changes nothing (net/socket.c).
Rule rule_after(unsigned done) { return done ? Rule::interrupts : Rule::restarts; }

}  // namespace

// sendmsg(2): as send. Ancillary data goes with the first bytes, as in the kernel.
HOOK(ssize_t, sendmsg, (int fd, const msghdr* message, int flags)) {
  Fiber* fiber = gate<Call::sendmsg>();
  if (!fiber || flags & MSG_DONTWAIT) return real.sendmsg(fd, message, flags);
  return send_message(Call::sendmsg, fiber, fd, message, flags, Rule::restarts);
}

namespace {

// Streams, one message after the other: each is to go out whole, or it is the last.
int send_each(Fiber* fiber, int fd, mmsghdr* messages, unsigned count, int flags) {
  unsigned sent = 0;
  for (bool whole = true; whole && sent < count; sent++) {
    int saved = errno;
    const msghdr& message = messages[sent].msg_hdr;
    ssize_t size = send_message(Call::sendmmsg, fiber, fd, &message, flags, rule_after(sent));
    if (size < 0 && !sent) return -1;
    if (size < 0) {
      errno = saved;
      break;
    }
    messages[sent].msg_len = static_cast<unsigned>(size);
    whole = static_cast<size_t>(size) == total_size(message.msg_iov, message.msg_iovlen);
  }
  return static_cast<int>(sent);
}

// Packets, as many at a time as the kernel takes.
int send_packets(Fiber* fiber, int fd, mmsghdr* messages, unsigned count, int flags) {
  unsigned sent = 0;
  while (sent < count) {
    int saved = errno;
    int result = until_ready(Call::sendmmsg, fiber, fd, way_out, 0, [&](bool blocks) {
      return real.sendmmsg(fd, messages + sent, count - sent, flags | dont_wait(blocks));
    }, rule_after(sent));
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

}  // namespace

// sendmmsg(2): message by message; what went out before a failure stands.
HOOK(int, sendmmsg, (int fd, mmsghdr* messages, unsigned count, int flags)) {
  Fiber* fiber = gate<Call::sendmmsg>();
  if (!fiber || flags & MSG_DONTWAIT) return real.sendmmsg(fd, messages, count, flags);
  return is_stream(fd) ? send_each(fiber, fd, messages, count, flags) : send_packets(fiber, fd, messages, count, flags);
}

}  // namespace coro
