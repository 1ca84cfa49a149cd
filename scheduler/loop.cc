// SPDX-License-Identifier: Apache-2.0
//
// The only file with <ev.h>. libev is loaded when the first hub starts: a program without threads never pays for it.
//
// Traps of epoll and libev, each with its consequence here:
//  - a program that uses libev itself has the same one, allocator and all (gevent sets one): ours stays out of it;
//  - libev calls read, write, epoll_wait, close through the PLT, that is, our hooks: it runs on the hub only, where
//    `current` is null and every hook passes through. ev_io_start/stop make no system call, so arming on a fiber's
//    stack is sound; ev_run, ev_loop_destroy are not called there;
//  - epoll keys on the open file description: a number that was closed and given out again must be registered anew.
//    forget() stops the watcher; ev_io_set on the next start carries EV__IOFDSET, which makes libev add it again;
//  - libev rounds waiting to a millisecond (and to 59.7 s at most): deadlines come from a timerfd;
//  - a level-triggered event without a taker would spin: it takes its direction out of the watcher;
//  - in a forked child the epoll descriptor is the parent's: close() destroys ours without epoll_ctl;
//  - a description that lives on elsewhere (a duplicate, a forked child) goes on giving events after its number was
//    closed here, and libev then builds a new epoll set: forget() takes the number out itself, before the close;
//  - libev aborts when it tells the kernel of a number that is closed. So whoever closes tells each hub that knows the
//    number first, and waits while that hub is settling: from hearing of closes until the kernel knows all it watches;
//  - the other backends go by the number: what they tell may be of one that was closed, or closed and given out again, since
//    they began to wait. Its old life is let go of, as the closer's note will say; poll's POLLNVAL, of which libev makes an
//    assertion, is changed on the way (hooks/poll.cc);
//  - libev's io_uring backend (4.33, the last release) makes its IORING_OP_POLL_REMOVE in the place of an older entry whose
//    poll_events it leaves there. From Linux 5.13 on that is EINVAL, and an assertion of libev's ends the process.
// lengths: the price of keeping <ev.h> and what follows from its traps in one file
#include "scheduler/loop.h"

#include <dlfcn.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/utsname.h>

#include <algorithm>
#include <utility>

#include "scheduler/check.h"
#include "scheduler/deadline.h"
#include "scheduler/descriptors.h"
#include "scheduler/engine.h"
#include "scheduler/hub.h"
#include "scheduler/memory.h"
#include "scheduler/sys.h"
#include "scheduler/wait.h"

namespace coro {

struct Slot {
  ev_io watcher;
  IoSource* first;
  uint8_t ways;         // what the watcher asks for
  bool starting;        // in starting_: libev has yet to tell the kernel
  uint16_t asked;       // what the kernel was asked for, and what it said last: bits of epoll_ctl(2)
  uint16_t events;
  bool in_kernel;       // libev tells the kernel of starts only, not of stops
  uint32_t generation;  // of the descriptor that it was registered for
  Slot* next_starting;
};

namespace {

constexpr int slots_per_chunk = 64;

// The functions of libev that we use, loaded by name.
#define EV_FUNCTIONS(X)                                                                        \
  X(ev_loop_new) X(ev_loop_destroy) X(ev_run) X(ev_io_start) X(ev_io_stop) X(ev_supported_backends) \
  X(ev_set_loop_release_cb) X(ev_set_userdata) X(ev_userdata)
struct Ev {
#define X(name) decltype(&::name) name;
  EV_FUNCTIONS(X)
#undef X
} ev;

const char* load_libev() {
  if (ev.ev_run) return nullptr;
  void* library = dlopen("libev.so.4", RTLD_NOW | RTLD_LOCAL);
  if (!library) return "libev.so.4 is not installed (Debian: libev4)";
#define X(name)                                                                   \
  if (!(ev.name = reinterpret_cast<decltype(ev.name)>(dlsym(library, #name)))) \
    return "libev.so.4 lacks " #name;
  EV_FUNCTIONS(X)
#undef X
  return nullptr;
}

bool kernel_takes_io_uring_of_libev() {
  utsname kernel{};
  char* rest = nullptr;
  uname(&kernel);
  long major = strtol(kernel.release, &rest, 10), minor = *rest == '.' ? strtol(rest + 1, nullptr, 10) : 0;
  return major < 5 || (major == 5 && minor < 13);
}

unsigned io_uring_or_epoll() {
  constexpr unsigned io_uring = 0x80;  // EVBACKEND_IOURING, where libev was built with it
  if (kernel_takes_io_uring_of_libev()) return io_uring;
  static std::atomic<bool> told{false};
  if (!told.exchange(true)) message({"libev's io_uring backend does not work with this kernel; going on with epoll"});
  return EVBACKEND_EPOLL;
}

unsigned backend_flags(LoopKind kind) {
  switch (kind) {
    case LoopKind::epoll: return EVBACKEND_EPOLL;
    case LoopKind::poll: return EVBACKEND_POLL;
    case LoopKind::select: return EVBACKEND_SELECT;
    case LoopKind::io_uring: return io_uring_or_epoll();
    case LoopKind::automatic: break;
  }
  return EVBACKEND_EPOLL;
}

constexpr uint8_t libev_ways = way_in | way_out;
static_assert(way_in == int{EV_READ} && way_out == int{EV_WRITE});

// For libev, whatever comes in makes a descriptor readable.
int to_libev(uint8_t ways) { return (ways & way_out) | (ways & ~way_out ? EV_READ : 0); }

constexpr uint32_t coming_in = EPOLLIN | EPOLLPRI | EPOLLRDHUP;

uint32_t to_epoll(uint8_t ways) {
  return (ways & way_in ? EPOLLIN : 0u) | (ways & way_out ? EPOLLOUT : 0u) | (ways & way_urgent ? EPOLLPRI : 0u) |
         (ways & way_half_closed ? EPOLLRDHUP : 0u);
}

uint8_t to_ways(uint32_t events) {
  if (events & (EPOLLERR | EPOLLHUP)) return ~uint8_t{0};
  return static_cast<uint8_t>((events & EPOLLIN ? way_in : 0) | (events & EPOLLOUT ? way_out : 0) |
                              (events & EPOLLPRI ? way_urgent : 0) | (events & EPOLLRDHUP ? way_half_closed : 0));
}

std::atomic<bool> is_told{false};
std::atomic<void*> opening{nullptr};  // by the thread with this block
int last_adopted = -1, reserved_epoll = -1;

struct Watchers {
  ev_io bell, timer, step;
};

}  // namespace

// libev opens its epoll descriptor in ev_loop_new, and anew in ev_run when the old set cannot be mended.
static Loop* loop_turning_here() {
  if (current) return nullptr;
  for (int i = 0; i < hub_count(); i++)
    if (hub(i).base_.thread_block == this_thread_block()) return &hub(i).loop();
  return nullptr;
}

static bool is_opening_here() { return opening.load(std::memory_order_relaxed) == this_thread_block(); }

bool is_opening_loop() { return is_opening_here() || loop_turning_here(); }

static int adopt_loop_descriptor(int fd) {
  int high = to_high_number(fd);
  if (high >= 0) note_own(high);
  if (is_opening_here())
    last_adopted = high;
  else if (Loop* loop = loop_turning_here())
    loop->replace_epoll(high);
  return high;
}

int open_loop_descriptor(int flags) {
  // libev aborts when it gets none in the midst of a turn; a loop that cannot be opened is one hub less.
  if (is_opening_here() && reserved_epoll >= 0) return last_adopted = std::exchange(reserved_epoll, -1);
  long fd = open_own(SYS_epoll_create1, flags, 0, !is_opening_here());
  if (fd < 0) {
    errno = static_cast<int>(-fd);
    return -1;
  }
  return adopt_loop_descriptor(static_cast<int>(fd));
}

void note_loop_closes(int fd) {
  if (Loop* loop = loop_turning_here()) loop->lose_epoll(fd);
}

struct Callbacks {
  static Loop& loop_of(ev_io* w) { return *static_cast<Loop*>(w->data); }

  static void descriptor(struct ::ev_loop*, ev_io* watcher, int events) {
    Loop& loop = loop_of(watcher);
    auto* slot = reinterpret_cast<Slot*>(watcher);
    loop.hub_->note_awake();
    if (loop.epoll_ < 0 && slot->generation != generation_of(watcher->fd)) return loop.let_go(*slot);
    uint8_t got = slot->events ? to_ways(slot->events) : events & libev_ways;
    if (events & EV_ERROR) got = ~uint8_t{0};
    got &= slot->ways;
    uint8_t wanted = 0;
    for (IoSource* source = slot->first; source; source = source->next) {
      uint8_t hit = source->ways & got;
      if (!hit) continue;
      wanted |= hit;
      source->fired |= hit;
      source->events = slot->events;
      if (is_traced(source->wait->why()))
        trace({"fd ", Decimal(watcher->fd), hit & ~way_out ? " is readable" : " is writable"});
      loop.hub_->wake_local(*source->wait, Woken::ready);
    }
    slot->events = 0;
    if (events & EV_ERROR) {  // libev has stopped it
      slot->ways = 0;
    } else if (got & ~wanted) {
      loop.set_ways(*slot, watcher->fd, slot->ways & ~(got & ~wanted));
    }
  }

  static void bell(struct ::ev_loop*, ev_io* watcher, int) {
    loop_of(watcher).hub_->note_awake();
    uint64_t count;
    sys::read(watcher->fd, &count, sizeof count);
  }

  static void timer(struct ::ev_loop*, ev_io* watcher, int) {
    Loop& loop = loop_of(watcher);
    loop.hub_->note_awake();
    uint64_t count;
    sys::read(watcher->fd, &count, sizeof count);
    loop.timer_due_ = 0;
  }

  static void step(struct ::ev_loop*, ev_io* watcher, int) {
    Loop& loop = loop_of(watcher);
    loop.hub_->note_awake();
    uint64_t count;
    if (sys::read(watcher->fd, &count, sizeof count) == -ECANCELED) loop.hub_->clock_was_set();
    arm_step(watcher->fd);
  }

  // A time-out that never comes, cancelled when the clock is set (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET).
  static void arm_step(int fd) {
    itimerspec far{};
    far.it_value.tv_sec = int64_t{1} << 40;
    sys::call(SYS_timerfd_settime, fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET,
              sys::as_long(&far), 0);
  }

  // Before libev waits.
  static void settled(struct ::ev_loop* loop) noexcept {
    static_cast<Loop*>(ev.ev_userdata(loop))->settling_.store(false, std::memory_order_release);
  }

  static void start(ev_io& watcher, struct ::ev_loop* loop, Loop& self, int fd,
                    void (*act)(struct ::ev_loop*, ev_io*, int)) {
    memset(&watcher, 0, sizeof watcher);
    ev_io_init(&watcher, act, fd, EV_READ);
    watcher.data = &self;
    ev.ev_io_start(loop, &watcher);
  }
};

const char* Loop::open(LoopKind kind, Hub& hub) {
  hub_ = &hub;
  const char* trouble = try_to_open(kind);
  if (trouble) close(true);
  return trouble;
}

const char* Loop::try_to_open(LoopKind kind) {
  if (const char* trouble = load_libev()) return trouble;
  unsigned backend = backend_flags(kind);
  if (!(ev.ev_supported_backends() & backend)) return "this libev has no such backend";
  LoopDescriptors own = take_loop(hub_->index());
  bell_ = own.bell;
  timer_ = own.timer;
  step_ = own.step;
  reserved_epoll = own.epoll;
  opening = this_thread_block();
  loop_ = ev.ev_loop_new(backend | EVFLAG_NOENV | EVFLAG_NOSIGMASK | EVFLAG_NOTIMERFD);
  opening = nullptr;
  epoll_ = last_adopted;
  last_adopted = -1;
  close_own(std::exchange(reserved_epoll, -1));  // libev had no use for it
  if (!loop_) return "libev cannot open an event loop";
  ev.ev_set_userdata(loop_, this);
  ev.ev_set_loop_release_cb(loop_, Callbacks::settled, nullptr);
  if (bell_ < 0 || timer_ < 0 || step_ < 0) return "no descriptors left for an event loop";
  timer_due_ = 0;
  watchers_ = resize_memory(nullptr, sizeof(Watchers));
  if (!watchers_) return "no memory for an event loop";
  auto& watchers = *static_cast<Watchers*>(watchers_);
  Callbacks::start(watchers.bell, loop_, *this, bell_, Callbacks::bell);
  Callbacks::start(watchers.timer, loop_, *this, timer_, Callbacks::timer);
  follows_realtime_ = false;
  return nullptr;
}

void Loop::forget_in_child() {
  if (!chunks_) return;  // perhaps the child of a child that never opened its own
  // The slots stay for close() to free; with no chunks in sight forget() and nudge() find nothing.
  old_chunks_ = chunks_;
  old_chunk_count_ = chunk_count_;
  chunks_ = nullptr;
  chunk_count_ = 0;
}

void Loop::close(bool intact) {
  int epoll = epoll_;
  if (epoll >= 0) forget_own(epoll);
  if (intact && loop_)
    ev.ev_loop_destroy(loop_);
  else if (epoll >= 0)
    sys::close(epoll);
  loop_ = nullptr;
  close_own(bell_);
  close_own(timer_);
  close_own(step_);
  epoll_ = bell_ = timer_ = step_ = -1;
  settling_ = false;
  starting_ = nullptr;
  for (int i = 0; i < old_chunk_count_; i++) resize_memory(old_chunks_[i], 0);
  resize_memory(old_chunks_, 0);
  old_chunks_ = nullptr;
  old_chunk_count_ = 0;
  resize_memory(watchers_, 0);
  watchers_ = nullptr;
}

Slot* Loop::slot_of(int fd) {
  int chunk = fd / slots_per_chunk;
  if (chunk >= chunk_count_) {
    int count = chunk + 16;
    auto** bigger = static_cast<Slot**>(resize_memory(chunks_, sizeof(Slot*) * count));
    if (!bigger) return nullptr;
    chunks_ = bigger;
    chunk_count_ = count;
  }
  if (!chunks_[chunk]) {
    chunks_[chunk] = static_cast<Slot*>(resize_memory(nullptr, slots_per_chunk * sizeof(Slot)));
    if (!chunks_[chunk]) return nullptr;
    for (int i = 0; i < slots_per_chunk; i++) {
      ev_io& watcher = chunks_[chunk][i].watcher;
      ev_io_init(&watcher, Callbacks::descriptor, chunk * slots_per_chunk + i, 0);
      watcher.data = this;
    }
  }
  return &chunks_[chunk][fd % slots_per_chunk];
}

void Loop::look_at_next_turn(Slot& slot) {
  if (slot.starting) return;
  slot.starting = true;
  slot.next_starting = starting_.load(std::memory_order_relaxed);
  starting_.store(&slot, std::memory_order_relaxed);
}

void Loop::set_ways(Slot& slot, int fd, uint8_t ways) {
  if (slot.ways) ev.ev_io_stop(loop_, &slot.watcher);
  slot.ways = ways;
  if (!ways) return;
  slot.in_kernel = true;
  look_at_next_turn(slot);
  ev_io_set(&slot.watcher, fd, to_libev(ways));
  ev.ev_io_start(loop_, &slot.watcher);
}

void Loop::arm(IoSource& source) {
  Slot* place = slot_of(source.fd);
  note_hub(source.fd, hub_->index());
  uint32_t generation = generation_of(source.fd);
  if (!place || is_closing(source.fd)) {
    source.link = nullptr;
    hub_->wake_local(*source.wait, Woken::ready);  // tries again
    return;
  }
  Slot& slot = *place;
  if (slot.generation != generation) {
    let_go(slot);
    slot.generation = generation;
  }
  source.next = slot.first;
  source.link = &slot.first;
  if (slot.first) slot.first->link = &source.next;
  slot.first = &source;
  if (source.ways & ~slot.ways) set_ways(slot, source.fd, slot.ways | source.ways);
}

void Loop::disarm(IoSource& source) {
  if (!source.link) return;
  *source.link = source.next;
  if (source.next) source.next->link = source.link;
  source.link = nullptr;
}

void Loop::nudge(int fd) {
  Slot* slot = present_slot(fd);
  for (IoSource* source = slot ? slot->first : nullptr; source; source = source->next)
    hub_->wake_local(*source->wait, Woken::ready);
}

void Loop::forget(int fd, uint32_t generation) {
  Slot* known = present_slot(fd);
  if (!known || known->generation != generation) return;
  Slot& slot = *known;
  forget_hub(fd, hub_->index());
  if (slot.in_kernel && epoll_ >= 0) sys::call(SYS_epoll_ctl, epoll_, EPOLL_CTL_DEL, fd, 0);
  slot.in_kernel = false;
  let_go(slot);
}

void Loop::let_go(Slot& slot) {
  if (slot.ways) set_ways(slot, slot.watcher.fd, 0);
  for (IoSource* source = slot.first; source; source = source->next)
    hub_->wake_local(*source->wait, Woken::closed);
}

void Loop::look_at_all() {
  for (int fd = 0; fd < chunk_count_ * slots_per_chunk; fd++) {
    Slot* slot = present_slot(fd);
    if (!slot || !slot->first) continue;
    if (slot->generation != generation_of(fd))
      forget(fd, slot->generation);
    else
      nudge(fd);
  }
}

void Loop::forget_from_afar(int fd) {
  int epoll = epoll_;
  if (epoll >= 0) sys::call(SYS_epoll_ctl, epoll, EPOLL_CTL_DEL, fd, 0);
  while (settling_.load()) sys::call(SYS_sched_yield);
}

void Loop::drop_dead_starts() {
  while (Slot* slot = starting_.load(std::memory_order_relaxed)) {
    starting_.store(slot->next_starting, std::memory_order_relaxed);
    slot->starting = false;
    if (slot->ways && sys::call(SYS_fcntl, slot->watcher.fd, F_GETFD) == -EBADF) let_go(*slot);
  }
}

bool Loop::tells_events() { return is_told.load(std::memory_order_relaxed); }

Loop* Loop::of_epoll(int epoll) {
  for (int i = 0; i < hub_count(); i++)
    if (hub(i).loop().epoll_ == epoll) return &hub(i).loop();
  return nullptr;
}

Slot* Loop::present_slot(int fd) {
  int chunk = fd / slots_per_chunk;
  return fd < 0 || chunk >= chunk_count_ || !chunks_[chunk] ? nullptr : &chunks_[chunk][fd % slots_per_chunk];
}

int Loop::control(int operation, int fd, epoll_event* event) {
  is_told.store(true, std::memory_order_relaxed);
  Slot* known = present_slot(fd);
  Slot* slot = event && operation != EPOLL_CTL_DEL ? known : nullptr;
  if (slot && slot->ways) event->events = (event->events & ~coming_in) | to_epoll(slot->ways);
  auto call = [&](int what) {
    return static_cast<int>(sys::call(SYS_epoll_ctl, epoll_, what, fd, sys::as_long(event)));
  };
  int result = call(operation);
  // libev takes "exists" for "exists with these events" when it sees no change.
  if (result == -EEXIST && slot && slot->asked != event->events) result = call(EPOLL_CTL_MOD);
  if (result == 0 && slot) slot->asked = static_cast<uint16_t>(event->events);
  // Closed, and the closer's note not heard of yet: no reason to abort. The next turn lets go of it.
  if (result == -EBADF && slot && operation != EPOLL_CTL_DEL) {
    look_at_next_turn(*slot);
    return 0;
  }
  // Taken out by its closer, or closed: as it should be. Else libev would build a new set: each time that a peer hangs up
  // while another hub's fiber closes.
  bool is_gone = operation != EPOLL_CTL_ADD && (result == -ENOENT || result == -EBADF);
  if (is_gone && known && known->generation != generation_of(fd)) return 0;
  return result;
}

void Loop::note_events(epoll_event* events, int count) {
  for (int i = 0; i < count; i++) {
    // libev keeps the number in the lower half, a counter of its own in the upper.
    Slot* slot = present_slot(static_cast<int>(static_cast<uint32_t>(events[i].data.u64)));
    if (!slot) continue;
    slot->events = static_cast<uint16_t>(events[i].events);
    if (events[i].events & coming_in) events[i].events |= EPOLLIN;
  }
}

void Loop::replace_epoll(int fd) {
  lose_epoll(epoll_);
  epoll_ = fd;
}

void Loop::lose_epoll(int fd) {
  if (fd < 0 || fd != epoll_) return;
  forget_own(fd);
  epoll_ = -1;
}

void Loop::set_timer(int64_t due) {
  // A setting that comes early is harmless: the hub looks and sets anew.
  if (timer_due_ && timer_due_ <= due) return;
  itimerspec when{};
  when.it_value = to_timespec(due > 0 ? due : 1);
  sys::call(SYS_timerfd_settime, timer_, TFD_TIMER_ABSTIME, sys::as_long(&when), 0);
  timer_due_ = due;
}

void Loop::turn(bool block, int64_t due) {
  if (block && due != INT64_MAX) set_timer(due);
  // Ends in Callbacks::settled, when the kernel knows all that we watch.
  settling_.store(true);
  hub_->hear_of_closes();
  drop_dead_starts();
  ev.ev_run(loop_, block ? EVRUN_ONCE : EVRUN_NOWAIT);
}

bool Loop::poll_in_place(IoSource* sources, int count, const Deadline& deadline, uint64_t mask) {
  constexpr int64_t second = 1'000'000'000;  // by then the clock may have been set
  pollfd few[16];
  auto* asked = few;
  if (count > 16) asked = static_cast<pollfd*>(resize_memory(nullptr, sizeof(pollfd) * static_cast<size_t>(count)));
  if (!asked) return true;  // tries again
  for (int i = 0; i < count; i++) asked[i] = {sources[i].ways ? sources[i].fd : -1, static_cast<short>(to_epoll(sources[i].ways)), 0};
  int64_t left = deadline.left();
  timespec time = to_timespec(deadline.realtime && left > second ? second : left);
  long found = sys::call(SYS_ppoll, sys::as_long(asked), count, deadline.is_never() ? 0 : sys::as_long(&time),
                         sys::as_long(&mask), sizeof mask);
  for (int i = 0; i < count && found > 0; i++) {
    sources[i].events = static_cast<uint16_t>(asked[i].revents);
    sources[i].fired = sources[i].ways & to_ways(sources[i].events | (asked[i].revents & POLLNVAL ? EPOLLERR : 0u));
  }
  if (asked != few) resize_memory(asked, 0);
  if (found != -EINVAL) return found > 0;
  // The limit of descriptors, down to 0 perhaps, is also ppoll's: now and then the caller tries.
  timespec moment = to_timespec(std::min(left, second / 100));
  sys::call(SYS_ppoll, 0, 0, sys::as_long(&moment), sys::as_long(&mask), sizeof mask);
  return true;
}

bool Loop::has_events() {
  // The kernel cannot tell of what it has not been told: a turn has to come first.
  if (starting_.load(std::memory_order_relaxed)) return true;
  pollfd one{epoll_, POLLIN, 0};
  timespec none{};
  // Another backend has no descriptor to ask: assume that there is news.
  return epoll_ < 0 || sys::call(SYS_ppoll, sys::as_long(&one), 1, sys::as_long(&none), 0, 8) > 0;
}

void Loop::ring() {
  uint64_t one = 1;
  sys::write(bell_, &one, sizeof one);
}

void Loop::follow_realtime() {
  if (follows_realtime_) return;
  follows_realtime_ = true;
  Callbacks::arm_step(step_);
  Callbacks::start(static_cast<Watchers*>(watchers_)->step, loop_, *this, step_, Callbacks::step);
}

}  // namespace coro
