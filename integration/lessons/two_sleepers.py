"""Two sleepers interleave: each gives way to the other while it sleeps.

Prints:
    tick 0
    tock 0
    tick 1
    tock 1
    tick 2
    tock 2
    tick 3
    tock 3
    both: as long as the longest
"""

import threading
import time

from lesson import run_all, timed

STEP = 0.2
begin = time.monotonic()


def sleeper(word, phase):
    for round in range(4):
        time.sleep(max(0, begin + phase + round * STEP - time.monotonic()))
        print(word, round)


with timed("both", [3.5 * STEP, 3 * STEP]):
    run_all([threading.Thread(target=sleeper, args=("tick", 0)),
             threading.Thread(target=sleeper, args=("tock", STEP / 2))])
