// SPDX-License-Identifier: Apache-2.0
//
// The hub's event loop: libev behind six verbs. Level-triggered, and lazy: a descriptor that was waited for stays
// registered after its wait, so the next read of a busy connection costs no epoll_ctl; only when an event comes that
// nobody wants is it taken out. Hub's kernel thread only, except ring().
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "scheduler/descriptors.h"

struct ev_loop;      // libev's
struct epoll_event;  // <sys/epoll.h>

namespace coro {

class Hub;
struct Deadline;
struct IoSource;
struct Slot;

enum class LoopKind : uint8_t { automatic, epoll, poll, select, io_uring };

class Loop {
 public:
  // Null, or why there is no such loop here.
  const char* open(LoopKind kind, Hub& hub);
  // In a fork's child, without freeing anything: forgets what it watched.
  void forget_in_child();
  // Drops everything; in a fork's child without touching the parent's kernel objects. intact: no other kernel thread was in
  // the middle of a turn; else libev's memory is left.
  void close(bool intact);

  void arm(IoSource& source);     // source.wait gets a wake when one of its ways is ready
  void disarm(IoSource& source);  // only its wait is forgotten; the registration stays (lazy)
  // The number's `generation` ended (see end_generation): wakes its waits with Woken::closed.
  void forget(int fd, uint32_t generation);
  // Both, for every number: some news got lost.
  void look_at_all();
  void nudge(int fd);  // wakes its waits with Woken::ready
  // The part of forget() that another kernel thread does itself, after it told the hub: the kernel hears of it, and the
  // caller may close the number when this returns.
  void forget_from_afar(int fd);

  // Without a loop: waits in the kernel, with its signal mask `mask` meanwhile. True: one of the sources is ready.
  static bool poll_in_place(IoSource* sources, int count, const Deadline& deadline, uint64_t mask);

  // Runs libev once. block: sleep until an event or `due` (steady ns).
  void turn(bool block, int64_t due);
  bool has_events();  // could a turn find something at once? Any thread
  void ring();  // makes a sleeping turn() return. Any thread, signal handlers too.
  void lose_epoll(int fd);     // libev closes it
  void replace_epoll(int fd);  // libev has opened a new one
  void follow_realtime();  // from now on hears of CLOCK_REALTIME being set

  // libev knows readable and writable only. Its calls of epoll_ctl and epoll_wait come through our hooks, which hand them
  // to these two: the kernel is asked for all that is wanted, and its answer is kept for the waits. Without the hooks, or
  // with another backend, tells_events() stays false and there is way_in and way_out.
  static bool tells_events();
  static Loop* of_epoll(int epoll);  // on a hub's kernel thread; null: the program's own descriptor
  int control(int operation, int fd, epoll_event* event);  // as epoll_ctl(2)
  void note_events(epoll_event* events, int count);        // what epoll_wait gave

  bool owns(int fd) const { return fd >= 0 && (fd == epoll_ || fd == bell_ || fd == timer_ || fd == step_); }

 private:
  friend struct Callbacks;
  const char* try_to_open(LoopKind kind);
  Slot* slot_of(int fd);
  Slot* present_slot(int fd);
  void set_ways(Slot& slot, int fd, uint8_t ways);
  void look_at_next_turn(Slot& slot);  // drop_dead_starts()
  void let_go(Slot& slot);
  void drop_dead_starts();
  void set_timer(int64_t due);
  struct ::ev_loop* loop_ = nullptr;
  Hub* hub_ = nullptr;
  Slot** chunks_ = nullptr;
  int chunk_count_ = 0;
  Slot** old_chunks_ = nullptr;  // the parent's, in a fork's child
  int old_chunk_count_ = 0;
  int epoll_ = -1, bell_ = -1, timer_ = -1, step_ = -1;
  bool follows_realtime_ = false;
  std::atomic<bool> settling_{false};
  std::atomic<Slot*> starting_{nullptr};  // watchers that libev has yet to tell the kernel of
  int64_t timer_due_ = 0;     // what timer_ is set to; 0: not set
  void* watchers_ = nullptr;
};

// The calling kernel thread is in libev, for a loop of ours. libev opens its epoll descriptor through libc's epoll_create1,
// i.e. through our hook, which asks this, and gives such a descriptor a high number.
bool is_opening_loop();
// In place of epoll_create1(2), whose result or errno it leaves.
int open_loop_descriptor(int flags);
// libev closes its descriptor, to open another: from now on the number is the program's.
void note_loop_closes(int fd);

}  // namespace coro
