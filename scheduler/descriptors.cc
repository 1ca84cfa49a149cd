// SPDX-License-Identifier: Apache-2.0
#include "scheduler/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

#include <atomic>
#include <utility>

#include "scheduler/sys.h"

namespace coro {
namespace {

constexpr int most_own = 512;
std::atomic<int> own[most_own];  // fd + 1; -1: free again; 0: never used

struct Life {
  std::atomic<uint32_t> generation;
  std::atomic<uint32_t> closers;
  std::atomic<uint64_t> hubs;
};
constexpr int lives_per_chunk = 1 << 14;
constexpr int most_chunks = 256;  // four million numbers
std::atomic<Life*> lives[most_chunks];
std::atomic<int> closing{0};  // calls, all in all

Life* life_of(int fd) {
  if (fd < 0 || fd >= lives_per_chunk * most_chunks) return nullptr;
  auto& chunk = lives[fd / lives_per_chunk];
  Life* present = chunk.load(std::memory_order_acquire);
  if (!present) {
    size_t bytes = sizeof(Life) * lives_per_chunk;
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    auto* fresh = static_cast<Life*>(memory);
    if (chunk.compare_exchange_strong(present, fresh))
      present = fresh;
    else
      munmap(memory, bytes);
  }
  return &present[fd % lives_per_chunk];
}

}  // namespace

uint32_t generation_of(int fd) {
  Life* life = life_of(fd);
  return life ? life->generation.load() : 0;
}

uint64_t hubs_that_know(int fd) {
  Life* life = life_of(fd);
  return life ? life->hubs.load() : 0;
}

EndedLife end_generation(int fd) {
  Life* life = life_of(fd);
  if (!life) return {};
  uint32_t ended = life->generation.fetch_add(1);
  return {ended, life->hubs.load()};
}

void begin_closing(int fd) {
  closing++;
  if (Life* life = life_of(fd)) life->closers++;
}

void end_closing(int fd) {
  if (Life* life = life_of(fd)) life->closers--;
  closing--;
}

bool is_closing(int fd) {
  Life* life = life_of(fd);
  return life && life->closers.load();
}

void forget_closers() {
  if (!closing.exchange(0)) return;
  for (auto& chunk : lives)
    for (int i = 0; chunk && i < lives_per_chunk; i++) chunk[i].closers = 0;
}

void note_hub(int fd, int index) {
  Life* life = life_of(fd);
  uint64_t bit = uint64_t{1} << index;
  if (life && !(life->hubs.load(std::memory_order_relaxed) & bit)) life->hubs.fetch_or(bit);
}

void forget_hub(int fd, int index) {
  if (Life* life = life_of(fd)) life->hubs.fetch_and(~(uint64_t{1} << index));
}

void note_own(int fd) {
  for (auto& place : own) {
    int value = place;
    if (value <= 0 && place.compare_exchange_strong(value, fd + 1)) return;
  }
}

void forget_own(int fd) {
  for (auto& place : own)
    if (place == fd + 1) place = -1;  // not 0: the search ends at the first place never used
}

void close_own(int fd) {
  if (fd < 0) return;
  forget_own(fd);
  sys::close(fd);
}

bool is_our_descriptor(int fd) {
  for (auto& place : own) {
    int value = place.load(std::memory_order_relaxed);
    if (value == fd + 1 && fd >= 0) return true;
    if (!value) return false;
  }
  return false;
}

long open_own(long number, long first, long second, bool must) {
  for (;;) {
    long fd = sys::call(number, first, second);
    if (fd != -EMFILE && fd != -ENFILE) return fd;
    rlimit before{};
    sys::call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, sys::as_long(&before));
    rlimit raised{before.rlim_max, before.rlim_max};
    if (sys::call(SYS_prlimit64, 0, RLIMIT_NOFILE, sys::as_long(&raised), 0) == 0) {
      fd = sys::call(number, first, second);
      sys::call(SYS_prlimit64, 0, RLIMIT_NOFILE, sys::as_long(&before), 0);
    }
    if (fd >= 0 || !must) return fd;
    timespec pause{0, 5'000'000};
    sys::call(SYS_nanosleep, sys::as_long(&pause), 0);
  }
}

int to_high_number(int fd) {
  if (fd < 0) return fd;
  rlimit limit{};
  sys::call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, sys::as_long(&limit));
  // High, but not at a large limit itself: tables are indexed by the number. Where it is small, as near its end as there
  // is room.
  constexpr long high_enough = 1024;
  long end = limit.rlim_cur < high_enough ? static_cast<long>(limit.rlim_cur) : high_enough;
  long step = end == high_enough ? 64 : 8;
  for (long from = end - step; from >= 16 && from > fd; from -= step) {
    long high = sys::call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, from);
    if (high < 0) continue;
    sys::close(fd);
    return static_cast<int>(high);
  }
  return fd;
}

namespace {

constexpr int most_reserved = 8;
LoopDescriptors reserved[most_reserved];
std::atomic<bool> is_reserved{false};

int make_own(long number, long first, long second) {
  int fd = to_high_number(static_cast<int>(open_own(number, first, second, false)));
  if (fd >= 0) note_own(fd);
  return fd;
}

// What is there already stays.
void complete(LoopDescriptors& loop) {
  auto make = [](int& fd, long number, long first, long second) {
    if (fd < 0) fd = make_own(number, first, second);
  };
  make(loop.bell, SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
  make(loop.timer, SYS_timerfd_create, CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  make(loop.step, SYS_timerfd_create, CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);  // later there may be none left
}

}  // namespace

void reserve_loops(int hubs, bool epoll) {
  if (is_reserved.load(std::memory_order_relaxed) || is_reserved.exchange(true)) return;
  for (int i = 1; i < hubs && i < most_reserved; i++) {
    if (epoll) reserved[i].epoll = make_own(SYS_epoll_create1, EPOLL_CLOEXEC, 0);
    complete(reserved[i]);
  }
}

LoopDescriptors take_loop(int hub) {
  LoopDescriptors loop;
  if (hub < most_reserved) loop = std::exchange(reserved[hub], loop);
  complete(loop);
  return loop;
}

void drop_reserved_loops() {
  for (LoopDescriptors& loop : reserved) {
    for (int fd : {loop.epoll, loop.bell, loop.timer, loop.step}) close_own(fd);
    loop = {};
  }
  is_reserved = false;
}

}  // namespace coro
