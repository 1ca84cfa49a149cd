// SPDX-License-Identifier: Apache-2.0
//
// The calls that carry their own file position: pread, pwrite and their relatives, on files.
#include "hooks/io.h"
#include "hooks/retry.h"

namespace coro {
namespace {

// The positioned calls exist for files only (ESPIPE elsewhere, at once).
template <class Real>
ssize_t positioned_read(Call call, Fiber* fiber, int fd, const iovec* vectors, int count,
                        off64_t offset, Real there) {
  Descriptor* d;
  if (offset < 0 || !is_sane(vectors, count) || plan(fiber, fd, d) != Plan::file) return there();
  return read_file(call, fiber, fd, vectors, count, offset, there);
}

// preadv2(2) and its 64-bit name: at offset -1 it is readv; with flags the caller knows what it wants.
template <Call call, class Real>
ssize_t read_anywhere(int fd, const iovec* vectors, int count, off64_t offset, int flags, Real there) {
  if (flags) return there();
  Fiber* fiber = gate<call>();
  if (offset == -1) return read_vectors(call, fiber, fd, vectors, count);
  return positioned_read(call, fiber, fd, vectors, count, offset, there);
}

// Files take writes into the page cache; cancellation points all the same.
template <Call call, class Real>
ssize_t positioned_write(Real there) {
  Fiber* fiber = gate<call>();
  if (fiber) test_cancel(fiber);
  return there();
}

// pwritev2(2) and its 64-bit name: at offset -1 and without flags it is writev.
template <Call call, class Real>
ssize_t write_anywhere(int fd, const iovec* vectors, int count, off64_t offset, int flags, Real there) {
  if (offset == -1 && !flags) return write_vectors(call, gate<call>(), fd, vectors, count);
  return positioned_write<call>(there);
}

}  // namespace

// pread(2) and its relatives: from the page cache here, from the disk on a helper.
HOOK(ssize_t, pread, (int fd, void* buffer, size_t size, off_t offset)) {
  iovec one{buffer, size};
  return positioned_read(Call::pread, gate<Call::pread>(), fd, &one, 1, offset,
                         [&] { return real.pread(fd, buffer, size, offset); });
}
HOOK(ssize_t, pread64, (int fd, void* buffer, size_t size, off64_t offset)) {
  iovec one{buffer, size};
  return positioned_read(Call::pread64, gate<Call::pread64>(), fd, &one, 1, offset,
                         [&] { return real.pread64(fd, buffer, size, offset); });
}
HOOK_ALIAS(__pread64, pread64);

HOOK(ssize_t, preadv, (int fd, const iovec* vectors, int count, off_t offset)) {
  return positioned_read(Call::preadv, gate<Call::preadv>(), fd, vectors, count, offset,
                         [&] { return real.preadv(fd, vectors, count, offset); });
}
HOOK(ssize_t, preadv64, (int fd, const iovec* vectors, int count, off64_t offset)) {
  return positioned_read(Call::preadv64, gate<Call::preadv64>(), fd, vectors, count, offset,
                         [&] { return real.preadv64(fd, vectors, count, offset); });
}

// preadv2(2).
HOOK(ssize_t, preadv2, (int fd, const iovec* vectors, int count, off_t offset, int flags)) {
  return read_anywhere<Call::preadv2>(fd, vectors, count, offset, flags,
                                    [&] { return real.preadv2(fd, vectors, count, offset, flags); });
}
HOOK(ssize_t, preadv64v2, (int fd, const iovec* vectors, int count, off64_t offset, int flags)) {
  return read_anywhere<Call::preadv64v2>(fd, vectors, count, offset, flags,
                                    [&] { return real.preadv64v2(fd, vectors, count, offset, flags); });
}

// pwrite(2) and its relatives.
HOOK(ssize_t, pwrite, (int fd, const void* buffer, size_t size, off_t offset)) {
  return positioned_write<Call::pwrite>([&] { return real.pwrite(fd, buffer, size, offset); });
}
HOOK(ssize_t, pwrite64, (int fd, const void* buffer, size_t size, off64_t offset)) {
  return positioned_write<Call::pwrite64>([&] { return real.pwrite64(fd, buffer, size, offset); });
}
HOOK_ALIAS(__pwrite64, pwrite64);

HOOK(ssize_t, pwritev, (int fd, const iovec* vectors, int count, off_t offset)) {
  return positioned_write<Call::pwritev>([&] { return real.pwritev(fd, vectors, count, offset); });
}
HOOK(ssize_t, pwritev64, (int fd, const iovec* vectors, int count, off64_t offset)) {
  return positioned_write<Call::pwritev64>([&] { return real.pwritev64(fd, vectors, count, offset); });
}

// pwritev2(2).
HOOK(ssize_t, pwritev2, (int fd, const iovec* vectors, int count, off_t offset, int flags)) {
  return write_anywhere<Call::pwritev2>(fd, vectors, count, offset, flags,
                                     [&] { return real.pwritev2(fd, vectors, count, offset, flags); });
}
HOOK(ssize_t, pwritev64v2, (int fd, const iovec* vectors, int count, off64_t offset, int flags)) {
  return write_anywhere<Call::pwritev64v2>(fd, vectors, count, offset, flags,
                                     [&] { return real.pwritev64v2(fd, vectors, count, offset, flags); });
}

// __pread_chk, __pread64_chk: what they become under _FORTIFY_SOURCE. libc's own door reports the overflow.
HOOK(ssize_t, __pread_chk, (int fd, void* buffer, size_t size, off_t offset, size_t room)) {
  if (size > room) return real.__pread_chk(fd, buffer, size, offset, room);
  return hook_pread(fd, buffer, size, offset);
}
HOOK(ssize_t, __pread64_chk, (int fd, void* buffer, size_t size, off64_t offset, size_t room)) {
  if (size > room) return real.__pread64_chk(fd, buffer, size, offset, room);
  return hook_pread64(fd, buffer, size, offset);
}

}  // namespace coro
