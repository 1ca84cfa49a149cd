"""Two threads wait in select() for something that never comes; a third works meanwhile. All ends when one wait does.

Prints:
    Started Polling: as long as the longest
    select 1: nothing
    select 2: nothing
    Hey lets do some stuff while the select()s wait: 10 pieces of work before either ended
"""

import select
import socket
import threading
import time

from lesson import run_all, timed

WAIT = 0.6
said = {}
quiet = [socket.socketpair() for _ in range(2)]
done = 0
over = threading.Event()


def wait(number):
    ready = select.select([quiet[number - 1][0]], [], [], WAIT)
    said[number] = "nothing" if ready == ([], [], []) else repr(ready)
    over.set()


def work():
    global done
    for _ in range(10):
        time.sleep(WAIT / 50)
        if not over.is_set():
            done += 1


with timed("Started Polling", [WAIT, WAIT, WAIT / 5]):
    run_all([threading.Thread(target=wait, args=(1,)), threading.Thread(target=wait, args=(2,)),
             threading.Thread(target=work)])
for number in sorted(said):
    print(f"select {number}: {said[number]}")
print(f"Hey lets do some stuff while the select()s wait: {done} pieces of work before either ended")
