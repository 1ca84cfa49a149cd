// SPDX-License-Identifier: Apache-2.0
#include "preload/profile.h"

#include <link.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>

#include "preload/options.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

// The symbol tables of one loaded object, as its dynamic section names them.
struct Tables {
  const ElfW(Sym)* symbols = nullptr;
  const char* names = nullptr;
  const uint32_t* gnu_hash = nullptr;
  const uint32_t* sysv_hash = nullptr;
};

Tables tables_of(const dl_phdr_info& info) {
  Tables tables;
  for (int i = 0; i < info.dlpi_phnum; i++) {
    if (info.dlpi_phdr[i].p_type != PT_DYNAMIC) continue;
    auto* entry = reinterpret_cast<const ElfW(Dyn)*>(info.dlpi_addr + info.dlpi_phdr[i].p_vaddr);
    for (; entry->d_tag != DT_NULL; entry++) {
      // ld.so has made them addresses, but for the vdso's.
      ElfW(Addr) at = entry->d_un.d_ptr;
      if (at < info.dlpi_addr) at += info.dlpi_addr;
      if (entry->d_tag == DT_SYMTAB) tables.symbols = reinterpret_cast<const ElfW(Sym)*>(at);
      if (entry->d_tag == DT_STRTAB) tables.names = reinterpret_cast<const char*>(at);
      if (entry->d_tag == DT_GNU_HASH) tables.gnu_hash = reinterpret_cast<const uint32_t*>(at);
      if (entry->d_tag == DT_HASH) tables.sysv_hash = reinterpret_cast<const uint32_t*>(at);
    }
  }
  return tables;
}

bool is_definition(const Tables& tables, uint32_t index, std::string_view name) {
  const ElfW(Sym)& symbol = tables.symbols[index];
  return symbol.st_shndx != SHN_UNDEF && name == tables.names + symbol.st_name;
}

// DT_GNU_HASH: header of four words, Bloom filter, buckets, and a chain of hashes whose last has bit 0 set.
bool in_gnu_table(const Tables& tables, std::string_view name) {
  uint32_t hash = 5381;
  for (char c : name) hash = hash * 33 + static_cast<unsigned char>(c);
  const uint32_t* table = tables.gnu_hash;
  uint32_t buckets = table[0], first = table[1], filter_words = table[2];
  if (!buckets) return false;
  const uint32_t* bucket = table + 4 + filter_words * (sizeof(ElfW(Addr)) / sizeof *table);
  const uint32_t* chain = bucket + buckets;
  uint32_t index = bucket[hash % buckets];
  if (index < first) return false;
  for (;; index++) {
    uint32_t one = chain[index - first];
    if ((one | 1) == (hash | 1) && is_definition(tables, index, name)) return true;
    if (one & 1) return false;
  }
}

// DT_HASH: its second word is the number of symbols.
bool in_sysv_table(const Tables& tables, std::string_view name) {
  for (uint32_t i = 1; i < tables.sysv_hash[1]; i++)
    if (is_definition(tables, i, name)) return true;
  return false;
}

int look_for(dl_phdr_info* info, size_t, void* name) {
  Tables tables = tables_of(*info);
  if (!tables.symbols || !tables.names) return 0;
  auto& wanted = *static_cast<std::string_view*>(name);
  if (tables.gnu_hash) return in_gnu_table(tables, wanted);
  return tables.sysv_hash && in_sysv_table(tables, wanted);
}

}  // namespace

bool is_loaded(std::string_view name) { return dl_iterate_phdr(look_for, &name); }

int usable_cpus() {
  uint64_t mask[128] = {};
  long bytes = sys::call(SYS_sched_getaffinity, 0, sizeof mask, sys::as_long(mask));
  int count = 0;
  for (long i = 0; i < bytes / 8; i++) count += __builtin_popcountll(mask[i]);
  return count > 0 ? count : 1;
}

int hubs_wanted() {
  if (options().hubs) return options().hubs;
  int hubs = choose_profile(options().profile, is_loaded).hubs;
  return hubs ? hubs : usable_cpus();
}

}  // namespace coro
