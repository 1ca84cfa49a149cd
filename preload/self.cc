// SPDX-License-Identifier: Apache-2.0
#include "preload/self.h"

#include <link.h>
#include <string.h>

namespace coro {
namespace {

// The note "Go\0\0" of type 4: .note.go.buildid.
bool has_go_note(const char* at, const char* end) {
  while (at + sizeof(ElfW(Nhdr)) <= end) {
    auto* note = reinterpret_cast<const ElfW(Nhdr)*>(at);
    const char* name = at + sizeof *note;
    size_t step = sizeof *note + ((note->n_namesz + 3) & ~3u) + ((note->n_descsz + 3) & ~3u);
    if (note->n_type == 4 && note->n_namesz == 4 && memcmp(name, "Go\0", 4) == 0) return true;
    at += step;
  }
  return false;
}

int look_at_program(dl_phdr_info* info, size_t, void* answer) {
  for (int i = 0; i < info->dlpi_phnum; i++) {
    if (info->dlpi_phdr[i].p_type != PT_NOTE) continue;
    auto* begin = reinterpret_cast<const char*>(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    if (has_go_note(begin, begin + info->dlpi_phdr[i].p_memsz)) *static_cast<bool*>(answer) = true;
  }
  return 1;  // the first object is the program itself
}

}  // namespace

bool drives_its_own_threads() {
  bool answer = false;
  dl_iterate_phdr(look_at_program, &answer);
  return answer;
}

}  // namespace coro
