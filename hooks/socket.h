// SPDX-License-Identifier: Apache-2.0
//
// What the files of the socket family share: flags of calls that do not wait, and what a descriptor is.
#pragma once

#include <sys/socket.h>

#include "hooks/fd_table.h"

namespace coro {

constexpr int dont_wait(bool blocks) { return blocks ? 0 : MSG_DONTWAIT; }

inline bool is_stream(int fd) {
  Descriptor* d = known_descriptor(fd);
  return d && d->kind == Kind::stream;
}

// recv(2), for the hooks of other families: parks, gate and all.
ssize_t receive(int fd, void* buffer, size_t size, int flags);

}  // namespace coro
