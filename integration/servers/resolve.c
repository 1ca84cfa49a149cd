// SPDX-License-Identifier: Apache-2.0
// resolve THREADS NAME...: each thread looks all names up with getaddrinfo, beginning at another one. Then one line a name,
// in the order given: what all threads heard, or "differs".
#include <netdb.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { answer_size = 400 };
static int names;
static char** name;

typedef struct {
  pthread_t id;
  int begin;
  char* answers;
} Thread;

static void look_up(const char* name, char* answer) {
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
  int error = getaddrinfo(name, "80", &hints, &found);
  if (error) {
    snprintf(answer, answer_size, "%s", gai_strerror(error));
    return;
  }
  int count = 0;
  char first[INET_ADDRSTRLEN], port[8];
  getnameinfo(found->ai_addr, found->ai_addrlen, first, sizeof first, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
  for (struct addrinfo* one = found; one; one = one->ai_next) count++;
  freeaddrinfo(found);
  snprintf(answer, answer_size, "%s port %s, %d in all", first, port, count);
}

static void* look_all_up(void* argument) {
  Thread* self = argument;
  for (int i = 0; i < names; i++) {
    int n = (self->begin + i) % names;
    look_up(name[n], self->answers + n * answer_size);
  }
  return NULL;
}

int main(int count, char** words) {
  int threads = atoi(words[1]);
  names = count - 2;
  name = words + 2;
  Thread* all = calloc((size_t)threads, sizeof *all);
  for (int i = 0; i < threads; i++) {
    all[i].begin = i;
    all[i].answers = calloc((size_t)names, answer_size);
    if (pthread_create(&all[i].id, NULL, look_all_up, &all[i])) return 1;
  }
  for (int i = 0; i < threads; i++) pthread_join(all[i].id, NULL);
  for (int n = 0; n < names; n++) {
    const char* first = all[0].answers + n * answer_size;
    int same = 1;
    for (int i = 1; i < threads; i++) same &= !strcmp(first, all[i].answers + n * answer_size);
    printf("%s: %s\n", name[n], same ? first : "differs");
  }
  return 0;
}
