// SPDX-License-Identifier: Apache-2.0
//
// What we know of each descriptor number: its kind, whether the program regards it as blocking, its time-outs. A cache
// with two rules: deaths are always seen (close, dup2 onto, fclose, ...), and what another process or a duplicate could
// have changed is asked of the kernel again before a park. Any fiber; plain loads and stores (a race between two
// fibers of the program on one descriptor is the program's).
#pragma once

#include <cstdint>

#include "scheduler/deadline.h"
#include "scheduler/wait.h"

namespace coro {

enum class Kind : uint8_t {
  unknown,   // ask
  stream,    // connected byte stream: SOCK_STREAM
  packet,    // any other socket
  pipe,      // pipes and FIFOs
  file,      // regular files, directories, block devices, /dev/null: never wait for readiness
  device,    // ttys and most character devices
  event,     // eventfd, timerfd, signalfd, inotify, epoll, pidfd, ...
};

struct Descriptor {
  Kind kind = Kind::unknown;
  bool ours = false;         // created by this process
  bool duplicated = false;   // another number may name the same description
  bool nonblocking = false;  // the program's O_NONBLOCK, as last seen
  bool timeouts_known = false;
  bool listens = false;      // listen(2) was called
  bool lingers = false;      // SO_LINGER: close may block
  bool odd = false;          // SO_RCVLOWAT or SO_PEEK_OFF: only the kernel's own blocking receive knows when it ends
  uint8_t drained = 0;       // Ways for which the last attempt came up short: wait before the next one
  uint8_t no_nowait = 0;     // Ways for which RWF_NOWAIT is not supported
  uint32_t fork_count = 0;   // fork_count() when created: an older one may be shared with a child
  int64_t receive_timeout = 0, send_timeout = 0;  // ns; 0: none; negative: do not wait

  bool is_socket() const { return kind == Kind::stream || kind == Kind::packet; }
  // Nobody but this entry can change the description's flags.
  bool is_private() const;
};

// The entry of a number; null when it is negative, too large or memory is short (then: pass through).
Descriptor* descriptor(int fd);

// As descriptor(), with the kind known. Null also when fd is not open.
Descriptor* known_descriptor(int fd);

// Whether the program regards it as blocking; asks the kernel unless the entry is private.
bool is_blocking(int fd, Descriptor& d);

// When a wait that starts now must end (SO_RCVTIMEO, SO_SNDTIMEO).
Deadline deadline_of(int fd, Descriptor& d, uint8_t way);

void born(int fd, Kind kind, bool nonblocking);  // by a call of ours in this process
void died(int fd);       // wakes whoever waits on it; before the real close

// died(), and for as long as this lives, which is across the real close, nobody begins to wait on the number.
class Dying {
 public:
  explicit Dying(int fd);
  ~Dying();
  Dying(const Dying&) = delete;

 private:
  int fd_;
};

void duplicated(int from, int to);
void set_nonblocking(int fd, bool on);  // the program changed O_NONBLOCK
void note_option(int fd, int name, const void* value, unsigned length);  // a setsockopt(SOL_SOCKET) that succeeded
void note_fork();

}  // namespace coro
