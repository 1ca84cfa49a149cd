"""Pools: map keeps the order of the input, as_completed that of the endings; a pool of two never runs three at once.

Prints:
    map: 1 4 9 16 25
    ended: 0 1 2 3 4
    a pool of twenty: as long as the longest
    a pool of two: at most 2 at once, results 10
    apply: 42
    imap_unordered: a set of 10
    an error comes out where the result is asked for: ZeroDivisionError
    group: 3 + 3 threads, all joined
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.pool import ThreadPool

from lesson import run_all, timed


def square(number):
    time.sleep(0.02 * (6 - number))
    return number * number


def late(number):
    time.sleep(0.1 * number)
    return number


with ThreadPoolExecutor(20) as pool:
    print("map:", *pool.map(square, [1, 2, 3, 4, 5]))
    print("ended:", *(future.result() for future in as_completed(pool.submit(late, n) for n in (3, 1, 4, 0, 2))))
    with timed("a pool of twenty", [0.3] * 20):
        assert len(list(pool.map(time.sleep, [0.3] * 20))) == 20

lock, inside, most = threading.Lock(), 0, 0


def crowded(number):
    global inside, most
    with lock:
        inside += 1
        most = max(most, inside)
    time.sleep(0.02)
    with lock:
        inside -= 1
    return number


with ThreadPoolExecutor(2) as pool:
    results = sum(1 for _ in pool.map(crowded, range(10)))
print(f"a pool of two: at most {most} at once, results {results}")

with ThreadPool(4) as pool:
    print("apply:", pool.apply(lambda: 42))
    print("imap_unordered: a set of", len(set(pool.imap_unordered(crowded, range(10)))))
    failing = pool.apply_async(lambda: 1 / 0)
    try:
        failing.get(5)
    except ZeroDivisionError:
        print("an error comes out where the result is asked for: ZeroDivisionError")

group = [threading.Thread(target=time.sleep, args=(0.01,)) for _ in range(3)]
run_all(group)
second = [threading.Thread(target=time.sleep, args=(0.01,), daemon=True) for _ in range(3)]
run_all(second)
print(f"group: {len(group)} + {len(second)} threads, all joined")
