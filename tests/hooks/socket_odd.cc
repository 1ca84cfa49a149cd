// SPDX-License-Identifier: Apache-2.0
//
// Where "try without waiting, then wait, then try again" goes wrong: calls that hear EAGAIN on a
// blocking socket and must not wait (MSG_ERRQUEUE, MSG_OOB), SO_RCVLOWAT (waits although some bytes
// are there), SO_PEEK_OFF, MSG_MORE, netlink, packet pipes, an accept that lost the race, connected
// and listening ends mixed up.

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/tcp.h>
#include <poll.h>

#include "testing.h"

static void never_wait() {
  int udp = bound_socket(SOCK_DGRAM);
  Tcp tcp;
  char buffer[8];
  iovec vector = {buffer, 8};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  Stopwatch watch;
  EXPECT_ERRNO(EAGAIN, recv(udp, buffer, 8, MSG_ERRQUEUE));
  EXPECT_ERRNO(EAGAIN, recvmsg(udp, &message, MSG_ERRQUEUE));
  EXPECT_ERRNO(EAGAIN, recv(tcp.a, buffer, 8, MSG_ERRQUEUE));
  EXPECT_ERRNO(EINVAL, recv(tcp.a, buffer, 8, MSG_OOB));
  EXPECT(watch.took_between(0, 2000));
  // With an error to fetch: the queue tells of it even while the socket has nothing to read.
  int on = 1, gone = bound_socket(SOCK_DGRAM);
  sockaddr_in nobody = address_of(gone);
  close(gone);
  EXPECT_OK(0, setsockopt(udp, IPPROTO_IP, IP_RECVERR, &on, sizeof on));
  EXPECT_OK(1, sendto(udp, "?", 1, 0, (sockaddr*)&nobody, sizeof nobody));
  pollfd one = {udp, POLLERR, 0};
  EXPECT_OK(1, poll(&one, 1, 2000));
  EXPECT_EQ(POLLERR, one.revents);
  EXPECT_OK(1, recv(udp, buffer, 8, MSG_ERRQUEUE));
  close(udp);
}

// With the low-water mark at 4 a blocking recv waits for 4 bytes, of which it may have taken some
// already: TCP's poll does so too, and wakes a reader only when 4 new ones are there.
static void low_water(int a, int b, bool poll_minds) {
  int mark = 4;
  char buffer[8];
  EXPECT_OK(0, setsockopt(b, SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof mark));
  EXPECT_OK(2, send(a, "ab", 2, 0));
  EXPECT_OK(2, recv(b, buffer, 8, MSG_DONTWAIT));  // who does not wait gets what there is
  EXPECT_OK(2, send(a, "ab", 2, 0));
  pollfd one = {b, POLLIN, 0};
  EXPECT_OK(poll_minds ? 0 : 1, poll(&one, 1, 10));
  Stopwatch watch;
  Thread sender = after(20, [&] { EXPECT_OK(4, send(a, "cdef", 4, 0)); });
  EXPECT_OK(6, recv(b, buffer, 8, 0));
  EXPECT_WAITED(watch);
  EXPECT(!memcmp(buffer, "abcdef", 6));
  sender.join();
  EXPECT_OK(2, send(a, "gh", 2, 0));
  EXPECT_OK(2, recv(b, buffer, 2, 0));  // a smaller buffer lowers the mark
  EXPECT_OK(1, send(a, "i", 1, 0));
  Stopwatch reading;
  Thread second = after(20, [&] { EXPECT_OK(4, send(a, "jklm", 4, 0)); });
  EXPECT_OK(5, read(b, buffer, 8));
  EXPECT_WAITED(reading);
}

static void more_to_come() {
  Tcp tcp;
  char buffer[8];
  Stopwatch watch;
  Thread sender([&] {
    EXPECT_OK(2, send(tcp.a, "ab", 2, MSG_MORE));
    pause_ms(20);
    EXPECT_OK(2, send(tcp.a, "cd", 2, 0));
  });
  EXPECT_OK(4, recv(tcp.b, buffer, 4, MSG_WAITALL));
  EXPECT(!memcmp(buffer, "abcd", 4));
}

static void peek_offset() {
  Pair pair;
  int offset = 2;
  char buffer[8];
  EXPECT_OK(0, setsockopt(pair.b, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset));
  EXPECT_OK(4, send(pair.a, "abcd", 4, 0));
  EXPECT_OK(1, recv(pair.b, buffer, 1, MSG_PEEK));
  EXPECT_EQ('c', buffer[0]);
  EXPECT_OK(1, recv(pair.b, buffer, 8, MSG_PEEK));
  EXPECT_EQ('d', buffer[0]);
  Stopwatch watch;  // nothing left beyond the offset: waits
  Thread sender = after(20, [&] { EXPECT_OK(1, send(pair.a, "e", 1, 0)); });
  EXPECT_OK(1, recv(pair.b, buffer, 8, MSG_PEEK));
  EXPECT_WAITED(watch);
  EXPECT_EQ('e', buffer[0]);
}

static void netlink() {
  int fd = NEED(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  EXPECT_OK(0, bind(fd, (sockaddr*)&address, sizeof address));
  set_timeout(fd, SO_RCVTIMEO, 30);
  char buffer[8192];
  Stopwatch watch;
  EXPECT_ERRNO(EAGAIN, recv(fd, buffer, sizeof buffer, 0));
  EXPECT(watch.took_between(28, 3000));
  struct {
    nlmsghdr head;
    rtgenmsg body;
  } request = {};
  request.head.nlmsg_len = sizeof request;
  request.head.nlmsg_type = RTM_GETLINK;
  request.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  EXPECT_OK(sizeof request, send(fd, &request, sizeof request, 0));
  EXPECT(recv(fd, buffer, sizeof buffer, 0) > (ssize_t)sizeof(nlmsghdr));
  close(fd);
}

static void packet_pipes() {
  Pipe pipe(O_DIRECT);
  char buffer[8];
  EXPECT_OK(2, write(pipe.b, "ab", 2));
  EXPECT_OK(3, write(pipe.b, "cde", 3));
  EXPECT_OK(2, read(pipe.a, buffer, 8));  // one write, one read
  EXPECT_OK(1, read(pipe.a, buffer, 1));  // and the rest of the packet is lost
  Stopwatch watch;
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pipe.b, "f", 1)); });
  EXPECT_OK(1, read(pipe.a, buffer, 8));
  EXPECT_WAITED(watch);
  EXPECT_EQ('f', buffer[0]);
}

// Many acceptors, few clients: whoever loses the race goes on waiting, nobody hears EAGAIN.
static void lost_races() {
  int server = listener();
  sockaddr_in address = address_of(server);
  std::atomic<int> accepted{0}, ended{0};
  Thread clients = after(20, [&] {
    for (int i = 0; i < 5; i++) close(connect_to(address));
    for (int i = 0; i < 3000 && accepted < 5; i++) pause_ms(1);
    EXPECT_OK(0, shutdown(server, SHUT_RDWR));
  });
  in_threads(4, [&](int) {
    while (true) {
      int fd = accept(server, nullptr, nullptr);
      if (fd < 0) {
        EXPECT_EQ(EINVAL, errno);
        break;
      }
      accepted++;
      close(fd);
    }
    ended++;
  });
  EXPECT_EQ(5, accepted);
  EXPECT_EQ(4, ended);
  clients.join();
  close(server);
}

int main() {
  from_both([] {
    never_wait();
    Tcp tcp;
    low_water(tcp.a, tcp.b, true);
    Pair pair;
    low_water(pair.a, pair.b, false);
    more_to_come();
    peek_offset();
    netlink();
    packet_pipes();
    lost_races();
  });
  return finish();
}
