// SPDX-License-Identifier: Apache-2.0
//
// What first_thread.cc loads.
#include <pthread.h>
#include <stdlib.h>

#include <atomic>

extern "C" {
std::atomic<long> thread_count{0};
}
static std::atomic<bool> stop{false};
static pthread_t thread;

static void* count(void*) {
  while (!stop) thread_count++;
  return nullptr;
}

__attribute__((constructor)) static void begin() {
  if (pthread_create(&thread, nullptr, count, nullptr)) abort();
}

__attribute__((destructor)) static void end() {
  stop = true;
  if (pthread_join(thread, nullptr)) abort();
}
