"""Starts a program in every way there is, each from a thread of its own while another one waits, and prints what it says."""

import os
import shlex
import subprocess
import sys
import threading

PROGRAM = sys.argv[1:]


def said_by(child, reader, writer):
    os.close(writer)
    with open(reader) as text:
        said = text.read()
    os.waitpid(child, 0)
    return said


def by_fork():
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writer, 1)
        os.execv(PROGRAM[0], PROGRAM)
    return said_by(child, reader, writer)


def by_posix_spawn():
    reader, writer = os.pipe()
    child = os.posix_spawn(PROGRAM[0], PROGRAM, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)])
    return said_by(child, reader, writer)


def by_subprocess():
    return subprocess.run(PROGRAM, capture_output=True, text=True, check=True).stdout


def by_popen():
    with os.popen(shlex.join(PROGRAM)) as text:
        return text.read()


def tell(way):
    said = way()
    with lock:
        print(way.__name__, " ".join(said.split()), flush=True)


lock = threading.Lock()
over = threading.Event()
waiting = threading.Thread(target=over.wait)
waiting.start()
for way in (by_fork, by_posix_spawn, by_subprocess, by_popen):
    thread = threading.Thread(target=tell, args=[way])
    thread.start()
    thread.join()
over.set()
waiting.join()
os.execv(PROGRAM[0], PROGRAM)
