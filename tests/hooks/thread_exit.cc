// SPDX-License-Identifier: Apache-2.0
//
// The ways a thread ends: return, pthread_exit from deep inside, pthread_exit inside a cleanup
// handler popped normally, C cleanup handlers (pthread_cleanup_push) last in first out, C++
// destructors of every frame between, catch (...) that rethrows sees the unwinding, and the fixed
// order: frames and handlers, then thread_local destructors, then pthread_key destructors. The
// value reaches the join.
#include <string>

#include "thread_testing.h"

static std::string story;  // written by one thread at a time, read after its join

struct Frame {
  explicit Frame(char letter) : letter_(letter) {}
  Frame(const Frame&) = delete;
  ~Frame() { story += letter_; }
  char letter_;
};

static void handler(void* letter) { story += static_cast<const char*>(letter); }

[[noreturn]] static void leave(void* value) {
  Frame const frame('d');
  pthread_exit(value);
}

static void deep(int depth, void* value) {
  Frame const frame(static_cast<char>('0' + depth));
  if (depth == 0) leave(value);
  if (depth > 0) deep(depth - 1, value);
}

static void from_deep_inside() {
  story.clear();
  Pthread worker([] {
    Frame const outer('o');
    deep(3, reinterpret_cast<void*>(42));
  });
  EXPECT(worker.join() == reinterpret_cast<void*>(42));
  EXPECT(story == "d0123o");
}

static void handlers_and_frames_in_order() {
  story.clear();
  Pthread worker([] {
    Frame const outer('o');
    pthread_cleanup_push(handler, const_cast<char*>("1"));
    {
      Frame const middle('m');
      pthread_cleanup_push(handler, const_cast<char*>("2"));
      leave(nullptr);
      pthread_cleanup_pop(0);
    }
    pthread_cleanup_pop(0);
  });
  worker.join();
  EXPECT(story == "d2m1o");
}

static void popped_handlers() {
  story.clear();
  Pthread worker([] {
    pthread_cleanup_push(handler, const_cast<char*>("a"));
    pthread_cleanup_push(handler, const_cast<char*>("b"));
    pthread_cleanup_pop(1);  // runs b
    pthread_cleanup_pop(0);  // drops a
  });
  worker.join();
  EXPECT(story == "b");
}

static void a_handler_may_block() {
  story.clear();
  Pthread worker([] {
    pthread_cleanup_push([](void*) { nap(20); }, nullptr);
    pthread_exit(nullptr);
    pthread_cleanup_pop(0);
  });
  while_others_tick([&] { worker.join(); });
}

static void catch_all_sees_it() {
  story.clear();
  Pthread worker([] {
    try {
      leave(reinterpret_cast<void*>(5));
    } catch (...) {
      story += 'c';
      throw;
    }
  });
  EXPECT(worker.join() == reinterpret_cast<void*>(5));
  EXPECT(story == "dc");
}

static pthread_key_t key;
static thread_local Frame per_thread('t');

static void the_order_of_the_end() {
  for (bool by_exit : {false, true}) {
    story.clear();
    Pthread worker([by_exit] {
      Frame const frame('f');
      per_thread.letter_ = 'T';  // constructs it
      EXPECT_EQ(0, pthread_setspecific(key, const_cast<char*>("K")));
      pthread_cleanup_push(handler, const_cast<char*>("h"));
      if (by_exit) pthread_exit(nullptr);
      pthread_cleanup_pop(1);
    });
    worker.join();
    EXPECT(story == "hfTK");
  }
}

static void destructors_may_block() {
  struct Slow {
    ~Slow() { nap(20); }
    int touched = 0;
  };
  Pthread worker([] {
    static thread_local Slow slow;
    slow.touched = 1;
  });
  while_others_tick([&] { worker.join(); });
}

static void* c_start_routine(void* argument) { pthread_exit(argument); }

static void straight_out_of_the_start_routine() {
  pthread_t id;
  EXPECT_EQ(0, pthread_create(&id, nullptr, c_start_routine, &story));
  void* result = nullptr;
  EXPECT_EQ(0, pthread_join(id, &result));
  EXPECT(result == &story);
}

int main() {
  EXPECT_EQ(0, pthread_key_create(&key, [](void* word) { story += static_cast<char*>(word); }));
  from_deep_inside();
  handlers_and_frames_in_order();
  popped_handlers();
  a_handler_may_block();
  catch_all_sees_it();
  the_order_of_the_end();
  destructors_may_block();
  straight_out_of_the_start_routine();
  return finish();
}
