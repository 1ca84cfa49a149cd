// SPDX-License-Identifier: Apache-2.0
//
// Reading what the program points at. The kernel answers EFAULT to a bad pointer; a hook that looks before the kernel
// does must not crash instead.
#pragma once

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "scheduler/fiber.h"
#include "scheduler/sys.h"

namespace coro {

// In the live part of the running fiber's stack, where nothing can be unreadable.
template <class T>
bool is_on_own_stack(const T* object) {
  auto address = reinterpret_cast<const char*>(object);
  auto here = static_cast<const char*>(__builtin_frame_address(0));
  // Main's stack has no bounds that we know; the frames just above us are there in any case.
  const char* top = current->is_main ? here + 1024 : current->stack.top();
  return address >= here && address + sizeof(T) <= top;
}

// Copies `size` bytes. False: not readable (EFAULT).
inline bool read_user_bytes(const void* from, void* to, size_t size) {
  iovec local{to, size}, remote{const_cast<void*>(from), size};
  long got = sys::call(SYS_process_vm_readv, sys::getpid(), sys::as_long(&local), 1, sys::as_long(&remote), 1, 0);
  if (got == static_cast<long>(size)) return true;
  if (got != -EPERM && got != -ENOSYS) return false;
  memcpy(to, from, size);  // a sandbox forbids to ask: trust the program
  return true;
}

inline bool write_user_bytes(void* to, const void* from, size_t size) {
  iovec local{const_cast<void*>(from), size}, remote{to, size};
  long put = sys::call(SYS_process_vm_writev, sys::getpid(), sys::as_long(&local), 1, sys::as_long(&remote), 1, 0);
  if (put == static_cast<long>(size)) return true;
  if (put != -EPERM && put != -ENOSYS) return false;
  memcpy(to, from, size);
  return true;
}

template <class T>
bool read_user(const T* from, T& to) {
  if (!is_on_own_stack(from)) return read_user_bytes(from, &to, sizeof to);
  to = *from;
  return true;
}

// Reads a time that can be waited for. False: the kernel is to refuse it.
inline bool read_time(const timespec* from, timespec& t) {
  return from && read_user(from, t) && t.tv_sec >= 0 && t.tv_nsec >= 0 && t.tv_nsec < 1'000'000'000;
}

}  // namespace coro
