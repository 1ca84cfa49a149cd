// SPDX-License-Identifier: Apache-2.0
//
// signal_table.cc's second half: locks, semaphores, message queues, signals, several descriptors,
// sleeps.
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <threads.h>

#include "signal_testing.h"

static timespec const kFour{4, 0};

// A thread that does something at once, and undoes it when told.
class Holder {
 public:
  Holder(std::function<void()> take, std::function<void()> give)
      : sender_([this, take = std::move(take), give = std::move(give)] {
          take();
          holds_ = true;
          while (!done_) nap(1);
          give();
        }) {
    EXPECT(comes_true([this] { return holds_.load(); }));
  }
  ~Holder() {
    done_ = true;
    sender_.join();
  }
  void let_go() { done_ = true; }

 private:
  std::atomic<bool> holds_{false};
  std::atomic<bool> done_{false};
  Sender sender_;
};

// POSIX: these never return EINTR.
static void locks() {
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  auto held = [](auto lock) {
    return [=] {
      auto holder = std::make_shared<Holder>([] { pthread_mutex_lock(&mutex); },
                                             [] { pthread_mutex_unlock(&mutex); });
      Call call = [=]() -> long {
        long const result = to_errno(lock());
        pthread_mutex_unlock(&mutex);
        return result;
      };
      return std::pair<Call, Deed>(call, [=] { holder->let_go(); });
    };
  };
  never_ends("pthread_mutex_lock", 0, held([] { return pthread_mutex_lock(&mutex); }));
  timespec const then = from_now(60000);
  never_ends("pthread_mutex_timedlock", 0,
             held([=] { return pthread_mutex_timedlock(&mutex, &then); }));

  static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
  auto written = [](auto lock) {
    return [=] {
      auto holder = std::make_shared<Holder>([] { pthread_rwlock_wrlock(&rwlock); },
                                             [] { pthread_rwlock_unlock(&rwlock); });
      Call call = [=]() -> long {
        long const result = to_errno(lock());
        pthread_rwlock_unlock(&rwlock);
        return result;
      };
      return std::pair<Call, Deed>(call, [=] { holder->let_go(); });
    };
  };
  never_ends("pthread_rwlock_rdlock", 0, written([] { return pthread_rwlock_rdlock(&rwlock); }));
  never_ends("pthread_rwlock_wrlock", 0, written([] { return pthread_rwlock_wrlock(&rwlock); }));
}

static void conditions() {
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
  static bool told;
  auto waiting = [](auto wait) {
    return [=] {
      told = false;
      Call call = [=]() -> long {
        pthread_mutex_lock(&mutex);
        int error = 0;
        while (!told && !error) error = wait();  // it may wake for no reason, but says 0
        pthread_mutex_unlock(&mutex);
        return to_errno(error);
      };
      return std::pair<Call, Deed>(call, [] {
        pthread_mutex_lock(&mutex);
        told = true;
        pthread_cond_signal(&cond);
        pthread_mutex_unlock(&mutex);
      });
    };
  };
  never_ends("pthread_cond_wait", 0, waiting([] { return pthread_cond_wait(&cond, &mutex); }));
  timespec const then = from_now(60000);
  never_ends("pthread_cond_timedwait", 0,
             waiting([=] { return pthread_cond_timedwait(&cond, &mutex, &then); }));
}

static void threads() {
  static std::atomic<bool> may_end;
  never_ends("pthread_join", 0, [] {
    may_end = false;
    auto other = std::make_shared<Holder>([] {}, [] {});  // only to have its kind of thread below
    pthread_t id;
    sigset_t all;
    sigset_t old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    EXPECT_EQ(0, pthread_create(
                     &id, nullptr,
                     [](void*) -> void* {
                       while (!may_end) nap(1);
                       return nullptr;
                     },
                     nullptr));
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
    return std::pair<Call, Deed>([id] { return to_errno(pthread_join(id, nullptr)); },
                                 [] { may_end = true; });
  });
  never_ends("pthread_barrier_wait", true, [] {
    auto barrier = std::make_shared<pthread_barrier_t>();
    auto back = std::make_shared<std::atomic<int>>(0);
    pthread_barrier_init(barrier.get(), nullptr, 2);
    Call call = [=]() -> long {
      int const result = pthread_barrier_wait(barrier.get());
      return result == 0 || result == PTHREAD_BARRIER_SERIAL_THREAD;
    };
    return std::pair<Call, Deed>(call, [=] { pthread_barrier_wait(barrier.get()); });
  });
}

static void semaphores() {
  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  restarts(
      "sem_wait", 0, [&] { return sem_wait(&semaphore); }, [&] { sem_post(&semaphore); });
  // The page has these beside sem_wait; a futex wait with an end is not restarted for a handler
  // (kernel/futex/waitwake.c: ERESTART_RESTARTBLOCK).
  never_restarts("sem_timedwait", [&] {
    timespec const then = from_now(4000);
    return sem_timedwait(&semaphore, &then);
  });
  never_restarts("sem_clockwait", [&] {
    timespec const then = from_now(4000, CLOCK_MONOTONIC);
    return sem_clockwait(&semaphore, CLOCK_MONOTONIC, &then);
  });
  sem_destroy(&semaphore);

  static uint32_t word = 0;
  auto wait = [](int operation, const timespec* time) {
    return syscall(SYS_futex, &word, operation, 0, time, nullptr, FUTEX_BITSET_MATCH_ANY);
  };
  auto wake = [](int more) {
    return [=] { syscall(SYS_futex, &word, FUTEX_WAKE | more, 1, nullptr, nullptr, 0); };
  };
  restarts(
      "FUTEX_WAIT", 0, [&] { return wait(FUTEX_WAIT_PRIVATE, nullptr); }, wake(FUTEX_PRIVATE_FLAG));
  restarts(
      "FUTEX_WAIT, shared", 0, [&] { return wait(FUTEX_WAIT, nullptr); }, wake(0));
  restarts(
      "FUTEX_WAIT_BITSET", 0, [&] { return wait(FUTEX_WAIT_BITSET_PRIVATE, nullptr); },
      wake(FUTEX_PRIVATE_FLAG));
  never_restarts("FUTEX_WAIT with a time", [&] { return wait(FUTEX_WAIT_PRIVATE, &kFour); });
  never_restarts("FUTEX_WAIT_BITSET with a time", [&] {
    timespec const then = from_now(4000, CLOCK_MONOTONIC);
    return wait(FUTEX_WAIT_BITSET_PRIVATE, &then);
  });
}

static void posix_messages() {
  char name[64];
  snprintf(name, sizeof name, "/signal_table.%d", getpid());
  mq_attr attributes{};
  attributes.mq_maxmsg = 1;
  attributes.mq_msgsize = 1;
  mqd_t const queue = mq_open(name, O_CREAT | O_RDWR, 0600, &attributes);
  mq_unlink(name);
  if (queue < 0) return;  // not in every container
  char letter = 0;
  auto put = [&] { EXPECT_EQ(0, mq_send(queue, "x", 1, 0)); };
  auto take = [&] { EXPECT_EQ(1, mq_receive(queue, &letter, 1, nullptr)); };
  timespec const then = from_now(60000);
  restarts(
      "mq_receive", 1, [&] { return mq_receive(queue, &letter, 1, nullptr); }, put);
  restarts(
      "mq_timedreceive", 1, [&] { return mq_timedreceive(queue, &letter, 1, nullptr, &then); },
      put);
  put();
  restarts(
      "mq_send", 0, [&] { return mq_send(queue, "y", 1, 0); }, take);
  restarts(
      "mq_timedsend", 0, [&] { return mq_timedsend(queue, "y", 1, 0, &then); }, take);
  mq_close(queue);
}

static void system_v() {
  struct Message {
    long type;
    char text[2048];
  } static message{1, {}};
  int const queue = NEED(msgget(IPC_PRIVATE, 0600));
  never_restarts("msgrcv", [&] { return msgrcv(queue, &message, sizeof message.text, 0, 0); });
  msqid_ds limits{};
  EXPECT_EQ(0, msgctl(queue, IPC_STAT, &limits));
  limits.msg_qbytes = sizeof message.text;
  EXPECT_EQ(0, msgctl(queue, IPC_SET, &limits));
  message.type = 1;
  EXPECT_EQ(0, msgsnd(queue, &message, sizeof message.text, 0));
  never_restarts("msgsnd", [&] { return msgsnd(queue, &message, sizeof message.text, 0); });
  msgctl(queue, IPC_RMID, nullptr);
  int const set = NEED(semget(IPC_PRIVATE, 1, 0600));
  sembuf down{0, -1, 0};
  never_restarts("semop", [&] { return semop(set, &down, 1); });
  never_restarts("semtimedop", [&] { return semtimedop(set, &down, 1, &kFour); });
  semctl(set, 0, IPC_RMID);
}

static void disk_events() {
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, 1, &context) < 0) return;  // not in every container
  io_event event;
  never_restarts("io_getevents",
                 [&] { return syscall(SYS_io_getevents, context, 1, 1, &event, nullptr); });
  syscall(SYS_io_destroy, context);
}

static void signals() {
  sigset_t none;
  sigemptyset(&none);
  sigset_t usr2 = none;
  sigaddset(&usr2, SIGUSR2);
  siginfo_t info;
  never_restarts("pause", [] { return pause(); });
  never_restarts("sigsuspend", [&] { return sigsuspend(&none); });
  never_restarts("sigtimedwait", [&] { return sigtimedwait(&usr2, &info, &kFour); });
  never_restarts("sigwaitinfo", [&] { return sigwaitinfo(&usr2, &info); });
  pthread_t const me = pthread_self();
  never_ends("sigwait", 0, [&] {  // POSIX, and glibc sees to it
    return std::pair<Call, Deed>(
        [&] {
          int number = 0;
          int const error = sigwait(&usr2, &number);
          errno = 77;  // it leaves EINTR there
          return to_errno(error);
        },
        [me] { pthread_kill(me, SIGUSR2); });
  });
}

// With what they say is left of the time.
static void several_descriptors() {
  Pipe const pipe;
  pollfd one{pipe.a, POLLIN, 0};
  never_restarts("poll", [&] { return poll(&one, 1, 4000); });
  never_restarts("ppoll", [&] { return ppoll(&one, 1, &kFour, nullptr); });
  fd_set set;
  auto ask = [&] {
    FD_ZERO(&set);
    FD_SET(pipe.a, &set);
    return &set;
  };
  never_restarts("select", [&] {
    timeval time{4, 0};
    int const answer = select(pipe.a + 1, ask(), nullptr, nullptr, &time);
    EXPECT(FD_ISSET(pipe.a, &set) && time.tv_sec == 3);
    return answer;
  });
  never_restarts("pselect",
                 [&] { return pselect(pipe.a + 1, ask(), nullptr, nullptr, &kFour, nullptr); });
  int const epoll = NEED(epoll_create1(0));
  epoll_event event{};
  never_restarts("epoll_wait", [&] { return epoll_wait(epoll, &event, 1, 4000); });
  never_restarts("epoll_pwait", [&] { return epoll_pwait(epoll, &event, 1, 4000, nullptr); });
  never_restarts("epoll_pwait2", [&] { return epoll_pwait2(epoll, &event, 1, &kFour, nullptr); });
  close(epoll);
}

static void sleeps() {
  never_restarts("nanosleep", [] {
    guarded<timespec> left;
    int const answer = nanosleep(&kFour, &left);
    EXPECT_EQ(3, left.value.tv_sec);
    return answer;
  });
  never_restarts("clock_nanosleep", [] {
    guarded<timespec> left;
    long const answer = to_errno(clock_nanosleep(CLOCK_MONOTONIC, 0, &kFour, &left));
    EXPECT_EQ(3, left.value.tv_sec);
    return answer;
  });
  never_restarts("clock_nanosleep until", [] {
    timespec const then = from_now(4000, CLOCK_MONOTONIC);
    guarded<timespec> left;
    long const answer = to_errno(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, &left));
    EXPECT(left.untouched());
    return answer;
  });
  never_restarts("thrd_sleep", [] {
    int const answer = thrd_sleep(&kFour, nullptr);
    errno = EINTR;
    return answer;
  });
  never_restarts("usleep", [] { return usleep(4000000); });
  never_restarts("sleep", [] {  // tells whole seconds, rounded up
    unsigned const left = sleep(4);
    errno = EINTR;
    return left == 3 || left == 4 ? -1 : 0;
  });
}

void waits() {
  locks();
  conditions();
  threads();
  semaphores();
  posix_messages();
  system_v();
  disk_events();
  signals();
  several_descriptors();
  sleeps();
}
