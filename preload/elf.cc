// SPDX-License-Identifier: Apache-2.0
#include "preload/elf.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string_view>

namespace coro {
namespace {

// Thrown inside this file only: the file contradicts itself.
struct Malformed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A file mapped for reading. Empty when it cannot be.
class Mapping {
 public:
  explicit Mapping(const std::string& path) {
    int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    struct stat about {};
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > 0) {
      size_ = static_cast<size_t>(about.st_size);
      data_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    open_ = true;
    close(fd);
  }
  ~Mapping() {
    if (data_ != MAP_FAILED) munmap(data_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  bool is_open() const { return open_; }
  std::string_view bytes() const {
    return data_ == MAP_FAILED ? std::string_view{}
                               : std::string_view(static_cast<char*>(data_), size_);
  }

 private:
  void* data_ = MAP_FAILED;
  size_t size_ = 0;
  bool open_ = false;
};

// Reads one file. Tables are copied out entry by entry, so nothing depends on alignment.
class Reader {
 public:
  explicit Reader(std::string_view file) : file_(file) {}
  Elf read();

 private:
  std::string_view piece(uint64_t offset, uint64_t size, const char* what) const {
    if (offset > file_.size() || size > file_.size() - offset)
      throw Malformed(std::string(what) + " lies outside the file");
    return file_.substr(offset, size);
  }
  template <class T>
  T get(uint64_t offset, const char* what) const {
    T value;
    std::memcpy(&value, piece(offset, sizeof value, what).data(), sizeof value);
    return value;
  }
  // Where in the file the byte loaded at `address` comes from.
  uint64_t offset_of(uint64_t address, const char* what) const {
    for (const Elf64_Phdr& p : segments_)
      if (p.p_type == PT_LOAD && address >= p.p_vaddr && address - p.p_vaddr < p.p_filesz)
        return p.p_offset + (address - p.p_vaddr);
    throw Malformed(std::string(what) + " lies in no segment");
  }
  std::string text(uint64_t index) const {
    size_t end = strings_.find('\0', index);
    if (end == strings_.npos) throw Malformed("a name lies outside the string table");
    return std::string(strings_.substr(index, end - index));
  }
  void read_segments();
  void read_notes(const Elf64_Phdr& segment);
  void read_dynamic(const Elf64_Phdr& segment);
  void read_symbols();
  void read_versions();
  uint64_t symbol_count() const;

  std::string_view file_;
  std::string_view strings_;  // the dynamic string table
  std::vector<Elf64_Phdr> segments_;
  uint64_t symtab_ = 0, hash_ = 0, gnu_hash_ = 0, verdef_ = 0, verdef_count_ = 0;
  Elf elf_;
};

void Reader::read_segments() {
  auto header = get<Elf64_Ehdr>(0, "the ELF header");
  elf_.executable = header.e_type == ET_EXEC || header.e_type == ET_DYN;
  if (header.e_phnum && header.e_phentsize != sizeof(Elf64_Phdr))
    throw Malformed("its program headers have an odd size");
  for (unsigned i = 0; i < header.e_phnum; ++i)
    segments_.push_back(
        get<Elf64_Phdr>(header.e_phoff + i * sizeof(Elf64_Phdr), "the program header table"));
}

void Reader::read_notes(const Elf64_Phdr& segment) {
  std::string_view notes = piece(segment.p_offset, segment.p_filesz, "a note segment");
  auto padded = [](uint64_t size) { return (size + 3) & ~uint64_t{3}; };
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr note;
    std::memcpy(&note, notes.data(), sizeof note);
    uint64_t size = sizeof note + padded(note.n_namesz) + padded(note.n_descsz);
    if (notes.substr(sizeof note).starts_with(std::string_view("Go\0", 3))) elf_.go = true;
    notes.remove_prefix(std::min<uint64_t>(size, notes.size()));
  }
}

void Reader::read_dynamic(const Elf64_Phdr& segment) {
  std::vector<uint64_t> needed;
  uint64_t strtab = 0, strings_size = 0;
  for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= segment.p_filesz; at += sizeof(Elf64_Dyn)) {
    auto entry = get<Elf64_Dyn>(segment.p_offset + at, "the dynamic section");
    if (entry.d_tag == DT_NULL) break;
    if (entry.d_tag == DT_NEEDED) needed.push_back(entry.d_un.d_val);
    if (entry.d_tag == DT_STRTAB) strtab = entry.d_un.d_ptr;
    if (entry.d_tag == DT_STRSZ) strings_size = entry.d_un.d_val;
    if (entry.d_tag == DT_SYMTAB) symtab_ = entry.d_un.d_ptr;
    if (entry.d_tag == DT_HASH) hash_ = entry.d_un.d_ptr;
    if (entry.d_tag == DT_GNU_HASH) gnu_hash_ = entry.d_un.d_ptr;
    if (entry.d_tag == DT_VERDEF) verdef_ = entry.d_un.d_ptr;
    if (entry.d_tag == DT_VERDEFNUM) verdef_count_ = entry.d_un.d_val;
  }
  if (!strtab) return;
  strings_ = piece(offset_of(strtab, "the string table"), strings_size, "the string table");
  for (uint64_t name : needed) elf_.needed.push_back(text(name));
  if (symtab_) read_symbols();
  if (verdef_) read_versions();
}

// The dynamic symbol table does not say how long it is; the hash tables do.
uint64_t Reader::symbol_count() const {
  constexpr const char* what = "the symbol hash table";
  if (hash_) return get<uint32_t>(offset_of(hash_, what) + 4, what);
  if (!gnu_hash_) return 0;
  uint64_t at = offset_of(gnu_hash_, what);
  uint64_t buckets = get<uint32_t>(at, what), first = get<uint32_t>(at + 4, what);
  uint64_t bloom = get<uint32_t>(at + 8, what);
  uint64_t bucket_at = at + 16 + bloom * 8, chain_at = bucket_at + buckets * 4;
  uint64_t last = 0;
  for (uint64_t i = 0; i < buckets; ++i)
    last = std::max<uint64_t>(last, get<uint32_t>(bucket_at + i * 4, what));
  if (last < first) return first;  // nothing is exported: all are imports
  while (!(get<uint32_t>(chain_at + (last - first) * 4, what) & 1)) ++last;
  return last + 1;
}

void Reader::read_symbols() {
  uint64_t at = offset_of(symtab_, "the symbol table");
  uint64_t count = symbol_count();
  piece(at, count * sizeof(Elf64_Sym), "the symbol table");  // before the loop: count is bounded
  for (uint64_t i = 1; i < count; ++i) {
    auto symbol = get<Elf64_Sym>(at + i * sizeof(Elf64_Sym), "the symbol table");
    if (!symbol.st_name) continue;
    (symbol.st_shndx == SHN_UNDEF ? elf_.imports : elf_.exports).push_back(text(symbol.st_name));
  }
}

void Reader::read_versions() {
  constexpr const char* what = "the version table";
  uint64_t at = offset_of(verdef_, what);
  for (uint64_t i = 0; i < verdef_count_; ++i) {
    auto version = get<Elf64_Verdef>(at, what);
    auto name = get<Elf64_Verdaux>(at + version.vd_aux, what);
    elf_.versions.push_back(text(name.vda_name));
    if (!version.vd_next) break;
    at += version.vd_next;
  }
}

Elf Reader::read() {
  read_segments();
  for (const Elf64_Phdr& segment : segments_) {
    if (segment.p_type == PT_NOTE) read_notes(segment);
    if (segment.p_type == PT_DYNAMIC) read_dynamic(segment);
    if (segment.p_type != PT_INTERP) continue;
    std::string_view path = piece(segment.p_offset, segment.p_filesz, "the interpreter's name");
    elf_.interpreter = path.substr(0, path.find('\0'));
  }
  return std::move(elf_);
}

}  // namespace

ElfReading read_elf(const std::string& path) {
  Mapping mapping(path);
  if (!mapping.is_open()) return {ElfStatus::unreadable, std::strerror(errno), {}};
  std::string_view file = mapping.bytes();
  if (!file.starts_with(ELFMAG)) return {ElfStatus::not_elf, "it is not an ELF file", {}};
  if (file.size() < sizeof(Elf64_Ehdr))
    return {ElfStatus::malformed, "malformed ELF file: it ends in its header", {}};
  if (file[EI_CLASS] != ELFCLASS64) return {ElfStatus::foreign, "it is a 32-bit program", {}};
  Elf64_Ehdr header;
  std::memcpy(&header, file.data(), sizeof header);
  if (file[EI_DATA] != ELFDATA2LSB || header.e_machine != EM_X86_64)
    return {ElfStatus::foreign, "it is a program for another kind of processor", {}};
  try {
    return {ElfStatus::ok, {}, Reader(file).read()};
  } catch (const Malformed& error) {
    return {ElfStatus::malformed, std::string("malformed ELF file: ") + error.what(), {}};
  }
}

}  // namespace coro
