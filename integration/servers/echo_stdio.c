// SPDX-License-Identifier: Apache-2.0
// A thread per connection that speaks lines through stdio: fdopen on the socket, fgets, fprintf, fflush. Long lines come
// in pieces. SIGTERM ends it with status 0 and what it served.
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

static void* converse(void* argument) {
  int fd = (int)(long)argument;
  FILE* in = fdopen(fd, "r");
  FILE* out = fdopen(dup(fd), "w");
  if (!in || !out) die("fdopen");
  char line[1000];
  size_t said = 0;
  while (fgets(line, sizeof line, in)) {
    int size = fprintf(out, "%s", line);
    if (size < 0 || fflush(out) != 0) break;
    said += (size_t)size;
  }
  fclose(out);
  fclose(in);
  pthread_mutex_lock(&lock);
  ++connections;
  bytes += said;
  pthread_mutex_unlock(&lock);
  return NULL;
}

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  on_signal(SIGTERM, stop, 0);
  int listener = listen_somewhere();
  while (!stopping) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) {
      if (errno != EINTR) die("accept");
      continue;
    }
    serve_by_thread(fd, converse);
  }
  pthread_mutex_lock(&lock);
  printf("served %lu connections, %llu bytes\n", connections, bytes);
  pthread_mutex_unlock(&lock);
  return 0;
}
