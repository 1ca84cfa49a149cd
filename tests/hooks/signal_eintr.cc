// SPDX-License-Identifier: Apache-2.0
//
// The table of signal(7), first half, for main and for another thread: the calls that a handler
// ends with EINTR whether it has SA_RESTART or not (poll, select, epoll, sleeps, pause, sigsuspend,
// signal waits, timed semaphores, sockets with a time-out), and what they say is left.
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "thread_testing.h"

static timespec const kFive{5, 0};

static void always_interrupted(int flags) {
  count_signal(SIGUSR1, flags);
  auto interrupted = [flags](const char* name, auto call) {
    count_signal(SIGUSR1, flags);
    int const before = handled;
    long long const start = now_ms();
    bool ended = false;
    {
      Kicker const kicker(pthread_self());
      errno = 0;
      ended = call() == -1 && errno == EINTR;
    }
    if (!ended) fprintf(stderr, "%s with flags %x\n", name, static_cast<unsigned>(flags));
    EXPECT(ended);
    EXPECT(handled > before && now_ms() - start < 2000);
  };
  Pipe const pipe;
  pollfd one{pipe.a, POLLIN, 0};
  interrupted("poll", [&] { return poll(&one, 1, 5000); });
  interrupted("ppoll", [&] { return ppoll(&one, 1, &kFive, nullptr); });
  fd_set set;
  FD_ZERO(&set);
  FD_SET(pipe.a, &set);
  interrupted("select", [&] {
    timeval time{5, 0};
    int const answer = select(pipe.a + 1, &set, nullptr, nullptr, &time);
    EXPECT(FD_ISSET(pipe.a, &set));  // untouched
    EXPECT(time.tv_sec == 4);        // Linux tells what was left
    return answer;
  });
  interrupted("pselect",
              [&] { return pselect(pipe.a + 1, &set, nullptr, nullptr, &kFive, nullptr); });
  int const epoll = NEED(epoll_create1(0));
  epoll_event event{};
  interrupted("epoll_wait", [&] { return epoll_wait(epoll, &event, 1, 5000); });
  interrupted("epoll_pwait", [&] { return epoll_pwait(epoll, &event, 1, 5000, nullptr); });
  close(epoll);
  interrupted("nanosleep", [] {
    guarded<timespec> left;
    int const answer = nanosleep(&kFive, &left);
    EXPECT(left.value.tv_sec == 4);
    return answer;
  });
  interrupted("clock_nanosleep", [] {
    timespec left{};
    errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &kFive, &left);
    EXPECT(left.tv_sec == 4);
    return -1;
  });
  interrupted("clock_nanosleep absolute", [] {
    timespec const then = from_now(5000, CLOCK_MONOTONIC);
    guarded<timespec> left;
    errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, &left);
    EXPECT(left.untouched());
    return -1;
  });
  interrupted("usleep", [] { return usleep(5000000); });
  interrupted("sleep", [] {
    unsigned const left = sleep(5);
    EXPECT(left == 5 || left == 4);
    errno = EINTR;
    return -1;
  });
  interrupted("pause", [] { return pause(); });
  sigset_t none;
  sigemptyset(&none);
  interrupted("sigsuspend", [&] { return sigsuspend(&none); });
  sigset_t usr2;
  sigemptyset(&usr2);
  sigaddset(&usr2, SIGUSR2);
  siginfo_t info;
  interrupted("sigtimedwait", [&] { return sigtimedwait(&usr2, &info, &kFive); });
  interrupted("sigwaitinfo", [&] { return sigwaitinfo(&usr2, &info); });
  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  interrupted("sem_timedwait", [&] {
    timespec const then = from_now(5000);
    return sem_timedwait(&semaphore, &then);
  });
  interrupted("sem_clockwait", [&] {
    timespec const then = from_now(5000, CLOCK_MONOTONIC);
    return sem_clockwait(&semaphore, CLOCK_MONOTONIC, &then);
  });
  sem_destroy(&semaphore);
  Tcp const tcp;
  char byte = 0;
  set_timeout(tcp.a, SO_RCVTIMEO, 5000);
  interrupted("recv with SO_RCVTIMEO", [&] { return recv(tcp.a, &byte, 1, 0); });
  set_timeout(tcp.a, SO_SNDTIMEO, 5000);
  fill_up(tcp.a);
  interrupted("send with SO_SNDTIMEO", [&] { return send(tcp.a, "x", 1, 0); });
}

int main() {
  from_both([] {
    always_interrupted(0);
    always_interrupted(SA_RESTART);
  });
  return finish();
}
