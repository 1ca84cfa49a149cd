"""The two worlds a program runs in, and the processes the tests start.

alone: the program as Debian runs it. coro: the same program with libcoro preloaded, in strict mode, leaving a
report at exit. Every process is the leader of its own session; whoever starts one ends the whole session by its id.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARY = Path(os.environ.get("CORO_LIBRARY", HERE.parent / "build" / "libcoro.so")).resolve()
LAUNCHER = Path(os.environ.get("CORO_LAUNCHER", LIBRARY.parent / "coro")).resolve()
BUILT = Path(os.environ.get("CORO_INTEGRATION_BUILD", HERE.parent / "build" / "integration")).resolve()

HELPERS = 12  # the supervisor, and helpers for calls that cannot be polled (names: ten at once in the lessons)
HUBS = 1     # unless a test asks for more

PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"  # Debian's programs, not a pyenv or rustup shim


class World:
    def __init__(self, name, directory):
        self.name = name
        self.directory = Path(directory)
        self.report_file = self.directory / "coro-report"

    @property
    def coro(self):
        return self.name == "coro"

    def environment(self, inside=True, **more):
        """What a program of this world (or, with inside=False, of the other side of a test) is started with."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("CORO_", "LD_", "PYTHON"))}
        kept.update(PATH=PATH, LC_ALL="C.UTF-8", PYTHONUNBUFFERED="1", PYTHONDONTWRITEBYTECODE="1")
        if self.coro and inside:
            kept.update(LD_PRELOAD=str(LIBRARY), CORO_STRICT="1", CORO_STATS=str(self.report_file))
        kept.update(more)
        return kept

    def report(self, process):
        """What the library says of a process that ended by exit."""
        lines = self.report_file.read_text().splitlines() if self.report_file.exists() else []
        reports = [json.loads(line) for line in lines]
        mine = [report for report in reports if report["pid"] == process.pid]
        assert len(mine) == 1, f"expected one report of process {process.pid}, got {mine} in {self.report_file}"
        return mine[0]


class Process:
    """One started program; output and errors go to files, so that nothing blocks on a full pipe."""

    def __init__(self, argv, environment, directory):
        self.argv = [str(word) for word in argv]
        self._output = Path(directory) / f"output-{time.monotonic_ns()}"
        self._errors = self._output.with_suffix(".errors")
        with open(self._output, "wb") as output, open(self._errors, "wb") as errors:
            self._popen = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
                                           env=environment, cwd=directory, start_new_session=True,
                                           preexec_fn=usual_signals)
        self.pid = self._popen.pid

    def output(self):
        return self._output.read_text(errors="replace")

    def errors(self):
        return self._errors.read_text(errors="replace")

    def running(self):
        return self._popen.poll() is None

    def signal(self, number):
        self._popen.send_signal(number)

    def wait(self, seconds=20):
        """The exit status; negative for death by a signal."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s: {self.describe()}") from None

    def stop(self, number, seconds=20):
        self.signal(number)
        return self.wait(seconds)

    def end(self):
        """Ends it and all it started, however it is."""
        end_session(self.pid)
        self._popen.wait(10)

    def said(self, pattern, seconds=15):
        """Waits until the output or the errors match, and returns the match."""
        def look():
            assert self.running(), f"ended with {self._popen.returncode}: {self.describe()}"
            return re.search(pattern, self.output() + self.errors())
        return eventually(look, seconds, lambda: f"never said {pattern!r}: {self.describe()}")

    def describe(self):
        return f"{' '.join(self.argv)}\n--- output ---\n{self.output()[-3000:]}\n--- errors ---\n{self.errors()[-3000:]}"


def end_session(leader):
    """Kills every process of the session that this process leads, also those in groups of their own."""
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.getsid(int(entry)) == leader:
                os.kill(int(entry), signal.SIGKILL)
        except ProcessLookupError:
            pass


def usual_signals():
    """A test run in the background hands SIGINT on as ignored; a server's usual stop needs it as usual."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def eventually(look, seconds, complaint):
    """Polls until look() gives something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(complaint())
        time.sleep(0.01)


def free_port():
    """A port nobody has just now, for servers that cannot be told to pick one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_connectable(process, port, seconds=15):
    def look():
        assert process.running(), f"ended before it listened: {process.describe()}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    eventually(look, seconds, lambda: f"nobody listens on {port}: {process.describe()}")


def kernel_threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def open_descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def program(name):
    """A program built from servers/."""
    path = BUILT / name
    assert path.exists(), f"{path} is not built: cmake -S integration -B build/integration && cmake --build ..."
    return path


def python(script):
    """The command line that runs one of our Python programs with the system's Python."""
    return [PYTHON, HERE / script]


PYTHON = "/usr/bin/python3"
assert sys.version_info >= (3, 11)
