// SPDX-License-Identifier: Apache-2.0
//
// Starts the engine, once, and runs the tests on its main fiber.
#include <dlfcn.h>
#include <errno.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "scheduler/engine.h"
#include "tests/scheduler/testing.h"

namespace coro {
static int last_epoll_ = -1;
static std::atomic<int> loops_opened_{0};
int last_epoll() { return last_epoll_; }
int loops_opened() { return loops_opened_; }
}  // namespace coro

// As hooks/ does it: the engine learns which descriptor is its event loop's.
extern "C" __attribute__((visibility("default"))) int epoll_create1(int flags) noexcept {
  if (!coro::is_opening_loop()) return static_cast<int>(syscall(SYS_epoll_create1, flags));
  coro::last_epoll_ = coro::open_loop_descriptor(flags);
  coro::loops_opened_++;
  return coro::last_epoll_;
}

#if defined(__SANITIZE_ADDRESS__)
// Hubs live for ever, in memory of the engine's own, where LeakSanitizer does not look for pointers to what libev keeps.
extern "C" const char* __lsan_default_suppressions() { return "leak:libev.so"; }

// ASan asks this for the stack to clean before an exception, a longjmp or a call of a noreturn function, where it does
// not know the thread: on a fiber, and on the bases of hubs and carriers, where there is nothing to clean.
extern "C" __attribute__((visibility("default"))) int pthread_getattr_np(pthread_t id, pthread_attr_t* attributes) noexcept {
  using Function = decltype(&pthread_getattr_np);
  static auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "pthread_getattr_np"));
  static char nothing[1 << 14];
  coro::Fiber* self = coro::current;
  if (self && !self->is_main) {
    pthread_attr_init(attributes);
    return pthread_attr_setstack(attributes, self->stack.bottom, self->stack.size);
  }
  if (int failed = real(id, attributes); failed != ESRCH) return failed;
  pthread_attr_init(attributes);
  return pthread_attr_setstack(attributes, nothing, sizeof nothing);
}
#endif

#if defined(__SANITIZE_THREAD__)
// The supervisor's look at the number of switches is a guess by design: hub.h, has_others_waiting().
extern "C" const char* __tsan_default_suppressions() { return "race:coro::Hub::switches_so_far\n"; }
// The hubs' kernel threads never end; nobody is to wait a second for them after each test.
extern "C" const char* __tsan_default_options() { return "report_thread_leaks=0:atexit_sleep_ms=0"; }
#endif

int main(int count, char** words) {
  testing::InitGoogleTest(&count, words);
  // A death test's child starts anew, with an engine of its own.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  coro::EngineConfig config;
  config.hubs = TEST_HUBS;
  config.offload_threads = 32;
  config.create_thread = pthread_create;
  config.join_thread = pthread_join;
  config.exit_process = exit;
  config.deliver_signals = [] {};
  config.reason_name = [](coro::Reason) { return "testing"; };
  if (const char* trouble = coro::start_engine(config)) {
    fprintf(stderr, "the engine does not start: %s\n", trouble);
    return 1;
  }
  return RUN_ALL_TESTS();
}
