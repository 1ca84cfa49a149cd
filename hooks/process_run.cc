// SPDX-License-Identifier: Apache-2.0
//
// Running other programs. They inherit the kernel's signal mask, so the carrier's becomes the fiber's for the call, in a
// critical section: a handler that jumped out would leave the carrier with the wrong one. Handled signals become
// default in exec, by the kernel; our descriptors are close-on-exec. This holds whatever CORO_PATCH says: the mask is
// virtual all the same.
//  - where the carrier has the backstop's filter, which the program would inherit, all of them run on a helper; else exec
//    and spawn run in place: the pause until the new program has started is short;
//  - system and pclose wait for the child on a helper, in libc, with its rules for SIGINT, SIGQUIT, SIGCHLD and
//    cancellation.
#include <stdarg.h>

#include "hooks/clean_helper.h"
#include "hooks/fd_table.h"
#include "hooks/identity.h"
#include "hooks/signals.h"

namespace coro {
namespace {

// On a clean helper, which the new program finds as the fiber's own kernel thread would be. `failed`: what to return when
// there is none; errno says EAGAIN.
template <class Run, class Result>
Result run_away(Call call, Fiber* fiber, Run run, Result failed) {
  auto run_as_fiber = [&] {
    assume_identity_on_helper(*fiber);
    return run();
  };
  return on_clean_helper(call, run_as_fiber, [&] {
    errno = EAGAIN;
    return failed;
  });
}

template <Call call, class Run, class Result = int>
auto run_with_own_mask(Run run, Result failed = -1) {
  gate<call>();
  Fiber* fiber = on_hub();
  if (!fiber) return run();
  if (is_filtered_here()) return run_away(call, fiber, run, failed);
  Critical inside;
  KernelMask mask(fiber);
  return run();
}

// How many pointers an argument list of execl takes, the null at its end included.
size_t count_with_null(va_list list) {
  size_t count = 2;  // the first argument and the null
  va_list copy;
  va_copy(copy, list);
  while (va_arg(copy, char*)) count++;
  va_end(copy);
  return count;
}

// Fills in what count_with_null() counted; leaves `list` behind the null.
void gather(const char* first, va_list list, char** arguments) {
  *arguments++ = const_cast<char*>(first);
  while ((*arguments++ = va_arg(list, char*))) {
  }
}

}  // namespace

// execve(2) and its kin: as libc. The new program begins with the calling thread's signal mask.
HOOK(int, execve, (const char* path, char* const arguments[], char* const environment[])) {
  return run_with_own_mask<Call::execve>([&] { return real.execve(path, arguments, environment); });
}

HOOK(int, execv, (const char* path, char* const arguments[])) {
  return run_with_own_mask<Call::execv>([&] { return real.execv(path, arguments); });
}

HOOK(int, execvp, (const char* file, char* const arguments[])) {
  return run_with_own_mask<Call::execvp>([&] { return real.execvp(file, arguments); });
}

HOOK(int, execvpe, (const char* file, char* const arguments[], char* const environment[])) {
  return run_with_own_mask<Call::execvpe>([&] { return real.execvpe(file, arguments, environment); });
}

HOOK(int, fexecve, (int fd, char* const arguments[], char* const environment[])) {
  return run_with_own_mask<Call::fexecve>([&] { return real.fexecve(fd, arguments, environment); });
}

HOOK(int, execveat, (int directory, const char* path, char* const arguments[],
                     char* const environment[], int flags)) {
  return run_with_own_mask<Call::execveat>(
      [&] { return real.execveat(directory, path, arguments, environment, flags); });
}

// execl(3) and its kin: the list becomes an array on the stack, as in libc (no malloc: a vfork child may be here).
HOOK(int, execl, (const char* path, const char* first, ...)) {
  va_list list;
  va_start(list, first);
  auto** arguments = static_cast<char**>(__builtin_alloca(count_with_null(list) * sizeof(char*)));
  gather(first, list, arguments);
  va_end(list);
  return run_with_own_mask<Call::execl>([&] { return real.execv(path, arguments); });
}

HOOK(int, execlp, (const char* file, const char* first, ...)) {
  va_list list;
  va_start(list, first);
  auto** arguments = static_cast<char**>(__builtin_alloca(count_with_null(list) * sizeof(char*)));
  gather(first, list, arguments);
  va_end(list);
  return run_with_own_mask<Call::execlp>([&] { return real.execvp(file, arguments); });
}

HOOK(int, execle, (const char* path, const char* first, ...)) {
  va_list list;
  va_start(list, first);
  auto** arguments = static_cast<char**>(__builtin_alloca(count_with_null(list) * sizeof(char*)));
  gather(first, list, arguments);
  char** environment = va_arg(list, char**);
  va_end(list);
  return run_with_own_mask<Call::execle>([&] { return real.execve(path, arguments, environment); });
}

// posix_spawn(3), posix_spawnp(3): as libc; the child begins with the calling thread's mask unless the attributes name one.
HOOK(int, posix_spawn, (pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions,
                        const posix_spawnattr_t* attributes, char* const arguments[],
                        char* const environment[])) {
  return run_with_own_mask<Call::posix_spawn>([&] {
    return real.posix_spawn(pid, path, actions, attributes, arguments, environment);
  }, EAGAIN);
}

HOOK(int, posix_spawnp, (pid_t* pid, const char* file, const posix_spawn_file_actions_t* actions,
                         const posix_spawnattr_t* attributes, char* const arguments[],
                         char* const environment[])) {
  return run_with_own_mask<Call::posix_spawnp>([&] {
    return real.posix_spawnp(pid, file, actions, attributes, arguments, environment);
  }, EAGAIN);
}

// popen(3): as libc.
HOOK(FILE*, popen, (const char* command, const char* mode)) {
  return run_with_own_mask<Call::popen>([&] { return real.popen(command, mode); }, static_cast<FILE*>(nullptr));
}

// pclose(3): parks until the child has ended.
HOOK(int, pclose, (FILE * stream)) {
  Fiber* fiber = gate<Call::pclose>();
  died(fileno_unlocked(stream));
  if (!fiber) return real.pclose(stream);
  Away away(to_reason(Call::pclose));
  return real.pclose(stream);
}

// system(3): parks until the command has ended.
HOOK(int, system, (const char* command)) {
  Fiber* fiber = gate<Call::system>();
  if (!fiber && !is_filtered_here()) return real.system(command);
  auto run = [&] { return real.system(command); };
  Away away(to_reason(Call::system));
  if (is_filtered_here()) return run_away(Call::system, current, run, -1);
  if (!on_hub()) assume_identity_on_helper(*current);
  return run();
}

}  // namespace coro
