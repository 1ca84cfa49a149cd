// SPDX-License-Identifier: Apache-2.0
//
// The load for the echo servers: N connections, on each one request of 64 bytes in flight at any
// time, for T seconds after a warm-up. Checks every answer byte by byte. Prints one line of
// "name value" pairs. Runs on a core of its own and must not be what limits the result:
//   - edge-triggered epoll: one recv, one send and one clock read per request;
//   - it polls without sleeping, so the server never pays for waking it across cores;
//   - `client_idle` is the share of its polls' time that found nothing: near 0 means that the load
//     was the limit, and `server_busy` (CPU time of the server / time) below 1 says the same.
// Connections end with a reset, so that thousands of them leave no TIME_WAIT behind.
//
//   echo_load PORT CONNECTIONS SECONDS WARM_UP_SECONDS SERVER_PID [sleeps]
//
// `sleeps`: it has no core of its own and sleeps when it has nothing to do.

#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "server.h"

enum { kRequestSize = 64, kUnanswered = 512, kEventsPerTurn = 256, kSetUpSeconds = 15 };
enum { kSteps = 64, kBuckets = 64 * kSteps };  // histogram: 64 steps per power of two, 1.6 % wide

struct connection {
  int fd;
  unsigned got;  // bytes of the present answer
  uint64_t sent_at;
};

static int poller;
static struct connection* connections;
static int answered_once;
static enum { opening, warming_up, counting } phase;
static uint64_t requests;
static uint64_t histogram[kBuckets];
static char request[kRequestSize];

static uint64_t now_on(clockid_t clock) {
  struct timespec time;
  if (clock_gettime(clock, &time) != 0) die("clock_gettime");
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t now(void) { return now_on(CLOCK_MONOTONIC); }

static void fail(const char* what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static int bucket_of(uint64_t value) {
  if (value < kSteps) return (int)value;
  int shift = 63 - __builtin_clzll(value) - 6;
  return (shift + 1) * kSteps + (int)((value >> shift) - kSteps);
}

static double value_of(int bucket) {
  if (bucket < kSteps) return bucket;
  int shift = bucket / kSteps - 1;
  return ((double)(kSteps + bucket % kSteps) + 0.5) * (double)(1ull << shift);
}

static double quantile(double share) {
  uint64_t seen = 0;
  for (int i = 0; i < kBuckets; ++i) {
    seen += histogram[i];
    if ((double)seen >= share * (double)requests) return value_of(i);
  }
  return 0;
}

static void ask(struct connection* connection, uint64_t at) {
  connection->sent_at = at;
  connection->got = 0;
  if (send(connection->fd, request, kRequestSize, MSG_NOSIGNAL) != kRequestSize) die("send");
}

static void open_connection(struct connection* connection, int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  struct timeval patience = {.tv_sec = 5, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);  // bounds connect(2) too
  struct linger reset = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  send_at_once(fd);
  struct sockaddr_in address;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons((uint16_t)port);
  if (connect(fd, (struct sockaddr*)&address, sizeof address) != 0) die("connect");
  connection->fd = fd;
  struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = connection};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
  ask(connection, now());
}

static void on_readable(struct connection* connection) {
  char answer[kRequestSize];
  ssize_t got = recv(connection->fd, answer, kRequestSize - connection->got, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got < 0) die("recv");
  if (got == 0) fail("the server closed a connection");
  if (memcmp(answer, request + connection->got, (size_t)got) != 0) fail("wrong bytes came back");
  connection->got += (unsigned)got;
  if (connection->got < kRequestSize) return;
  if (phase == opening) {  // the accepting thread must not compete with the answered ones
    ++answered_once;
    return;
  }
  uint64_t at = now();
  if (phase == counting) {
    ++requests;
    ++histogram[bucket_of(at - connection->sent_at)];
  }
  ask(connection, at);
}

static int patience;  // ms that a turn may wait

// One turn of the loop; returns whether there was anything to do.
static bool turn(void) {
  static struct epoll_event events[kEventsPerTurn];
  int count = epoll_wait(poller, events, kEventsPerTurn, patience);
  if (count < 0 && errno != EINTR) die("epoll_wait");
  for (int i = 0; i < count; ++i) on_readable(events[i].data.ptr);
  return count > 0;
}

// Never lets more than kUnanswered connections wait for their first answer, so that the server's
// accept queue cannot overflow (a dropped SYN is retried after a second).
static void open_all(int count, int port) {
  uint64_t deadline = now() + kSetUpSeconds * 1000000000ull;
  for (int opened = 0; answered_once < count;) {
    if (opened < count && opened - answered_once < kUnanswered) {
      open_connection(&connections[opened++], port);
    }
    turn();
    if (now() > deadline) {
      fprintf(stderr, "%d of %d connections were answered in %d s\n", answered_once, count,
              kSetUpSeconds);
      exit(1);
    }
  }
}

// Runs the loop for `seconds`; returns the share of the time spent in turns that found nothing.
static double run_for(double seconds) {
  uint64_t begin = now(), before = begin, idle = 0;
  uint64_t deadline = begin + (uint64_t)(seconds * 1e9);
  while (before < deadline) {
    bool found = turn();
    uint64_t after = now();
    if (!found) idle += after - before;
    before = after;
  }
  return (double)idle / (double)(before - begin);
}

int main(int argc, char** argv) {
  if (argc != 6 && argc != 7)
    fail("usage: echo_load PORT CONNECTIONS SECONDS WARM_UP_SECONDS SERVER_PID [sleeps]");
  patience = argc == 7 ? 10 : 0;
  int port = atoi(argv[1]), count = atoi(argv[2]);
  double seconds = atof(argv[3]), warm_up = atof(argv[4]);
  clockid_t server_clock;
  if (clock_getcpuclockid(atoi(argv[5]), &server_clock) != 0) fail("no such server process");

  raise_descriptor_limit();
  for (int i = 0; i < kRequestSize; ++i) request[i] = (char)('!' + i);
  request[kRequestSize - 1] = '\n';
  poller = epoll_create1(EPOLL_CLOEXEC);
  connections = calloc((size_t)count, sizeof *connections);
  if (poller < 0 || !connections) die("set-up");

  uint64_t begin = now();
  open_all(count, port);
  double set_up = (double)(now() - begin) / 1e9;

  phase = warming_up;
  for (int i = 0; i < count; ++i) ask(&connections[i], now());
  run_for(warm_up);

  phase = counting;
  uint64_t server_before = now_on(server_clock);
  begin = now();
  double idle = run_for(seconds);
  double elapsed = (double)(now() - begin) / 1e9;
  double server_busy = (double)(now_on(server_clock) - server_before) / 1e9 / elapsed;
  if (requests == 0) fail("no request was answered");
  printf("requests %.1f p50 %.1f p99 %.1f server_busy %.3f client_idle %.3f set_up %.3f\n",
         (double)requests / elapsed, quantile(0.50) / 1e3, quantile(0.99) / 1e3, server_busy, idle,
         set_up);
  return 0;
}
