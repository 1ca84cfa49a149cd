// SPDX-License-Identifier: Apache-2.0
#include "hooks/audit.h"

#include <fcntl.h>

#include "hooks/hook.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

struct Place {
  std::atomic<uint64_t> key{0};  // address << 16 | number + 1 << 1 | hand-off: addresses have 47 bits
  std::atomic<uint64_t> count{0};
};
constexpr int most_places = 1024;
Place places[most_places];  // what finds no room is not told

void note(bool hand_off, long number, uintptr_t address) {
  uint64_t key = (address << 16) | (static_cast<uint64_t>(number + 1) & 0x7fff) << 1 | hand_off;
  uint64_t start = key * 0x9e3779b97f4a7c15 >> 54;
  for (int i = 0; i < most_places; i++) {
    Place& place = places[(start + static_cast<uint64_t>(i)) % most_places];
    uint64_t present = place.key.load(std::memory_order_relaxed);
    if (present == 0 && place.key.compare_exchange_strong(present, key)) present = key;
    if (present != key) continue;
    place.count.fetch_add(1, std::memory_order_relaxed);
    return;
  }
}

// "0 0x3 0x7ffd.. ... sp pc" or "running": proc(5), /proc/pid/syscall.
uint64_t read_number(const char*& text) {
  uint64_t value = 0;
  bool hex = text[0] == '0' && text[1] == 'x';
  if (hex) text += 2;
  for (;; text++) {
    char c = *text;
    int digit = c >= '0' && c <= '9' ? c - '0' : hex && c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) break;
    value = value * (hex ? 16 : 10) + static_cast<uint64_t>(digit);
  }
  while (*text == ' ') text++;
  return value;
}

}  // namespace

void note_trap(long address, long number) {
  if (options().audit) note(false, number, static_cast<uintptr_t>(address));
}

void note_hand_off(const Fiber&, int kernel_thread) {
  char path[64] = "/proc/self/task/";
  char* end = path + 16;
  Decimal tid(kernel_thread);
  for (char c : std::string_view(tid)) *end++ = c;
  for (const char* rest = "/syscall"; (*end = *rest); end++, rest++) {
  }
  constexpr int at_cwd = -100;
  long file = sys::call(SYS_openat, at_cwd, sys::as_long(path), O_RDONLY | O_CLOEXEC, 0);
  if (file < 0) return;
  char text[256];
  long got = sys::read(static_cast<int>(file), text, sizeof text - 1);
  sys::close(static_cast<int>(file));
  if (got <= 0) return;
  text[got] = 0;
  if (text[0] < '0' || text[0] > '9') return note(true, -1, 0);
  const char* at = text;
  auto number = static_cast<long>(read_number(at));
  uint64_t last = 0;
  while (*at && *at != '\n') last = read_number(at);
  note(true, number, last);
}

void each_noted(void (*see)(const Noted&, void*), void* argument) {
  for (Place& place : places) {
    uint64_t key = place.key.load();
    if (!key) continue;
    see({(key & 1) != 0, static_cast<long>(key >> 1 & 0x7fff) - 1, key >> 16, place.count.load()}, argument);
  }
}

const char* name_of_number(long number) {
  switch (number) {
#define NAME(name) \
  case SYS_##name: return #name;
    NAME(read) NAME(write) NAME(readv) NAME(writev) NAME(close) NAME(poll) NAME(ppoll) NAME(select) NAME(pselect6)
    NAME(epoll_wait) NAME(epoll_pwait) NAME(epoll_pwait2) NAME(nanosleep) NAME(clock_nanosleep) NAME(accept) NAME(accept4)
    NAME(connect) NAME(recvfrom) NAME(recvmsg) NAME(recvmmsg) NAME(sendto) NAME(sendmsg) NAME(sendmmsg) NAME(futex)
    NAME(wait4) NAME(waitid) NAME(flock) NAME(pause) NAME(rt_sigsuspend) NAME(rt_sigtimedwait) NAME(execve) NAME(execveat)
    NAME(fork) NAME(vfork) NAME(ioctl) NAME(fcntl) NAME(open) NAME(openat) NAME(pread64) NAME(pwrite64) NAME(fsync)
    NAME(fdatasync) NAME(mmap) NAME(munmap) NAME(madvise) NAME(mprotect) NAME(io_getevents) NAME(io_uring_enter)
    NAME(semop) NAME(semtimedop) NAME(msgrcv) NAME(msgsnd) NAME(fstat) NAME(newfstatat) NAME(unlink) NAME(rename)
#undef NAME
  }
  return nullptr;
}

}  // namespace coro
