"""A future as gevent's AsyncResult: readers block until it has a value, an error, or they have waited long enough.

Prints:
    reader 1 got hello
    reader 2 got hello
    reader 3 got hello
    at once: hello
    the other one failed with ValueError: no such thing
    the third: TimeoutError after a while
    the fourth was cancelled
    all readers: as long as the longest
"""

import threading
import time
from concurrent.futures import CancelledError, Future, TimeoutError

from lesson import run_all, timed

result, failure, never = Future(), Future(), Future()
got = {}


def setter():
    time.sleep(0.4)
    result.set_result("hello")
    failure.set_exception(ValueError("no such thing"))


def reader(number):
    got[number] = result.result()


with timed("all readers", [0.4] * 4):
    run_all([threading.Thread(target=setter), *(threading.Thread(target=reader, args=(n,)) for n in (1, 2, 3))])
    for number in sorted(got):
        print(f"reader {number} got {got[number]}")
    print("at once:", result.result(timeout=0))
    try:
        failure.result()
    except ValueError as error:
        print(f"the other one failed with ValueError: {error}")
    try:
        never.result(timeout=0.1)
    except TimeoutError:
        print("the third: TimeoutError after a while")
    never.cancel()
    try:
        never.result()
    except CancelledError:
        print("the fourth was cancelled")
