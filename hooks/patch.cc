// SPDX-License-Identifier: Apache-2.0
//
// One shape only: `mov $number,%eax; syscall`, 5 + 2 bytes. The mov becomes a `jmp` of the same length to a stub of ours;
// the syscall stays where it is. So whoever stands between the two, or is in the call and has it restarted by the
// kernel, goes on as before (and traps), and nothing that jumps to the syscall lands inside an instruction. The five
// bytes are written with one aligned store of eight; where they do not lie in one aligned word the site goes on trapping.
// Only in libc's code, which is mapped from a file and never moves.
//
// A stub puts its number into r11 and goes on to coro_patched, which keeps every register but rax, rcx and r11, as the
// instruction does, vector registers too, and the 128 bytes below the stack pointer, which libc's leaf functions use.
// Its CFI says that the caller stands behind the syscall instruction, so cancellation unwinds through it.
// Futex calls stay: libc makes them where another thread's block is behind the FS base (trap.cc).
// Kernel threads without filter come by here as well: enter_patched() makes the plain call for them.
#include "hooks/patch.h"

#include <cpuid.h>
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
  long number;
};
extern "C" {
__attribute__((used, visibility("hidden"))) Site coro_sites[most_sites];
}
std::atomic<int> used{0};
Spinlock lock;
uintptr_t code_begin = 0, code_end = 0;  // libc's

extern "C" {
__attribute__((used, visibility("hidden"))) uint32_t coro_save_size = 0;  // of xsavec, plus what aligns it
}

extern "C" __attribute__((used, visibility("hidden"))) long coro_enter_site(long index, const long* a) {
  const Site& site = coro_sites[index];
  return enter_patched(site.back, site.number, a);
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
    " mov %r11, %rax\n shl $4, %rax\n lea coro_sites(%rip), %rcx\n mov (%rcx,%rax), %rcx\n"
    " lea -128(%rsp), %rsp\n .cfi_adjust_cfa_offset 128\n"
    " push %rcx\n .cfi_adjust_cfa_offset 8\n .cfi_offset rip, -136\n"
    " push %rbp\n .cfi_adjust_cfa_offset 8\n .cfi_offset rbp, -144\n"
    " mov %rsp, %rbp\n .cfi_def_cfa_register rbp\n"
    " push %r9\n push %r8\n push %r10\n push %rdx\n push %rsi\n push %rdi\n"  // the six arguments in order
    " mov %rsp, %rsi\n push %rdi\n push %rsi\n"
    " mov %r11, %rdi\n"
    " mov coro_save_size(%rip), %eax\n sub %rax, %rsp\n and $-64, %rsp\n"
    " movq $0, 512(%rsp)\n movq $0, 520(%rsp)\n movq $0, 528(%rsp)\n movq $0, 536(%rsp)\n"
    " movq $0, 544(%rsp)\n movq $0, 552(%rsp)\n movq $0, 560(%rsp)\n movq $0, 568(%rsp)\n"
    " mov $0xe6, %eax\n xor %edx, %edx\n xsavec64 (%rsp)\n"
    " call coro_enter_site\n"
    " mov %rax, %rcx\n"
    " mov $0xe6, %eax\n xor %edx, %edx\n xrstor64 (%rsp)\n"
    " mov %rcx, %rax\n"
    " mov -48(%rbp), %rdi\n mov -40(%rbp), %rsi\n mov -32(%rbp), %rdx\n mov -24(%rbp), %r10\n mov -16(%rbp), %r8\n"
    " mov -8(%rbp), %r9\n"
    " mov %rbp, %rsp\n .cfi_def_cfa_register rsp\n"
    " pop %rbp\n .cfi_adjust_cfa_offset -8\n .cfi_restore rbp\n"
    " pop %rcx\n .cfi_adjust_cfa_offset -8\n .cfi_register rip, rcx\n"
    " lea 128(%rsp), %rsp\n .cfi_adjust_cfa_offset -128\n"
    " jmp *%rcx\n"
    ".cfi_endproc\n.size coro_patched,.-coro_patched\n");
// clang-format on

int find_libc(dl_phdr_info* info, size_t, void* argument) {
  auto inside = reinterpret_cast<uintptr_t>(argument);
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr)& part = info->dlpi_phdr[i];
    uintptr_t begin = info->dlpi_addr + part.p_vaddr;
    if (part.p_type != PT_LOAD || !(part.p_flags & PF_X) || inside < begin || inside >= begin + part.p_memsz) continue;
    code_begin = begin;
    code_end = begin + part.p_memsz;
    return 1;
  }
  return 0;
}

// Processor and kernel save the vector registers compactly: CPUID 13, sub-leaf 1, bit 1.
bool find_save_size() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(1, 0, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return false;
  if (!__get_cpuid_count(13, 1, &a, &b, &c, &d) || !(a & 2)) return false;
  __cpuid_count(13, 0, a, b, c, d);
  coro_save_size = c + 128;  // of everything that this processor could save
  return true;
}

bool write_jump(uintptr_t at, int32_t distance) {
  uintptr_t aligned = at & ~uintptr_t{7}, page = at & ~uintptr_t{4095};
  auto* word = reinterpret_cast<uint64_t*>(aligned);
  uint64_t bytes = *word;
  unsigned char jump[5] = {0xe9};
  memcpy(jump + 1, &distance, 4);
  memcpy(reinterpret_cast<char*>(&bytes) + (at - aligned), jump, sizeof jump);
  constexpr int open = PROT_READ | PROT_WRITE | PROT_EXEC;
  if (sys::call(SYS_mprotect, static_cast<long>(page), 4096, open) < 0) return false;
  __atomic_store_n(word, bytes, __ATOMIC_SEQ_CST);
  sys::call(SYS_mprotect, static_cast<long>(page), 4096, PROT_READ | PROT_EXEC);
  return true;
}

bool is_patchable(uintptr_t back, long number) {
  constexpr uintptr_t whole = 7, jump = 5;
  if (back < code_begin + whole + 1 || back > code_end) return false;
  uintptr_t at = back - whole;
  auto* code = reinterpret_cast<const unsigned char*>(at);
  uint32_t operand;
  memcpy(&operand, code + 1, 4);
  // A prefix before 0xb8 would make it another instruction.
  bool may_be_prefixed = (code[-1] & 0xf0) == 0x40 || code[-1] == 0x66;
  return code[0] == 0xb8 && operand == static_cast<uint32_t>(number) && code[5] == 0x0f && code[6] == 0x05 &&
         !may_be_prefixed && at / 8 == (at + jump - 1) / 8;
}

}  // namespace

bool prepare_patches() {
  return find_save_size() && dl_iterate_phdr(find_libc, reinterpret_cast<void*>(&strerrorname_np)) == 1;
}

bool patch_site(uintptr_t back, long number) {
  if (number == SYS_futex || !is_patchable(back, number)) return true;
  Critical inside;
  Locked hold(lock);
  int index = used.load();
  if (index == most_sites || !is_patchable(back, number)) return true;
  uintptr_t at = back - 7;
  auto distance = reinterpret_cast<intptr_t>(coro_stubs + index * 16) - static_cast<intptr_t>(at + 5);
  if (distance != static_cast<int32_t>(distance)) return true;
  coro_sites[index] = {back, number};
  used.store(index + 1);
  return write_jump(at, static_cast<int32_t>(distance));
}

}  // namespace coro
