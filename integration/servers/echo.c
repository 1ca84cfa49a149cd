// SPDX-License-Identifier: Apache-2.0
// The classic: accept, one detached pthread per connection, echo until the peer is done. SIGTERM makes accept return
// EINTR; the server then says what it served and returns 0 from main, whoever is still connected.
#include <pthread.h>

#include "serve.h"

static volatile sig_atomic_t stopping;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long connections;
static unsigned long long bytes;

static void stop(int number) {
  (void)number;
  stopping = 1;
}

static void account(size_t echoed) {
  pthread_mutex_lock(&lock);
  ++connections;
  bytes += echoed;
  pthread_mutex_unlock(&lock);
}

static void* echo(void* argument) {
  int fd = (int)(long)argument;
  char buffer[16384];
  size_t echoed = 0;
  ssize_t got;
  while ((got = read(fd, buffer, sizeof buffer)) > 0 && write_all(fd, buffer, (size_t)got)) echoed += (size_t)got;
  close(fd);
  account(echoed);
  return NULL;
}

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  on_signal(SIGTERM, stop, 0);
  int listener = listen_somewhere();
  while (!stopping) {
    int fd = accept(listener, NULL, NULL);
    if (fd >= 0)
      serve_by_thread(fd, echo);
    else if (errno != EINTR)
      die("accept");
  }
  pthread_mutex_lock(&lock);
  printf("served %lu connections, %llu bytes\n", connections, bytes);
  pthread_mutex_unlock(&lock);
  return 0;
}
