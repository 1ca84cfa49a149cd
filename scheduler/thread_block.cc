// SPDX-License-Identifier: Apache-2.0
//
// glibc's traps met here (each bit someone):
//  - a block that only came out of _dl_allocate_tls has no tid, an unlinked list node, a null specific[0], no robust
//    list, CPU number 0 in its rseq area, and null ctype tables: printf("%f") crashes without __ctype_init();
//  - tid is the owner in recursive, errorcheck and robust mutexes, rwlocks and stdio locks: it must be unique;
//  - fork's __reclaim_stacks unlinks the caller's list node, links it into dl_stack_used and empties the other list;
//  - libc's per-thread freeres is not exported: libc's own TLS (malloc cache, arena, strerror buffers) is therefore
//    kept warm in the pool, and only the other modules' TLS is re-initialised;
//  - _dl_allocate_tls_init resets every dtv slot to "unallocated" without freeing: free them first.
// lengths: glibc's private layout, and all that relies on it, stays in one file
#include "scheduler/thread_block.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/rseq.h>

#include <atomic>

#include "scheduler/check.h"
#include "scheduler/context.h"
#include "scheduler/spinlock.h"
#include "scheduler/sys.h"

namespace coro::thread_block {
namespace {

// tcbhead_t, x86-64 psABI and gcc's -fstack-protector contract.
struct Header {
  void* tcb;
  struct Dtv* dtv;
  void* self;
  int multiple_threads;
  int gscope_flag;
  uintptr_t sysinfo;
  uintptr_t stack_guard;
  uintptr_t pointer_guard;
  unsigned long unused[2];
  unsigned feature_1;
};

struct Dtv {  // dtv_t of sysdeps/generic/dl-dtv.h
  union {
    size_t counter;
    void* value;
  };
  void* to_free;
};

struct Layout {
  void* (*allocate_tls)(void*);
  void* (*allocate_tls_init)(void*, bool);
  void (*deallocate_tls)(void*, bool);
  void (*call_tls_dtors)();
  void (*ctype_init)();
  char* keys;  // __pthread_keys
  size_t static_size, alignment;
  uint32_t pthread_size;
  uint32_t tid, list, cancel, specific, specific_count, specific_used;
  uint32_t first_block;  // specific_1stblock
  uint32_t robust_head, resolver;
  uint32_t key_size, key_destructor, key_sequence;
  uint32_t data_size, data_value, data_sequence;
  ptrdiff_t resolver_pointer;  // of the thread-local __resp, from the block
  ptrdiff_t libc_tls;          // where libc's TLS begins, from the block (negative)
  size_t libc_tls_size;
  long robust_futex_offset;
  void** user_stacks;  // GL(dl_stack_user), a list_t {next, prev}
  void** used_stacks;  // GL(dl_stack_used): kernel threads whose stacks are libc's
};
Layout layout;
constexpr size_t most_libc_tls = 1024;

char* at(void* block, ptrdiff_t offset) { return static_cast<char*>(block) + offset; }
template <class T>
T& field(void* block, ptrdiff_t offset) {
  return *reinterpret_cast<T*>(at(block, offset));
}
Header& header(void* block) { return *static_cast<Header*>(block); }

template <class T>
bool find(T& target, const char* name) {
  target = reinterpret_cast<T>(dlsym(RTLD_DEFAULT, name));
  return target != nullptr;
}

// _thread_db_<what>: {bits, count, offset}.
// `words`: how many pointer-sized elements the field has.
bool find_field(uint32_t& offset, const char* name, uint32_t* words = nullptr) {
  const uint32_t* descriptor;
  if (!find(descriptor, name)) return false;
  offset = descriptor[2];
  if (words) *words = descriptor[0] / 64 * descriptor[1];
  return true;
}
bool find_size(uint32_t& size, const char* name) {
  const uint32_t* value;
  if (!find(value, name)) return false;
  size = *value;
  return true;
}

const char* find_symbols() {
  Layout& l = layout;
  uint32_t key_offset = 0, key_words = 0, user_stacks = 0, used_stacks = 0;
  char* rtld_global;
  void (*static_info)(size_t*, size_t*);
  bool all = find(l.allocate_tls, "_dl_allocate_tls") &&
             find(l.allocate_tls_init, "_dl_allocate_tls_init") &&
             find(l.deallocate_tls, "_dl_deallocate_tls") &&
             find(static_info, "_dl_get_tls_static_info") &&
             find(l.call_tls_dtors, "__call_tls_dtors") && find(l.ctype_init, "__ctype_init") &&
             find(l.keys, "__pthread_keys") &&
             find_size(l.pthread_size, "_thread_db_sizeof_pthread") &&
             find_field(l.tid, "_thread_db_pthread_tid") &&
             find_field(l.list, "_thread_db_pthread_list") &&
             find_field(l.cancel, "_thread_db_pthread_cancelhandling") &&
             find_field(l.specific, "_thread_db_pthread_specific", &l.specific_count) &&
             find_size(l.key_size, "_thread_db_sizeof_pthread_key_struct") &&
             find_field(l.key_destructor, "_thread_db_pthread_key_struct_destr") &&
             find_field(l.key_sequence, "_thread_db_pthread_key_struct_seq") &&
             find_size(l.data_size, "_thread_db_sizeof_pthread_key_data") &&
             find_field(l.data_value, "_thread_db_pthread_key_data_data") &&
             find_field(l.data_sequence, "_thread_db_pthread_key_data_seq") &&
             find(rtld_global, "_rtld_global") &&
             find_field(user_stacks, "_thread_db_rtld_global__dl_stack_user") &&
             find_field(used_stacks, "_thread_db_rtld_global__dl_stack_used") &&
             find_field(key_offset, "_thread_db___pthread_keys", &key_words);
  if (!all) return "libc does not export the thread descriptors we need (GLIBC_PRIVATE)";
  if (l.specific_count == 0 || PTHREAD_KEYS_MAX % l.specific_count) return "unknown layout of thread-specific data";
  l.specific_used = l.specific + l.specific_count * sizeof(void*);  // the flag behind the array
  l.user_stacks = reinterpret_cast<void**>(rtld_global + user_stacks);
  l.used_stacks = reinterpret_cast<void**>(rtld_global + used_stacks);
  void* resp_pointer = dlsym(RTLD_DEFAULT, "__resp");
  if (!resp_pointer) return "cannot find libc's resolver state";
  l.resolver_pointer = static_cast<char*>(resp_pointer) - static_cast<char*>(this_thread_block());
  static_info(&l.static_size, &l.alignment);
  if (l.alignment < 64) l.alignment = 64;
  return nullptr;
}

int note_libc_tls(dl_phdr_info* info, size_t, void* wanted) {
  if (info->dlpi_addr != reinterpret_cast<ElfW(Addr)>(wanted) || !info->dlpi_tls_data) return 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    if (info->dlpi_phdr[i].p_type != PT_TLS) continue;
    layout.libc_tls = static_cast<char*>(info->dlpi_tls_data) -
                      static_cast<char*>(this_thread_block());
    layout.libc_tls_size = info->dlpi_phdr[i].p_memsz;
    return 1;
  }
  return 0;
}

// Runs on a real thread and reads off its block what has no descriptor. It looks up no names: its maker may be in a
// constructor that dlopen runs, and hold the loader's lock.
struct Specimen {
  uint32_t done = 0;
  const char* trouble = nullptr;
};

void* look_at_this_thread(void* argument) {
  auto* specimen = static_cast<Specimen*>(argument);
  Layout& l = layout;
  void* self = this_thread_block();
  char* robust = nullptr;
  size_t length = 0;
  sys::call(SYS_get_robust_list, 0, sys::as_long(&robust), sys::as_long(&length));
  char* first = field<char*>(self, l.specific);
  auto inside = [&](void* p) { return p >= self && p < at(self, l.pthread_size); };
  if (!inside(robust) || !inside(first)) {
    specimen->trouble = "a real thread's block does not look as expected";
  } else {
    l.robust_head = static_cast<uint32_t>(robust - static_cast<char*>(self));
    l.robust_futex_offset = field<long>(self, l.robust_head + 8);
    l.first_block = static_cast<uint32_t>(first - static_cast<char*>(self));
    char* resolver = field<char*>(self, l.resolver_pointer);
    if (!inside(resolver)) specimen->trouble = "a real thread's resolver state is elsewhere";
    l.resolver = static_cast<uint32_t>(resolver - static_cast<char*>(self));
    if (field<int>(self, l.tid) != sys::gettid()) specimen->trouble = "a real thread's tid is elsewhere";
  }
  std::atomic_ref<uint32_t>(specimen->done).store(1, std::memory_order_release);
  sys::futex_wake(&specimen->done, 1);
  return nullptr;
}

void fill_in(void* block, int tid) {
  Layout& l = layout;
  Header& h = header(block);
  const Header& mine = header(this_thread_block());
  h.tcb = h.self = block;
  h.multiple_threads = 1;
  h.stack_guard = mine.stack_guard;
  h.pointer_guard = mine.pointer_guard;
  h.feature_1 = mine.feature_1;
  field<int>(block, l.tid) = tid;
  field<void*>(block, l.robust_head) = at(block, l.robust_head);
  field<long>(block, l.robust_head + 8) = l.robust_futex_offset;
  field<void*>(block, l.robust_head - 8) = at(block, l.robust_head);
  field<void*>(block, l.specific) = at(block, l.first_block);
  if (__rseq_size != 0 || __rseq_offset != 0)
    field<uint32_t>(block, __rseq_offset + 4) = static_cast<uint32_t>(-1);  // cpu_id: unregistered
}

bool any_specific_used(void* self) {
  return field<bool>(self, layout.specific_used);
}

// One round over the keys of one second-level block; nptl/nptl_deallocate_tsd.c.
void run_key_destructors(char* data, uint32_t first_key) {
  const Layout& l = layout;
  for (uint32_t i = 0; i < PTHREAD_KEYS_MAX / l.specific_count; i++, data += l.data_size) {
    void*& value = field<void*>(data, l.data_value);
    if (!value) continue;
    void* old = value;
    value = nullptr;
    char* key = l.keys + (first_key + i) * l.key_size;
    auto destroy = field<void (*)(void*)>(key, l.key_destructor);
    if (field<uintptr_t>(data, l.data_sequence) == field<uintptr_t>(key, l.key_sequence) && destroy)
      destroy(old);
  }
}

void end_specific_data(void* self) {
  const Layout& l = layout;
  const uint32_t per_block = PTHREAD_KEYS_MAX / l.specific_count;
  for (int round = 0; round < PTHREAD_DESTRUCTOR_ITERATIONS && any_specific_used(self); round++) {
    field<bool>(self, l.specific_used) = false;
    for (uint32_t i = 0; i < l.specific_count; i++)
      if (char* data = field<char*>(self, l.specific + i * sizeof(void*)))
        run_key_destructors(data, i * per_block);
  }
  memset(at(self, l.first_block), 0, per_block * l.data_size);
  for (uint32_t i = 1; i < l.specific_count; i++) {
    void*& block = field<void*>(self, l.specific + i * sizeof(void*));
    free(block);
    block = nullptr;
  }
  field<bool>(self, l.specific_used) = false;
}

void free_dynamic_tls(void* block) {
  Dtv* dtv = header(block).dtv;
  size_t count = dtv[-1].counter;
  for (size_t i = 1; i <= count; i++) {
    free(dtv[i].to_free);
    dtv[i].to_free = nullptr;
  }
}

// libc has a lock for its list, but no name for it. Readers walk forward only, so adding at the front is safe beside
// them; we take ours against ourselves. Nobody else adds to dl_stack_user but a real thread with a stack of its own.
Spinlock list_lock;

}  // namespace

void link(void* block) {
  Locked hold(list_lock);
  void** head = layout.user_stacks;
  void** node = &field<void*>(block, layout.list);
  node[0] = head[0];
  node[1] = head;
  static_cast<void**>(head[0])[1] = node;
  std::atomic_ref<void*>(head[0]).store(node, std::memory_order_release);
}

void unlink(void* block) {
  Locked hold(list_lock);
  void** node = &field<void*>(block, layout.list);
  static_cast<void**>(node[1])[0] = node[0];
  static_cast<void**>(node[0])[1] = node[1];
}

const char* prepare(int (*create)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)) {
  if (const char* trouble = find_symbols()) return trouble;
  Dl_info libc{};
  if (!dladdr(reinterpret_cast<void*>(layout.ctype_init), &libc)) return "cannot find libc";
  dl_iterate_phdr(note_libc_tls, libc.dli_fbase);
  if (!layout.libc_tls_size || layout.libc_tls_size > most_libc_tls) return "cannot find libc's thread-local storage";
  Specimen specimen;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t id;
  uint64_t mask = sys::set_signal_mask(~uint64_t{0});
  int failed = create(&id, &attributes, look_at_this_thread, &specimen);
  sys::set_signal_mask(mask);
  pthread_attr_destroy(&attributes);
  if (failed) return no_kernel_thread;
  while (!std::atomic_ref<uint32_t>(specimen.done).load(std::memory_order_acquire))
    sys::futex_wait(&specimen.done, 0);
  return specimen.trouble;
}

size_t size() { return layout.static_size + layout.alignment; }
size_t alignment() { return layout.alignment; }

char* low_end(void* block) { return static_cast<char*>(block) + layout.pthread_size - layout.static_size; }

void* make(void* top, int tid) {
  auto address = reinterpret_cast<uintptr_t>(top) - layout.pthread_size;
  void* block = reinterpret_cast<void*>(address & ~(layout.alignment - 1));
  if (!layout.allocate_tls(block)) return nullptr;
  fill_in(block, tid);
  return block;
}

void renew(void* block, int tid) {
  const Layout& l = layout;
  free_dynamic_tls(block);
  char kept[most_libc_tls];
  memcpy(kept, at(block, l.libc_tls), l.libc_tls_size);
  l.allocate_tls_init(block, true);
  memcpy(at(block, l.libc_tls), kept, l.libc_tls_size);
  // The resolver's state and what follows it belong to libc's warm state.
  memset(at(block, l.list + 16), 0, l.resolver - l.list - 16);
  fill_in(block, tid);
}

void release(void* block) { layout.deallocate_tls(block, false); }

void begin_here() {
  void* self = this_thread_block();
  field<void*>(self, layout.resolver_pointer) = at(self, layout.resolver);
  layout.ctype_init();
}

void end_here() {
  layout.call_tls_dtors();
  end_specific_data(this_thread_block());
  uselocale(LC_GLOBAL_LOCALE);
}

void end_data_here() {
  void* self = this_thread_block();
  field<bool>(self, layout.specific_used) = true;
  end_specific_data(self);
}

void abandon_robust_mutexes(void* block, void (*wake)(void*)) {
  const Layout& l = layout;
  void* head = at(block, l.robust_head);
  auto untag = [](void* p) {
    return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(p) & ~uintptr_t{1});
  };
  for (void* entry = untag(*static_cast<void**>(head)); entry != head;) {
    void* next = untag(*static_cast<void**>(entry));
    auto& word = *reinterpret_cast<uint32_t*>(static_cast<char*>(entry) + l.robust_futex_offset);
    std::atomic_ref<uint32_t> futex(word);
    // Recovering one with priority inheritance is the kernel's work, which would enter a kernel thread as the new owner.
    // Among fibers there is no priority to inherit: it goes on as a plain robust mutex (PTHREAD_MUTEX_PRIO_INHERIT_NP).
    reinterpret_cast<pthread_mutex_t*>(&word)->__data.__kind &= ~32;
    uint32_t old = futex.load();
    while (!futex.compare_exchange_weak(old, (old & FUTEX_WAITERS) | FUTEX_OWNER_DIED)) {
    }
    sys::call(SYS_futex, sys::as_long(&word), FUTEX_WAKE, 1);
    wake(&word);
    entry = next;
  }
  *static_cast<void**>(head) = head;
}

void* robust_list(void* block) { return at(block, layout.robust_head); }

int tid(const void* block) { return field<int>(const_cast<void*>(block), layout.tid); }
ptrdiff_t tid_offset() { return layout.tid; }
void set_tid(void* block, int tid) { field<int>(block, layout.tid) = tid; }
int* cancel_word(void* block) { return &field<int>(block, layout.cancel); }

namespace {
void* first_thread[2];  // what stands for the process's first kernel thread: the program's block and the base's
}

void note_first_thread(void* base) {
  first_thread[0] = this_thread_block();
  first_thread[1] = base;
}

Marked block_marked_for_setxid(int tid) {
  constexpr int marked = 0x40;  // nptl/descr.h SETXID_BITMASK
  auto is_meant = [tid](void* block) {
    return block && field<int>(block, layout.tid) == tid && field<std::atomic<int>>(block, layout.cancel) & marked;
  };
  static bool was_first = false;  // libc marks all blocks before it signals the first: both are then to come
  if (is_meant(first_thread[0])) {
    was_first = is_meant(first_thread[1]);
    return {first_thread[0], false};
  }
  if (is_meant(first_thread[1])) {
    bool is_second = was_first;
    was_first = false;
    return {first_thread[1], is_second};
  }
  for (void* node = layout.used_stacks[0]; node != layout.used_stacks; node = *static_cast<void**>(node)) {
    void* block = static_cast<char*>(node) - layout.list;
    if (is_meant(block)) return {block, false};
  }
  return {nullptr, false};
}

Spinlock& lock_of_list() { return list_lock; }  // for hold_engine()

}  // namespace coro::thread_block
