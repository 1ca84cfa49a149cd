// SPDX-License-Identifier: Apache-2.0
//
// Two shapes: `mov $number,%eax; syscall` and `xor %eax,%eax; syscall`. What sets the number becomes a jump to a stub of
// ours; the syscall stays where it is. So whoever stands between the two, or is in the call and has it restarted by the
// kernel, goes on as before (and traps), and nothing that jumps to the syscall lands inside an instruction. The jump has
// the five bytes of the mov, or is a short one of two bytes to five bytes of padding between functions, near enough,
// which hold the long one. What replaces an instruction is written with one aligned store of sixteen bytes, which is
// atomic where there is AVX (Intel's manual, volume 3, 9.1.1); where it does not lie in one such block the site goes on trapping. Only in libc's code, which is mapped from a file and never moves.
//
// A stub puts its number into r11 and goes on to coro_patched, which keeps every register but rax, rcx and r11, as the
// instruction does, and the 128 bytes below the stack pointer, which libc's leaf functions use. Vector registers, too, for
// 150 ns, but not where what follows shows a wrapper of the call and nothing else, in which none can be in use.
// Its CFI says that the caller stands behind the syscall instruction, so cancellation unwinds through it.
// Futex calls stay: libc makes them where another thread's block is behind the FS base (trap.cc).
// Kernel threads without filter come by here as well: enter_patched() makes the plain call for them.
#include "hooks/patch.h"

#include <cpuid.h>
#include <emmintrin.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>

#include "hooks/hook.h"
#include "scheduler/spinlock.h"
#include "scheduler/sys.h"

namespace coro {
namespace {

constexpr int most_sites = 128;
struct Site {
  uintptr_t back;  // behind the syscall instruction
  long number;     // of the call; ~number: vector registers need not be kept
};
extern "C" {
__attribute__((used, visibility("hidden"))) Site coro_sites[most_sites];
}
std::atomic<int> used{0};
Spinlock lock;
Code libc;

extern "C" {
__attribute__((used, visibility("hidden"))) uint32_t coro_save_size = 0;  // of xsavec, plus what aligns it
}

extern "C" __attribute__((used, visibility("hidden"))) long coro_enter_site(long index, const long* a) {
  const Site& site = coro_sites[index];
  return enter_patched(site.back, site.number < 0 ? ~site.number : site.number, a);
}

extern "C" char coro_stubs[];

// clang-format off
__asm__(
    ".text\n.balign 16\n.globl coro_stubs\n.hidden coro_stubs\ncoro_stubs:\n"
    ".cfi_startproc\n .cfi_undefined rip\n"
    ".set index, 0\n"
    ".rept 128\n .balign 16\n mov $index, %r11d\n jmp coro_patched\n .set index, index + 1\n.endr\n"
    ".cfi_endproc\n"
    ".type coro_patched,@function\ncoro_patched:\n"
    ".cfi_startproc\n .cfi_signal_frame\n .cfi_def_cfa rsp, 0\n .cfi_register rip, rcx\n"
    " shl $4, %r11\n lea coro_sites(%rip), %rcx\n mov 8(%rcx,%r11), %rax\n mov (%rcx,%r11), %rcx\n shr $4, %r11\n"
    " lea -128(%rsp), %rsp\n .cfi_adjust_cfa_offset 128\n"
    " push %rcx\n .cfi_adjust_cfa_offset 8\n .cfi_offset rip, -136\n"
    " push %rbp\n .cfi_adjust_cfa_offset 8\n .cfi_offset rbp, -144\n"
    " mov %rsp, %rbp\n .cfi_def_cfa_register rbp\n"
    " push %r9\n push %r8\n push %r10\n push %rdx\n push %rsi\n push %rdi\n"  // the six arguments in order
    " mov %rsp, %rsi\n push %rdi\n push %rsi\n"
    " mov %r11, %rdi\n"
    " test %rax, %rax\n js 1f\n"
    " mov coro_save_size(%rip), %eax\n sub %rax, %rsp\n and $-64, %rsp\n"
    " movq $0, 512(%rsp)\n movq $0, 520(%rsp)\n movq $0, 528(%rsp)\n movq $0, 536(%rsp)\n"
    " movq $0, 544(%rsp)\n movq $0, 552(%rsp)\n movq $0, 560(%rsp)\n movq $0, 568(%rsp)\n"
    " mov $0xe6, %eax\n xor %edx, %edx\n xsavec64 (%rsp)\n"
    " call coro_enter_site\n"
    " mov %rax, %rcx\n"
    " mov $0xe6, %eax\n xor %edx, %edx\n xrstor64 (%rsp)\n"
    " mov %rcx, %rax\n jmp 2f\n"
    "1: and $-64, %rsp\n call coro_enter_site\n"
    "2:\n"
    " mov -48(%rbp), %rdi\n mov -40(%rbp), %rsi\n mov -32(%rbp), %rdx\n mov -24(%rbp), %r10\n mov -16(%rbp), %r8\n"
    " mov -8(%rbp), %r9\n"
    " mov %rbp, %rsp\n .cfi_def_cfa_register rsp\n"
    " pop %rbp\n .cfi_adjust_cfa_offset -8\n .cfi_restore rbp\n"
    " pop %rcx\n .cfi_adjust_cfa_offset -8\n .cfi_register rip, rcx\n"
    " lea 128(%rsp), %rsp\n .cfi_adjust_cfa_offset -128\n"
    " jmp *%rcx\n"
    ".cfi_endproc\n.size coro_patched,.-coro_patched\n");
// clang-format on

struct Search {
  uintptr_t inside;
  Code found;
};

int look_into(dl_phdr_info* info, size_t, void* argument) {
  auto& search = *static_cast<Search*>(argument);
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr)& part = info->dlpi_phdr[i];
    uintptr_t begin = info->dlpi_addr + part.p_vaddr;
    Code code{begin, begin + part.p_memsz};
    if (part.p_type != PT_LOAD || !(part.p_flags & PF_X) || !code.holds(search.inside)) continue;
    search.found = code;
    return 1;
  }
  return 0;
}

// Processor and kernel save the vector registers compactly: CPUID 13, sub-leaf 1, bit 1.
bool find_save_size() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(1, 0, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX)) return false;
  if (!__get_cpuid_count(13, 1, &a, &b, &c, &d) || !(a & 2)) return false;
  __cpuid_count(13, 0, a, b, c, d);
  coro_save_size = c + 128;  // of everything that this processor could save
  return true;
}

constexpr size_t short_jump = 2, long_jump = 5;

constexpr size_t block_size = 16;
bool in_one_block(uintptr_t at, size_t size) { return at / block_size == (at + size - 1) / block_size; }

// At once for who executes it meanwhile. The page is writable.
void replace(uintptr_t at, const unsigned char* code, size_t size) {
  auto* block = reinterpret_cast<__m128i*>(at & ~(block_size - 1));
  __m128i bytes = _mm_load_si128(block);
  memcpy(reinterpret_cast<char*>(&bytes) + at % block_size, code, size);
  _mm_store_si128(block, bytes);
}

void make_jump(unsigned char* code, uintptr_t at, uintptr_t to) {
  auto distance = static_cast<int32_t>(to - (at + long_jump));
  code[0] = 0xe9;
  memcpy(code + 1, &distance, sizeof distance);
}

// From the page of `from` to that of `to`.
bool set_protection(uintptr_t from, uintptr_t to, int protection) {
  uintptr_t page = from & ~uintptr_t{4095};
  return sys::call(SYS_mprotect, static_cast<long>(page), static_cast<long>(to - page), protection) >= 0;
}

// What assemblers fill the room before an aligned function or loop with. 0: something else.
size_t length_of_nop(const unsigned char* code) {
  static constexpr struct {
    unsigned char size, bytes[11];
  } nops[] = {
      {1, {0x90}}, {2, {0x66, 0x90}}, {3, {0x0f, 0x1f, 0x00}}, {4, {0x0f, 0x1f, 0x40}}, {5, {0x0f, 0x1f, 0x44}},
      {6, {0x66, 0x0f, 0x1f, 0x44}}, {7, {0x0f, 0x1f, 0x80}}, {8, {0x0f, 0x1f, 0x84}}, {9, {0x66, 0x0f, 0x1f, 0x84}},
      {10, {0x66, 0x2e, 0x0f, 0x1f, 0x84}}, {11, {0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84}},
  };
  for (const auto& nop : nops)
    if (!memcmp(code, nop.bytes, nop.size)) return nop.size;
  return 0;
}

// Five bytes that are never executed: behind a `ret`, and nothing but padding up to where code is aligned to.
bool is_padding(uintptr_t at) {
  auto* code = reinterpret_cast<const unsigned char*>(at);
  if (code[-1] != 0xc3) return false;
  uintptr_t end = (at | 15) + 1;
  if (end - at < long_jump || end > libc.end) return false;
  while (at < end) {
    size_t length = length_of_nop(reinterpret_cast<const unsigned char*>(at));
    if (!length) return false;
    at += length;
  }
  return at == end;
}

// Within reach of a short jump. 0: there is none.
uintptr_t find_padding(uintptr_t site) {
  constexpr uintptr_t reach = 120;
  if (site < libc.begin + reach || site + reach > libc.end) return 0;
  for (uintptr_t at = site - reach; at < site + reach; at++)
    if (is_padding(at)) return at;
  return 0;
}

// What sets the number of the call, or 0.
uintptr_t find_setter(uintptr_t back, long number) {
  constexpr uintptr_t seen = 32;
  if (back < libc.begin + seen || back + seen > libc.end) return 0;
  auto* code = reinterpret_cast<const unsigned char*>(back);
  if (code[-2] != 0x0f || code[-1] != 0x05) return 0;
  auto operand = static_cast<uint32_t>(number);
  // A prefix before 0xb8 would make it another instruction.
  bool may_be_prefixed = (code[-8] & 0xf0) == 0x40 || code[-8] == 0x66;
  if (code[-7] == 0xb8 && !memcmp(code - 6, &operand, sizeof operand) && !may_be_prefixed) return back - 7;
  may_be_prefixed = (code[-5] & 0xf0) == 0x40 || code[-5] == 0x66;
  if (number == 0 && code[-4] == 0x31 && code[-3] == 0xc0 && !may_be_prefixed) return back - 4;
  return 0;
}

// `cmp $-4096,%rax; ja`, then `ret`, or the end of asynchronous cancellation: `mov %r8d,%edi; mov %rax,8(%rsp); call`.
bool is_wrapper(uintptr_t back) {
  static constexpr unsigned char compare[] = {0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff, 0x77};
  static constexpr unsigned char end[] = {0x44, 0x89, 0xc7, 0x48, 0x89, 0x44, 0x24, 0x08, 0xe8};
  auto* code = reinterpret_cast<const unsigned char*>(back);
  if (memcmp(code, compare, sizeof compare)) return false;
  code += sizeof compare + 1;
  return *code == 0xc3 || !memcmp(code, end, sizeof end);
}

struct Place {
  uintptr_t at = 0;      // of the instruction that is replaced; 0: there is none
  uintptr_t middle = 0;  // where the long jump goes; may be `at`
};

Place find_place(uintptr_t back, long number) {
  uintptr_t at = find_setter(back, number);
  if (!at) return {};
  if (back - at == long_jump + 2 && in_one_block(at, long_jump)) return {at, at};
  uintptr_t padding = in_one_block(at, short_jump) ? find_padding(at) : 0;
  return {padding ? at : 0, padding};
}

bool jump_from(const Place& place, uintptr_t stub) {
  constexpr int open = PROT_READ | PROT_WRITE | PROT_EXEC, closed = PROT_READ | PROT_EXEC;
  auto [at, middle] = place;
  uintptr_t from = at < middle ? at : middle, to = (at < middle ? middle : at) + long_jump;
  if (!set_protection(from, to, open)) return false;
  unsigned char code[long_jump];
  make_jump(code, middle, stub);
  if (middle == at) {
    replace(at, code, long_jump);
  } else {
    memcpy(reinterpret_cast<void*>(middle), code, long_jump);
    const unsigned char nearby[short_jump] = {0xeb, static_cast<unsigned char>(middle - (at + short_jump))};
    replace(at, nearby, short_jump);
  }
  set_protection(from, to, closed);
  return true;
}

}  // namespace

Code code_around(const void* inside) {
  Search search{reinterpret_cast<uintptr_t>(inside), {}};
  dl_iterate_phdr(look_into, &search);
  return search.found;
}

bool prepare_patches() {
  libc = code_around(reinterpret_cast<void*>(&strerrorname_np));
  return libc.begin && find_save_size();
}

bool patch_site(uintptr_t back, long number) {
  bool needs_frame = number == SYS_clone || number == SYS_clone3;
  if (number == SYS_futex || needs_frame || !find_place(back, number).at) return true;
  Critical inside;
  Locked hold(lock);
  int index = used.load();
  Place place = find_place(back, number);
  if (index == most_sites || !place.at) return true;
  auto stub = reinterpret_cast<uintptr_t>(coro_stubs) + static_cast<uintptr_t>(index) * 16;
  auto distance = static_cast<intptr_t>(stub - (place.middle + long_jump));
  if (distance != static_cast<int32_t>(distance)) return true;
  coro_sites[index] = {back, is_wrapper(back) ? ~number : number};
  used.store(index + 1);
  return jump_from(place, stub);
}

}  // namespace coro
