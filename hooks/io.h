// SPDX-License-Identifier: Apache-2.0
//
// What the files of the io family share: how a call goes about its descriptor, and calls on several buffers.
#pragma once

#include <sys/uio.h>

#include "hooks/fd_table.h"
#include "hooks/hook.h"
#include "scheduler/offload.h"

namespace coro {

inline size_t total_size(const iovec* vectors, size_t count) {
  size_t total = 0;
  for (size_t i = 0; i < count; i++) total += vectors[i].iov_len;
  return total;
}

// What a hook of this family does with a call on a descriptor.
enum class Plan : uint8_t {
  pass,  // the real call as it is
  wait,  // attempt and wait
  file,  // read_file
};

// Says how to go about `size` bytes of descriptor fd, and fills `d` unless the plan is pass.
Plan plan(Fiber* fiber, int fd, Descriptor*& d, size_t size = 1);

// How far the kernel would look at the arguments before it can block: bad counts go to it untouched.
bool is_sane(const iovec* vectors, int count);

// readv(2) and writev(2) at the file position. Parks.
ssize_t read_vectors(Call call, Fiber* fiber, int fd, const iovec* vectors, int count);
ssize_t write_vectors(Call call, Fiber* fiber, int fd, const iovec* vectors, int count);

// What a file read that stopped after `done` bytes still gets: RWF_NOWAIT ends where the page cache does. Offset -1: the
// file position. Returns how much was read in all. Parks.
ssize_t read_rest(Call call, int fd, const iovec* vectors, int count, off64_t offset, size_t done);

// A read of a regular file: from the page cache here, from the disk on a helper, by there(), the call itself. Parks.
template <class Real>
ssize_t read_file(Call call, Fiber* fiber, int fd, const iovec* vectors, int count, off64_t offset, Real there) {
  test_cancel(fiber);
  int saved = errno;
  ssize_t result = real.preadv64v2(fd, vectors, count, offset, RWF_NOWAIT);
  if (result == 0) return 0;
  if (result > 0) {
    bool whole = static_cast<size_t>(result) >= total_size(vectors, static_cast<size_t>(count));
    return whole ? result : read_rest(call, fd, vectors, count, offset, static_cast<size_t>(result));
  }
  bool stalls = errno == EAGAIN;
  errno = saved;
  if (!stalls) return there();  // not this kind of file: the plain call gives the plain answer
  Away away(to_reason(call));
  return there();
}

}  // namespace coro
