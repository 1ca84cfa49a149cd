"""An eventlet program: a green pool of clients against a green server, time-outs, a queue, and tpool's real threads.

Prints:
    ten clients heard themselves
    ten sleeps: as long as one
    timed out
    queue: 0 1 2
    tpool: 0 1 4 9 16
"""

import time

import eventlet
from eventlet import tpool
from eventlet.queue import Queue


def echo(connection, address):
    while data := connection.recv(1 << 14):
        connection.sendall(data)


def client(number):
    text, heard = b"%d" % number * 100_000, b""
    connection = eventlet.connect(listener.getsockname())
    eventlet.spawn(connection.sendall, text)
    while len(heard) < len(text):
        heard += connection.recv(1 << 16)
    connection.close()
    return heard == text


def square(number):
    time.sleep(0.05)
    return number * number


listener = eventlet.listen(("127.0.0.1", 0))
server = eventlet.spawn(eventlet.serve, listener, echo)
pool = eventlet.GreenPool(10)
print("ten clients heard themselves" if all(pool.imap(client, range(10))) else "bytes were lost")
begin = time.monotonic()
list(pool.imap(eventlet.sleep, [0.2] * 10))
print("ten sleeps: as long as", "one" if time.monotonic() - begin < 1 else "all")
try:
    with eventlet.Timeout(0.05):
        eventlet.sleep(10)
except eventlet.Timeout:
    print("timed out")
queue = Queue()
eventlet.spawn(lambda: [queue.put(number) for number in range(3)])
print("queue:", *(queue.get() for _ in range(3)))
print("tpool:", *(thread.wait() for thread in [eventlet.spawn(tpool.execute, square, n) for n in range(5)]))
server.kill()
