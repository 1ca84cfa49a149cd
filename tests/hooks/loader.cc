// SPDX-License-Identifier: Apache-2.0
//
// Threads that load and unload libraries beside threads that compute, begin and end: the loader holds a lock that whoever
// makes a thread takes.
#include <dlfcn.h>

#include "thread_testing.h"

static std::atomic<bool> done{false};

static void load_and_unload() {
  static const char* const libraries[] = {"libmvec.so.1", "libcrypt.so.1", "libBrokenLocale.so.1", "libanl.so.1"};
  for (int i = 0; i < 100; i++) {
    for (const char* name : libraries) {
      void* const library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
      if (!library) dprintf(2, "%s\n", dlerror());
      EXPECT(library);
      if (library) EXPECT_EQ(0, dlclose(library));
    }
    if (i % 10 == 0) nap(1);
  }
}

static void compute() {
  while (!done) {
    for (Stopwatch watch; watch.us() < 15000 && !done;) {
    }
    nap(1);
  }
}

static void begin_and_end() {
  while (!done) Pthread([] { nap(1); }).join();
}

int main() {
  from_both([] {
    done = false;
    Pthread first(compute), second(compute), third(begin_and_end);
    {
      Pthread loading(load_and_unload);
      load_and_unload();
    }
    done = true;
  });
  return finish();
}
