// SPDX-License-Identifier: Apache-2.0
//
// A thread blocked in an I/O or waiting call is cancelled: the call never returns, destructors and
// cleanup handlers run, the join says PTHREAD_CANCELED, and the descriptor works on for others.
// Reads, receives, accept, connect, writes into full buffers, poll, select, epoll, sleeps. The same
// calls with cancellation disabled run to their end.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/uio.h>

#include <vector>

#include "thread_testing.h"

struct Counted {
  ~Counted() { ++destroyed; }
  static inline std::atomic<int> destroyed{0};
};
static std::atomic<int> handlers{0};

// Cancels a thread that blocks in `call`.
template <class Call>
static void cancelled_in(const char* name, Call call) {
  std::atomic<bool> entered{false};
  std::atomic<bool> returned{false};
  Counted::destroyed = 0;
  handlers = 0;
  Pthread worker([&] {
    Counted const counted;
    pthread_cleanup_push([](void*) { ++handlers; }, nullptr);
    entered = true;
    call();
    returned = true;
    pthread_cleanup_pop(0);
  });
  EXPECT(comes_true([&] { return entered.load(); }));
  nap(8);
  bool const early = returned;
  EXPECT_EQ(0, pthread_cancel(worker.id()));
  bool const cancelled = worker.join() == PTHREAD_CANCELED;
  if (early || !cancelled || returned || Counted::destroyed != 1 || handlers != 1) {
    fprintf(stderr, "%s: early %d cancelled %d returned %d destructors %d handlers %d\n", name,
            early, cancelled, returned.load(), Counted::destroyed.load(), handlers.load());
  }
  EXPECT(!early && cancelled && !returned && Counted::destroyed == 1 && handlers == 1);
}

static void reading() {
  Pipe const pipe;
  Tcp const tcp;
  Pair const datagrams(SOCK_DGRAM);
  char byte = 0;
  iovec vector{&byte, 1};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  mmsghdr many = {};
  many.msg_hdr = message;
  cancelled_in("read pipe", [&] { (void)!read(pipe.a, &byte, 1); });
  cancelled_in("read socket", [&] { (void)!read(tcp.a, &byte, 1); });
  cancelled_in("readv", [&] { (void)!readv(pipe.a, &vector, 1); });
  cancelled_in("recv", [&] { recv(tcp.a, &byte, 1, 0); });
  cancelled_in("recvfrom", [&] { recvfrom(datagrams.a, &byte, 1, 0, nullptr, nullptr); });
  cancelled_in("recvmsg", [&] { recvmsg(tcp.b, &message, 0); });
  cancelled_in("recvmmsg", [&] { recvmmsg(datagrams.b, &many, 1, 0, nullptr); });
  int const event = eventfd(0, 0);
  uint64_t count = 0;
  cancelled_in("read eventfd", [&] { (void)!read(event, &count, sizeof count); });
  close(event);

  // What was being read by the dead is read by the living.
  EXPECT_EQ(1, write(pipe.b, "p", 1));
  EXPECT_EQ(1, read(pipe.a, &byte, 1));
  EXPECT_EQ('p', byte);
  EXPECT_EQ(1, send(tcp.b, "t", 1, 0));
  EXPECT_EQ(1, recv(tcp.a, &byte, 1, 0));
  EXPECT_EQ('t', byte);
}

static void writing() {
  Pipe const pipe;
  Pair const pair;
  Tcp const tcp;
  fill_up(pipe.b);
  fill_up(pair.a);
  fill_up(tcp.a);
  char const byte = 0;
  iovec vector{const_cast<char*>(&byte), 1};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  cancelled_in("write pipe", [&] { (void)!write(pipe.b, &byte, 1); });
  cancelled_in("write socket", [&] { (void)!write(pair.a, &byte, 1); });
  cancelled_in("writev", [&] { (void)!writev(pipe.b, &vector, 1); });
  cancelled_in("send", [&] {
    for (;;) send(tcp.a, &byte, 1, 0);
  });
  cancelled_in("sendmsg", [&] { sendmsg(pair.a, &message, 0); });
}

static void connecting() {
  int const server = listener();
  cancelled_in("accept", [&] { accept(server, nullptr, nullptr); });
  cancelled_in("accept4", [&] { accept4(server, nullptr, nullptr, SOCK_CLOEXEC); });
  int const client = connect_to(address_of(server));
  int const served = accept(server, nullptr, nullptr);
  EXPECT(served >= 0);
  close(served);
  close(client);
  close(server);

  // A unix listener whose queue is full makes connect block.
  int const full = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr family = {};
  family.sa_family = AF_UNIX;
  EXPECT_EQ(0, bind(full, &family, sizeof(sa_family_t)));  // autobind, an abstract name
  sockaddr_storage address = {};
  socklen_t length = sizeof address;
  EXPECT_EQ(0, getsockname(full, reinterpret_cast<sockaddr*>(&address), &length));
  EXPECT_EQ(0, listen(full, 0));
  auto join_queue = [&](int flags) {
    int const fd = NEED(socket(AF_UNIX, SOCK_STREAM | flags, 0));
    return std::make_pair(fd, connect(fd, reinterpret_cast<sockaddr*>(&address), length));
  };
  std::vector<int> queued;
  for (;;) {
    auto [fd, result] = join_queue(SOCK_NONBLOCK);
    queued.push_back(fd);
    if (result != 0) break;
  }
  EXPECT_EQ(EAGAIN, errno);
  cancelled_in("connect", [&] { join_queue(0); });
  for (int fd : queued) close(fd);
  close(full);
}

static void waiting() {
  Pipe const pipe;
  pollfd one{pipe.a, POLLIN, 0};
  timespec const hour{3600, 0};
  cancelled_in("poll", [&] { poll(&one, 1, -1); });
  cancelled_in("poll nothing", [&] { poll(nullptr, 0, 3600000); });
  cancelled_in("ppoll", [&] { ppoll(&one, 1, &hour, nullptr); });
  fd_set set;
  FD_ZERO(&set);
  FD_SET(pipe.a, &set);
  cancelled_in("select", [&] { select(pipe.a + 1, &set, nullptr, nullptr, nullptr); });
  FD_SET(pipe.a, &set);
  cancelled_in("pselect", [&] { pselect(pipe.a + 1, &set, nullptr, nullptr, &hour, nullptr); });
  int const epoll = NEED(epoll_create1(0));
  epoll_event event = {};
  cancelled_in("epoll_wait", [&] { epoll_wait(epoll, &event, 1, -1); });
  cancelled_in("epoll_pwait", [&] { epoll_pwait(epoll, &event, 1, -1, nullptr); });
  close(epoll);
}

static void sleeping() {
  timespec const hour{3600, 0};
  cancelled_in("sleep", [] { sleep(3600); });
  cancelled_in("usleep", [] { usleep(999999999); });
  cancelled_in("nanosleep", [&] { nanosleep(&hour, nullptr); });
  cancelled_in("clock_nanosleep", [&] { clock_nanosleep(CLOCK_MONOTONIC, 0, &hour, nullptr); });
  timespec const then = from_now(3600000, CLOCK_MONOTONIC);
  cancelled_in("clock_nanosleep absolute",
               [&] { clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, nullptr); });
}

static void disabled_threads_finish_their_call() {
  Pipe const pipe;
  std::atomic<bool> entered{false};
  ssize_t got = -1;
  Pthread worker([&] {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
    entered = true;
    char byte = 0;
    got = read(pipe.a, &byte, 1);
  });
  EXPECT(comes_true([&] { return entered.load(); }));
  nap(8);
  EXPECT_EQ(0, pthread_cancel(worker.id()));
  nap(8);
  EXPECT_EQ(1, write(pipe.b, "x", 1));
  EXPECT(worker.join() == nullptr);
  EXPECT_EQ(1, got);
}

int main() {
  reading();
  writing();
  connecting();
  waiting();
  sleeping();
  disabled_threads_finish_their_call();
  return finish();
}
