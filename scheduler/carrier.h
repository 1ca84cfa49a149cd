// SPDX-License-Identifier: Apache-2.0
//
// Carriers: the kernel threads that run hubs. A carrier has a base context of its own. While it carries a hub it is in
// the hub's context or in a fiber's; when its hub was handed on and its fiber has parked, it falls back to its base and
// waits for another hub. The program's first kernel thread is a carrier too: its own stack and thread block belong to
// the main fiber, so its base has a stack and a block made for it.
//
//   hub word (Hub::lent_)         who moves it
//   null ─► F   lend              the carrier, when fiber F goes out to the program's code (Critical::leave)
//   F ─► null   claim             F, when it comes back into the engine (Critical::enter): the hub is in its hands
//   F ─► null   hand over         the supervisor, when F has been out for long and others wait: F has lost the hub and
//                                 rejoins as a ready fiber at its next claim, which fails
#pragma once

#include "scheduler/fiber.h"
#include "scheduler/hub.h"

namespace coro {

struct Carrier {
  Context base;
  std::atomic<int> tid{0};
  std::atomic<uint64_t> mask{~uint64_t{0}};  // the kernel's signal mask of it, as we set it
  uint32_t work = 0;  // futex: bumped when a hub is given
  std::atomic<Hub*> given{nullptr};
  pthread_t thread{};       // of those that the engine made
  bool has_filter = false;  // the backstop's; what is made or executed here would inherit it
  Carrier* next = nullptr;  // in the list of idle carriers
  Carrier* next_of_all = nullptr;

  // On the carrier itself: gives it a signal mask, and in any case blocks what every fiber blocks.
  void wear(uint64_t wanted);
};

// Makes the calling kernel thread the carrier of `hub`, whose base context is already made. Null, or why not.
const char* adopt_kernel_thread(Hub& hub);

// An idle carrier or a fresh one, for give() or put_back(). Null: there is no memory for one, or the kernel has none. To be
// called before a hub is taken from anybody: making one takes libc's locks, whose holder may be about to need that hub.
Carrier* reserve_carrier();
void put_back(Carrier& carrier);

// The hub is nobody's.
void give(Carrier& carrier, Hub& hub);

// No other carrier goes on, once this returns, with a signal let through that carrier_mask() blocks. In a critical
// section.
void tell_carriers_mask();

// The signal handler's part of it. `context`: of the interrupted code.
void hear_mask(Carrier& carrier, void* context);

void forget_carriers_in_child();

// Loads the backstop's filter for the calling kernel thread, which `carrier` stands for, unless it has it. Only when the
// supervisor runs, which makes all kernel threads from then on.
void load_filter(Carrier& carrier);

// Whether processes started here would inherit the filter. Any thread.
bool is_filtered_here();

// The supervisor: takes the stacks of carriers that have gone.
void bury_carriers();

// The fiber lost its hub while it was out: leaves its kernel thread and comes back as a ready fiber. Parks.
void rejoin(Fiber& fiber);

}  // namespace coro
