// SPDX-License-Identifier: Apache-2.0
#include "hooks/fd_table.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <atomic>

#include "hooks/hook.h"
#include "hooks/signals.h"

namespace coro {
namespace {

constexpr int per_chunk = 1024;
constexpr int most_chunks = 1024;  // a million numbers: fs.nr_open's default
std::atomic<Descriptor*> chunks[most_chunks];
std::atomic<uint32_t> forks{0};

Descriptor* new_chunk(int chunk) {
  void* memory = mmap(nullptr, sizeof(Descriptor) * per_chunk, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  auto* fresh = static_cast<Descriptor*>(memory);
  Descriptor* present = nullptr;
  if (chunks[chunk].compare_exchange_strong(present, fresh)) return fresh;
  munmap(memory, sizeof(Descriptor) * per_chunk);
  return present;
}

Kind socket_kind(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0) return Kind::packet;
  return type == SOCK_STREAM ? Kind::stream : Kind::packet;
}

int64_t timeout_of(int fd, int name) {
  timeval t{};
  socklen_t length = sizeof t;
  if (getsockopt(fd, SOL_SOCKET, name, &t, &length) < 0) return 0;
  return t.tv_sec * int64_t{1'000'000'000} + t.tv_usec * int64_t{1'000};
}

// /dev/null and /dev/zero (Linux's Documentation/admin-guide/devices.txt).
bool never_waits(dev_t device) { return device == makedev(1, 3) || device == makedev(1, 5); }

}  // namespace

bool Descriptor::is_private() const {
  return ours && !duplicated && fork_count == forks.load(std::memory_order_relaxed);
}

Descriptor* descriptor(int fd) {
  if (fd < 0 || fd >= per_chunk * most_chunks) return nullptr;
  Descriptor* chunk = chunks[fd / per_chunk].load(std::memory_order_acquire);
  if (!chunk) chunk = new_chunk(fd / per_chunk);
  return chunk ? &chunk[fd % per_chunk] : nullptr;
}

Descriptor* known_descriptor(int fd) {
  Descriptor* d = descriptor(fd);
  if (!d || d->kind != Kind::unknown) return d;
  KeepErrno keep;
  struct stat status;
  if (fstat(fd, &status) < 0) return nullptr;
  switch (status.st_mode & S_IFMT) {
    case S_IFSOCK: d->kind = socket_kind(fd); break;
    case S_IFIFO: d->kind = Kind::pipe; break;
    case S_IFCHR: d->kind = never_waits(status.st_rdev) ? Kind::file : Kind::device; break;
    case 0: d->kind = Kind::event; break;
    default: d->kind = Kind::file;
  }
  return d;
}

bool is_blocking(int fd, Descriptor& d) {
  if (!d.is_private()) {
    KeepErrno keep;
    long flags = real.fcntl(fd, F_GETFL, 0, 0, 0, 0, 0, 0);
    d.nonblocking = flags >= 0 && flags & O_NONBLOCK;
  }
  return !d.nonblocking;
}

Deadline deadline_of(int fd, Descriptor& d, uint8_t way) {
  if (!d.is_socket()) return Deadline::never();
  if (!d.timeouts_known || !d.is_private()) {
    KeepErrno keep;
    d.receive_timeout = timeout_of(fd, SO_RCVTIMEO);
    d.send_timeout = timeout_of(fd, SO_SNDTIMEO);
    d.timeouts_known = true;
  }
  int64_t timeout = way == way_in ? d.receive_timeout : d.send_timeout;
  return timeout ? Deadline::in(timeout) : Deadline::never();  // negative: now
}

void born(int fd, Kind kind, bool nonblocking) {
  Descriptor* d = descriptor(fd);
  if (!d) return;
  *d = {};
  d->kind = kind;
  d->ours = true;
  d->nonblocking = nonblocking;
  d->fork_count = forks.load(std::memory_order_relaxed);
}

void died(int fd) {
  Descriptor* d = descriptor(fd);
  if (!d) return;
  *d = {};
  forget_owner(fd);
  forget_descriptor(fd);
}

Dying::Dying(int fd) : fd_(engine_started() ? fd : -1) {
  if (fd_ >= 0) begin_closing(fd_);
  died(fd);
}

Dying::~Dying() {
  if (fd_ >= 0) end_closing(fd_);
}

void duplicated(int from, int to) {
  Descriptor* a = known_descriptor(from);
  Descriptor* b = descriptor(to);
  if (!a || !b) return;
  a->duplicated = true;
  *b = *a;
  b->drained = 0;
}

void set_nonblocking(int fd, bool on) {
  if (Descriptor* d = descriptor(fd)) {
    d->nonblocking = on;
    d->drained = 0;
  }
}

namespace {

// A negative time-out means "do not wait", but reads back as none (socket(7) does not say so; the kernel does).
bool is_negative_timeout(const void* value, unsigned length) {
  return length >= sizeof(timeval) && static_cast<const timeval*>(value)->tv_sec < 0;
}

bool is_set(const void* value, unsigned length, int above) {
  return length >= sizeof(int) && *static_cast<const int*>(value) > above;
}

}  // namespace

void note_option(int fd, int name, const void* value, unsigned length) {
  Descriptor* d = known_descriptor(fd);
  if (!d) return;
  switch (name) {
    case SO_RCVTIMEO:
    case SO_SNDTIMEO:
      d->timeouts_known = false;
      if (!is_negative_timeout(value, length)) break;
      deadline_of(fd, *d, way_in);  // learns the other one
      (name == SO_RCVTIMEO ? d->receive_timeout : d->send_timeout) = -1;
      break;
    case SO_LINGER: d->lingers = is_set(value, length, 0); break;
    case SO_RCVLOWAT: d->odd = is_set(value, length, 1); break;
    case SO_PEEK_OFF: d->odd = is_set(value, length, -1); break;
  }
}

void note_fork() { forks.fetch_add(1, std::memory_order_relaxed); }

}  // namespace coro
