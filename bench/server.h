// SPDX-License-Identifier: Apache-2.0
//
// What the three echo servers of this folder share: raise the descriptor limit, listen on a port
// that the kernel picks, and print that port as "port N" for the runner. Nothing else: how a
// server waits is what the benchmarks compare, so that stays in each server's own file.

#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { kBufferSize = 4096, kBacklog = 4096 };

static inline void die(const char* what) {
  perror(what);
  exit(1);
}

static inline void raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) die("getrlimit");
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) die("setrlimit");
}

// Returns a listening TCP socket on 127.0.0.1 (`type` may add SOCK_NONBLOCK) and prints its port.
static inline int listen_on_loopback(int type) {
  raise_descriptor_limit();
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | type, 0);
  if (fd < 0) die("socket");
  struct sockaddr_in address;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (bind(fd, (struct sockaddr*)&address, length) != 0) die("bind");
  if (listen(fd, kBacklog) != 0) die("listen");
  if (getsockname(fd, (struct sockaddr*)&address, &length) != 0) die("getsockname");
  printf("port %d\n", ntohs(address.sin_port));
  fflush(stdout);
  return fd;
}

static inline void send_at_once(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

#endif  // BENCH_SERVER_H
