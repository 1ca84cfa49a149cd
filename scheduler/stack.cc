// SPDX-License-Identifier: Apache-2.0
//
// Layout of a slab, from low to high:  | guard | stack | guard | stack | ...
// The slab begins 1 MiB past a 2 MiB boundary when stacks are large, so that a stack's top (the thread block and the
// first frames) and its upper neighbour's guard lie under one page-table page: 4 kB a stack instead of 8.
#include "scheduler/stack.h"

#include <link.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "scheduler/spinlock.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

namespace coro {
namespace {

constexpr size_t page = 4096;
constexpr size_t huge = 2 << 20;
constexpr size_t slab_bytes = 256 << 20;
constexpr size_t most_per_slab = 256;

size_t to_pages(size_t bytes) { return (bytes + page - 1) & ~(page - 1); }

// One class per (size, guard) ever asked for; programs use one or two.
struct SizeClass {
  size_t size = 0, guard = 0;
  char* next = nullptr;  // next uncarved stride of the present slab
  size_t left = 0;       // strides left there
  char* idle = nullptr;  // list of given-back stacks, linked through their topmost word
};
constexpr int most_classes = 64;
SizeClass classes[most_classes];
Spinlock lock;

SizeClass* class_of(size_t size, size_t guard) {
  for (SizeClass& c : classes) {
    if (c.size == size && c.guard == guard) return &c;
    if (!c.size) {
      c.size = size;
      c.guard = guard;
      return &c;
    }
  }
  return nullptr;
}

char*& link_of(char* bottom, size_t size) {
  return *reinterpret_cast<char**>(bottom + size - sizeof(char*));
}

int protection = PROT_READ | PROT_WRITE;

// elf/dl-load.c: who does not say anything wants executable stacks. The kernel's own object says nothing, and is not asked.
int ask_for_stack(dl_phdr_info* object, size_t, void*) {
  bool wants = true;
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr)& part = object->dlpi_phdr[i];
    if (part.p_type == PT_GNU_STACK) wants = part.p_flags & PF_X;
    if (part.p_type == PT_LOAD && part.p_offset == 0 && object->dlpi_addr + part.p_vaddr == getauxval(AT_SYSINFO_EHDR)) return 0;
  }
  if (wants) protection |= PROT_EXEC;
  return wants;
}

char* map(size_t bytes) {
  void* p = mmap(nullptr, bytes, protection,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  madvise(p, bytes, MADV_NOHUGEPAGE);
  return static_cast<char*>(p);
}

bool refill(SizeClass& c) {
  size_t stride = c.size + c.guard;
  size_t count = slab_bytes / stride;
  if (count < 1) count = 1;
  if (count > most_per_slab) count = most_per_slab;
  // Under a tight RLIMIT_AS or overcommit policy ask for less before giving up.
  for (; count; count /= 2) {
    size_t shift = stride >= huge ? huge * 2 : 0;
    char* slab = map(count * stride + shift);
    if (!slab) continue;
    if (shift) {
      auto base = (reinterpret_cast<size_t>(slab) + huge - 1) & ~(huge - 1);
      slab = reinterpret_cast<char*>(base) + huge / 2;
    }
    c.next = slab;
    c.left = count;
    return true;
  }
  return false;
}

bool install_guard(char* at, size_t bytes) {
  if (!bytes) return true;
  static std::atomic<int> cheap{-1};
  if (cheap != 0) {
    int saved = madvise(at, bytes, MADV_GUARD_INSTALL);
    if (saved == 0) {
      cheap = 1;
      return true;
    }
    cheap = 0;
  }
  return mprotect(at, bytes, PROT_NONE) == 0;
}

}  // namespace

void choose_stack_protection() { dl_iterate_phdr(ask_for_stack, nullptr); }

bool take_stack(size_t size, size_t guard, Stack& stack) {
  size = to_pages(size);
  guard = to_pages(guard);
  char* stride;
  {
    Locked hold(lock);
    SizeClass* c = class_of(size, guard);
    if (!c) {  // more kinds of stacks than anyone has: a mapping of its own
      stride = map(size + guard);
      if (!stride) return false;
    } else if (c->idle) {
      stack = {c->idle, size, guard};
      c->idle = link_of(c->idle, size);
      return true;
    } else {
      if (!c->left && !refill(*c)) return false;
      stride = c->next;
      c->next += size + guard;
      c->left--;
    }
  }
  // When the map count runs out a stack without guard is still a stack; native threads would fail here.
  install_guard(stride, guard);
  stack = {stride + guard, size, guard};
  return true;
}

void cool_stack(const Stack& stack, size_t keep) {
  if (stack.size > keep) madvise(stack.bottom, (stack.size - keep) & ~(page - 1), MADV_DONTNEED);
}

void give_back_stack(const Stack& stack) {
  Locked hold(lock);
  SizeClass* c = class_of(stack.size, stack.guard);
  if (!c) return;  // unpooled kind: keep the addresses, its pages were cooled
  link_of(stack.bottom, stack.size) = c->idle;
  c->idle = stack.bottom;
}

Spinlock& lock_of_stacks() { return lock; }  // for hold_engine()

}  // namespace coro
