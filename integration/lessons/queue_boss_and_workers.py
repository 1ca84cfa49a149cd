"""A Queue with a boss and three workers: unbounded, then bounded so that the boss must wait, then with timeouts.

Prints:
    unbounded: 24 tasks done, quitting time
    bounded: boss assigned all work in iteration 1
    bounded: boss assigned all work in iteration 2
    bounded: 18 tasks done, never more than 3 waiting
    get ran out of time: Empty
    put ran out of time: Full
    priorities: 1 2 3 4 5
"""

import queue
import threading
import time

from lesson import run_all


def work(tasks, done):
    """Takes tasks until none came for a while: then it is quitting time."""
    while True:
        try:
            done.append(tasks.get(timeout=0.3))
        except queue.Empty:
            return
        time.sleep(0.005)
        tasks.task_done()


def workers(tasks, done):
    return [threading.Thread(target=work, args=(tasks, done)) for _ in range(3)]


tasks, done = queue.Queue(), []
for task in range(24):
    tasks.put_nowait(task)
run_all(workers(tasks, done))
assert sorted(done) == list(range(24)), done
tasks.join()
print(f"unbounded: {len(done)} tasks done, quitting time")

tasks, done, most = queue.Queue(maxsize=3), [], 0


def boss():
    global most
    for iteration in (1, 2):
        for task in range(9):
            tasks.put((iteration, task))
            most = max(most, tasks.qsize())
        print("bounded: boss assigned all work in iteration", iteration)


run_all([*workers(tasks, done), threading.Thread(target=boss)])
assert sorted(done) == [(iteration, task) for iteration in (1, 2) for task in range(9)], done
print(f"bounded: {len(done)} tasks done, never more than {most} waiting")

try:
    tasks.get(timeout=0.05)
except queue.Empty:
    print("get ran out of time: Empty")
for task in range(3):
    tasks.put(task)
try:
    tasks.put("one too many", timeout=0.05)
except queue.Full:
    print("put ran out of time: Full")

ordered = queue.PriorityQueue()
filler = threading.Thread(target=lambda: [ordered.put(number) for number in (4, 1, 5, 3, 2)])
filler.start()
filler.join()
print("priorities:", *(ordered.get() for _ in range(5)))
