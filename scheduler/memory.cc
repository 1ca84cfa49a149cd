// SPDX-License-Identifier: Apache-2.0
//
// Pieces of up to 16 KiB by powers of two, from lists of free ones; bigger pieces are mappings of their own. Each has its
// room written in front of it.
#include "scheduler/memory.h"

#include <string.h>
#include <sys/mman.h>

#include "scheduler/spinlock.h"

namespace coro {
namespace {

// In front of each piece.
struct alignas(16) Head {
  size_t room;  // bytes, with this head
  Head* next;   // while free
};

// In front of each mapping.
struct alignas(64) Mapping {
  size_t bytes;
  Mapping* next;
  Mapping* previous;
};

constexpr size_t page = 4096;
constexpr size_t smallest = 64;
constexpr size_t biggest_small = 16384;
constexpr int classes = 9;
constexpr size_t slab_bytes = 64 * page;

Spinlock lock;
Head* idle[classes];
Mapping* mappings = nullptr;

int class_of(size_t bytes) {
  int index = 0;
  for (size_t room = smallest; room < bytes; room *= 2) index++;
  return index;
}

// lock held. At least `bytes` behind the Mapping.
Mapping* map(size_t bytes) {
  bytes = (bytes + sizeof(Mapping) + page - 1) & ~(page - 1);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  auto* mapping = static_cast<Mapping*>(memory);
  *mapping = {bytes, mappings, nullptr};
  if (mappings) mappings->previous = mapping;
  mappings = mapping;
  return mapping;
}

// lock held.
void unmap(Mapping* mapping) {
  (mapping->previous ? mapping->previous->next : mappings) = mapping->next;
  if (mapping->next) mapping->next->previous = mapping->previous;
  munmap(mapping, mapping->bytes);
}

// lock held.
Head* take_small(int index) {
  size_t room = smallest << index;
  if (!idle[index]) {
    Mapping* slab = map(slab_bytes - sizeof(Mapping));
    if (!slab) return nullptr;
    char* end = reinterpret_cast<char*>(slab) + slab->bytes;
    for (char* at = reinterpret_cast<char*>(slab + 1); at + room <= end; at += room) {
      auto* head = reinterpret_cast<Head*>(at);
      *head = {room, idle[index]};
      idle[index] = head;
    }
  }
  Head* head = idle[index];
  idle[index] = head->next;
  return head;
}

Head* take(size_t bytes) {
  Locked hold(lock);
  if (bytes <= biggest_small) return take_small(class_of(bytes));
  Mapping* mapping = map(bytes);
  if (!mapping) return nullptr;
  auto* head = reinterpret_cast<Head*>(mapping + 1);
  head->room = mapping->bytes - sizeof(Mapping);
  return head;
}

void give_back(Head* head) {
  bool is_small = head->room <= biggest_small;
  if (is_small) memset(head + 1, 0, head->room - sizeof *head);
  Locked hold(lock);
  if (!is_small) return unmap(reinterpret_cast<Mapping*>(head) - 1);
  Head*& list = idle[class_of(head->room)];
  head->next = list;
  list = head;
}

}  // namespace

void* resize_memory(void* old, size_t size) {
  Head* from = old ? static_cast<Head*>(old) - 1 : nullptr;
  if (!size) {
    if (from) give_back(from);
    return nullptr;
  }
  size_t bytes = size + sizeof(Head);
  if (from && bytes <= from->room) return old;
  Head* to = take(bytes);
  if (!to) return nullptr;
  if (from) {
    memcpy(to + 1, old, from->room - sizeof *from);
    give_back(from);
  }
  return to + 1;
}

Spinlock& lock_of_memory() { return lock; }  // for hold_engine()

}  // namespace coro
