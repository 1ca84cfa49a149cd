// SPDX-License-Identifier: Apache-2.0
// The smallest program with a thread: prints its arguments from one, or "hello". Also linked statically.
#include <pthread.h>
#include <stdio.h>

static void* print(void* argument) {
  char** words = argument;
  if (!*words) puts("hello");
  for (; *words; ++words) puts(*words);
  return NULL;
}

int main(int argc, char** argv) {
  pthread_t thread;
  (void)argc;
  if (pthread_create(&thread, NULL, print, argv + 1)) return 1;
  return pthread_join(thread, NULL);
}
