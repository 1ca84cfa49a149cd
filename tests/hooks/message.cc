// SPDX-License-Identifier: Apache-2.0
//
// recvmsg and sendmsg: scattered buffers, peers' addresses, msg_flags, descriptors passed over
// (SCM_RIGHTS) that then work like any other here, control data cut, waiting on both sides, and
// errors.

#include <sys/uio.h>

#include "testing.h"

struct Message : msghdr {
  iovec vector;
  Message(void* bytes, size_t size) : msghdr{}, vector{bytes, size} {
    msg_iov = &vector;
    msg_iovlen = 1;
  }
};

static void scattered() {
  Tcp tcp;
  guarded<char[3]> one;
  guarded<char[8]> two;
  char hello[] = "hello ", world[] = "world";
  iovec out[] = {{hello, 6}, {nullptr, 0}, {world, 5}}, in[] = {{one.value, 3}, {two.value, 8}};
  msghdr message = {};
  message.msg_iov = out;
  message.msg_iovlen = 3;
  Stopwatch watch;
  Thread sender = after(20, [&] { EXPECT_OK(11, sendmsg(tcp.a, &message, 0)); });
  msghdr reply = {};
  reply.msg_iov = in;
  reply.msg_iovlen = 2;
  reply.msg_flags = -1;
  EXPECT_OK(11, recvmsg(tcp.b, &reply, 0));
  EXPECT_WAITED(watch);
  EXPECT_EQ(0, reply.msg_flags);
  EXPECT(!memcmp(one.value, "hel", 3) && !memcmp(two.value, "lo world", 8));
}

static void addresses_and_truncation() {
  int one = bound_socket(SOCK_DGRAM), two = bound_socket(SOCK_DGRAM);
  sockaddr_in to = address_of(two), from = {};
  char text[] = "datagram";
  Message out(text, 8);
  out.msg_name = &to;
  out.msg_namelen = sizeof to;
  guarded<char[4]> buffer;
  Message in(buffer.value, 4);
  in.msg_name = &from;
  in.msg_namelen = sizeof from;
  Stopwatch watch;
  Thread sender = after(20, [&] { EXPECT_OK(8, sendmsg(one, &out, 0)); });
  EXPECT_OK(4, recvmsg(two, &in, 0));
  EXPECT_WAITED(watch);
  EXPECT_EQ(MSG_TRUNC, in.msg_flags);
  EXPECT_EQ(sizeof from, in.msg_namelen);
  EXPECT_EQ(address_of(one).sin_port, from.sin_port);
  sender.join();
  EXPECT_OK(8, sendmsg(one, &out, MSG_DONTWAIT));
  EXPECT_OK(8, recvmsg(two, &in, MSG_TRUNC));
  EXPECT_EQ(MSG_TRUNC, in.msg_flags & MSG_TRUNC);
  in.msg_flags = 0x5a;
  EXPECT_ERRNO(EAGAIN, recvmsg(two, &in, MSG_DONTWAIT));
  close(one);
  close(two);
}

static void send_fds(int socket, const int* fds, int count) {
  alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = {};
  char byte = 'f';
  Message out(&byte, 1);
  out.msg_control = control;
  out.msg_controllen = CMSG_SPACE(count * sizeof(int));
  cmsghdr* head = CMSG_FIRSTHDR(&out);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(count * sizeof(int));
  memcpy(CMSG_DATA(head), fds, count * sizeof(int));
  EXPECT_OK(1, sendmsg(socket, &out, 0));
}

// Descriptors that nobody here opened by number must be known for what they are.
static void rights(int flags) {
  Pair pair;
  Pipe pipe;
  Pair inner;
  set_timeout(inner.a, SO_RCVTIMEO, 30);
  int fds[2] = {pipe.a, inner.a};
  Stopwatch watch;
  Thread sender = after(20, [&] { send_fds(pair.a, fds, 2); });
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
  char byte;
  Message in(&byte, 1);
  in.msg_control = control;
  in.msg_controllen = sizeof control;
  EXPECT_OK(1, recvmsg(pair.b, &in, flags));
  EXPECT_WAITED(watch);
  sender.join();
  EXPECT_EQ(sizeof control, in.msg_controllen);
  EXPECT_EQ(flags, in.msg_flags & flags);
  cmsghdr* head = CMSG_FIRSTHDR(&in);
  EXPECT(head && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(2 * sizeof(int)));
  int got[2];
  memcpy(got, CMSG_DATA(head), sizeof got);
  EXPECT_EQ(flags ? FD_CLOEXEC : 0, fcntl(got[0], F_GETFD));
  Thread writer = after(20, [&] { EXPECT_OK(1, write(pipe.b, "r", 1)); });
  EXPECT_OK(1, read(got[0], &byte, 1));
  EXPECT_EQ('r', byte);
  Stopwatch timing;
  EXPECT_ERRNO(EAGAIN, recv(got[1], &byte, 1, 0));  // the time-out came along
  EXPECT(timing.took_between(28, 3000));
  writer.join();
  close(got[0]);
  close(got[1]);
}

static void control_is_cut() {
  Pair pair;
  Pipe pipe;
  int fds[2] = {pipe.a, pipe.b};
  send_fds(pair.a, fds, 2);
  alignas(cmsghdr) char control[CMSG_LEN(sizeof(int))];
  char byte;
  Message in(&byte, 1);
  in.msg_control = control;
  in.msg_controllen = sizeof control;
  EXPECT_OK(1, recvmsg(pair.b, &in, 0));
  EXPECT_EQ(MSG_CTRUNC, in.msg_flags);
  EXPECT_EQ(CMSG_LEN(sizeof(int)), in.msg_controllen);
  int got;
  memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&in)), sizeof got);
  EXPECT_OK(0, close(got));
  send_fds(pair.a, fds, 1);  // and without room for control at all
  Message bare(&byte, 1);
  EXPECT_OK(1, recvmsg(pair.b, &bare, 0));
  EXPECT_EQ(MSG_CTRUNC, bare.msg_flags);
}

static void a_full_socket() {
  Pair pair;
  long filled = fill_up(pair.a);
  char bytes[4096] = {};
  Message out(bytes, sizeof bytes);
  EXPECT_ERRNO(EAGAIN, sendmsg(pair.a, &out, MSG_DONTWAIT));
  Stopwatch watch;
  Thread reader = after(20, [&] { EXPECT_EQ(filled, drain(pair.b, filled)); });
  EXPECT_OK(4096, sendmsg(pair.a, &out, 0));
  EXPECT_WAITED(watch);
}

static void errors() {
  Pipe pipe;
  Pair pair;
  char byte;
  Message message(&byte, 1);
  EXPECT_ERRNO(EBADF, recvmsg(-1, &message, 0));
  EXPECT_ERRNO(EBADF, sendmsg(-1, &message, 0));
  EXPECT_ERRNO(ENOTSOCK, recvmsg(pipe.a, &message, 0));
  EXPECT_ERRNO(ENOTSOCK, sendmsg(pipe.b, &message, 0));
  EXPECT_ERRNO(EFAULT, recvmsg(pair.a, nullptr, 0));
  EXPECT_ERRNO(EFAULT, sendmsg(pair.a, nullptr, 0));
  message.msg_iovlen = 1025;
  EXPECT_ERRNO(EMSGSIZE, recvmsg(pair.a, &message, 0));
  EXPECT_ERRNO(EMSGSIZE, sendmsg(pair.a, &message, 0));
}

int main() {
  from_both([] {
    scattered();
    addresses_and_truncation();
    rights(0);
    rights(MSG_CMSG_CLOEXEC);
    control_is_cut();
    a_full_socket();
    errors();
  });
  return finish();
}
