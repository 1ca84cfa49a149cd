// SPDX-License-Identifier: Apache-2.0
//
// A program's very first thread in two awkward places: made by the constructor of a library that is just being
// loaded (the loader's lock is held), and made when there is no memory for it (EAGAIN; later it works).
#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "thread_testing.h"

// tests/hooks/first_thread_module.cc: its constructor makes a thread, its destructor joins it.
static void in_a_constructor() {
  EXPECT(exited(in_child([] {
                  void* const module = dlopen(getenv("FIRST_THREAD_MODULE"), RTLD_NOW);
                  EXPECT(module != nullptr);
                  if (!module) return;
                  auto* const count = static_cast<std::atomic<long>*>(dlsym(module, "thread_count"));
                  EXPECT(count && comes_true([&] { return *count > 0; }));
                  EXPECT_EQ(0, dlclose(module));
                }), 0));
}

static void without_memory() {
  EXPECT(exited(in_child([] {
                  rlimit old{};
                  EXPECT_EQ(0, getrlimit(RLIMIT_AS, &old));
                  rlimit little = old;
                  little.rlim_cur = 1 << 20;  // less than the process has: nothing more can be mapped
                  EXPECT_EQ(0, setrlimit(RLIMIT_AS, &little));
                  pthread_t id{};
                  auto* const run = +[](void* argument) { return argument; };
                  EXPECT_EQ(EAGAIN, pthread_create(&id, nullptr, run, nullptr));
                  EXPECT_EQ(0, setrlimit(RLIMIT_AS, &old));
                  EXPECT_EQ(0, pthread_create(&id, nullptr, run, nullptr));
                  EXPECT_EQ(0, pthread_join(id, nullptr));
                }), 0));
}

int main() {
  in_a_constructor();
  without_memory();
  return finish();
}
