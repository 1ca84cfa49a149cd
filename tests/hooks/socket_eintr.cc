// SPDX-License-Identifier: Apache-2.0
//
// A handler without SA_RESTART ends every socket call that waits with EINTR (or with what has been
// moved so far), runs in the very thread that waits, and the call works when made again. An
// interrupted TCP connect goes on by itself.

#include <poll.h>
#include <sys/uio.h>

#include "testing.h"

static void receiving() {
  Tcp tcp;
  guarded<char[4]> buffer;
  iovec vector = {buffer.value, 4};
  mmsghdr messages[2] = {};
  for (mmsghdr& m : messages) {
    m.msg_hdr.msg_iov = &vector;
    m.msg_hdr.msg_iovlen = 1;
  }
  EXPECT_INTERRUPTED(recv(tcp.b, buffer.value, 4, 0));
  EXPECT_INTERRUPTED(recv(tcp.b, buffer.value, 4, MSG_WAITALL));
  EXPECT_INTERRUPTED(recv(tcp.b, buffer.value, 4, MSG_PEEK));
  EXPECT_INTERRUPTED(recvfrom(tcp.b, buffer.value, 4, 0, nullptr, nullptr));
  EXPECT_INTERRUPTED(recvmsg(tcp.b, &messages[0].msg_hdr, 0));
  EXPECT_INTERRUPTED(recvmmsg(tcp.b, messages, 2, 0, nullptr));
  EXPECT_INTERRUPTED(read(tcp.b, buffer.value, 4));
  EXPECT_INTERRUPTED(readv(tcp.b, &vector, 1));
  EXPECT(buffer.untouched());
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(2, send(tcp.a, "ok", 2, 0)); });
  EXPECT_OK(2, recv(tcp.b, buffer.value, 4, 0));
  EXPECT_WAITED(watch);
}

static void a_part_of_waitall() {
  Tcp tcp;
  char buffer[8];
  count_signal(SIGUSR1, 0);
  EXPECT_OK(3, send(tcp.a, "abc", 3, 0));
  Kicker kicker(pthread_self());
  EXPECT_OK(3, recv(tcp.b, buffer, 8, MSG_WAITALL));
}

static void sending() {
  Pair pair;
  char bytes[4096] = {};
  iovec vector = {bytes, sizeof bytes};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  long filled = fill_up(pair.a);
  EXPECT_INTERRUPTED(send(pair.a, bytes, sizeof bytes, 0));
  EXPECT_INTERRUPTED(sendto(pair.a, bytes, sizeof bytes, 0, nullptr, 0));
  EXPECT_INTERRUPTED(sendmsg(pair.a, &message, 0));
  EXPECT_INTERRUPTED(write(pair.a, bytes, sizeof bytes));
  EXPECT_INTERRUPTED(writev(pair.a, &vector, 1));
  EXPECT_EQ(filled, drain(pair.b, filled));
  EXPECT_OK(4096, send(pair.a, bytes, sizeof bytes, 0));
}

static void a_part_is_sent() {
  Tcp tcp;
  const long size = 32 << 20;
  char* bytes = (char*)calloc(1, size);
  count_signal(SIGUSR1, 0);
  long sent;
  {
    Kicker kicker(pthread_self());
    pause_ms(30);
    errno = 77;
    sent = send(tcp.a, bytes, size, 0);
    EXPECT(sent > 0 && sent < size);
    EXPECT_EQ(77, errno);
  }
  EXPECT_EQ(sent, drain(tcp.b, sent));
  free(bytes);
}

static void accepting() {
  int server = listener();
  EXPECT_INTERRUPTED(accept(server, nullptr, nullptr));
  EXPECT_INTERRUPTED(accept4(server, nullptr, nullptr, SOCK_CLOEXEC));
  int client = connect_to(address_of(server));
  int fd = NEED(accept(server, nullptr, nullptr));
  close(fd);
  close(client);
  close(server);
}

static void connecting() {
  int server = listener(0), fds[8], count = 0;
  sockaddr_in address = address_of(server);
  pollfd one;
  do {  // until nobody answers any more
    fds[count] = NEED(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    connect(fds[count], (sockaddr*)&address, sizeof address);
    one = {fds[count++], POLLOUT, 0};
  } while (poll(&one, 1, 20) == 1 && count < 7);
  int fd = NEED(socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_INTERRUPTED(connect(fd, (sockaddr*)&address, sizeof address));
  set_nonblocking(fd, true);
  EXPECT_ERRNO(EALREADY, connect(fd, (sockaddr*)&address, sizeof address));
  for (int i = 0; i < count; i++) close(fds[i]);
  close(fd);
  close(server);
}

int main() {
  from_both([] {
    receiving();
    a_part_of_waitall();
    sending();
    a_part_is_sent();
    accepting();
    connecting();
  });
  return finish();
}
