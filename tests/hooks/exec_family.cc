// SPDX-License-Identifier: Apache-2.0
//
// The nine calls of the exec family, each from a child forked in main and in a thread: arguments
// (none lost of many), environment (inherited, or the one given), the search along PATH, the signal
// mask that the new program begins with, close-on-exec, and the errors, after which the child lives
// on with its mask as it was.
#include <sys/stat.h>

#include <string>

#include "thread_testing.h"

extern char** environ;

static char* const arguments[] = {const_cast<char*>("sh"), const_cast<char*>("-c"),
                                  const_cast<char*>("exit ${CODE:-3}"), nullptr};
static char* const environment[] = {const_cast<char*>("CODE=7"), const_cast<char*>("PATH=/nowhere"),
                                    nullptr};

static void with_the_own_environment() {
  EXPECT(exited(in_child([] { execl("/bin/sh", "sh", "-c", "exit ${CODE:-3}", nullptr); }), 3));
  EXPECT(exited(in_child([] { execlp("sh", "sh", "-c", "exit ${CODE:-3}", nullptr); }), 3));
  EXPECT(exited(in_child([] { execv("/bin/sh", arguments); }), 3));
  EXPECT(exited(in_child([] { execvp("sh", arguments); }), 3));
  auto changed = [] {
    setenv("CODE", "5", 1);
    execvp("sh", arguments);
  };
  EXPECT(exited(in_child(changed), 5));
}

static void with_a_given_environment() {
  EXPECT(exited(
      in_child([] { execle("/bin/sh", "sh", "-c", "exit ${CODE:-3}", nullptr, environment); }), 7));
  EXPECT(exited(in_child([] { execve("/bin/sh", arguments, environment); }), 7));
  EXPECT(exited(in_child([] { execvpe("sh", arguments, environment); }), 7));  // our PATH, not its
  EXPECT(exited(in_child([] {
                  fexecve(NEED(open("/bin/sh", O_RDONLY | O_CLOEXEC)), arguments, environment);
                }),
                7));
  EXPECT(exited(in_child([] {
                  int const bin = NEED(open("/bin", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
                  execveat(bin, "sh", arguments, environment, 0);
                }),
                7));
  EXPECT(exited(in_child([] {
                  int const sh = NEED(open("/bin/sh", O_PATH | O_CLOEXEC));
                  execveat(sh, "", arguments, environment, AT_EMPTY_PATH);
                }),
                7));
}

static void of_many_arguments_none_is_lost() {
  const char* const count = "test \"$*\" = '2 3 4 5 6 7 8 9' && exit $#";
  EXPECT(exited(in_child([=] {
                  execl("/bin/sh", "sh", "-c", count, "1", "2", "3", "4", "5", "6", "7", "8", "9",
                        nullptr);
                }),
                8));
  EXPECT(exited(in_child([=] {
                  execlp("sh", "sh", "-c", count, "1", "2", "3", "4", "5", "6", "7", "8", "9",
                         nullptr);
                }),
                8));
  EXPECT(exited(in_child([=] {
                  execle("/bin/sh", "sh", "-c", count, "1", "2", "3", "4", "5", "6", "7", "8", "9",
                         nullptr, environment);
                }),
                8));
}

// The new program itself says which signals the kernel blocks for it: SIGUSR2 (bit 11) alone.
static void the_mask_goes_along() {
  static char* const look[] = {const_cast<char*>("grep"), const_cast<char*>("-q"),
                               const_cast<char*>("^SigBlk:[[:space:]]*0*800$"),
                               const_cast<char*>("/proc/self/status"), nullptr};
  auto child = [](auto exec) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &set, nullptr);
    nap(2);
    exec();
    _exit(98);
  };
  EXPECT_EQ(0, in_child([=] {
              child([] { execlp(look[0], look[0], look[1], look[2], look[3], nullptr); });
            }));
  EXPECT_EQ(0, in_child([=] { child([] { execvp(look[0], look); }); }));
  EXPECT_EQ(0, in_child([=] { child([] { execvpe(look[0], look, environ); }); }));
  EXPECT_EQ(0, in_child([=] {
              child([] { fexecve(NEED(open("/bin/grep", O_RDONLY)), look, environ); });
            }));
}

static void descriptors_stay_or_close() {
  Pipe const pipe(O_CLOEXEC);
  int const kept = NEED(dup(pipe.b));
  std::string const text = "echo kept >&" + std::to_string(kept) + "; test -e /proc/self/fd/" +
                           std::to_string(pipe.a) + " || exit 22";
  EXPECT(exited(in_child([&] { execl("/bin/sh", "sh", "-c", text.c_str(), nullptr); }), 22));
  char bytes[8] = "";
  EXPECT_OK(5, read(pipe.a, bytes, sizeof bytes));
  EXPECT(!memcmp(bytes, "kept\n", 5));
  EXPECT_OK(0, close(kept));
}

static void errors_return() {
  int const status = in_child([] {
    sigset_t before, now;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    EXPECT_ERRNO(ENOENT, execl("/nonexistent", "x", nullptr));
    EXPECT_ERRNO(ENOENT, execlp("nonexistent-program", "x", nullptr));
    EXPECT_ERRNO(EACCES, execle("/etc/passwd", "x", nullptr, environment));
    EXPECT_ERRNO(EACCES, execv("/etc", arguments));
    EXPECT_ERRNO(ENOTDIR, execve("/etc/passwd/x", arguments, environment));
    EXPECT_ERRNO(ENOENT, execvp("nonexistent-program", arguments));
    EXPECT_ERRNO(ENOENT, execvpe("", arguments, environment));
    EXPECT_ERRNO(EINVAL, fexecve(-1, arguments, environment));
    EXPECT_ERRNO(EBADF, execveat(-1, "sh", arguments, environment, 0));
    EXPECT_ERRNO(EINVAL, execveat(AT_FDCWD, "/bin/sh", arguments, environment, 0x40000000));
    pthread_sigmask(SIG_SETMASK, nullptr, &now);
    EXPECT(sigismember(&now, SIGUSR2) == 1 && sigismember(&now, SIGUSR1) == 0);
    nap(2);  // and it still can wait
  });
  EXPECT(exited(status, 0));
}

int main() {
  from_both([] {
    with_the_own_environment();
    with_a_given_environment();
    of_many_arguments_none_is_lost();
    the_mask_goes_along();
    descriptors_stay_or_close();
    errors_return();
  });
  return finish();
}
