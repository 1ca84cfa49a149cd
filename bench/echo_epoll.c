// SPDX-License-Identifier: Apache-2.0
//
// The yardstick: the echo server an experienced hand writes for one core. One thread, level
// triggered epoll, non-blocking sockets, one recv and one send per request. What makes it quick:
//   - one recv per event, no second one just to see EAGAIN (level triggering reports the rest);
//   - the answer is sent at once; EPOLLOUT is asked for only after a send fell short;
//   - many events per epoll_wait, the connection found by pointer, no allocation per request;
//   - accept4 makes the socket non-blocking, until the queue is empty.

#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "server.h"

enum { kEventsPerTurn = 1024 };

struct connection {
  int fd;
  size_t unsent;     // bytes of `pending` the peer has not taken yet
  size_t unsent_at;  // where they begin
  char* pending;     // NULL until a send falls short
};

static int poller;

static void end(struct connection* connection) {
  close(connection->fd);  // takes it out of the epoll set
  free(connection->pending);
  free(connection);
}

static bool watch(struct connection* connection, int operation, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = connection};
  return epoll_ctl(poller, operation, connection->fd, &event) == 0;
}

static void accept_all(int listener) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN) return;
      die("accept4");
    }
    send_at_once(fd);
    struct connection* connection = calloc(1, sizeof *connection);
    if (!connection) die("calloc");
    connection->fd = fd;
    if (!watch(connection, EPOLL_CTL_ADD, EPOLLIN)) die("epoll_ctl");
  }
}

// Keeps what the peer did not take and reads no more from it until it has.
static bool keep(struct connection* connection, const char* rest, size_t size) {
  if (!connection->pending && !(connection->pending = malloc(kBufferSize))) return false;
  memcpy(connection->pending, rest, size);
  connection->unsent = size;
  connection->unsent_at = 0;
  return watch(connection, EPOLL_CTL_MOD, EPOLLOUT);
}

static bool on_readable(struct connection* connection) {
  static char buffer[kBufferSize];
  ssize_t got = recv(connection->fd, buffer, sizeof buffer, 0);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) return false;
  ssize_t sent = send(connection->fd, buffer, (size_t)got, MSG_NOSIGNAL);
  if (sent == got) return true;
  if (sent < 0) {
    if (errno != EAGAIN && errno != EINTR) return false;
    sent = 0;
  }
  return keep(connection, buffer + sent, (size_t)(got - sent));
}

static bool on_writable(struct connection* connection) {
  ssize_t sent = send(connection->fd, connection->pending + connection->unsent_at,
                      connection->unsent, MSG_NOSIGNAL);
  if (sent < 0) return errno == EAGAIN || errno == EINTR;
  connection->unsent -= (size_t)sent;
  connection->unsent_at += (size_t)sent;
  return connection->unsent > 0 || watch(connection, EPOLL_CTL_MOD, EPOLLIN);
}

int main(void) {
  int listener = listen_on_loopback(SOCK_NONBLOCK);
  poller = epoll_create1(EPOLL_CLOEXEC);
  if (poller < 0) die("epoll_create1");
  struct connection door = {.fd = listener};
  if (!watch(&door, EPOLL_CTL_ADD, EPOLLIN)) die("epoll_ctl");
  static struct epoll_event events[kEventsPerTurn];
  for (;;) {
    int count = epoll_wait(poller, events, kEventsPerTurn, -1);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; ++i) {
      struct connection* connection = events[i].data.ptr;
      if (connection == &door) {
        accept_all(listener);
      } else if (!(connection->unsent > 0 ? on_writable(connection) : on_readable(connection))) {
        end(connection);
      }
    }
  }
}
