// SPDX-License-Identifier: Apache-2.0
//
// The engine's protocol between kernel threads, for spin: owner word (claim, lend, hand over, visit), inbox and bell, sleep,
// wakes with epochs, the take-over of a woken fiber by its waker's hub. Every order of steps is tried. Each step
// is one access to shared memory, as in the code; what only the hub's owner touches is one step.
//
// The program: fibers in a ring, each waits on its semaphore and then posts the next one's, `rounds` times. A lost wake, or
// a hub that nobody runs, leaves everybody waiting: spin reports an invalid end state. The assertions say that a hub
// is in one pair of hands at a time, and that a fiber runs on one kernel thread at a time.
//
// Planted mistakes, each of which must be found: BREAK_NO_SECOND_LOOK, BREAK_TAKE_IN_TWO_STEPS, BREAK_VISIT_WITHOUT_MARK.
//
// Left out: descriptors and timers (their wakes come from the hub itself, through the same inbox), the queues' locks
// (an operation on a queue is one step), the supervisor's judgement (it may take any hub at any time, `takes` times).
#ifndef FIBERS
#define FIBERS 2
#endif
#ifndef HUBS
#define HUBS 2
#endif
#ifndef ROUNDS
#define ROUNDS 1  // about a million states; 2 have 18 million and need 700 MB
#endif
#ifndef TAKES
#define TAKES 1
#endif
#define KERNELS (HUBS + TAKES)  // the last ones idle at first
#define SUPERVISOR KERNELS
#define NOBODY 9
#define bit(f) (1 << (f))

// --- what the engine has ---
byte lent[HUBS];      // Hub::lent_: 0: claimed; fiber + 1: out; with `marked`: out, and visited
bool marked[HUBS];
byte inbox[HUBS], ready[HUBS];  // sets of fibers
bool sleeping[HUBS], bell[HUBS];
byte home[FIBERS];    // Fiber::hub
byte word[FIBERS];    // Fiber::wake_word: idle, armed or woken
#define idle_word 0
#define armed 1
#define woken 2
byte given[KERNELS];  // Carrier::given: hub + 1

// --- the program ---
byte tokens[FIBERS];   // semaphores
bool queued[FIBERS];   // fiber f is in the queue of semaphore f
byte done;

// --- who is where ---
mtype = { idle, base, fiber };
mtype what[KERNELS];
byte which[KERNELS];
byte pc[FIBERS];       // where a fiber goes on
byte round[FIBERS];

// --- ghosts ---
byte owner[HUBS];      // who has the hub in his hands
byte runs_on[FIBERS];

inline own(h, who) { assert(owner[h] == NOBODY); owner[h] = who }
inline disown(h, who) { assert(owner[h] == who); owner[h] = NOBODY }

inline drop_in(f, h) {  // the fiber is in no list
  inbox[h] = inbox[h] | bit(f);
  if
  :: sleeping[h] ->
     if
     :: atomic { sleeping[h] -> sleeping[h] = false }; bell[h] = true
     :: !sleeping[h]
     fi
  :: else
  fi
}

inline deliver(h) { atomic { ready[h] = ready[h] | inbox[h]; inbox[h] = 0 } }

// Leaves the fiber or the base for a ready fiber. False in `found`: there is none.
inline pick(h, k, found) {
  found = false;
  if
  :: ready[h] & 1 -> atomic { ready[h] = ready[h] & ~1; which[k] = 0; found = true }
  :: ready[h] & 2 -> atomic { ready[h] = ready[h] & ~2; which[k] = 1; found = true }
#if FIBERS > 2
  :: ready[h] & 4 -> atomic { ready[h] = ready[h] & ~4; which[k] = 2; found = true }
#endif
  :: !ready[h]
  fi;
  if
  :: found ->
     atomic {
       assert(runs_on[which[k]] == NOBODY);
       runs_on[which[k]] = k;
       home[which[k]] = h;
       word[which[k]] = idle_word;
       what[k] = fiber
     }
  :: else
  fi
}

// The running fiber's stack is left; the next one's, or the base's, goes on. The hub stays in hand.
inline leave(f, h, k, found) {
  deliver(h);
  runs_on[f] = NOBODY;
  pick(h, k, found);
  if
  :: !found -> atomic { what[k] = base; which[k] = h }
  :: else
  fi
}

// sem_wait's way through a Wait; sem_post; the end. `pc`: 0 out, goes to wait; 2 back from parking; 3 out, goes to post;
// with `rejoined`: the same, and the hub is in hand, because a hub has just resumed it.
#define rejoined 4
proctype Kernel(byte k) {
  byte f, h, next, other, far;
  bool found, claimed;
  do
  :: done == FIBERS -> break
  :: what[k] == idle && given[k] ->
     atomic { h = given[k] - 1; given[k] = 0; own(h, k); what[k] = base; which[k] = h }
  :: what[k] == base ->
     h = which[k];
     deliver(h);
     pick(h, k, found);
     if
     :: found
     :: else ->
        sleeping[h] = true;
        if
#ifndef BREAK_NO_SECOND_LOOK
        :: inbox[h] -> sleeping[h] = false
#endif
        :: else ->
           // find_work()
           claimed = false;
#if HUBS > 1
           other = 1 - h;
           if
           :: inbox[other] | ready[other] ->
              if
#ifdef BREAK_VISIT_WITHOUT_MARK
              :: atomic { lent[other] -> own(other, k) };
#else
              :: atomic { lent[other] && !marked[other] -> marked[other] = true; own(other, k) };
#endif
                 deliver(other);
                 atomic { ready[h] = ready[other]; ready[other] = 0; claimed = (ready[h] != 0) };
                 atomic { disown(other, k); marked[other] = false }
              :: !lent[other] || marked[other]
              fi
           :: else
           fi;
#endif
           if
           :: claimed -> sleeping[h] = false
           :: else ->
              if
              :: bell[h] -> bell[h] = false; sleeping[h] = false
              :: done == FIBERS -> break
              fi
           fi
        fi
     fi
  :: what[k] == fiber ->
     f = which[k];
     h = home[f];
     if
     :: pc[f] == 0 || pc[f] == 3 || pc[f] >= rejoined ->
        // Critical::enter
        claimed = false;
        do
        :: pc[f] >= rejoined -> pc[f] = pc[f] - rejoined; claimed = true; break
        :: atomic { pc[f] < rejoined && lent[h] == f + 1 && !marked[h] -> lent[h] = 0; own(h, k); claimed = true }; break
        :: pc[f] < rejoined && lent[h] != f + 1 -> break  // handed over
        od;  // marked: waits
        if
        :: !claimed ->  // rejoin: the stack is left first
           atomic { pc[f] = pc[f] + rejoined; runs_on[f] = NOBODY; what[k] = idle };
           drop_in(f, h)
        :: claimed && pc[f] == 0 ->
           // Wait, enqueue, look again
           word[f] = armed;
           queued[f] = true;
           if
           :: tokens[f] ->  // withdraw
              if
              :: atomic { word[f] == armed -> word[f] = idle_word; queued[f] = false; tokens[f]--; pc[f] = 3 };
                 atomic { disown(h, k); lent[h] = f + 1 }
              :: atomic { word[f] == woken -> pc[f] = 2 };
                 leave(f, h, k, found)
              fi
           :: else ->
              pc[f] = 2;
              leave(f, h, k, found)
           fi
        :: claimed && pc[f] == 3 ->
           next = (f + 1) % FIBERS;
           tokens[next]++;
           if
           :: atomic { queued[next] -> queued[next] = false };
              if
              :: atomic { word[next] == armed -> word[next] = woken };
                 far = home[next];
                 if  // nearer_hub()
                 :: sleeping[far] && far != h -> home[next] = h; far = h
                 :: true
                 fi;
                 drop_in(next, far)
              :: word[next] != armed
              fi
           :: !queued[next]
           fi;
           round[f]++;
           if
           :: round[f] == ROUNDS ->
              done++;
              leave(f, h, k, found)
           :: else ->
              pc[f] = 0;
              atomic { disown(h, k); lent[h] = f + 1 }
           fi
        fi
     :: pc[f] == 2 ->  // just resumed: the hub is in hand
        assert(owner[h] == k);
        if
        :: tokens[f] -> tokens[f]--; pc[f] = 3; atomic { disown(h, k); lent[h] = f + 1 }
        :: else -> pc[f] = 0; atomic { disown(h, k); lent[h] = f + 1 }
        fi
     fi
  od
}

proctype Supervisor() {
  byte h, k, left = TAKES;
  do
  :: left == 0 -> break
  :: done == FIBERS -> break
  :: left > 0 ->
     if
     :: h = 0
#if HUBS > 1
     :: h = 1
#endif
     fi;
     if
#ifdef BREAK_TAKE_IN_TWO_STEPS
     :: lent[h] && !marked[h] -> lent[h] = 0; own(h, SUPERVISOR);
#else
     :: atomic { lent[h] && !marked[h] -> lent[h] = 0; own(h, SUPERVISOR) };
#endif
        left--;
        disown(h, SUPERVISOR);
        // to an idle carrier, or a fresh one
        k = 0;
        do
        :: atomic { k < KERNELS && what[k] == idle && !given[k] -> given[k] = h + 1 }; break
        :: k < KERNELS && !(what[k] == idle && !given[k]) -> k++
        :: k == KERNELS -> k = 0
        od
     :: !lent[h] || marked[h]
     fi
  od
}

init {
  byte i;
  atomic {
    for (i : 0 .. FIBERS - 1) { runs_on[i] = NOBODY; home[i] = i % HUBS; inbox[i % HUBS] = inbox[i % HUBS] | bit(i) }
    for (i : 0 .. HUBS - 1) { owner[i] = NOBODY }
    for (i : 0 .. KERNELS - 1) {
      what[i] = idle;
      if
      :: i < HUBS -> given[i] = i + 1
      :: else
      fi
    }
    for (i : 0 .. FIBERS - 1) { pc[i] = 2 }  // comes from its birth with the hub in hand
    tokens[0] = 1;
    for (i : 0 .. KERNELS - 1) { run Kernel(i) }
    run Supervisor()
  }
}
