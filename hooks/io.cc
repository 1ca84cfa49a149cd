// SPDX-License-Identifier: Apache-2.0
//
// read and write on anything. One attempt that cannot block, chosen by the kind of the descriptor:
//  - sockets: recv/send with MSG_DONTWAIT (the same call to the kernel as read/write on a socket);
//  - everything else: preadv2/pwritev2 at offset -1 (the file position) with RWF_NOWAIT. Regular files answer from the
//    page cache; EAGAIN there means the disk, and a helper reads. Pipes, eventfds and many devices know RWF_NOWAIT;
//    where it is EOPNOTSUPP (ttys, old kernels) poll(2) goes first, and a blocking write is cut to PIPE_BUF bytes,
//    which POLLOUT promises room for (pipe(7)).
// The descriptor table is a hint: ENOTSOCK means that the number was reused behind our back; classify again.
#include <limits.h>

#include "hooks/io.h"
#include "hooks/retry.h"
#include "hooks/socket.h"

namespace coro {
namespace {

// The switch that the call obeys: that of sockets or that of everything else.
bool is_switched_on(const Descriptor& d) {
  return options().patch.covers(d.is_socket() ? Switch::socket : Switch::os);
}

bool is_ready(int fd, uint8_t way) {
  pollfd one{fd, static_cast<short>(way == way_in ? POLLIN : POLLOUT), 0};
  return real.poll(&one, 1, 0) != 0;
}

}  // namespace

Plan plan(Fiber* fiber, int fd, Descriptor*& d, size_t size) {
  d = fiber && size ? known_descriptor(fd) : nullptr;  // no bytes, no wait: the kernel's own answer
  if (!d || !is_switched_on(*d)) return Plan::pass;
  return d->kind == Kind::file ? Plan::file : Plan::wait;
}

namespace {

ssize_t reclassify(int fd) {
  died(fd);
  errno = EAGAIN;  // as if nothing was there yet: the wait, or the next attempt, sees the truth
  return -1;
}

// A terminal that is read by count and time (VMIN, VTIME of termios(3)): only the kernel knows when its read ends.
bool counts_bytes(int fd, const Descriptor& d) {
  termios mode;
  if (d.kind != Kind::device || tcgetattr(fd, &mode) < 0) return false;
  return !(mode.c_lflag & ICANON) && (mode.c_cc[VTIME] != 0 || mode.c_cc[VMIN] != 1);
}

// One read that does not block.
ssize_t attempt_read(int fd, Descriptor& d, const iovec* vectors, int count, bool blocks) {
  if (blocks) return real.readv(fd, vectors, count);
  if (d.is_socket()) {
    ssize_t result;
    if (count == 1) {
      result = real.recv(fd, vectors->iov_base, vectors->iov_len, MSG_DONTWAIT);
    } else {
      msghdr message{};
      message.msg_iov = const_cast<iovec*>(vectors);
      message.msg_iovlen = static_cast<size_t>(count);
      result = real.recvmsg(fd, &message, MSG_DONTWAIT);
    }
    return result < 0 && errno == ENOTSOCK ? reclassify(fd) : result;
  }
  if (!(d.no_nowait & way_in)) {
    ssize_t result = real.preadv2(fd, vectors, count, -1, RWF_NOWAIT);
    if (result >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS)) return result;
    d.no_nowait |= way_in;
  }
  if (!is_blocking(fd, d) || is_ready(fd, way_in)) return real.readv(fd, vectors, count);
  if (!counts_bytes(fd, d)) return failed(EAGAIN);
  Away away(to_reason(Call::read));
  return real.readv(fd, vectors, count);
}

ssize_t attempt_write(int fd, Descriptor& d, iovec* vectors, int count, bool blocks) {
  if (blocks) return real.writev(fd, vectors, count);
  if (d.is_socket()) {
    ssize_t result;
    if (count == 1) {
      result = real.send(fd, vectors->iov_base, vectors->iov_len, MSG_DONTWAIT);
    } else {
      msghdr message{};
      message.msg_iov = vectors;
      message.msg_iovlen = static_cast<size_t>(count);
      result = real.sendmsg(fd, &message, MSG_DONTWAIT);
    }
    return result < 0 && errno == ENOTSOCK ? reclassify(fd) : result;
  }
  if (!(d.no_nowait & way_out)) {
    ssize_t result = real.pwritev2(fd, vectors, count, -1, RWF_NOWAIT);
    if (result >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS)) return result;
    d.no_nowait |= way_out;
  }
  if (!is_blocking(fd, d)) return real.writev(fd, vectors, count);
  if (!is_ready(fd, way_out)) return failed(EAGAIN);
  if (total_size(vectors, static_cast<size_t>(count)) <= PIPE_BUF) return real.writev(fd, vectors, count);
  int i = 0;
  while (!vectors[i].iov_len) i++;
  size_t size = vectors[i].iov_len < PIPE_BUF ? vectors[i].iov_len : PIPE_BUF;
  return real.write(fd, vectors[i].iov_base, size);
}

ssize_t read_on_fiber(Call call, Fiber* fiber, int fd, Descriptor& d, const iovec* vectors,
                      int count) {
  size_t asked = d.kind == Kind::stream ? total_size(vectors, static_cast<size_t>(count)) : 0;
  return until_ready(call, fiber, fd, way_in, asked,
                     [&](bool blocks) { return attempt_read(fd, d, vectors, count, blocks); });
}

ssize_t write_on_fiber(Call call, Fiber* fiber, int fd, Descriptor& d, const iovec* vectors,
                       int count) {
  size_t size = total_size(vectors, static_cast<size_t>(count));
  bool whole = d.kind == Kind::stream || d.kind == Kind::pipe || d.kind == Kind::device;
  if (!whole || !size)
    return until_ready(call, fiber, fd, way_out, 0, [&](bool blocks) {
      return attempt_write(fd, d, const_cast<iovec*>(vectors), count, blocks);
    });
  return until_all(call, fiber, fd, size, [&](size_t done, bool blocks) {
    if (!done) return attempt_write(fd, d, const_cast<iovec*>(vectors), count, blocks);
    VectorTail tail(vectors, count, done);
    return attempt_write(fd, d, tail.vectors(), tail.count(), blocks);
  });
}

}  // namespace

// Found with Java, which takes a short read of a class for its end.
ssize_t read_rest(Call call, int fd, const iovec* vectors, int count, off64_t offset, size_t done) {
  constexpr size_t most = 0x7ffff000;  // of one call, read(2)
  KeepErrno keep;
  size_t asked = total_size(vectors, static_cast<size_t>(count));
  while (done < asked && done < most) {
    VectorTail tail(vectors, count, done);
    off64_t from = offset < 0 ? offset : offset + static_cast<off64_t>(done);
    ssize_t more = real.preadv64v2(fd, tail.vectors(), tail.count(), from, RWF_NOWAIT);
    if (more < 0 && errno == EAGAIN) {
      Away away(to_reason(call));
      more = real.preadv64v2(fd, tail.vectors(), tail.count(), from, 0);
    }
    if (more <= 0) break;  // the end of the file, or what the kernel, too, would tell of only at the next call
    done += static_cast<size_t>(more);
  }
  return static_cast<ssize_t>(done);
}

bool is_sane(const iovec* vectors, int count) { return vectors && count > 0 && count <= IOV_MAX; }

// read(2): parks until data, end of file, error, or a signal.
HOOK(ssize_t, read, (int fd, void* buffer, size_t size)) {
  Fiber* fiber = gate<Call::read>();
  Descriptor* d;
  iovec one{buffer, size};
  switch (plan(fiber, fd, d, size)) {
    case Plan::wait:
      if (!d->odd) return read_on_fiber(Call::read, fiber, fd, *d, &one, 1);
      return receive(fd, buffer, size, 0);
    case Plan::file:
      return read_file(Call::read, fiber, fd, &one, 1, -1, [&] { return real.read(fd, buffer, size); });
    case Plan::pass: break;
  }
  return real.read(fd, buffer, size);
}
HOOK_ALIAS(__read, read);

// write(2): parks until all is written (sockets, pipes, ttys) or room is there (the others).
HOOK(ssize_t, write, (int fd, const void* buffer, size_t size)) {
  Fiber* fiber = gate<Call::write>();
  Descriptor* d;
  iovec one{const_cast<void*>(buffer), size};
  if (plan(fiber, fd, d) == Plan::wait)
    return write_on_fiber(Call::write, fiber, fd, *d, &one, 1);
  if (fiber) test_cancel(fiber);
  return real.write(fd, buffer, size);
}
HOOK_ALIAS(__write, write);

ssize_t read_vectors(Call call, Fiber* fiber, int fd, const iovec* vectors, int count) {
  Descriptor* d;
  if (!is_sane(vectors, count)) return real.readv(fd, vectors, count);
  switch (plan(fiber, fd, d)) {
    case Plan::wait: return read_on_fiber(call, fiber, fd, *d, vectors, count);
    case Plan::file:
      return read_file(call, fiber, fd, vectors, count, -1, [&] { return real.readv(fd, vectors, count); });
    case Plan::pass: break;
  }
  return real.readv(fd, vectors, count);
}

ssize_t write_vectors(Call call, Fiber* fiber, int fd, const iovec* vectors, int count) {
  Descriptor* d;
  if (is_sane(vectors, count) && plan(fiber, fd, d) == Plan::wait)
    return write_on_fiber(call, fiber, fd, *d, vectors, count);
  return real.writev(fd, vectors, count);
}

// readv(2): as read.
HOOK(ssize_t, readv, (int fd, const iovec* vectors, int count)) {
  return read_vectors(Call::readv, gate<Call::readv>(), fd, vectors, count);
}

// writev(2): as write.
HOOK(ssize_t, writev, (int fd, const iovec* vectors, int count)) {
  return write_vectors(Call::writev, gate<Call::writev>(), fd, vectors, count);
}

// eventfd_read(3), eventfd_write(3): libc's own go round our read and write.
HOOK(int, eventfd_read, (int fd, eventfd_t* value)) {
  if (!gate<Call::eventfd_read>()) return real.eventfd_read(fd, value);
  return hook_read(fd, value, sizeof *value) == sizeof *value ? 0 : -1;
}
HOOK(int, eventfd_write, (int fd, eventfd_t value)) {
  if (!gate<Call::eventfd_write>()) return real.eventfd_write(fd, value);
  return hook_write(fd, &value, sizeof value) == sizeof value ? 0 : -1;
}

// __read_chk: what read becomes under _FORTIFY_SOURCE. libc's own door reports the overflow.
HOOK(ssize_t, __read_chk, (int fd, void* buffer, size_t size, size_t room)) {
  if (size > room) return real.__read_chk(fd, buffer, size, room);
  return hook_read(fd, buffer, size);
}
}  // namespace coro
