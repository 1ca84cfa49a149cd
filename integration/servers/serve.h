// SPDX-License-Identifier: Apache-2.0
// What every C and C++ server here begins with: listen on a port of 127.0.0.1 that the kernel picks, and say which.
#ifndef SERVE_H
#define SERVE_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static inline void die(const char* what) {
  perror(what);
  exit(1);
}

// Listens and prints "listening on PORT"; the tests read the port from there.
static inline int listen_somewhere(void) {
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0) die("socket");
  if (bind(fd, (struct sockaddr*)&address, sizeof address)) die("bind");
  if (listen(fd, 512)) die("listen");
  if (getsockname(fd, (struct sockaddr*)&address, &length)) die("getsockname");
  printf("listening on %d\n", ntohs(address.sin_port));
  fflush(stdout);
  return fd;
}

// Writes all of it; false when the other side is gone.
static inline int write_all(int fd, const char* data, size_t size) {
  while (size > 0) {
    ssize_t done = write(fd, data, size);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return 0;
    data += done;
    size -= (size_t)done;
  }
  return 1;
}

// A detached thread for the connection: converse((void*)(long)fd).
static inline void serve_by_thread(int fd, void* (*converse)(void*)) {
  pthread_t thread;
  int error = pthread_create(&thread, NULL, converse, (void*)(long)fd);
  if (error) {
    fprintf(stderr, "pthread_create: %s\n", strerror(error));
    exit(1);
  }
  pthread_detach(thread);
}

// Installs a handler, without SA_RESTART unless the flags say so.
static inline void on_signal(int number, void (*handler)(int), int flags) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  action.sa_flags = flags;
  if (sigaction(number, &action, NULL)) die("sigaction");
}

#endif
