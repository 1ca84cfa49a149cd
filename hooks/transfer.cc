// SPDX-License-Identifier: Apache-2.0
//
// Transfers between two descriptors inside the kernel: sendfile, splice, tee, vmsplice, copy_file_range. They have no
// flag that keeps both ends from blocking. On a socket that is ours alone O_NONBLOCK is switched on for the one call;
// otherwise the blocking call runs on a helper once both ends look ready.
#include "hooks/retry.h"
#include "scheduler/offload.h"

namespace coro {
namespace {

// Runs call() while fd does not block: EAGAIN instead. Only for private descriptions.
template <class Transfer>
ssize_t without_blocking(int fd, Transfer transfer) {
  Critical inside;
  long flags = real.fcntl(fd, F_GETFL, 0, 0, 0, 0, 0, 0);
  real.fcntl(fd, F_SETFL, flags | O_NONBLOCK, 0, 0, 0, 0, 0);
  ssize_t result = transfer();
  KeepErrno keep;
  real.fcntl(fd, F_SETFL, flags, 0, 0, 0, 0, 0);
  return result;
}

bool has_file_kind(int fd) {
  Descriptor* d = known_descriptor(fd);
  return !d || d->kind == Kind::file;
}

// Waits for readiness of one end without reading it; 0 or an errno.
int wait_end(Call call, Fiber* fiber, int fd, uint8_t way) {
  Descriptor* d = known_descriptor(fd);
  if (!d || d->kind == Kind::file || !is_blocking(fd, *d)) return 0;
  pollfd one{fd, static_cast<short>(way == way_in ? POLLIN : POLLOUT), 0};
  if (real.poll(&one, 1, 0) != 0) return 0;
  Deadline deadline = deadline_of(fd, *d, way);
  Rule rule = deadline.is_never() ? Rule::restarts : Rule::interrupts;
  return to_errno(wait_descriptor(call, fiber, fd, way, deadline, rule));
}

template <class Off, class Real>
ssize_t send_file(Call call, Fiber* fiber, int out, int in, Off* offset, size_t count, Real there) {
  NoCancellationPoint as_in_libc;
  Descriptor* d = known_descriptor(out);
  bool may_wait = d && d->is_socket() && is_blocking(out, *d) && has_file_kind(in);
  if (!may_wait && d && d->kind == Kind::file) return there(out, in, offset, count);
  if (!may_wait && d && !is_blocking(out, *d)) return spin_watch(fiber, there(out, in, offset, count));
  if (may_wait && d->is_private()) {
    return until_all(call, fiber, out, count, [&](size_t done, bool blocks) {
      if (blocks) return there(out, in, offset, count - done);
      return without_blocking(out, [&] { return there(out, in, offset, count - done); });
    });
  }
  if (int error = wait_end(call, fiber, out, way_out)) return failed(error);
  Away away(to_reason(call));
  return there(out, in, offset, count);
}

bool is_ready_to_write(int fd) {
  pollfd one{fd, POLLOUT, 0};
  return real.poll(&one, 1, 0) != 0;
}

// transfer(flags) with SPLICE_F_NONBLOCK first: it answers, or finds what is wrong with the arguments, before any wait.
// A socket does not know that flag, so a full one is not asked.
template <class Transfer>
ssize_t between(Call call, Fiber* fiber, int in, int out, Transfer transfer) {
  test_cancel(fiber);
  int saved = errno;
  Descriptor* d = known_descriptor(out);
  if (!d || !d->is_socket() || is_ready_to_write(out)) {
    ssize_t result = transfer(SPLICE_F_NONBLOCK);
    if (result >= 0 || errno != EAGAIN) return result;
  }
  errno = saved;
  if (int error = wait_end(call, fiber, in, way_in)) return failed(error);
  if (int error = wait_end(call, fiber, out, way_out)) return failed(error);
  Away away(to_reason(call));
  return transfer(0);
}

}  // namespace

// sendfile(2): parks until everything is queued on the socket.
HOOK(ssize_t, sendfile, (int out, int in, off_t* offset, size_t count)) {
  Fiber* fiber = gate<Call::sendfile>();
  if (!fiber) return real.sendfile(out, in, offset, count);
  return send_file(Call::sendfile, fiber, out, in, offset, count, real.sendfile);
}
HOOK(ssize_t, sendfile64, (int out, int in, off64_t* offset, size_t count)) {
  Fiber* fiber = gate<Call::sendfile64>();
  if (!fiber) return real.sendfile64(out, in, offset, count);
  return send_file(Call::sendfile64, fiber, out, in, offset, count, real.sendfile64);
}

// splice(2): parks until both ends are ready, then moves on a helper.
HOOK(ssize_t, splice, (int in, off64_t* in_offset, int out, off64_t* out_offset, size_t size, unsigned flags)) {
  Fiber* fiber = gate<Call::splice>();
  auto transfer = [&](unsigned more) { return real.splice(in, in_offset, out, out_offset, size, flags | more); };
  if (!fiber || !size) return transfer(0);
  if (flags & SPLICE_F_NONBLOCK) return spin_watch(fiber, transfer(0));
  return between(Call::splice, fiber, in, out, transfer);
}

// tee(2): as splice, between two pipes.
HOOK(ssize_t, tee, (int in, int out, size_t size, unsigned flags)) {
  Fiber* fiber = gate<Call::tee>();
  auto transfer = [&](unsigned more) { return real.tee(in, out, size, flags | more); };
  if (!fiber || !size) return transfer(0);
  if (flags & SPLICE_F_NONBLOCK) return spin_watch(fiber, transfer(0));
  return between(Call::tee, fiber, in, out, transfer);
}

// vmsplice(2): the pipe is its only end; a writer parks until there is room.
HOOK(ssize_t, vmsplice, (int fd, const iovec* vectors, size_t count, unsigned flags)) {
  Fiber* fiber = gate<Call::vmsplice>();
  auto transfer = [&] { return real.vmsplice(fd, vectors, count, flags); };
  if (!fiber || !count || flags & SPLICE_F_NONBLOCK) return transfer();
  Descriptor* d = known_descriptor(fd);
  if (!d || !is_blocking(fd, *d)) return transfer();
  test_cancel(fiber);
  Away away(to_reason(Call::vmsplice));
  return transfer();
}

// copy_file_range(2): disk to disk, on a helper.
HOOK(ssize_t, copy_file_range, (int in, off64_t* in_offset, int out, off64_t* out_offset, size_t size, unsigned flags)) {
  Fiber* fiber = gate<Call::copy_file_range>();
  if (!fiber) return real.copy_file_range(in, in_offset, out, out_offset, size, flags);
  test_cancel(fiber);
  Away away(to_reason(Call::copy_file_range));
  return real.copy_file_range(in, in_offset, out, out_offset, size, flags);
}

}  // namespace coro
