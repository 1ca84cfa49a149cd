// SPDX-License-Identifier: Apache-2.0
//
// inotify: a read waits for an event, gives several at once, says EINVAL for a buffer too small,
// does not wait with IN_NONBLOCK, is ended by signals, and can be polled.

#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "testing.h"

static char folder[64];

static void touch(const char* name) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  close(NEED(open(path, O_CREAT | O_WRONLY, 0600)));
  unlink(path);
}

static void waits(int fd) {
  alignas(inotify_event) guarded<char[512]> buffer;
  Stopwatch watch;
  Thread maker = after(20, [&] { touch("one"); });
  errno = 77;
  ssize_t n = read(fd, buffer.value, sizeof buffer.value);
  EXPECT_EQ(77, errno);
  EXPECT_WAITED(watch);
  EXPECT(n > (ssize_t)sizeof(inotify_event));
  inotify_event* event = (inotify_event*)buffer.value;
  EXPECT_EQ(IN_CREATE, event->mask);
  EXPECT(!strcmp("one", event->name));
}

static void several_and_too_small(int fd) {
  touch("two");
  touch("three");
  alignas(inotify_event) char buffer[512];
  EXPECT_ERRNO(EINVAL, read(fd, buffer, 4));
  EXPECT_EQ(64, read(fd, buffer, sizeof buffer));
}

static void polled(int fd) {
  pollfd one = {fd, POLLIN, 0};
  EXPECT_OK(0, poll(&one, 1, 0));
  Stopwatch watch;
  Thread maker = after(20, [&] { touch("four"); });
  EXPECT_OK(1, poll(&one, 1, 2000));
  EXPECT_WAITED(watch);
  char buffer[512];
  EXPECT_EQ(32, read(fd, buffer, sizeof buffer));
}

static void does_not_wait(int fd) {
  char buffer[512];
  set_nonblocking(fd, true);
  EXPECT_ERRNO(EAGAIN, read(fd, buffer, sizeof buffer));
  set_nonblocking(fd, false);
  EXPECT_INTERRUPTED(read(fd, buffer, sizeof buffer));
  EXPECT_RESTARTED(32, read(fd, buffer, sizeof buffer), touch("five"));
}

int main() {
  snprintf(folder, sizeof folder, "/tmp/hook_test_inotify.XXXXXX");
  EXPECT(mkdtemp(folder));
  from_both([] {
    int fd = NEED(inotify_init1(IN_CLOEXEC));
    EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
    int watch = inotify_add_watch(fd, folder, IN_CREATE);
    EXPECT(watch >= 1);
    waits(fd);
    several_and_too_small(fd);
    polled(fd);
    does_not_wait(fd);
    EXPECT_OK(0, inotify_rm_watch(fd, watch));
    EXPECT_ERRNO(EINVAL, inotify_rm_watch(fd, watch));
    close(fd);
    EXPECT_ERRNO(EBADF, inotify_add_watch(-1, folder, IN_CREATE));
  });
  rmdir(folder);
  return finish();
}
