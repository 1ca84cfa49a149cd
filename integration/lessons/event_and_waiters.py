"""An Event: five waiters block until the setter has done what it has to do; a sixth runs out of patience first.

Prints:
    A: Hey wait for me, I have to do something
    the impatient one: gave up
    Ok, I'm done
    set and waited: as long as the longest
    set, waited, waited, waited, waited, waited
"""

import threading
import time

from lesson import run_all, timed

event = threading.Event()
said = []


def setter():
    print("A: Hey wait for me, I have to do something")
    time.sleep(0.5)
    print("Ok, I'm done")
    said.append("set")
    event.set()


def waiter():
    assert event.wait()
    said.append("waited")


def impatient():
    print("the impatient one:", "saw it" if event.wait(0.2) else "gave up")


with timed("set and waited", [0.5] * 5 + [0.2]):
    run_all([threading.Thread(target=setter), *(threading.Thread(target=waiter) for _ in range(5)),
             threading.Thread(target=impatient)])
print(*said, sep=", ")
