"""DNS and time-outs: names resolve in threads at once, a silent peer runs into the socket's time-out, Timers fire.

Prints:
    localhost resolved in 8 threads: 127.0.0.1
    no such name: gaierror
    recv: timed out
    accept: timed out
    connect refused
    timers in order: 1 2 3
    a cancelled timer never fires
    barrier: 4 threads passed together, one of them the last
"""

import socket
import threading
import time

from lesson import run_all

found = []


def resolve():
    # The hosts file may name localhost more than once.
    found.append(socket.getaddrinfo("localhost", 80, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])


run_all([threading.Thread(target=resolve) for _ in range(8)])
print(f"localhost resolved in {len(found)} threads:", *set(found))


def fail():
    try:
        socket.getaddrinfo("no such name", 80)
    except socket.gaierror:
        print("no such name: gaierror")


def silence():
    here, there = socket.socketpair()
    here.settimeout(0.1)
    try:
        here.recv(1)
    except TimeoutError as error:
        print("recv:", error)


def nobody():
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    try:
        listener.accept()
    except TimeoutError as error:
        print("accept:", error)
    address = listener.getsockname()
    listener.close()
    try:
        socket.create_connection(address, timeout=5)
    except ConnectionRefusedError:
        print("connect refused")


for function in (fail, silence, nobody):
    run_all([threading.Thread(target=function)])

order = []
timers = [threading.Timer(0.1 * number, order.append, args=(number,)) for number in (3, 1, 2, 5)]
for timer in timers:
    timer.start()
timers[-1].cancel()
for timer in timers:
    timer.join()
print("timers in order:", *order)
time.sleep(0.3)
print("a cancelled timer", "fired" if 5 in order else "never fires")

barrier, passed = threading.Barrier(4), []
run_all([threading.Thread(target=lambda: passed.append(barrier.wait(10))) for _ in range(4)])
print(f"barrier: {len(passed)} threads passed together, {'one of them the last' if passed.count(0) == 1 else passed}")
