// SPDX-License-Identifier: Apache-2.0
//
// Birth, options and end of sockets. What parks: socket_receive.cc, socket_send.cc, socket_connect.cc.
#include "hooks/retry.h"

namespace coro {
namespace {

Kind kind_of_type(int type) {
  return (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) == SOCK_STREAM ? Kind::stream : Kind::packet;
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

}  // namespace coro
