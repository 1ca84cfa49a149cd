// SPDX-License-Identifier: Apache-2.0
//
// The doors that open(2) and its kin become under _FORTIFY_SOURCE, called by name: they open files
// and directories, wait for the other side of a FIFO, fail as open does, and end a program that
// wants to create a file and says no mode.
#include <sys/stat.h>
#include <sys/wait.h>

#include "testing.h"

extern "C" {
int __open_2(const char* path, int flags);
int __open64_2(const char* path, int flags);
int __openat_2(int directory, const char* path, int flags);
int __openat64_2(int directory, const char* path, int flags);
}

static int root = -1;

// The four, each told a full path; the last two also hear a directory.
static int (*const doors[])(const char*, int) = {
    [](const char* path, int flags) { return __open_2(path, flags); },
    [](const char* path, int flags) { return __open64_2(path, flags); },
    [](const char* path, int flags) { return __openat_2(root, path + 1, flags); },
    [](const char* path, int flags) { return __openat64_2(root, path + 1, flags); },
};

static void plain_files() {
  for (auto door : doors) {
    errno = 77;
    int fd = NEED(door("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(77, errno);
    EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
    EXPECT_EQ(O_RDONLY, fcntl(fd, F_GETFL) & O_ACCMODE);
    guarded<char[4]> bytes;
    EXPECT_OK(4, read(fd, bytes.value, 4));
    EXPECT(!memcmp(bytes.value, "\177ELF", 4));
    EXPECT_OK(0, close(fd));
    fd = NEED(door("/proc", O_RDONLY | O_DIRECTORY));
    EXPECT_EQ(0, fcntl(fd, F_GETFD));
    EXPECT_OK(0, close(fd));
  }
}

static void errors() {
  for (auto door : doors) {
    EXPECT_ERRNO(ENOENT, door("/nonexistent", O_RDONLY));
    EXPECT_ERRNO(ENOTDIR, door("/proc/self/exe", O_RDONLY | O_DIRECTORY));
    EXPECT_ERRNO(EISDIR, door("/proc", O_WRONLY));
  }
  EXPECT_ERRNO(EBADF, __openat_2(-1, "proc", O_RDONLY));
  EXPECT_ERRNO(EBADF, __openat64_2(-1, "proc", O_RDONLY));
  EXPECT_ERRNO(EFAULT, __open_2(nullptr, O_RDONLY));
  EXPECT_ERRNO(EFAULT, __open64_2(nullptr, O_RDONLY));
}

static void fifos() {
  char path[64];
  snprintf(path, sizeof path, "/tmp/hook_test_open_checked.%d", getpid());
  EXPECT_OK(0, mkfifo(path, 0600));
  for (auto door : doors) {
    EXPECT_ERRNO(ENXIO, door(path, O_WRONLY | O_NONBLOCK));
    int writer = -1;
    Stopwatch watch;
    Thread helper = after(20, [&] { writer = NEED(open(path, O_WRONLY)); });
    int reader = NEED(door(path, O_RDONLY));
    EXPECT_WAITED(watch);
    EXPECT(watch.others_ran());
    helper.join();
    EXPECT_OK(2, write(writer, "hi", 2));
    char bytes[2];
    EXPECT_OK(2, read(reader, bytes, 2));
    EXPECT_OK(0, close(reader));
    EXPECT_OK(0, close(writer));
  }
  for (auto door : doors) EXPECT_INTERRUPTED(door(path, O_RDONLY));
  EXPECT_OK(0, unlink(path));
}

static void without_a_mode() {
  for (auto door : doors) {
    pid_t child = fork();
    if (child == 0) {
      dup2(open("/dev/null", O_WRONLY), 2);
      door("/tmp/hook_test_open_checked.none", O_WRONLY | O_CREAT);
      _exit(0);
    }
    int status = 0;
    EXPECT_EQ(child, waitpid(child, &status, 0));
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  }
  EXPECT_ERRNO(ENOENT, access("/tmp/hook_test_open_checked.none", F_OK));
}

int main() {
  root = NEED(open("/", O_PATH | O_DIRECTORY));
  from_both([] {
    plain_files();
    errors();
    fifos();
    without_a_mode();
  });
  return finish();
}
