// SPDX-License-Identifier: Apache-2.0
//
// The rules of deferred cancellation: pthread_testcancel, nothing happens between cancellation
// points, setcancelstate/setcanceltype with old values and errors, a disabled thread keeps the
// request pending, a pending request acts at the entry of a call that would not block, handlers and
// C++ destructors run in order, PTHREAD_CANCELED reaches the join, cancelling a finished thread or
// oneself, cancellation off while handlers run, thread_local and key destructors after it.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "thread_testing.h"

static std::string story;  // written by one thread at a time, read after its join
static void handler(void* letter) { story += static_cast<const char*>(letter); }

struct Frame {
  explicit Frame(char letter) : letter_(letter) {}
  Frame(const Frame&) = delete;
  ~Frame() { story += letter_; }
  char letter_;
};

static void states_and_types() {
  guarded<int> old;
  errno = 77;
  EXPECT_EQ(0, pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old));
  EXPECT_EQ(PTHREAD_CANCEL_ENABLE, old.value);
  EXPECT_EQ(0, pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old));
  EXPECT_EQ(PTHREAD_CANCEL_DISABLE, old.value);
  EXPECT_EQ(0, pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, nullptr));
  EXPECT_EQ(0, pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &old));
  EXPECT_EQ(PTHREAD_CANCEL_DEFERRED, old.value);
  EXPECT_EQ(EINVAL, pthread_setcancelstate(99, &old));
  EXPECT_EQ(EINVAL, pthread_setcanceltype(99, &old));
  EXPECT_EQ(77, errno);
  Pthread fresh([] {  // a new thread does not inherit
    int state = -1;
    EXPECT_EQ(0, pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state));
    EXPECT_EQ(PTHREAD_CANCEL_ENABLE, state);
    Pthread child([] {
      int own = -1;
      EXPECT_EQ(0, pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &own));
      EXPECT_EQ(PTHREAD_CANCEL_ENABLE, own);
    });
  });
}

static void nothing_happens_between_points() {
  std::atomic<int> step{0};
  bool survived = false;
  Pthread worker([&] {
    step = 1;
    while (step != 2) sched_yield();  // not a cancellation point
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);  // nor are these
    pthread_mutex_unlock(&mutex);
    survived = true;
    pthread_testcancel();
    EXPECT(false);
  });
  EXPECT(comes_true([&] { return step == 1; }));
  EXPECT_EQ(0, pthread_cancel(worker.id()));
  step = 2;
  EXPECT(worker.join() == PTHREAD_CANCELED);
  EXPECT(survived);
}

// A thread that already has a request pending when it makes the call must not come back from it.
template <class Call>
static void acts_at_entry(const char* name, Call call) {
  story.clear();
  Pthread worker([&] {
    EXPECT_EQ(0, pthread_cancel(pthread_self()));
    story += 'p';
    Frame const frame('f');
    call();
    story += '!';
  });
  bool const cancelled = worker.join() == PTHREAD_CANCELED;
  if (!cancelled || story != "pf") fprintf(stderr, "at entry of %s: %s\n", name, story.c_str());
  EXPECT(cancelled && story == "pf");
}

static void pending_at_the_entry_of_calls_that_would_not_block() {
  Pair const pair;
  char byte = 0;
  EXPECT_EQ(1, write(pair.a, "x", 1));
  int const null = open("/dev/null", O_RDWR);
  acts_at_entry("read", [&] { (void)!read(pair.b, &byte, 1); });
  EXPECT_EQ(1, recv(pair.b, &byte, 1, MSG_DONTWAIT));  // the byte was not eaten
  acts_at_entry("write", [&] { (void)!write(null, "x", 1); });
  acts_at_entry("send", [&] { send(pair.a, "x", 1, 0); });
  EXPECT_EQ(-1, recv(pair.b, &byte, 1, MSG_DONTWAIT));  // and none was sent
  acts_at_entry("poll 0", [] { poll(nullptr, 0, 0); });
  acts_at_entry("usleep 0", [] { usleep(0); });
  acts_at_entry("nanosleep 0", [] {
    timespec const zero{0, 0};
    nanosleep(&zero, nullptr);
  });
  acts_at_entry("open", [] { open("/dev/null", O_RDONLY); });
  acts_at_entry("waitpid", [] { waitpid(-1, nullptr, WNOHANG); });
  acts_at_entry("testcancel", [] { pthread_testcancel(); });
  close(null);
}

static void a_disabled_thread_keeps_it_pending() {
  story.clear();
  std::atomic<int> step{0};
  Pthread worker([&] {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
    step = 1;
    nap(30);  // cancelled in here, to no effect
    pthread_testcancel();
    story += 's';
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, nullptr);  // not a point itself (deferred)
    story += 'e';
    pthread_testcancel();
    story += '!';
  });
  EXPECT(comes_true([&] { return step == 1; }));
  EXPECT_EQ(0, pthread_cancel(worker.id()));
  EXPECT_EQ(0, pthread_cancel(worker.id()));  // twice is no error
  EXPECT(worker.join() == PTHREAD_CANCELED);
  EXPECT(story == "se");
}

static pthread_key_t key;

static void everything_is_unwound_in_order() {
  story.clear();
  std::atomic<bool> ready{false};
  Pthread worker([&] {
    static thread_local Frame own('t');
    own.letter_ = 't';
    EXPECT_EQ(0, pthread_setspecific(key, const_cast<char*>("k")));
    Frame const outer('o');
    pthread_cleanup_push(handler, const_cast<char*>("1"));
    Frame const middle('m');
    pthread_cleanup_push(handler, const_cast<char*>("2"));
    try {
      Frame const inner('i');
      ready = true;
      for (;;) pause();
    } catch (...) {
      story += 'c';
      throw;
    }
    pthread_cleanup_pop(0);
    pthread_cleanup_pop(0);
  });
  EXPECT(comes_true([&] { return ready.load(); }));
  nap(10);
  EXPECT_EQ(0, pthread_cancel(worker.id()));
  EXPECT(worker.join() == PTHREAD_CANCELED);
  EXPECT(story == "ic2m1otk");
}

static void handlers_run_without_being_cancelled_again() {
  story.clear();
  std::atomic<int> step{0};
  Pthread worker([&] {
    auto slow = [](void* place) {
      *static_cast<std::atomic<int>*>(place) = 2;
      nap(30);
      pthread_testcancel();
      story += 'h';
    };
    pthread_cleanup_push(slow, &step);
    step = 1;
    for (;;) nap(1000);
    pthread_cleanup_pop(0);
  });
  EXPECT(comes_true([&] { return step == 1; }));
  EXPECT_EQ(0, pthread_cancel(worker.id()));
  EXPECT(comes_true([&] { return step == 2; }));
  EXPECT_EQ(0, pthread_cancel(worker.id()));
  EXPECT(worker.join() == PTHREAD_CANCELED);
  EXPECT(story == "h");
}

static void a_finished_thread_does_not_mind() {
  Pthread worker([]() -> void* { return &story; });
  nap(20);
  EXPECT_EQ(0, pthread_cancel(worker.id()));
  EXPECT(worker.join() == &story);
  Pthread leaving([]() -> void* {
    pthread_cleanup_push([](void*) { pthread_cancel(pthread_self()); }, nullptr);
    pthread_exit(&story);
    pthread_cleanup_pop(0);
  });
  EXPECT(leaving.join() == &story);  // pthread_exit's value stands
}

static void main_itself_in_a_child() {
  int const status = in_child([] {
    pthread_t const main_thread = pthread_self();
    Pthread other([main_thread] {
      nap(10);
      pthread_cancel(main_thread);
      nap(20);
      exit(5);
    });
    other.release();
    for (;;) pause();
  });
  EXPECT(exited(status, 5));
}

static void asynchronous_type_is_accepted() {
  int old = -1;
  EXPECT_EQ(0, pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old));
  EXPECT_EQ(PTHREAD_CANCEL_DEFERRED, old);
  EXPECT_EQ(0, pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &old));
  EXPECT_EQ(PTHREAD_CANCEL_ASYNCHRONOUS, old);
}

int main() {
  EXPECT_EQ(0, pthread_key_create(&key, [](void* word) { story += static_cast<char*>(word); }));
  states_and_types();
  nothing_happens_between_points();
  pending_at_the_entry_of_calls_that_would_not_block();
  a_disabled_thread_keeps_it_pending();
  everything_is_unwound_in_order();
  handlers_run_without_being_cancelled_again();
  a_finished_thread_does_not_mind();
  main_itself_in_a_child();
  asynchronous_type_is_accepted();
  return finish();
}
