"""Signals in Python: handlers run in the main thread whatever the others do; a waiting main thread is interrupted.

Prints:
    ticks while main slept: True
    the sleep was not cut short: True
    main's join was ended by: enough
    a child's end was noticed: SIGCHLD
    a thread took SIGUSR2 with sigwait
    handler ran in MainThread
    KeyboardInterrupt in main while it waited for a lock
    the workers went on: True
"""

import os
import signal
import subprocess
import threading
import time

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])  # before there are threads: all of them inherit it
stop, worked, ticks, heard = threading.Event(), 0, 0, []


def work():
    global worked
    while not stop.is_set():
        worked += 1
        time.sleep(0.01)


workers = [threading.Thread(target=work) for _ in range(3)]
for worker in workers:
    worker.start()


def tick(number, frame):
    global ticks
    ticks += 1


signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
begin = time.monotonic()
time.sleep(0.4)
print("ticks while main slept:", 5 < ticks)
print("the sleep was not cut short:", time.monotonic() - begin >= 0.4)
signal.setitimer(signal.ITIMER_REAL, 0)


def enough(number, frame):
    raise TimeoutError("enough")


signal.signal(signal.SIGALRM, enough)
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    workers[0].join()
except TimeoutError as error:
    print("main's join was ended by:", error)

signal.signal(signal.SIGCHLD, lambda number, frame: heard.append(signal.Signals(number).name))
child = subprocess.Popen(["true"])
while not heard:
    time.sleep(0.01)
child.wait()
print("a child's end was noticed:", *heard)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)

waiter = threading.Thread(target=lambda: heard.append(signal.sigwait([signal.SIGUSR2])))
waiter.start()
os.kill(os.getpid(), signal.SIGUSR2)
waiter.join()
print("a thread took", heard[-1].name, "with sigwait")

signal.signal(signal.SIGUSR1, lambda *_: heard.append(threading.current_thread().name))
killer = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1))
killer.start()
killer.join()
while heard[-1] == signal.SIGUSR2:
    time.sleep(0.01)
print("handler ran in", heard[-1])

lock = threading.Lock()
lock.acquire()
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    lock.acquire()
except KeyboardInterrupt:
    print("KeyboardInterrupt in main while it waited for a lock")
before = worked
time.sleep(0.1)
print("the workers went on:", worked > before)
stop.set()
for worker in workers:
    worker.join()
