"""The backstop: calls that block inside libc cooperate; where seccomp is denied they cost a hand-off, and all goes on."""

import contextlib
import signal
import socket
import subprocess

from world import HERE, HUBS, LAUNCHER, PYTHON, program

WITHOUT = [PYTHON, HERE / "tools" / "without_seccomp.py"]
GUESTS = 20


def talk(world, process):
    """Every second guest is silent, inside a fgets, while the others are answered. What the library reports."""
    port = int(process.said(r"listening on (\d+)")[1])
    with contextlib.ExitStack() as stack:
        guests = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)) for _ in range(GUESTS)]
        for turn in range(5):
            for number, guest in enumerate(guests[::2]):
                line = b"turn %d of %d\n" % (turn, number)
                guest.sendall(line)
                assert guest.makefile("rb").readline() == line
    assert process.stop(signal.SIGTERM) == 0, process.describe()
    return world.report(process) if world.coro else None


def test_stdio_needs_no_hand_off(world, start):
    report = talk(world, start([program("echo_stdio")]))
    if report:
        assert report["kernel_threads_most"] <= HUBS + 4, report


def test_where_seccomp_is_denied(world, start):
    report = talk(world, start([*WITHOUT, program("echo_stdio")]))
    if report:
        assert report["hand_offs"] > 0, report


def test_check_says_so():
    done = subprocess.run([*map(str, WITHOUT), str(LAUNCHER), "check", "/bin/cat"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and "seccomp is denied" in done.stdout, done
