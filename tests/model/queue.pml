/* SPDX-License-Identifier: Apache-2.0
 *
 * The address-keyed queues (scheduler/wait_queue.h) under a semaphore, as hooks/condition_sem.cc and lock.cc use them: try,
 * enqueue, look again, park; the other side changes the state and then looks for waiters. Two waiters of which one also
 * has a time-out, two posts by foreign threads. A waiter whose second look succeeds withdraws, and passes on a wake that
 * had already chosen it.
 *
 * Checked in every interleaving: a node is in the queue once; and at the end nobody is parked while the value is not
 * zero: the wake that should have come was lost (an assertion, and spin's invalid end states).
 */
#define WAITERS 2
#define POSTS 2

/* Fiber::wake_word of the present epoch */
mtype = { idle, armed, ready, timed_out }
mtype word[WAITERS] = idle;

byte value = 0;         /* the semaphore's */
byte taken = 0, posted = 0;
bool linked[WAITERS];   /* QueueNode::linked */
byte waiters = 0;       /* Bucket::waiters */
bool locked = false;    /* Bucket::lock */
bool parked[WAITERS];
byte left = 0;          /* waiters that are through, with a token or without */

inline lock() { atomic { !locked -> locked = true } }
inline unlock() { locked = false }

inline try_take(got) {
  atomic {
    if
    :: value > 0 -> value--; taken++; got = true
    :: else -> got = false
    fi
  }
}

/* wake(): compare-and-swap of the wake word. What follows it, the inbox, is hub.pml's. */
inline wake(w, how, hit) {
  atomic {
    if
    :: word[w] == armed -> word[w] = how; hit = true
    :: else -> hit = false
    fi
  }
}

/* wake_queue(key, 1): first come first served does not matter here. A waiter that something else woke at the same moment does
 * not count, and the next one gets its turn. */
inline wake_queue() {
  if
  :: waiters == 0 /* may_have_waiters(), without the lock */
  :: else ->
     lock();
     hit = false;
     w = 0;
     do
     :: w < WAITERS && linked[w] && !hit ->
        linked[w] = false;
        waiters--;
        wake(w, ready, hit);
#ifdef BREAK_NEXT
        hit = true;
#endif
        w++
     :: w < WAITERS && !linked[w] && !hit -> w++
     :: w == WAITERS || hit -> break
     od;
     unlock()
  fi
}

proctype waiter(byte me) {
  bool got, hit;
  byte w;
again:
  try_take(got);
  if
  :: got -> goto out
  :: else
  fi;
  word[me] = armed; /* Wait::Wait */
#ifdef BREAK_SECOND_LOOK
  got = false;
#endif
  /* enqueue() */
  lock();
#ifndef BREAK_ANNOUNCE
  waiters++;
#endif
  assert(!linked[me]);
  linked[me] = true;
  unlock();
#ifndef BREAK_SECOND_LOOK
  try_take(got);
#endif
#ifdef BREAK_ANNOUNCE
  waiters++;
#endif
  if
  :: got -> /* Wait::withdraw() */
     atomic {
       if
       :: word[me] == armed -> word[me] = idle; hit = false
       :: else -> hit = (word[me] == ready); word[me] = idle
       fi
     }
     lock();
     if
     :: linked[me] -> linked[me] = false; waiters--
     :: else
     fi;
     unlock();
#ifndef BREAK_PASS_ON
     if
     :: hit -> wake_queue()
     :: else
     fi;
#endif
     goto out
  :: else
  fi;
  parked[me] = true;
  if
  :: word[me] != armed
  fi;
  parked[me] = false;
  /* delivery: Wait::disarm() takes the node out */
  lock();
  if
  :: linked[me] -> linked[me] = false; waiters--
  :: else
  fi;
  unlock();
  if
  :: word[me] == timed_out -> word[me] = idle; goto gone
  :: else -> word[me] = idle; goto again
  fi;
gone: /* a time-out: one last look */
  try_take(got);
out:
  left++
}

proctype timer(byte whom) {
  bool hit;
  wake(whom, timed_out, hit)
}

proctype poster() {
  bool hit;
  byte w;
  d_step { value++; posted++ }
  wake_queue()
}

/* Who is parked for good is so for want of tokens only. */
proctype judge() {
  timeout;
  assert(value == 0 || (!parked[0] && !parked[1]));
  assert(left == WAITERS || taken == posted)
}

init {
  atomic {
    run waiter(0);
    run waiter(1);
    run timer(1);
    run poster();
    run poster();
    run judge()
  }
}
