# SPDX-License-Identifier: Apache-2.0
"""The worlds a benchmark runs in, and the processes of one run.

A world is a way to run the same work: alone (the binary as it is), coro (the same binary under
libcoro with one hub), two hubs (the same with two), epoll (another binary: the hand-written server), gevent (the same Python code, patched).
Everything started here has a time limit and is ended by the one who started it, by its pid.
"""

import contextlib
import os
import select
import subprocess
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
BUILD = BENCH.parent / "build" / "bench"
PYTHON = "/usr/bin/python3"
PROGRAMS = ("echo_threads", "echo_epoll", "echo_load", "switches", "parked_memory", "startup",
            "nothing")

_cores = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = {_cores[0]}, {_cores[-1]}
ALL_CORES = set(_cores)
_library = BENCH.parent / "build" / "libcoro.so"


HUBS = {"coro": "1", "two hubs": "2"}


class Failed(Exception):
    """One run gave no number; the text says why, for the table."""


def build():
    """Compiles what is missing or older than its source."""
    BUILD.mkdir(parents=True, exist_ok=True)
    shared = BENCH / "server.h"
    for name in PROGRAMS:
        source, program = BENCH / f"{name}.c", BUILD / name
        newest = max(source.stat().st_mtime, shared.stat().st_mtime)
        if not program.exists() or program.stat().st_mtime < newest:
            subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-pthread", "-o", program, source],
                           check=True)


def use_library(path):
    global _library
    _library = Path(path).resolve()


def library():
    if not _library.exists():
        raise Failed(f"no {_library}")
    return _library


def environment_of(world):
    environment = {name: value for name, value in os.environ.items()
                   if name != "LD_PRELOAD" and not name.startswith("CORO_")}
    if world in HUBS:
        environment |= {"LD_PRELOAD": str(library()), "CORO_HUBS": HUBS[world]}
    return environment


def _start(command, world, cores):
    try:
        return subprocess.Popen([str(word) for word in command], env=environment_of(world),
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True,
                                preexec_fn=lambda: os.sched_setaffinity(0, cores))
    except FileNotFoundError:
        raise Failed(f"{command[0]} is not installed (bench/packages.txt)") from None


def _end(process):
    """Stops a process of ours: asks, then insists."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
    for stream in (process.stdout, process.stderr):
        stream.close()


def _how_it_ended(process, err):
    lines = err.strip().splitlines()
    said = lines[-1].strip()[:100] if lines else "no message"
    code = process.returncode
    return f"{said} (signal {-code})" if code < 0 else f"{said} (status {code})"


def _end_of(process):
    """Waits for a server that closed its stdout; what it said on stderr, and how it ended."""
    try:
        return _how_it_ended(process, process.communicate(timeout=3)[1])
    except subprocess.TimeoutExpired:
        return "it printed no port and does not end"


def run(command, world="alone", cores=SERVER_CORE, limit=20, watch=None):
    """Runs a program to its end and returns its stdout. `watch` is called every 200 ms."""
    process = _start(command, world, cores)
    try:
        deadline = time.monotonic() + limit
        while True:
            try:
                out, err = process.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                if watch:
                    watch()
                if time.monotonic() > deadline:
                    raise Failed(f"hangs: not done in {limit:.0f} s") from None
        if process.returncode != 0:
            raise Failed(_how_it_ended(process, err))
        return out
    finally:
        _end(process)


class Server:
    """A running server: its pid, its port, and what /proc says of it."""

    def __init__(self, process, port):
        self.pid, self.port = process.pid, port
        self.kernel_threads = 0

    def watch(self):
        with contextlib.suppress(OSError):
            tasks = len(os.listdir(f"/proc/{self.pid}/task"))
            self.kernel_threads = max(self.kernel_threads, tasks)

    def cpu_seconds(self):
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # the process's clock_getcpuclockid(3)
        except OSError:
            raise Failed("the server ended during the run") from None


@contextlib.contextmanager
def serving(command, world, cores=SERVER_CORE, limit=10):
    """Starts a server that prints "port N", hands it out, and ends it."""
    process = _start(command, world, cores)
    try:
        ready, _, _ = select.select([process.stdout], [], [], limit)
        words = process.stdout.readline().split() if ready else []
        if len(words) != 2 or words[0] != "port":
            why = f"no port within {limit} s" if not ready else _end_of(process)
            raise Failed(f"the server did not start: {why}")
        yield Server(process, int(words[1]))
    finally:
        _end(process)


def numbers(line):
    """Parses "name value name value ..."."""
    words = line.split()
    return {name: float(value) for name, value in zip(words[::2], words[1::2])}
