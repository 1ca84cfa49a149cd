// SPDX-License-Identifier: Apache-2.0
//
// pthread_cond_timedwait on CLOCK_REALTIME and (by attribute) CLOCK_MONOTONIC,
// pthread_cond_clockwait on either: time-outs not early and not absurdly late, the mutex is held
// again afterwards even when that takes longer, past and invalid deadlines, invalid clocks, wakes
// before the deadline, time-outs that race signals lose no ticket, many deadlines at once end in
// their order.
#include <vector>

#include "thread_testing.h"

struct Place {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t condition;
  explicit Place(clockid_t clock = CLOCK_REALTIME) {
    pthread_condattr_t attributes;
    EXPECT_EQ(0, pthread_condattr_init(&attributes));
    EXPECT_EQ(0, pthread_condattr_setclock(&attributes, clock));
    clockid_t got = -1;
    EXPECT_EQ(0, pthread_condattr_getclock(&attributes, &got));
    EXPECT_EQ(clock, got);
    EXPECT_EQ(0, pthread_cond_init(&condition, &attributes));
    EXPECT_EQ(0, pthread_condattr_destroy(&attributes));
  }
  ~Place() { EXPECT_EQ(0, pthread_cond_destroy(&condition)); }
};

using Wait = std::function<int(Place&, const timespec*)>;

static int timed(Place& place, const timespec* deadline) {
  return pthread_cond_timedwait(&place.condition, &place.mutex, deadline);
}
static int by_realtime(Place& place, const timespec* deadline) {
  return pthread_cond_clockwait(&place.condition, &place.mutex, CLOCK_REALTIME, deadline);
}
static int by_monotonic(Place& place, const timespec* deadline) {
  return pthread_cond_clockwait(&place.condition, &place.mutex, CLOCK_MONOTONIC, deadline);
}

static void time_outs(clockid_t own, clockid_t clock, const Wait& wait) {
  Place place(own);
  EXPECT_EQ(0, pthread_mutex_lock(&place.mutex));
  errno = 77;
  timespec deadline = from_now(30, clock);
  timespec const copy = deadline;
  long long const start = now_us();
  while_others_tick([&] { EXPECT_EQ(ETIMEDOUT, wait(place, &deadline)); });
  EXPECT(now_us() - start >= 29000 && now_us() - start < 1000000);
  EXPECT(deadline.tv_sec == copy.tv_sec && deadline.tv_nsec == copy.tv_nsec);
  EXPECT_EQ(EBUSY, pthread_mutex_trylock(&place.mutex));  // held again

  deadline = from_now(-1000, clock);
  EXPECT_EQ(ETIMEDOUT, wait(place, &deadline));
  deadline = {0, 0};
  EXPECT_EQ(ETIMEDOUT, wait(place, &deadline));
  deadline = {-1, 0};
  EXPECT_EQ(ETIMEDOUT, wait(place, &deadline));
  for (long wrong : {-1L, 1000000000L}) {
    deadline = from_now(1000, clock);
    deadline.tv_nsec = wrong;
    EXPECT_EQ(EINVAL, wait(place, &deadline));
    EXPECT_EQ(EBUSY, pthread_mutex_trylock(&place.mutex));
  }
  EXPECT_EQ(77, errno);

  // Woken in time.
  bool ready = false;
  Pthread waker([&] {
    nap(20);
    pthread_mutex_lock(&place.mutex);
    ready = true;
    pthread_cond_signal(&place.condition);
    pthread_mutex_unlock(&place.mutex);
  });
  deadline = from_now(4000, clock);
  while_others_tick([&] {
    while (!ready) EXPECT_EQ(0, wait(place, &deadline));
  });
  EXPECT_EQ(0, pthread_mutex_unlock(&place.mutex));
}

static void the_mutex_may_take_longer() {
  Place place;
  std::atomic<bool> locked{false};
  EXPECT_EQ(0, pthread_mutex_lock(&place.mutex));
  Pthread holder([&] {
    pthread_mutex_lock(&place.mutex);  // as soon as main waits
    locked = true;
    nap(50);
    locked = false;
    pthread_mutex_unlock(&place.mutex);
  });
  timespec const deadline = from_now(10);
  EXPECT_EQ(ETIMEDOUT, timed(place, &deadline));
  EXPECT(!locked);
  EXPECT_EQ(0, pthread_mutex_unlock(&place.mutex));
}

static void wrong_clocks() {
  Place place;
  timespec const deadline = from_now(1000);
  EXPECT_EQ(0, pthread_mutex_lock(&place.mutex));
  for (clockid_t clock : {CLOCK_PROCESS_CPUTIME_ID, CLOCK_BOOTTIME, clockid_t{99}}) {
    EXPECT_EQ(EINVAL, pthread_cond_clockwait(&place.condition, &place.mutex, clock, &deadline));
  }
  EXPECT_EQ(0, pthread_mutex_unlock(&place.mutex));
  pthread_condattr_t attributes;
  EXPECT_EQ(0, pthread_condattr_init(&attributes));
  EXPECT_EQ(EINVAL, pthread_condattr_setclock(&attributes, CLOCK_PROCESS_CPUTIME_ID));
  EXPECT_EQ(EINVAL, pthread_condattr_setclock(&attributes, 99));
  EXPECT_EQ(EINVAL, pthread_condattr_setpshared(&attributes, 99));
  clockid_t clock = -1;
  EXPECT_EQ(0, pthread_condattr_getclock(&attributes, &clock));
  EXPECT_EQ(CLOCK_REALTIME, clock);
  EXPECT_EQ(0, pthread_condattr_destroy(&attributes));
}

static void deadlines_end_in_their_order() {
  static Place place(CLOCK_MONOTONIC);
  static std::vector<int> ended;
  std::vector<Pthread> threads;
  timespec const base = from_now(30, CLOCK_MONOTONIC);
  for (int i = 0; i < 10; ++i) {
    int const rank = (i * 7) % 10;  // made in another order than they end
    threads.emplace_back([rank, base] {
      timespec deadline = base;
      deadline.tv_nsec += rank * 15000000L;
      if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_nsec -= 1000000000;
        ++deadline.tv_sec;
      }
      pthread_mutex_lock(&place.mutex);
      while (timed(place, &deadline) != ETIMEDOUT) {
      }
      timespec now{};
      clock_gettime(CLOCK_MONOTONIC, &now);
      EXPECT(now.tv_sec > deadline.tv_sec ||
             (now.tv_sec == deadline.tv_sec && now.tv_nsec >= deadline.tv_nsec));
      ended.push_back(rank);
      pthread_mutex_unlock(&place.mutex);
    });
  }
  threads.clear();
  EXPECT_EQ(10, ended.size());
  EXPECT(ended.front() < ended.back());
}

static void races_lose_nothing() {
  static Place place;
  static int tickets = 0;
  static int taken = 0;
  static std::atomic<bool> stop{false};
  std::vector<Pthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([] {
      pthread_mutex_lock(&place.mutex);
      while (!stop || tickets > 0) {
        timespec const deadline = from_now(1);
        int const answer = timed(place, &deadline);
        EXPECT(answer == 0 || answer == ETIMEDOUT);
        if (tickets > 0) {
          --tickets;
          ++taken;
        }
      }
      pthread_mutex_unlock(&place.mutex);
    });
  }
  for (int i = 0; i < 200; ++i) {
    pthread_mutex_lock(&place.mutex);
    ++tickets;
    pthread_cond_signal(&place.condition);
    pthread_mutex_unlock(&place.mutex);
    if (i % 4 == 0) sched_yield();
    if (i % 20 == 0) nap(1);
  }
  stop = true;
  threads.clear();
  EXPECT_EQ(200, taken);
}

int main() {
  time_outs(CLOCK_REALTIME, CLOCK_REALTIME, timed);
  time_outs(CLOCK_MONOTONIC, CLOCK_MONOTONIC, timed);
  time_outs(CLOCK_REALTIME, CLOCK_MONOTONIC, by_monotonic);
  time_outs(CLOCK_MONOTONIC, CLOCK_REALTIME, by_realtime);
  the_mutex_may_take_longer();
  wrong_clocks();
  deadlines_end_in_their_order();
  races_lose_nothing();
  return finish();
}
