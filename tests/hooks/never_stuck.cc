// SPDX-License-Identifier: Apache-2.0
//
// A thread that computes for long, one in a read by a syscall instruction, one in an ioctl that waits: meanwhile a ticker of
// 10 ms never stands still for long, although there is one hub.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "pulse_testing.h"

static void computing() {
  Pulse const pulse;
  volatile long sum = 0;
  for (int64_t const end = now_us() + 1000000; now_us() < end;)
    for (int i = 0; i < 1000000; i++) sum = sum + i;
}

static void raw_read() {
  Pulse const pulse;
  Pipe pipe;
  Pthread const writer([&] {
    nap(300);
    EXPECT_EQ(1, write(pipe.b, "x", 1));
  });
  char byte;
  long result;
  asm volatile("syscall" : "=a"(result) : "0"(0L), "D"(pipe.a), "S"(&byte), "d"(1L) : "rcx", "r11", "memory");
  EXPECT_EQ(1, result);
}

// In the child: a filter that asks a listener whenever somebody wants to know the parent. -1: not here.
static int listen_to_getppid() {
  sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  sock_fprog program = {4, code};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  return static_cast<int>(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program));
}

static void hand_over(int socket, int fd) {
  char byte = fd >= 0 ? 'y' : 'n';
  iovec part{&byte, 1};
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof fd)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = room;
    message.msg_controllen = sizeof room;
    *CMSG_FIRSTHDR(&message) = {CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &fd, sizeof fd);
  }
  EXPECT_EQ(1, sendmsg(socket, &message, 0));
}

// -1: the other has none.
static int take_over(int socket) {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = room;
  message.msg_controllen = sizeof room;
  EXPECT_EQ(1, recvmsg(socket, &message, MSG_CMSG_CLOEXEC));
  int fd = -1;
  if (byte == 'y') memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  return fd;
}

static void blocked_ioctl() {
  Pair pair;
  pid_t const child = fork();
  if (child == 0) {
    int const listener = listen_to_getppid();
    hand_over(pair.b, listener);
    if (listener < 0) _exit(0);
    close(listener);
    nap(300);
    _exit(syscall(SYS_getppid) == 4321 ? 0 : 1);
  }
  int const listener = take_over(pair.a);
  if (listener >= 0) {
    seccomp_notif news{};
    {
      Pulse const pulse;
      Stopwatch watch;
      EXPECT_EQ(0, ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &news));
      EXPECT(watch.took_between(100, 20000));
    }
    EXPECT_EQ(child, static_cast<pid_t>(news.pid));
    seccomp_notif_resp answer{news.id, 4321, 0, 0};
    EXPECT_EQ(0, ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer));
    close(listener);
  } else {
    printf("no listeners here: nothing was proven of ioctl\n");
  }
  int status = 0;
  EXPECT_EQ(child, waitpid(child, &status, 0));
  EXPECT(exited(status, 0));
}

int main() {
  from_both([] {
    computing();
    raw_read();
    blocked_ioctl();
  });
  return finish();
}
