// SPDX-License-Identifier: Apache-2.0
//
// What the engine keeps by descriptor number: which life the number is in, which hubs know it, and which numbers are the
// engine's own. Any thread.
#pragma once

#include <cstdint>

namespace coro {

// A number means something else after each close. The generation tells the lives apart, so that a hub that has not yet
// heard of a close never takes the old registration for the new descriptor's.
uint32_t generation_of(int fd);

struct EndedLife {
  uint32_t generation = 0;
  uint64_t hubs = 0;  // bit i: hub i may have a registration of it, and must hear
};
uint64_t hubs_that_know(int fd);
// Begins the number's next life.
EndedLife end_generation(int fd);
// From before its end until the kernel has closed it: who registers the number meanwhile would be registered with what goes,
// and never hear of it. Pairs may overlap.
void begin_closing(int fd);
void end_closing(int fd);
bool is_closing(int fd);
void forget_closers();  // in a forked child

// Said by hub `index` itself: before it looks at the generation of what it registers, and then at is_closing(), so that
// either the closer sees the hub or the hub sees the closer or the new generation; and when it has let go.
void note_hub(int fd, int index);
void forget_hub(int fd, int index);

// The engine's own descriptors: hidden from the program's close, close_range and dup2.
void note_own(int fd);
void forget_own(int fd);
void close_own(int fd);  // does nothing with -1
bool is_our_descriptor(int fd);

// The system call `number`, which makes a descriptor, as the kernel answers it; also at the limit of descriptors, which may
// be the program's own and lower than it need be. must: waits until there is one.
long open_own(long number, long first, long second, bool must);

// Moves a descriptor (close-on-exec) to a high number, out of the way of daemons that close all they do not know and of
// programs that count on the lowest free one; returns the new number.
int to_high_number(int fd);

// What a hub's event loop needs. It can be had beforehand: a descriptor that is being made has, for a moment, the lowest
// free number, and a fiber that opens something just then would be given another than alone.
struct LoopDescriptors {
  int epoll = -1, bell = -1, timer = -1, step = -1;
};
// For the hubs from 1 on, as long as there are descriptors. Once; before there is a second hub.
void reserve_loops(int hubs, bool epoll);
// Those of the hub, reserved or made now; -1: not to be had. epoll only if reserved.
LoopDescriptors take_loop(int hub);
void drop_reserved_loops();  // in a forked child, whose parent's they are

}  // namespace coro
