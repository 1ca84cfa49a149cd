// SPDX-License-Identifier: Apache-2.0
//
// System V message queues and semaphore sets, POSIX message queues, by name and by syscall(): waits between threads and
// with a child, partial and refused forms, time-outs, what others see of one who waits, errors and their order.
#include <mqueue.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <initializer_list>

#include "thread_testing.h"

struct Message {
  long type = 1;
  char text[64] = {};
};

constexpr int copies = 040000;  // MSG_COPY, which the headers hide from C++

// ---- System V queues ----

static void messages_between_threads(bool by_number) {
  int const queue = NEED(msgget(IPC_PRIVATE, 0600));
  auto receive = [&](Message& m, size_t size, long type, int flags) {
    return by_number ? syscall(SYS_msgrcv, queue, &m, size, type, flags) : msgrcv(queue, &m, size, type, flags);
  };
  auto send = [&](long type, const char* text, int flags = 0) {
    Message m{type, {}};
    strcpy(m.text, text);
    size_t const size = strlen(text);
    return by_number ? static_cast<int>(syscall(SYS_msgsnd, queue, &m, size, flags)) : msgsnd(queue, &m, size, flags);
  };
  guarded<Message> got;
  EXPECT_ERRNO(ENOMSG, receive(got.value, 64, 0, IPC_NOWAIT));
  Stopwatch watch;
  Thread sender = after(20, [&] {
    EXPECT_OK(0, send(7, "not this"));
    EXPECT_OK(0, send(3, "three"));
  });
  EXPECT_OK(5, receive(got.value, 64, 3, 0));
  EXPECT_WAITED(watch);
  sender.join();
  EXPECT_EQ(3, got.value.type);
  EXPECT_EQ(0, memcmp(got.value.text, "three", 5));

  // Refused and left there; cut short; copied.
  EXPECT_ERRNO(E2BIG, receive(got.value, 3, 7, 0));
  EXPECT_ERRNO(EINVAL, receive(got.value, 64, 0, copies));  // without IPC_NOWAIT
  EXPECT_OK(3, receive(got.value, 3, -9, MSG_NOERROR));
  EXPECT_EQ(7, got.value.type);
  EXPECT_EQ(0, memcmp(got.value.text, "not", 3));

  // Full: a sender waits for room, and one who does not wait is told.
  msqid_ds state{};
  EXPECT_EQ(0, msgctl(queue, IPC_STAT, &state));
  state.msg_qbytes = 8;
  EXPECT_EQ(0, msgctl(queue, IPC_SET, &state));
  EXPECT_OK(0, send(1, "12345678"));
  EXPECT_ERRNO(EAGAIN, send(1, "9", IPC_NOWAIT));
  Stopwatch until_room;
  Thread receiver = after(20, [&] { EXPECT_OK(8, receive(got.value, 64, 0, 0)); });
  EXPECT_OK(0, send(1, "9"));
  EXPECT_WAITED(until_room);
  receiver.join();
  EXPECT_OK(1, receive(got.value, 64, 0, 0));

  EXPECT_INTERRUPTED(receive(got.value, 64, 0, 0));
  Thread remover = after(20, [&] { EXPECT_EQ(0, msgctl(queue, IPC_RMID, nullptr)); });
  EXPECT_ERRNO(EIDRM, receive(got.value, 64, 0, 0));
  remover.join();
  EXPECT_ERRNO(EINVAL, receive(got.value, 64, 0, 0));
  EXPECT_ERRNO(EINVAL, send(1, "x"));
}

static void refused_messages() {
  int const queue = NEED(msgget(IPC_PRIVATE, 0600));
  Message message;
  EXPECT_ERRNO(EINVAL, msgrcv(-1, &message, 64, 0, 0));
  EXPECT_ERRNO(EINVAL, msgrcv(queue, &message, -1, 0, 0));
  EXPECT_ERRNO(EFAULT, msgsnd(queue, reinterpret_cast<void*>(8), 1, 0));
  message.type = 0;
  EXPECT_ERRNO(EINVAL, msgsnd(queue, &message, 1, 0));
  message.type = 1;
  EXPECT_ERRNO(EINVAL, msgsnd(queue, &message, 1 << 30, 0));
  EXPECT_ERRNO(EINVAL, msgsnd(-1, &message, 1, 0));
  EXPECT_OK(0, msgsnd(queue, &message, 0, 0));
  EXPECT_ERRNO(EFAULT, msgrcv(queue, reinterpret_cast<void*>(8), 64, 0, 0));
  msgctl(queue, IPC_RMID, nullptr);
}

static void messages_of_a_child() {
  int const there = NEED(msgget(IPC_PRIVATE, 0600)), back = NEED(msgget(IPC_PRIVATE, 0600));
  pid_t const child = fork();
  if (child == 0) {
    Message m;
    for (int i = 0; i < 200; i++)
      if (msgrcv(there, &m, 64, 0, 0) != 8 || msgsnd(back, &m, 8, 0) != 0) _exit(1);
    _exit(0);
  }
  Thread sender([&] {
    for (long i = 0; i < 200; i++) {
      Message m{i + 1, {}};
      memcpy(m.text, &i, 8);
      EXPECT_OK(0, msgsnd(there, &m, 8, 0));
    }
  });
  for (long i = 0; i < 200; i++) {
    Message m;
    long number = -1;
    EXPECT_OK(8, msgrcv(back, &m, 64, 0, 0));
    memcpy(&number, m.text, 8);
    EXPECT_EQ(i, number);
    EXPECT_EQ(i + 1, m.type);
  }
  int status = -1;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT_EQ(0, status);
  msgctl(there, IPC_RMID, nullptr);
  msgctl(back, IPC_RMID, nullptr);
}

// ---- System V semaphores ----

static int operate(int set, std::initializer_list<sembuf> operations, const timespec* time = nullptr) {
  auto* first = const_cast<sembuf*>(operations.begin());
  return time ? semtimedop(set, first, operations.size(), time) : semop(set, first, operations.size());
}

static void semaphore_sets() {
  int const set = NEED(semget(IPC_PRIVATE, 2, 0600));
  constexpr short nowait = IPC_NOWAIT, undo = SEM_UNDO;
  const sembuf down{0, -1, 0}, up{0, 1, 0}, other_down{1, -1, 0}, other_up{1, 1, 0};
  EXPECT_OK(0, operate(set, {up}));
  EXPECT_OK(0, operate(set, {down}));
  EXPECT_ERRNO(EAGAIN, operate(set, {{0, -1, nowait}}));

  // Both or none.
  EXPECT_OK(0, operate(set, {up}));
  Stopwatch watch;
  Thread giver = after(20, [&] {
    EXPECT_EQ(1, semctl(set, 0, GETVAL));
    EXPECT_EQ(1, semctl(set, 1, GETNCNT));  // it waits for the second one
    EXPECT_OK(0, operate(set, {other_up}));
  });
  EXPECT_OK(0, operate(set, {down, other_down}));
  EXPECT_WAITED(watch);
  giver.join();
  EXPECT_EQ(0, semctl(set, 0, GETVAL));
  EXPECT_EQ(getpid(), semctl(set, 0, GETPID));

  // One that may not wait among those that may: it is the one that would have to.
  EXPECT_OK(0, operate(set, {up}));
  EXPECT_ERRNO(EAGAIN, operate(set, {down, {1, -1, nowait}}));
  EXPECT_EQ(1, semctl(set, 0, GETVAL));

  // Until it is zero.
  Stopwatch until_zero;
  Thread taker = after(20, [&] { EXPECT_OK(0, operate(set, {down})); });
  EXPECT_OK(0, operate(set, {{0, 0, 0}}));
  EXPECT_WAITED(until_zero);
  taker.join();

  // For a time.
  const timespec at_once{}, short_time{0, 30'000'000}, long_time{60, 0}, bad{0, 1'000'000'000}, negative{-1, 0};
  EXPECT_ERRNO(EAGAIN, operate(set, {down}, &at_once));
  Stopwatch timed;
  EXPECT_ERRNO(EAGAIN, operate(set, {down}, &short_time));
  EXPECT(timed.took_between(29, 4000));
  Stopwatch early;
  Thread raiser = after(20, [&] { EXPECT_OK(0, operate(set, {up})); });
  EXPECT_OK(0, operate(set, {down}, &long_time));
  EXPECT_WAITED(early);
  raiser.join();
  EXPECT_OK(0, operate(set, {up}));
  EXPECT_ERRNO(EINVAL, operate(set, {down}, &bad));
  EXPECT_ERRNO(EINVAL, operate(set, {down}, &negative));
  EXPECT_ERRNO(EFAULT, operate(set, {down}, reinterpret_cast<const timespec*>(8)));
  EXPECT_OK(0, operate(set, {down}));

  // What a thread has undone is undone when the process ends.
  pid_t const child = fork();
  if (child == 0) {
    Thread owner([&] { EXPECT_OK(0, operate(set, {{0, 1, undo}})); });
    owner.join();
    _exit(semctl(set, 0, GETVAL) == 1 ? 0 : 1);
  }
  int status = -1;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT_EQ(0, status);
  EXPECT_EQ(0, semctl(set, 0, GETVAL));

  // By number, errors.
  sembuf one = up;
  EXPECT_OK(0, syscall(SYS_semop, set, &one, 1));
  one = down;
  EXPECT_OK(0, syscall(SYS_semtimedop, set, &one, 1, &long_time));
  EXPECT_ERRNO(EFBIG, operate(set, {{2, 1, 0}}));
  EXPECT_ERRNO(EINVAL, operate(set, {}));
  EXPECT_ERRNO(EINVAL, operate(-1, {down}));
  EXPECT_ERRNO(E2BIG, semop(set, &one, 100'000));
  EXPECT_ERRNO(EFAULT, semop(set, reinterpret_cast<sembuf*>(8), 1));
  EXPECT_INTERRUPTED(operate(set, {down}));
  EXPECT_INTERRUPTED(operate(set, {down}, &long_time));
  Thread remover = after(20, [&] { EXPECT_EQ(0, semctl(set, 0, IPC_RMID)); });
  EXPECT_ERRNO(EIDRM, operate(set, {down}));
  remover.join();
}

// More wait than there are helpers (CORO_OFFLOAD_THREADS, 64 by default): none is forgotten.
static void many_wait() {
  int const set = NEED(semget(IPC_PRIVATE, 1, 0600));
  std::atomic<int> through{0};
  constexpr int waiters = 90;
  Thread giver = after(20, [&] {
    for (int i = 0; i < waiters; i++) EXPECT_OK(0, operate(set, {{0, 1, 0}}));
  });
  in_threads(waiters, [&](int i) {
    const timespec long_time{60, 0};
    EXPECT_OK(0, operate(set, {{0, -1, 0}}, i % 2 ? &long_time : nullptr));
    through++;
  });
  EXPECT_EQ(waiters, through);
  EXPECT_EQ(0, semctl(set, 0, GETVAL));
  semctl(set, 0, IPC_RMID);
}

// ---- POSIX queues ----

static mqd_t new_queue(int flags = 0) {
  static std::atomic<int> number{0};
  char name[64];
  snprintf(name, sizeof name, "/hook_test_ipc.%d.%d", getpid(), number++);
  mq_attr attributes{};
  attributes.mq_maxmsg = 2;
  attributes.mq_msgsize = 8;
  mqd_t const queue = mq_open(name, O_CREAT | O_EXCL | O_RDWR | flags, 0600, &attributes);
  mq_unlink(name);
  return queue;
}

static void posix_queues() {
  mqd_t const queue = new_queue();
  if (queue < 0) {
    EXPECT(errno == ENOSYS || errno == EACCES || errno == EPERM);  // not in every container
    return;
  }
  char text[8];
  guarded<unsigned> priority;
  Stopwatch watch;
  Thread sender = after(20, [&] { EXPECT_OK(0, mq_send(queue, "hello", 5, 9)); });
  EXPECT_OK(5, mq_receive(queue, text, 8, &priority.value));
  EXPECT_WAITED(watch);
  sender.join();
  EXPECT_EQ(9, priority.value);
  EXPECT_EQ(0, memcmp(text, "hello", 5));

  // The highest first; a full queue makes wait.
  EXPECT_OK(0, mq_send(queue, "low", 3, 1));
  EXPECT_OK(0, mq_send(queue, "high", 4, 2));
  Stopwatch until_room;
  Thread receiver = after(20, [&] { EXPECT_OK(4, mq_receive(queue, text, 8, nullptr)); });
  EXPECT_OK(0, mq_send(queue, "last", 4, 0));
  EXPECT_WAITED(until_room);
  receiver.join();

  // Times are checked first, and only then whether there is something.
  const timespec past{1, 0}, bad{0, 1'000'000'000}, negative{-1, 0};
  timespec soon = from_now(30), late = from_now(60'000);
  EXPECT_ERRNO(ETIMEDOUT, mq_timedsend(queue, "x", 1, 0, &past));
  EXPECT_ERRNO(EINVAL, mq_timedreceive(queue, text, 8, nullptr, &bad));
  EXPECT_ERRNO(EINVAL, mq_timedreceive(queue, text, 8, nullptr, &negative));
  EXPECT_ERRNO(EFAULT, mq_timedreceive(queue, text, 8, nullptr, reinterpret_cast<const timespec*>(8)));
  Stopwatch timed;
  EXPECT_ERRNO(ETIMEDOUT, mq_timedsend(queue, "x", 1, 0, &soon));
  EXPECT(timed.took_between(25, 4000));
  EXPECT_OK(3, mq_timedreceive(queue, text, 8, nullptr, &past));
  EXPECT_OK(4, syscall(SYS_mq_timedreceive, queue, text, 8, nullptr, &late));
  soon = from_now(30);
  EXPECT_ERRNO(ETIMEDOUT, mq_timedreceive(queue, text, 8, nullptr, &soon));
  EXPECT_ERRNO(ETIMEDOUT, syscall(SYS_mq_timedreceive, queue, text, 8, nullptr, &past));
  EXPECT_OK(0, syscall(SYS_mq_timedsend, queue, "y", 1, 0, nullptr));
  EXPECT_OK(1, mq_timedreceive(queue, text, 8, nullptr, &late));

  // Who asked to be told of a message is not told of one that somebody waits for (mq_notify(3)).
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGUSR2;
  count_signal(SIGUSR2, 0);
  int const before = handled;
  EXPECT_EQ(0, mq_notify(queue, &event));
  Thread waited_for = after(20, [&] { EXPECT_OK(0, mq_send(queue, "w", 1, 0)); });
  EXPECT_OK(1, mq_receive(queue, text, 8, nullptr));
  waited_for.join();
  EXPECT_EQ(before, handled);
  EXPECT_OK(0, mq_send(queue, "n", 1, 0));
  EXPECT(comes_true([&] { return handled == before + 1; }));
  EXPECT_OK(1, mq_receive(queue, text, 8, nullptr));

  EXPECT_INTERRUPTED(mq_receive(queue, text, 8, nullptr));
  EXPECT_RESTARTED(1, mq_receive(queue, text, 8, nullptr), EXPECT_OK(0, mq_send(queue, "r", 1, 0)));
  EXPECT_ERRNO(EMSGSIZE, mq_receive(queue, text, 7, nullptr));
  EXPECT_ERRNO(EMSGSIZE, mq_send(queue, "123456789", 9, 0));
  EXPECT_ERRNO(EINVAL, mq_send(queue, "x", 1, 1 << 20));
  EXPECT_ERRNO(EBADF, mq_send(-1, "x", 1, 0));
  EXPECT_ERRNO(EBADF, mq_receive(-1, text, 8, nullptr));
  mq_close(queue);
  EXPECT_ERRNO(EBADF, mq_receive(queue, text, 8, nullptr));

  mqd_t const quick = new_queue(O_NONBLOCK);
  EXPECT_ERRNO(EAGAIN, mq_receive(quick, text, 8, nullptr));
  EXPECT_ERRNO(EAGAIN, mq_timedreceive(quick, text, 8, nullptr, &late));
  EXPECT_OK(0, mq_send(quick, "1", 1, 0));
  EXPECT_OK(0, mq_send(quick, "2", 1, 0));
  EXPECT_ERRNO(EAGAIN, mq_send(quick, "3", 1, 0));
  mq_close(quick);
}

// ---- cancellation ----

template <class Call>
static void is_cancelled(const char* name, Call call) {
  std::atomic<bool> entered{false};
  Pthread worker([&] {
    entered = true;
    call();
  });
  EXPECT(comes_true([&] { return entered.load(); }));
  nap(8);
  EXPECT_EQ(0, pthread_cancel(worker.id()));
  bool const cancelled = worker.join() == PTHREAD_CANCELED;
  if (!cancelled) fprintf(stderr, "%s: not cancelled\n", name);
  EXPECT(cancelled);
}

static void cancellation() {
  int const queue = NEED(msgget(IPC_PRIVATE, 0600));
  Message message;
  is_cancelled("msgrcv", [&] { msgrcv(queue, &message, 64, 0, 0); });
  msqid_ds state{};
  EXPECT_EQ(0, msgctl(queue, IPC_STAT, &state));
  state.msg_qbytes = 4;
  EXPECT_EQ(0, msgctl(queue, IPC_SET, &state));
  EXPECT_OK(0, msgsnd(queue, &message, 4, 0));
  is_cancelled("msgsnd", [&] { msgsnd(queue, &message, 4, 0); });
  EXPECT_OK(4, msgrcv(queue, &message, 64, 0, 0));
  EXPECT_ERRNO(ENOMSG, msgrcv(queue, &message, 64, 0, IPC_NOWAIT));
  msgctl(queue, IPC_RMID, nullptr);

  // semop is no cancellation point: it ends, and the thread with the next one.
  int const set = NEED(semget(IPC_PRIVATE, 1, 0600));
  std::atomic<bool> entered{false}, got{false};
  Pthread worker([&] {
    sembuf down{0, -1, 0};
    entered = true;
    got = semop(set, &down, 1) == 0;
    pthread_testcancel();
  });
  EXPECT(comes_true([&] { return entered.load(); }));
  nap(8);
  EXPECT_EQ(0, pthread_cancel(worker.id()));
  nap(8);
  EXPECT(!got);
  EXPECT_OK(0, operate(set, {{0, 1, 0}}));
  EXPECT(worker.join() == PTHREAD_CANCELED);
  EXPECT(got);
  semctl(set, 0, IPC_RMID);

  mqd_t const messages = new_queue();
  if (messages < 0) return;
  char text[8] = {};
  timespec const late = from_now(60'000);
  is_cancelled("mq_receive", [&] { mq_receive(messages, text, 8, nullptr); });
  is_cancelled("mq_timedreceive", [&] { mq_timedreceive(messages, text, 8, nullptr, &late); });
  for (int i = 0; i < 2; i++) EXPECT_OK(0, mq_send(messages, text, 8, 0));
  is_cancelled("mq_send", [&] { mq_send(messages, text, 8, 0); });
  is_cancelled("mq_timedsend", [&] { mq_timedsend(messages, text, 8, 0, &late); });
  mq_close(messages);
}

int main() {
  from_both([] {
    messages_between_threads(false);
    messages_between_threads(true);
    refused_messages();
    messages_of_a_child();
    semaphore_sets();
    posix_queues();
    cancellation();
  });
  many_wait();
  return finish();
}
