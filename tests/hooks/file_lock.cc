// SPDX-License-Identifier: Apache-2.0
//
// Locks on files, held by another thread's description: flock, fcntl's open-file-description locks
// (F_OFD_SETLKW); lockf and F_SETLKW, which belong to the process, against a child. Waiting,
// trying, sharing, interrupting, errors; others run while one waits.

#include <sys/file.h>
#include <sys/wait.h>

#include "testing.h"

static char path[64];

static int open_file() { return NEED(open(path, O_RDWR | O_CLOEXEC)); }

static struct flock range(short type) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = 10;
  lock.l_len = 5;
  return lock;
}

static void whole_files() {
  int mine = open_file(), other = open_file();
  EXPECT_OK(0, flock(other, LOCK_EX));
  EXPECT_ERRNO(EAGAIN, flock(mine, LOCK_EX | LOCK_NB));
  EXPECT_ERRNO(EAGAIN, flock(mine, LOCK_SH | LOCK_NB));
  Stopwatch watch;
  Thread unlocker = after(20, [&] { EXPECT_OK(0, flock(other, LOCK_UN)); });
  EXPECT_OK(0, flock(mine, LOCK_EX));
  EXPECT_WAITED(watch);
  unlocker.join();
  EXPECT_ERRNO(EAGAIN, flock(other, LOCK_SH | LOCK_NB));
  EXPECT_OK(0, flock(mine, LOCK_SH));
  EXPECT_OK(0, flock(other, LOCK_SH));
  Stopwatch closing;
  Thread closer = after(20, [&] { close(std::exchange(other, -1)); });  // the last close unlocks
  EXPECT_OK(0, flock(mine, LOCK_EX));
  EXPECT_WAITED(closing);
  closer.join();
  other = open_file();
  EXPECT_INTERRUPTED(flock(other, LOCK_EX));
  EXPECT_RESTARTED(0, flock(other, LOCK_EX), EXPECT_OK(0, flock(mine, LOCK_UN)));
  close(mine);
  close(other);
}

static void many_want_one() {
  std::atomic<int> inside{0}, through{0};
  in_threads(6, [&](int) {
    int fd = open_file();
    for (int i = 0; i < 3; i++) {
      EXPECT_OK(0, flock(fd, LOCK_EX));
      EXPECT_EQ(1, ++inside);
      pause_ms(1);
      inside--;
      through++;
      EXPECT_OK(0, flock(fd, LOCK_UN));
    }
    close(fd);
  });
  EXPECT_EQ(18, through);
}

static void ranges_of_a_description() {
  int mine = open_file(), other = open_file();
  struct flock write_lock = range(F_WRLCK), unlock = range(F_UNLCK), ask = range(F_WRLCK);
  EXPECT_OK(0, fcntl(other, F_OFD_SETLK, &write_lock));
  EXPECT_ERRNO(EAGAIN, fcntl(mine, F_OFD_SETLK, &write_lock));
  EXPECT_OK(0, fcntl(mine, F_OFD_GETLK, &ask));
  EXPECT_EQ(F_WRLCK, ask.l_type);
  EXPECT_EQ(-1, ask.l_pid);
  Stopwatch watch;
  Thread unlocker = after(20, [&] { EXPECT_OK(0, fcntl(other, F_OFD_SETLK, &unlock)); });
  EXPECT_OK(0, fcntl(mine, F_OFD_SETLKW, &write_lock));
  EXPECT_WAITED(watch);
  unlocker.join();
  EXPECT_INTERRUPTED(fcntl(other, F_OFD_SETLKW, &write_lock));
  close(mine);
  close(other);
}

// A child that locks, says so, and unlocks 20 ms after it is told to.
struct Holder {
  Pipe ready, go;
  pid_t child;
  Holder() {
    child = fork();
    if (child == 0) {
      int fd = open(path, O_RDWR);
      struct flock lock = range(F_WRLCK);
      char byte = 0;
      bool good = fcntl(fd, F_SETLK, &lock) == 0 && write(ready.b, "r", 1) == 1;
      good = good && read(go.a, &byte, 1) == 1;
      usleep(20000);
      _exit(good ? 0 : 1);
    }
    EXPECT_EQ(1, drain(ready.a, 1));
  }
  void let_go() { EXPECT_OK(1, write(go.b, "g", 1)); }
  ~Holder() {
    int status = -1;
    EXPECT_EQ(child, waitpid(child, &status, 0));
    EXPECT_EQ(0, status);
  }
};

static void ranges_of_the_process() {
  int fd = open_file();
  struct flock write_lock = range(F_WRLCK), ask = range(F_WRLCK);
  {
    Holder holder;
    EXPECT_ERRNO(EAGAIN, fcntl(fd, F_SETLK, &write_lock));
    EXPECT_OK(0, fcntl(fd, F_GETLK, &ask));
    EXPECT_EQ(holder.child, ask.l_pid);
    EXPECT_INTERRUPTED(fcntl(fd, F_SETLKW, &write_lock));
    Stopwatch watch;
    holder.let_go();
    EXPECT_OK(0, fcntl(fd, F_SETLKW, &write_lock));
    EXPECT_WAITED(watch);
  }
  int second = open_file();  // the process has it: its threads do not exclude each other
  EXPECT_OK(0, fcntl(second, F_SETLK, &write_lock));
  close(second);  // and any close of the file gives it up
  {
    Holder holder;
    EXPECT_EQ(10, lseek(fd, 10, SEEK_SET));
    EXPECT_ERRNO(EAGAIN, lockf(fd, F_TLOCK, 5));
    EXPECT_ERRNO(EACCES, lockf(fd, F_TEST, 5));
    Stopwatch watch;
    holder.let_go();
    EXPECT_OK(0, lockf64(fd, F_LOCK, 5));
    EXPECT_WAITED(watch);
  }
  EXPECT_OK(0, lockf(fd, F_ULOCK, 5));
  close(fd);
}

static void errors() {
  int fd = open_file();
  struct flock lock = range(F_WRLCK);
  EXPECT_ERRNO(EBADF, flock(-1, LOCK_EX));
  EXPECT_ERRNO(EINVAL, flock(fd, 77));
  EXPECT_ERRNO(EBADF, fcntl(-1, F_SETLKW, &lock));
  EXPECT_ERRNO(EBADF, fcntl(-1, F_OFD_SETLKW, &lock));
  EXPECT_ERRNO(EFAULT, fcntl(fd, F_SETLKW, 8));
  lock.l_pid = 1;
  EXPECT_ERRNO(EINVAL, fcntl(fd, F_OFD_SETLKW, &lock));
  close(fd);
}

int main() {
  snprintf(path, sizeof path, "/tmp/hook_test_lock.XXXXXX");
  close(NEED(mkstemp(path)));
  from_both([] {
    whole_files();
    many_want_one();
    ranges_of_a_description();
    ranges_of_the_process();
    errors();
  });
  unlink(path);
  return finish();
}
