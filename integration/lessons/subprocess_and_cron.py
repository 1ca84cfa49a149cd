"""A child process works while a cron thread ticks; then pipes, a child's exit status, its death, and a time-out.

Prints:
    Linux
    cron ticked meanwhile: True
    sleep and cron: as long as the longest
    cat gave back 300000 bytes
    exit status 7
    killed by signal 15
    too slow: sleep
    three children at once: as long as the longest
"""

import subprocess
import threading
import time

from lesson import run_all, timed

ticks, stop = 0, threading.Event()


def cron():
    global ticks
    while not stop.is_set():
        ticks += 1
        time.sleep(0.02)


with timed("sleep and cron", [0.6, 0.6]):
    ticking = threading.Thread(target=cron)
    ticking.start()
    child = subprocess.Popen("sleep 0.6; uname", stdout=subprocess.PIPE, shell=True)
    print(child.communicate()[0].decode().rstrip())
    stop.set()
    ticking.join()
    print("cron ticked meanwhile:", ticks > 10)

given = b"0123456789" * 30_000  # more than a pipe holds, both ways
echoed = subprocess.run(["cat"], input=given, stdout=subprocess.PIPE, check=True).stdout
assert echoed == given
print(f"cat gave back {len(echoed)} bytes")
print("exit status", subprocess.call(["sh", "-c", "exit 7"]))
child = subprocess.Popen(["sleep", "30"])
threading.Timer(0.05, child.terminate).start()
print("killed by signal", -child.wait())
try:
    subprocess.run(["sleep", "30"], timeout=0.1)
except subprocess.TimeoutExpired as late:
    print("too slow:", late.cmd[0])
with timed("three children at once", [0.6] * 3):
    run_all([threading.Thread(target=subprocess.call, args=(["sleep", "0.6"],)) for _ in range(3)])
