// SPDX-License-Identifier: Apache-2.0
// An echo server of the other school: one thread, edge-triggered epoll, non-blocking sockets, output kept per
// connection. With "thread" as its argument the whole loop runs on a second pthread while main joins it.
// SIGTERM ends it through a signalfd in the same epoll set.
#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include "serve.h"

enum { kBuffer = 65536 };

struct connection {
  int fd;
  size_t begin, end;  // what is read and not yet written back
  char data[kBuffer];
};

static unsigned long connections;

static void watch(int epoll, int fd, unsigned events, void* what) {
  struct epoll_event event = {.events = events, .data = {.ptr = what}};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}

static void finish(struct connection* c) {
  close(c->fd);
  free(c);
  ++connections;
}

// Writes what is pending: 1 all gone, 0 must wait for EPOLLOUT, -1 peer gone.
static int flush(struct connection* c) {
  while (c->begin < c->end) {
    ssize_t done = write(c->fd, c->data + c->begin, c->end - c->begin);
    if (done < 0) return errno == EAGAIN ? 0 : -1;
    c->begin += (size_t)done;
  }
  c->begin = c->end = 0;
  return 1;
}

// Edge-triggered: goes on until read or write says EAGAIN.
static void advance(struct connection* c) {
  for (;;) {
    int flushed = flush(c);
    if (flushed < 0) return finish(c);
    if (flushed == 0) return;
    ssize_t got = read(c->fd, c->data, kBuffer);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return finish(c);
    c->end = (size_t)got;
  }
}

static void accept_all(int epoll, int listener) {
  int fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    struct connection* c = malloc(sizeof *c);
    c->fd = fd;
    c->begin = c->end = 0;
    watch(epoll, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, c);
  }
  if (errno != EAGAIN) die("accept4");
}

static void* run(void* argument) {
  int listener = (int)(long)argument, listening, stopping;
  struct epoll_event events[64];
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  int epoll = epoll_create1(0), signals = signalfd(-1, &stop, SFD_NONBLOCK);
  if (epoll < 0 || signals < 0) die("epoll_create1 or signalfd");
  watch(epoll, listener, EPOLLIN | EPOLLET, &listening);
  watch(epoll, signals, EPOLLIN, &stopping);
  for (;;) {
    int count = epoll_wait(epoll, events, 64, -1);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; ++i) {
      if (events[i].data.ptr == &stopping) return NULL;
      if (events[i].data.ptr == &listening)
        accept_all(epoll, listener);
      else
        advance(events[i].data.ptr);
    }
  }
}

int main(int argc, char** argv) {
  pthread_t thread;
  sigset_t stop;
  signal(SIGPIPE, SIG_IGN);
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop, NULL);
  int listener = listen_somewhere();
  if (fcntl(listener, F_SETFL, O_NONBLOCK)) die("fcntl");
  if (argc > 1 && strcmp(argv[1], "thread") == 0) {
    if (pthread_create(&thread, NULL, run, (void*)(long)listener)) die("pthread_create");
    pthread_join(thread, NULL);
  } else {
    run((void*)(long)listener);
  }
  printf("served %lu connections\n", connections);
  return 0;
}
