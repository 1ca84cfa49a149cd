/* SPDX-License-Identifier: Apache-2.0
 *
 * A hub's protocols as a model for spin: owner word (Hub::lent_), inbox, sleep and bell, hand-off and rejoin, wakes by epoch,
 * the supervisor's sleep. What is one step here is one atomic instruction there, or touches what only the hub's owner may
 * touch at that time, which the assertions on `owner` check. Memory is sequentially consistent, as the code asks for
 * wherever two of these words meet; TSan (./check tsan) looks after the rest. docs/scheduling.md tells the story.
 *
 * Checked in every interleaving:
 *  - only one carrier at a time runs the hub (owner);
 *  - a fiber is never in two queues, and never run while its last run has not left its stack (running);
 *  - no wake is lost and nobody is stuck: every run ends with all fibers done, although fiber 0 keeps its kernel thread
 *    in a call that only fiber 1 can end, and fiber 1 waits for wakes of a foreign thread. A run that stops elsewhere is
 *    spin's "invalid end state".
 *
 * With -DBREAK_... one rule is left out, and spin must find the error (tests/model/run.py): a model that cannot fail proves nothing.
 */
#define FIBERS 2
#define CARRIERS 3
#define NOBODY 255

byte lent = NOBODY;      /* Hub::lent_: the fiber that is out in the program's code */
byte owner = 0;          /* ghost: the carrier that may touch the hub; NOBODY while it is given away */
bool in_inbox[FIBERS];   /* Hub::inbox_ */
bool ready[FIBERS];      /* ready queue; the owner's */
bool running[FIBERS];    /* ghost: on a carrier, on its own stack */
bool sleeping = false;   /* Hub::sleeping_ */
byte bell = 0;           /* the eventfd */

byte epoch = 0;          /* fiber 1's wake word: epoch << 8 | armed */
bool armed = false;
byte orphan = NOBODY;    /* fiber 0's orphan_tid: the carrier it keeps while it has lost the hub */
bool raw_event = false;  /* what fiber 0's unhooked call waits for */
byte times_out = 0;      /* how often fiber 0 was out */
byte waits = 0;          /* how often fiber 1 has waited */
byte request = 0;        /* fiber 1 tells the waker: wake the wait of this epoch */
byte done = 0;

bool idle[CARRIERS];     /* list of idle carriers */
bool given[CARRIERS];    /* Carrier::given */

bool asleep = false;     /* the supervisor's futex */

#define all_done (done == FIBERS)

/* Hub::drop_in. Any thread. */
inline drop_in(f) {
  d_step {
    assert(!in_inbox[f] && !ready[f]);
    in_inbox[f] = true
  }
#ifdef BREAK_BELL
  skip
#else
  if
  :: sleeping ->
     d_step {
       if
       :: sleeping -> sleeping = false; bell++
       :: else
       fi
     }
  :: else
  fi
#endif
}

/* supervisor.cc note_busy(): after a hub's sleep. */
inline note_busy() {
#ifndef BREAK_NOTE_BUSY
  asleep = false
#else
  skip
#endif
}

inline own() { assert(owner == me) }

proctype carrier(byte me) {
  bool lost;
  if
  :: me == 0 -> goto hub_loop
  :: else
  fi;

lie_down:
  idle[me] = true;
  if /* wait_for_hub() */
  :: given[me] -> given[me] = false
  :: all_done -> goto end
  fi;

hub_loop: skip;
  d_step { /* deliver_inbox(): one exchange; what it then does is the owner's */
    own();
    assert(lent == NOBODY);
    if
    :: in_inbox[0] ->
       in_inbox[0] = false;
       ready[0] = true;
#ifndef BREAK_ORPHAN
       orphan = NOBODY
#endif
    :: else
    fi;
    if
    :: in_inbox[1] -> in_inbox[1] = false; ready[1] = true
    :: else
    fi
  }
  if
  :: all_done -> goto end
  :: ready[0] -> goto run0
  :: ready[1] -> goto run1
  :: !all_done && !ready[0] && !ready[1]
  fi;

  /* prepare_to_sleep(): announce, then look once more */
  sleeping = true;
#ifndef BREAK_SECOND_LOOK
  if
  :: in_inbox[0] || in_inbox[1] ->
     sleeping = false;
     note_busy();
     goto hub_loop
  :: else
  fi;
#endif
  if /* epoll_wait() */
  :: bell > 0 -> bell--
  :: all_done -> goto end
  fi;
  sleeping = false;
  note_busy();
  goto hub_loop;

run0: skip; /* Fiber 0 goes out twice; the second call ends only after fiber 1 is through. */
  d_step { own(); ready[0] = false; assert(!running[0] && orphan == NOBODY); running[0] = true }
go_out:
  lent = 0; /* Critical::leave: from here on the hub may be handed over */
  if
  :: raw_event
  :: times_out == 0
  fi;
  atomic { /* Critical::enter: claim, one compare-and-swap */
    lost = (lent != 0);
    lent = (lost -> lent : NOBODY)
  }
  times_out++;
  if
  :: lost ->
     /* rejoin(): to the carrier's base, and only there, with the stack left, into the inbox */
#ifdef BREAK_REJOIN
     drop_in(0);
     running[0] = false;
#else
     running[0] = false;
#ifdef BREAK_ORPHAN
     orphan = NOBODY;
#endif
     drop_in(0);
#endif
     goto lie_down
  :: else -> own()
  fi;
  if
  :: times_out < 2 -> goto go_out
  :: else -> d_step { running[0] = false; done++ }
  fi;
  goto hub_loop;

run1: skip; /* Fiber 1 parks twice, then ends what fiber 0 waits for. */
  d_step { own(); ready[1] = false; assert(!running[1]); running[1] = true }
  if
  :: waits < 2 ->
     waits++;
     d_step { epoch++; armed = true } /* Wait::Wait: one store of the wake word */
     request = epoch; /* the waker can wake from here on, before the stack is left */
     running[1] = false; /* Hub::leave; the wake is delivered later, by this same carrier */
     goto hub_loop
  :: else ->
     raw_event = true;
     d_step { running[1] = false; done++ };
     goto hub_loop
  fi;

end:
  skip
}

/* A foreign thread makes fiber 0, at any time. */
proctype maker() { drop_in(0) }

/* A foreign thread: wakes each wait, some of them twice, some late. */
proctype waker() {
  byte told = 0, tries = 0;
  bool hit;
  do
  :: request > told -> told = request; tries = 0;
again:
     atomic {
#ifdef BREAK_EPOCH
       hit = true;
#else
       hit = (armed && epoch == told);
#endif
       armed = (hit -> false : armed)
     }
     if
     :: hit -> drop_in(1)
     :: else
     fi;
     tries++;
     if
     :: tries < 2 -> goto again
     :: true
     fi
  :: all_done -> break
  od
}

/* Looks at the hub every tick; sleeps when it has seen it asleep. */
proctype supervisor() {
  byte c, spare;
  bool mine;
  do
  :: all_done -> break
  :: !all_done && sleeping ->
     /* sleep_until_busy(): announce, then look once more */
     asleep = true;
     if
     :: !sleeping -> asleep = false
     :: sleeping
     fi;
     if
     :: !asleep
     :: all_done -> break
     fi
  :: !all_done && lent != NOBODY && (in_inbox[1] || ready[1]) -> /* has_others_waiting() */
     /* hand_over(): reserve_carrier() first, an idle one, or a fresh one, which is the same here */
     if
     :: atomic { idle[0] -> idle[0] = false; spare = 0 }
     :: atomic { idle[1] -> idle[1] = false; spare = 1 }
     :: atomic { idle[2] -> idle[2] = false; spare = 2 }
     fi;
     atomic { /* then claim, by the same compare-and-swap as the fiber's */
       mine = (lent == 0);
       lent = (mine -> NOBODY : lent)
     }
     if
     :: mine ->
        c = owner;
        owner = NOBODY;
        orphan = c; /* fiber 0 may have rejoined by now: delivery, which comes after, takes it back */
        d_step { owner = spare; given[spare] = true } /* give() */
     :: else -> idle[spare] = true /* put_back() */
     fi
  od
}

init {
  atomic {
    in_inbox[1] = true;
    run maker();
    run carrier(0); run carrier(1); run carrier(2);
    run waker();
    run supervisor()
  }
}
