// SPDX-License-Identifier: Apache-2.0
//
// Raw system calls. No room of ours may call a name that we interpose (read, write, syscall, ...): the call would come
// back in by our own front door. So the engine talks to the kernel with these, and with nothing else.
// Every function returns what the kernel returned: a value, or -errno. errno itself is never touched.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>

#include <cstddef>
#include <cstdint>

namespace coro::sys {

// The sixth argument of every call here that has none of its own. The backstop's filter (preload/backstop.cc) lets calls
// pass whose sixth register has this upper half; the kernel looks at no such bits, and no program's pointer or length
// has them.
constexpr long cookie = static_cast<long>(0xc0120c01'00000000ull);


inline long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                 long f = cookie) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  // The cookie must not stay behind in the register: libc's next call would pass as ours.
  __asm__ volatile("syscall\n\txorl %%r9d, %%r9d"
                   : "=a"(result), "+r"(r9)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
  return result;
}

template <class T>
long as_long(T* pointer) {
  return reinterpret_cast<long>(pointer);
}

inline long read(int fd, void* buffer, size_t size) {
  return call(SYS_read, fd, as_long(buffer), static_cast<long>(size));
}
inline long write(int fd, const void* buffer, size_t size) {
  return call(SYS_write, fd, as_long(buffer), static_cast<long>(size));
}
inline long close(int fd) { return call(SYS_close, fd); }
inline int gettid() { return static_cast<int>(call(SYS_gettid)); }
inline int getpid() { return static_cast<int>(call(SYS_getpid)); }

// Sleeps while *word == expected; private to the process. FUTEX_WAIT of futex(2), no time-out.
inline long futex_wait(const void* word, uint32_t expected) {
  return call(SYS_futex, as_long(word), FUTEX_WAIT_PRIVATE, expected, 0);
}
inline long futex_wake(const void* word, int count) {
  return call(SYS_futex, as_long(word), FUTEX_WAKE_PRIVATE, count);
}

// The kernel's signal mask of the calling kernel thread, as one 64-bit word: bit n-1 is signal n.
// SIGSETXID (33) is never blocked: libc's setuid(2) waits until every kernel thread has handled it.
inline uint64_t set_exact_signal_mask(uint64_t mask) {
  mask &= ~(uint64_t{1} << 32);
  uint64_t old = 0;
  call(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, as_long(&mask), as_long(&old), sizeof mask);
  return old;
}

// The same for what stays ours: SIGSYS is not blocked either, because the kernel ends a process that is to get a blocked
// one from the backstop's filter. Only what other programs inherit has that bit as the program set it.
inline uint64_t set_signal_mask(uint64_t mask) { return set_exact_signal_mask(mask & ~(uint64_t{1} << 30)); }

inline uint64_t signal_mask() {
  uint64_t old = 0;
  call(SYS_rt_sigprocmask, 2, 0, as_long(&old), sizeof old);
  return old;
}

}  // namespace coro::sys
