"""The same six tasks one after the other, then as threads: the sum of their sleeps against the longest.

Prints:
    Synchronous
    task 1 done
    task 2 done
    task 3 done
    task 4 done
    task 5 done
    task 6 done
    one after the other: as long as all together
    Asynchronous
    task 6 done
    task 5 done
    task 4 done
    task 3 done
    task 2 done
    task 1 done
    as threads: as long as the longest
"""

import threading
import time

from lesson import run_all, timed

sleeps = {number: 0.1 * (7 - number) for number in range(1, 7)}  # the later a task starts, the sooner it ends


def task(number):
    time.sleep(sleeps[number])
    print(f"task {number} done")


print("Synchronous")
with timed("one after the other", sleeps.values()):
    for number in sleeps:
        task(number)
print("Asynchronous")
with timed("as threads", sleeps.values()):
    run_all([threading.Thread(target=task, args=(number,)) for number in sleeps])
