// SPDX-License-Identifier: Apache-2.0
//
// The plain thread-per-connection echo server: accept, pthread_create with default attributes,
// blocking recv and send. It has never heard of libcoro; the `alone` and `coro` worlds run this
// same binary.
//
//   echo_threads          recv(2) blocks until there is data
//   echo_threads poll     as MariaDB reads: recv(MSG_DONTWAIT), on EAGAIN poll(2) with a time-out,
//                         then recv again; so every request costs one poll that has to wait
//   echo_threads work     computes for half a millisecond before each answer, so that the server's cores
//                         are the limit, not the load's
//   echo_threads stdio    fgets, fprintf and fflush on the socket, which wait inside libc

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "server.h"

enum { kIdleMilliseconds = 28800 * 1000 };  // MariaDB's wait_timeout

static bool reads_like_mariadb, works, uses_stdio;

static ssize_t receive_after_poll(int fd, char* buffer, size_t size) {
  for (;;) {
    ssize_t got = recv(fd, buffer, size, MSG_DONTWAIT);
    if (got >= 0 || (errno != EAGAIN && errno != EINTR)) return got;
    struct pollfd wanted = {.fd = fd, .events = POLLIN | POLLPRI, .revents = 0};
    int ready = poll(&wanted, 1, kIdleMilliseconds);
    if (ready == 0 || (ready < 0 && errno != EINTR)) return -1;
  }
}

static bool send_all(int fd, const char* buffer, size_t size) {
  while (size > 0) {
    ssize_t sent = send(fd, buffer, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    buffer += sent;
    size -= (size_t)sent;
  }
  return true;
}

static void work(void) {
  volatile uint64_t state = 1;
  for (int i = 0; i < 400000; i++) state = (state ^ (state << 13)) * 0x9E3779B97F4A7C15u;
}

static void serve_lines(int fd) {
  FILE* in = fdopen(fd, "r");
  FILE* out = fdopen(dup(fd), "w");
  if (!in || !out) die("fdopen");
  char line[kBufferSize];
  while (fgets(line, sizeof line, in) && fprintf(out, "%s", line) > 0 && fflush(out) == 0) {
  }
  fclose(out);
  fclose(in);
}

static void* serve(void* argument) {
  int fd = (int)(intptr_t)argument;
  if (uses_stdio) {
    serve_lines(fd);
    return NULL;
  }
  char buffer[kBufferSize];
  for (;;) {
    ssize_t got = reads_like_mariadb ? receive_after_poll(fd, buffer, sizeof buffer)
                                     : recv(fd, buffer, sizeof buffer, 0);
    if (got < 0 && errno == EINTR) continue;
    if (works) work();
    if (got <= 0 || !send_all(fd, buffer, (size_t)got)) break;
  }
  close(fd);
  return NULL;
}

int main(int argc, char** argv) {
  reads_like_mariadb = argc > 1 && strcmp(argv[1], "poll") == 0;
  works = argc > 1 && strcmp(argv[1], "work") == 0;
  uses_stdio = argc > 1 && strcmp(argv[1], "stdio") == 0;
  int listener = listen_on_loopback(0);
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      die("accept");
    }
    send_at_once(fd);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, serve, (void*)(intptr_t)fd);
    if (error != 0) {
      fprintf(stderr, "pthread_create: %s\n", strerror(error));
      close(fd);
      continue;
    }
    pthread_detach(thread);
  }
}
