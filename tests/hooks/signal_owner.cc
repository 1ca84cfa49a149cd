// SPDX-License-Identifier: Apache-2.0
//
// fcntl(2), F_SETOWN_EX with F_OWNER_TID: SIGIO, SIGURG and the signal of F_SETSIG go to that
// thread, whoever else would take them; the owner is told by F_GETOWN_EX and F_GETOWN; other owners
// replace it.
#include "thread_testing.h"

static void own(int fd, int type, pid_t who) {
  f_owner_ex const owner{static_cast<__pid_type>(type), who};
  EXPECT_OK(0, fcntl(fd, F_SETOWN_EX, &owner));
}

static void expect_owner(int fd, int type, pid_t who) {
  guarded<f_owner_ex> owner;
  EXPECT_OK(0, fcntl(fd, F_GETOWN_EX, &owner));
  EXPECT_EQ(type, owner.value.type);
  EXPECT_EQ(who, owner.value.pid);
  EXPECT_EQ(who, fcntl(fd, F_GETOWN));
}

static std::atomic<int> count[2];
static std::atomic<int> number, code;
static thread_local int me = -1;

static void note_handler(int signal) {
  struct sigaction action {};
  action.sa_sigaction = [](int what, siginfo_t* info, void*) {
    number = what;
    code = info->si_code;
    if (me >= 0) count[me]++;
    if (me < 0) EXPECT(!"the wrong thread");
  };
  action.sa_flags = SA_SIGINFO;
  EXPECT_EQ(0, sigaction(signal, &action, nullptr));
}

// Two threads with a socket each, waiting in pause() when `parked`, else computing.
static void each_hears_of_its_own(bool parked, bool urgent, int chosen) {
  int const signal = urgent ? SIGURG : chosen ? chosen : SIGIO;
  note_handler(signal);
  std::atomic<bool> done{false};
  std::atomic<int> ready{0};
  Tcp pairs[2];
  auto body = [&](int i) {
    return [&, i] {
      me = i;
      int const fd = pairs[i].b;
      own(fd, F_OWNER_TID, gettid());
      expect_owner(fd, F_OWNER_TID, gettid());
      if (chosen) EXPECT_OK(0, fcntl(fd, F_SETSIG, chosen));
      if (!urgent) EXPECT_OK(0, fcntl(fd, F_SETFL, O_ASYNC));
      ready++;
      while (!done) {
        if (parked) usleep(100000);
      }
    };
  };
  count[0] = count[1] = 0;
  {
    Pthread a(body(0));
    Pthread b(body(1));
    EXPECT(comes_true([&] { return ready == 2; }));
    for (int i : {1, 0}) {
      int const other = count[1 - i];
      EXPECT_OK(1, send(pairs[i].a, "!", 1, urgent ? MSG_OOB : 0));
      EXPECT(comes_true([&] { return count[i] > 0; }));
      EXPECT_EQ(signal, number.load());
      EXPECT_EQ(chosen ? int{POLL_IN} : int{SI_KERNEL}, code.load());
      EXPECT_EQ(other, count[1 - i].load());
      char byte;
      recv(pairs[i].b, &byte, 1, urgent ? MSG_OOB : 0);
    }
    done = true;
  }
}

static void owners_replace_each_other() {
  Pair const pair;
  own(pair.a, F_OWNER_TID, gettid());
  expect_owner(pair.a, F_OWNER_TID, gettid());
  own(pair.a, F_OWNER_PID, getpid());
  expect_owner(pair.a, F_OWNER_PID, getpid());
  own(pair.a, F_OWNER_TID, gettid());
  EXPECT_OK(0, fcntl(pair.a, F_SETOWN, getpid()));
  expect_owner(pair.a, F_OWNER_PID, getpid());
  own(pair.a, F_OWNER_TID, 0);
  EXPECT_EQ(0, fcntl(pair.a, F_GETOWN));
  f_owner_ex owner{F_OWNER_TID, 0x3fffffff};
  EXPECT_ERRNO(ESRCH, fcntl(pair.a, F_SETOWN_EX, &owner));
  owner.type = static_cast<__pid_type>(77);
  EXPECT_ERRNO(EINVAL, fcntl(pair.a, F_SETOWN_EX, &owner));
  EXPECT_ERRNO(EFAULT, fcntl(pair.a, F_SETOWN_EX, nullptr));
  EXPECT_ERRNO(EFAULT, fcntl(pair.a, F_GETOWN_EX, nullptr));
  owner = {F_OWNER_TID, gettid()};
  EXPECT_ERRNO(EBADF, fcntl(-1, F_SETOWN_EX, &owner));
  int const old = pair.a;
  Pair next;  // a number that is used again has no owner
  own(next.a, F_OWNER_TID, gettid());
  int const reused = next.a;
  next.close_a();
  int const copy = NEED(dup(old));
  EXPECT(copy == reused);
  close(copy);
  int const fresh = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_EQ(0, fcntl(fresh, F_GETOWN));
  close(fresh);
}

int main() {
  from_both([] {
    owners_replace_each_other();
    for (bool parked : {true, false}) {
      each_hears_of_its_own(parked, false, 0);
      each_hears_of_its_own(parked, true, 0);
      each_hears_of_its_own(parked, false, SIGRTMIN + 3);
    }
  });
  return finish();
}
