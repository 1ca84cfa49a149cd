// SPDX-License-Identifier: Apache-2.0
//
// Is an address in memory that other processes share? The kernel is asked: by PROCMAP_QUERY (Linux 6.11), else by reading
// /proc/self/maps. A "private" answer is remembered for a moment, because std::future asks at every wait.
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

#include <atomic>

#include "hooks/sync.h"
#include "hooks/user_memory.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

// linux/fs.h of 6.11.
struct MapQuery {
  uint64_t size = sizeof(MapQuery), query_flags = 0, query_address = 0;
  uint64_t start = 0, end = 0, flags = 0, page_size = 0, offset = 0, inode = 0;
  uint32_t device_major = 0, device_minor = 0, name_size = 0, build_id_size = 0;
  uint64_t name_address = 0, build_id_address = 0;
};
constexpr unsigned long query_request = _IOWR('f', 17, MapQuery);
constexpr uint64_t shared_flag = 8;  // PROCMAP_QUERY_VMA_SHARED

enum class Answer : uint8_t { unknown, is_private, is_shared };

Answer ask(int maps, uint64_t address) {
  MapQuery query;
  query.query_address = address;
  long result = sys::call(SYS_ioctl, maps, query_request, sys::as_long(&query));
  if (result < 0) return Answer::unknown;
  return query.flags & shared_flag ? Answer::is_shared : Answer::is_private;
}

// Reads lines "start-end rwxp ..." one character at a time.
class MapsReader {
 public:
  explicit MapsReader(int maps) : maps_(maps) {}
  Answer find(uint64_t address) {
    for (;;) {
      uint64_t start = 0, end = 0;
      if (!read_number(start, '-') || !read_number(end, ' ')) return Answer::unknown;
      char kind = 0;
      for (int i = 0; i < 4; i++) kind = next();
      if (address >= start && address < end) return kind == 's' ? Answer::is_shared : Answer::is_private;
      for (char c = kind; c && c != '\n';) c = next();
    }
  }

 private:
  char next() {
    if (at_ == filled_) {
      long got = sys::read(maps_, buffer_, sizeof buffer_);
      if (got <= 0) return 0;
      filled_ = static_cast<int>(got);
      at_ = 0;
    }
    return buffer_[at_++];
  }
  bool read_number(uint64_t& number, char end) {
    for (;;) {
      char c = next();
      if (!c) return false;
      if (c == end) return true;
      number = number * 16 + static_cast<uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
  }
  int maps_, at_ = 0, filled_ = 0;
  char buffer_[1024];
};

Answer look_up(uint64_t address) {
  Critical inside;  // a handler must not meet our open descriptor
  const char* path = "/proc/self/maps";
  long maps = sys::call(SYS_openat, AT_FDCWD, sys::as_long(path), O_RDONLY | O_CLOEXEC);
  if (maps < 0) return Answer::unknown;
  Answer answer = ask(static_cast<int>(maps), address);
  if (answer == Answer::unknown) answer = MapsReader(static_cast<int>(maps)).find(address);
  sys::close(static_cast<int>(maps));
  return answer;
}

// Pages known to be private: page number << 19 | time stamp. A stamp lasts at most an eighth of a second, so a page that
// is unmapped and mapped again as shared memory is soon seen as such.
constexpr int slots = 64;
std::atomic<uint64_t> known[slots], known_to_be_mapped[slots];

uint64_t stamp_of(uint64_t page) { return page << 19 | (static_cast<uint64_t>(now()) >> 27 & 0x7ffff); }

}  // namespace

bool is_mapped(const uint32_t* word) {
  uint64_t page = reinterpret_cast<uint64_t>(word) >> 12, stamped = stamp_of(page);
  std::atomic<uint64_t>& slot = known_to_be_mapped[page % slots];
  if (slot.load(std::memory_order_relaxed) == stamped) return true;
  uint32_t value;
  if (!read_user_bytes(word, &value, sizeof value)) return false;
  slot.store(stamped, std::memory_order_relaxed);
  return true;
}

bool is_private_mapping(const void* address) {
  auto number = reinterpret_cast<uint64_t>(address);
  uint64_t page = number >> 12;
  std::atomic<uint64_t>& slot = known[page % slots];
  uint64_t stamped = stamp_of(page);
  if (slot.load(std::memory_order_relaxed) == stamped) return true;
  if (look_up(number) != Answer::is_private) return false;
  slot.store(stamped, std::memory_order_relaxed);
  return true;
}

}  // namespace coro
