// SPDX-License-Identifier: Apache-2.0
//
// Message queues and semaphore sets: System V's (sysvipc(7)) and POSIX queues (mq_overview(7)). Tried first in their form
// that does not wait, then on a helper, where the kernel counts the caller among those who wait: other processes see
// that (GETNCNT, mq_notify), and get their turn in the order of waiting. System V's calls have no readiness anyway.
#include <sys/msg.h>
#include <sys/sem.h>

#include <algorithm>

#include "hooks/away.h"
#include "hooks/user_memory.h"

namespace coro {

namespace {

ssize_t spin_watch_queue(Fiber* fiber, ssize_t result) {
  if (result < 0 && errno == ENOMSG) note_fruitless(fiber);
  return result;
}

}  // namespace

// msgrcv(2): parks until a message of the type comes. Never restarted (signal(7)).
HOOK(ssize_t, msgrcv, (int queue, void* message, size_t size, long type, int flags)) {
  Fiber* fiber = gate<Call::msgrcv>();
  auto receive = [&](int f) { return real.msgrcv(queue, message, size, type, f); };
  // MSG_COPY demands IPC_NOWAIT: without it the call is an error, not a wait.
  if (!fiber || flags & MSG_COPY) return receive(flags);
  if (flags & IPC_NOWAIT) return spin_watch_queue(fiber, receive(flags));
  test_cancel(fiber);
  return attempt_then_block(
      Call::msgrcv, fiber, Cancellable::yes, [&] { return receive(flags | IPC_NOWAIT); },
      [](ssize_t result) { return result >= 0 || errno != ENOMSG; }, [&] { return receive(flags); }, Rule::interrupts);
}

// msgsnd(2): parks while the queue is full. Never restarted.
HOOK(int, msgsnd, (int queue, const void* message, size_t size, int flags)) {
  Fiber* fiber = gate<Call::msgsnd>();
  auto send = [&](int f) { return real.msgsnd(queue, message, size, f); };
  if (!fiber) return send(flags);
  if (flags & IPC_NOWAIT) return spin_watch(fiber, send(flags));
  test_cancel(fiber);
  return attempt_then_block(
      Call::msgsnd, fiber, Cancellable::yes, [&] { return send(flags | IPC_NOWAIT); },
      [](int result) { return result == 0 || errno != EAGAIN; }, [&] { return send(flags); }, Rule::interrupts);
}

namespace {

// `operations` were readable to the kernel. One that may wait among others that may not: the kernel knows which it would be.
int operate(Call call, Fiber* fiber, int set, sembuf* operations, size_t count, const timespec* time) {
  Deadline deadline = time ? Deadline::in(to_nanoseconds(*time)) : Deadline::never();
  auto may_wait = [&] {
    return std::any_of(operations, operations + count, [](const sembuf& o) { return !(o.sem_flg & IPC_NOWAIT); });
  };
  int result = attempt_then_block(
      call, fiber, Cancellable::no,
      [&] {
        const timespec at_once{};
        return real.semtimedop(set, operations, count, &at_once);
      },
      [&](int r) { return r == 0 || errno != EAGAIN || deadline.passed() || !may_wait(); },
      [&] {
        timespec left = to_timespec(std::max<int64_t>(deadline.left(), 0));
        return real.semtimedop(set, operations, count, time ? &left : nullptr);
      },
      Rule::interrupts);
  return spin_watch(fiber, result);
}

}  // namespace

// semop(2): parks until all operations can be done. Never restarted. Not a cancellation point.
HOOK(int, semop, (int set, sembuf* operations, size_t count)) {
  Fiber* fiber = gate<Call::semop>();
  if (!fiber) return real.semop(set, operations, count);
  return operate(Call::semop, fiber, set, operations, count, nullptr);
}

// semtimedop(2): as semop, for a time; then EAGAIN.
HOOK(int, semtimedop, (int set, sembuf* operations, size_t count, const timespec* time)) {
  Fiber* fiber = gate<Call::semtimedop>();
  timespec t;
  if (!fiber || (time && !read_time(time, t))) return real.semtimedop(set, operations, count, time);
  return operate(Call::semtimedop, fiber, set, operations, count, time ? &t : nullptr);
}

namespace {

// pass(until) sends or receives; `until`: on CLOCK_REALTIME, null for never.
template <Call call, class Pass>
auto pass_message(const timespec* until, Pass pass) {
  Fiber* fiber = gate<call>();
  timespec t;
  if (!fiber || (until && !read_time(until, t))) return pass(until);
  test_cancel(fiber);
  Deadline deadline = until ? Deadline::at_time(CLOCK_REALTIME, t) : Deadline::never();
  auto result = attempt_then_block(
      call, fiber, Cancellable::yes,
      [&] {
        const timespec long_ago{};
        return pass(&long_ago);
      },
      [&](auto r) { return r >= 0 || errno != ETIMEDOUT || deadline.passed(); }, [&] { return pass(until); });
  return spin_watch(fiber, result);
}

}  // namespace

// mq_receive(3): parks until a message comes.
HOOK(ssize_t, mq_receive, (mqd_t queue, char* message, size_t size, unsigned* priority)) {
  return pass_message<Call::mq_receive>(nullptr, [&](const timespec* until) {
    return real.mq_timedreceive(queue, message, size, priority, until);
  });
}

// mq_timedreceive(3): as mq_receive; ETIMEDOUT after the time.
HOOK(ssize_t, mq_timedreceive, (mqd_t queue, char* message, size_t size, unsigned* priority, const timespec* time)) {
  return pass_message<Call::mq_timedreceive>(time, [&](const timespec* until) {
    return real.mq_timedreceive(queue, message, size, priority, until);
  });
}

// mq_send(3): parks while the queue is full.
HOOK(int, mq_send, (mqd_t queue, const char* message, size_t size, unsigned priority)) {
  return pass_message<Call::mq_send>(nullptr, [&](const timespec* until) {
    return real.mq_timedsend(queue, message, size, priority, until);
  });
}

// mq_timedsend(3): as mq_send; ETIMEDOUT after the time.
HOOK(int, mq_timedsend, (mqd_t queue, const char* message, size_t size, unsigned priority, const timespec* time)) {
  return pass_message<Call::mq_timedsend>(time, [&](const timespec* until) {
    return real.mq_timedsend(queue, message, size, priority, until);
  });
}

}  // namespace coro
