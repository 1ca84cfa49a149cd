// SPDX-License-Identifier: Apache-2.0
//
// What each thread has for itself: __thread variables with their initial values, C++ thread_local
// objects built on first use and destroyed at exit in reverse order (objects made by destructors
// too), errno across waits and handlers, the locale of uselocale, strerror, strtok-like libc
// buffers, C++ exception globals (uncaught_exceptions), and sched_getcpu.
#include <locale.h>
#include <math.h>
#include <netdb.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include <exception>
#include <string>
#include <vector>

#include "thread_testing.h"

static __thread int plain = 41;
static __thread char zeroed[3000];
static thread_local std::string text = "fresh";

static void variables_begin_anew() {
  plain = 1;
  text = "main";
  for (int round = 0; round < 3; ++round) {  // blocks that are used again must be fresh again
    std::vector<Pthread> threads;
    for (int i = 0; i < 20; ++i) {
      threads.emplace_back([i] {
        EXPECT_EQ(41, plain);
        for (char c : zeroed) EXPECT_EQ(0, c);
        EXPECT(text == "fresh");
        plain = i;
        memset(zeroed, i + 1, sizeof zeroed);
        text = std::to_string(i);
        for (int k = 0; k < 3; ++k) {
          nap(1);
          EXPECT_EQ(i, plain);
          EXPECT_EQ(i + 1, zeroed[2999]);
          EXPECT(text == std::to_string(i));
        }
      });
    }
  }
  EXPECT_EQ(1, plain);
  EXPECT(text == "main");
}

static std::string story;

struct Noted {
  explicit Noted(char letter) : letter_(letter) {}
  ~Noted() { story += letter_; }
  void touch() {}
  char letter_;
};

struct Late {  // its destructor makes another thread_local, which is destroyed next
  ~Late() {
    static thread_local Noted made_late('L');
    made_late.touch();
    story += 'l';
  }
  void touch() {}
};

static void destroyed_in_reverse_order() {
  Pthread worker([] {
    static thread_local Noted a('a');
    a.touch();
    static thread_local Late late;
    late.touch();
    static thread_local Noted c('c');
    c.touch();
  });
  worker.join();
  EXPECT(story == "clLa");
}

static void errno_belongs_to_the_thread() {
  errno = 55;
  std::vector<Pthread> threads;
  for (int i = 1; i < 20; ++i) {
    threads.emplace_back([i] {
      EXPECT_EQ(0, errno);
      int* const place = &errno;
      for (int round = 0; round < 5; ++round) {
        errno = i;
        EXPECT_EQ(0, usleep(1000));
        EXPECT_EQ(i, errno);
        EXPECT(place == &errno);
        EXPECT_EQ(-1, close(-1));
        EXPECT_EQ(EBADF, errno);
      }
    });
  }
  threads.clear();
  EXPECT_EQ(55, errno);
}

static void locale_belongs_to_the_thread() {
  locale_t const utf8 = newlocale(LC_ALL_MASK, "C.UTF-8", nullptr);
  EXPECT(utf8 != nullptr);
  Pthread worker([utf8] {
    EXPECT(uselocale(nullptr) == LC_GLOBAL_LOCALE);
    EXPECT(uselocale(utf8) == LC_GLOBAL_LOCALE);
    wchar_t wide = 0;
    mbstate_t state{};
    nap(20);
    EXPECT(uselocale(nullptr) == utf8);
    EXPECT_EQ(2, mbrtowc(&wide, "\xc3\xa9", 2, &state));
    EXPECT_EQ(0xe9, wide);
  });
  nap(10);
  wchar_t wide = 0;
  mbstate_t state{};
  EXPECT(uselocale(nullptr) == LC_GLOBAL_LOCALE);
  EXPECT_EQ(-1, static_cast<ssize_t>(mbrtowc(&wide, "\xc3\xa9", 2, &state)));
  worker.join();
  freelocale(utf8);
}

static void formatting_and_classes_work() {
  std::vector<Pthread> threads;
  for (int i = 0; i < 10; ++i) {
    threads.emplace_back([i] {
      char buffer[100];
      snprintf(buffer, sizeof buffer, "%.3f %d %ls", i + 0.125, i, L"wide");
      EXPECT(std::string(buffer) == std::to_string(i) + ".125 " + std::to_string(i) + " wide");
      EXPECT(toupper('x') == 'X' && isdigit('7') != 0);
      EXPECT(strtod("2.5", nullptr) == 2.5);
    });
  }
}

static void libc_buffers_are_apart() {
  char* first = nullptr;
  Pthread a([&] {
    first = strerror(12345);
    nap(20);
    EXPECT(std::string(first) == "Unknown error 12345");
    h_errno = 3;
  });
  Pthread b([&] {
    nap(10);
    char* const second = strerror(23456);
    EXPECT(second != first);
    EXPECT(std::string(second) == "Unknown error 23456");
    h_errno = 4;
  });
  a.join();
  b.join();
  h_errno = 5;
  EXPECT_EQ(5, h_errno);
}

static void exceptions_in_flight_are_apart() {
  struct Slow {
    ~Slow() {
      EXPECT_EQ(1, std::uncaught_exceptions());
      nap(10);
      EXPECT_EQ(1, std::uncaught_exceptions());
    }
  };
  std::vector<Pthread> threads;
  for (int i = 0; i < 10; ++i) {
    threads.emplace_back([i] {
      try {
        Slow const slow;
        throw i;
      } catch (int caught) {
        nap(2);
        EXPECT_EQ(i, caught);
        EXPECT_EQ(0, std::uncaught_exceptions());
        EXPECT(std::current_exception() != nullptr);
      }
    });
  }
  EXPECT_EQ(0, std::uncaught_exceptions());
  EXPECT(std::current_exception() == nullptr);
}

static void the_cpu_is_known() {
  Pthread worker([] {
    cpu_set_t allowed;
    EXPECT_EQ(0, sched_getaffinity(0, sizeof allowed, &allowed));
    for (int i = 0; i < 10; ++i) {
      int const cpu = sched_getcpu();
      EXPECT(cpu >= 0 && CPU_ISSET(cpu, &allowed));
      nap(1);
    }
  });
}

int main() {
  variables_begin_anew();
  destroyed_in_reverse_order();
  errno_belongs_to_the_thread();
  locale_belongs_to_the_thread();
  formatting_and_classes_work();
  libc_buffers_are_apart();
  exceptions_in_flight_are_apart();
  the_cpu_is_known();
  return finish();
}
