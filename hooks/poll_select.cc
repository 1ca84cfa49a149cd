// SPDX-License-Identifier: Apache-2.0
//
// select and pselect: the sets as an array for the wait, the kernel's own select with time-out 0 for the answer.
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>

#include <new>

#include "hooks/poll.h"
#include "hooks/user_memory.h"

namespace coro {
namespace {

// The three sets of select as an array for the wait, and copies to ask the kernel with. Sets may be larger than
// FD_SETSIZE (a program may allocate them so): sizes go by `limit`.
class Sets {
 public:
  Sets(int limit, fd_set* in, fd_set* out, fd_set* except) : limit_(limit) {
    fd_set* given[] = {in, out, except};
    words_ = (static_cast<size_t>(limit) + bits - 1) / bits;
    memory_ = static_cast<unsigned long*>(malloc(3 * words_ * sizeof(long) + 1 + sizeof(pollfd) * static_cast<size_t>(limit)));
    if (!memory_) return;
    fds_ = reinterpret_cast<pollfd*>(memory_ + 3 * words_);
    for (int i = 0; i < 3; i++) {
      given_[i] = given[i];
      unsigned long* copy = memory_ + i * words_;
      if (given[i] && !read_user_bytes(given[i], copy, words_ * sizeof(long))) bad_ = true;
    }
    if (bad_) return;
    for (int fd = 0; fd < limit; fd++) note(fd);
  }
  ~Sets() { free(memory_); }
  Sets(const Sets&) = delete;

  // 0, or the errno of a select that cannot begin.
  int trouble() const { return !memory_ ? ENOMEM : bad_ ? EFAULT : 0; }
  const pollfd* fds() const { return fds_; }
  nfds_t count() const { return count_; }

  // select with time-out 0 on fresh copies: the caller's sets are written by the answer, or not at all.
  int attempt() {
    for (int i = 0; i < 3; i++)
      if (given_[i]) memcpy(given_[i], memory_ + i * words_, words_ * sizeof(long));
    timeval none{};
    int result = real.select(limit_, given_[0], given_[1], given_[2], &none);
    return result;
  }
  // A failing select leaves the sets as they were given.
  void put_back() {
    for (int i = 0; i < 3; i++)
      if (given_[i]) memcpy(given_[i], memory_ + i * words_, words_ * sizeof(long));
  }

 private:
  static constexpr size_t bits = 8 * sizeof(long);
  bool has(int set, int fd) const {
    auto at = static_cast<size_t>(fd);
    return given_[set] && memory_[static_cast<size_t>(set) * words_ + at / bits] >> at % bits & 1;
  }
  void note(int fd) {
    int events = 0;
    if (has(0, fd)) events |= POLLIN;
    if (has(1, fd)) events |= POLLOUT;
    if (has(2, fd)) events |= POLLPRI;
    if (events) fds_[count_++] = {fd, static_cast<short>(events), 0};
  }

  int limit_;
  size_t words_;
  fd_set* given_[3] = {};
  unsigned long* memory_ = nullptr;
  pollfd* fds_ = nullptr;
  nfds_t count_ = 0;
  bool bad_ = false;
};

int select_on_fiber(Call call, Fiber* fiber, int limit, fd_set* in, fd_set* out, fd_set* except, const Deadline& deadline) {
  test_cancel(fiber);
  Sets* sets = static_cast<Sets*>(alloca(sizeof(Sets)));
  new (sets) Sets(limit, in, out, except);
  int result;
  if (int error = sets->trouble()) {
    result = static_cast<int>(failed(error));
  } else {
    auto attempt = [&] { return sets->attempt(); };
    result = attempt();
    if (result == 0) result = until_any(call, fiber, sets->fds(), sets->count(), deadline, attempt);
    if (result < 0) sets->put_back();
  }
  KeepErrno keep;
  sets->~Sets();
  return result;
}

// Limits that we do not follow: the kernel refuses them, or has much to do.
bool is_odd_limit(int limit) { return limit < 0 || limit > 1 << 20; }

Deadline deadline_in(const timeval& t) {
  return Deadline::in(to_nanoseconds({t.tv_sec, 0}) + t.tv_usec * int64_t{1000});
}

void write_rest(const Deadline& deadline, timeval& timeout) {
  timespec rest = to_timespec(deadline.left());
  timeout = {rest.tv_sec, rest.tv_nsec / 1000};
}

}  // namespace

// select(2): as poll; on Linux the time that was left is written back, also by EINTR.
HOOK(int, select, (int limit, fd_set* in, fd_set* out, fd_set* except, timeval* timeout)) {
  Fiber* fiber = gate<Call::select>();
  if (!fiber) return real.select(limit, in, out, except, timeout);
  timeval t{};
  bool bad = is_odd_limit(limit) || (timeout && !read_user(timeout, t)) || t.tv_sec < 0 || t.tv_usec < 0;
  if (bad) return real.select(limit, in, out, except, timeout);
  bool zero = timeout && t.tv_sec == 0 && t.tv_usec == 0;
  if (zero) return spin_watch_zero(fiber, real.select(limit, in, out, except, timeout));
  Deadline deadline = timeout ? deadline_in(t) : Deadline::never();
  int result = select_on_fiber(Call::select, fiber, limit, in, out, except, deadline);
  if (timeout && (result >= 0 || errno == EINTR)) write_rest(deadline, *timeout);
  return result;
}
HOOK_ALIAS(__select, select);

// pselect(2): as select, with a mask; the time-out is not written.
HOOK(int, pselect, (int limit, fd_set* in, fd_set* out, fd_set* except, const timespec* timeout, const sigset_t* mask)) {
  Fiber* fiber = gate<Call::pselect>();
  Deadline deadline;
  if (!fiber || is_odd_limit(limit) || !read_timeout(timeout, deadline))
    return real.pselect(limit, in, out, except, timeout, mask);
  return with_mask(fiber, mask, true, [&] { return select_on_fiber(Call::pselect, fiber, limit, in, out, except, deadline); });
}

}  // namespace coro
