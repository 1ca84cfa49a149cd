"""threading.local: each thread sees what it put there, whoever ran in between; a subclass is made anew for each.

Prints:
    thread 0 still sees 0
    thread 1 still sees 1
    thread 2 still sees 2
    thread 3 still sees 3
    main sees nothing
    counters: 5 5 5 5, and main's 1
    locals of ended threads are gone: 4
"""

import threading
import time
import weakref

from lesson import run_all

stash = threading.local()
seen, counters, gone = {}, [], []


class Counter(threading.local):
    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1


counter = Counter()


class Token:
    pass


def thread(number):
    stash.number = number
    stash.token = Token()
    weakref.finalize(stash.token, gone.append, number)
    for _ in range(5):
        time.sleep(0.01)
        counter.add()
    seen[number] = stash.number
    counters.append(counter.count)


run_all([threading.Thread(target=thread, args=(number,)) for number in range(4)])
for number in sorted(seen):
    print(f"thread {number} still sees {seen[number]}")
print("main sees", getattr(stash, "number", "nothing"))
counter.add()
print("counters:", *counters, end="")
print(f", and main's {counter.count}")
print("locals of ended threads are gone:", len(gone))
