"""A gevent program, monkey-patched: StreamServer and ten clients, sleeps, its own threadpool, DNS, a child process.

Prints:
    ten clients heard themselves
    ten sleeps: as long as one
    threadpool: 0 1 4 9 16
    localhost is 127.0.0.1
    child said: hello from a child
    timed out
    a real thread beside the hub: done
"""

from gevent import monkey

monkey.patch_all()

import socket
import subprocess
import time

import gevent
from gevent.server import StreamServer

real_sleep = monkey.get_original("time", "sleep")
start_real_thread = monkey.get_original("_thread", "start_new_thread")


def echo(connection, address):
    while data := connection.recv(1 << 14):
        connection.sendall(data)


def client(number):
    text, heard = b"%d" % number * 100_000, b""
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        gevent.spawn(connection.sendall, text)
        while len(heard) < len(text):
            heard += connection.recv(1 << 16)
    return heard == text


def square(number):
    real_sleep(0.05)
    return number * number


def all_of(function, arguments):
    return [job.get() for job in gevent.joinall([gevent.spawn(function, a) for a in arguments], timeout=20)]


server = StreamServer(("127.0.0.1", 0), echo)
server.start()
print("ten clients heard themselves" if all(all_of(client, range(10))) else "bytes were lost")
begin = time.monotonic()
all_of(time.sleep, [0.2] * 10)
print("ten sleeps: as long as", "one" if time.monotonic() - begin < 1 else "all")
print("threadpool:", *gevent.get_hub().threadpool.map(square, range(5)))
print("localhost is", socket.gethostbyname("localhost"))
print("child said:", subprocess.check_output(["/bin/echo", "hello from a child"]).decode().strip())
with gevent.Timeout(0.05, False):
    gevent.sleep(10)
print("timed out")
done = []
start_real_thread(lambda: (real_sleep(0.05), done.append("done")), ())
while not done:
    gevent.sleep(0.01)
print("a real thread beside the hub:", done[0])
server.stop()
