"""Semaphore(2): six workers come one after the other, two are inside at a time. A bounded one counts back.

Prints:
    worker 0 acquired
    worker 1 acquired
    worker 0 released
    worker 2 acquired
    worker 1 released
    worker 3 acquired
    worker 2 released
    worker 4 acquired
    worker 3 released
    worker 5 acquired
    worker 4 released
    worker 5 released
    never more than 2 inside
    no third at once: False
    one release too many: Semaphore released too many times
"""

import threading
import time

from lesson import run_all

semaphore = threading.BoundedSemaphore(2)
lock, inside, most, log = threading.Lock(), 0, 0, []


def worker(number):
    global inside, most
    time.sleep(0.15 * number)
    semaphore.acquire()
    with lock:
        inside += 1
        most = max(most, inside)
        log.append((number, "acquired"))
    time.sleep(0.5)
    with lock:
        inside -= 1
        log.append((number, "released"))
    semaphore.release()


run_all([threading.Thread(target=worker, args=(number,)) for number in range(6)])
for number, word in log:
    print(f"worker {number} {word}")
print(f"never more than {most} inside")
with semaphore, semaphore:
    print("no third at once:", semaphore.acquire(timeout=0.05))
try:
    semaphore.release()
except ValueError as error:
    print("one release too many:", error)
