"""What the tests of daemons share: a directory that a daemon which has dropped its privileges can still use, and
clients that load it."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import crowd
import pytest
from world import Process, open_descriptors

ROOT = os.geteuid() == 0
NOBODY = 65534


@pytest.fixture
def tmp_path():
    """In the place of pytest's own, which only its owner may enter: started by root, many daemons become another user."""
    path = Path(tempfile.mkdtemp(prefix="coro-daemon-"))
    path.chmod(0o755)
    if ROOT:
        os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def unprivileged(argv):
    """For programs that refuse to run as root. setpriv becomes them by exec, so they keep its process id."""
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *argv] if ROOT else argv


def ask(*argv, seconds=60, **how):
    """Runs a client alone, and gives its output; it must succeed."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=seconds,
                          stdin=subprocess.DEVNULL, env=dict(os.environ, LC_ALL="C.UTF-8"), **how)
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def children(process: Process):
    """The processes that this one has started and that still run."""
    pid = process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Fetch(crowd.HttpFiles):
    """GET of the file that is named after the size of the guest's payload."""


def serve_sizes(directory):
    """The files that Fetch asks for."""
    directory.mkdir()
    for size in {crowd.size_of(number) for number in range(crowd.GUESTS)}:
        (directory / f"{size}.bin").write_bytes(crowd.payload(size))


async def crowd_of_many_processes(port, conversation, meanwhile=lambda: None):
    """As crowd.visit, for servers of several processes, whose descriptors say nothing of who is there."""
    guests = [crowd.Guest(number, port) for number in range(crowd.GUESTS)]
    brisk, slow = guests[0::2], guests[1::2]
    for begin in range(0, len(guests), 10):
        await asyncio.wait_for(asyncio.gather(*map(conversation.arrive, guests[begin:begin + 10])), 20)
    meanwhile()
    await asyncio.wait_for(asyncio.gather(*(conversation.finish(guest, False) for guest in brisk)), 30)
    await asyncio.wait_for(asyncio.gather(*(conversation.finish(guest, True) for guest in slow)), 30)
    await asyncio.gather(*(guest.leave() for guest in guests))


def descriptors_settle(process, count):
    """Whether no more descriptors are open than before the guests came."""
    return open_descriptors(process.pid) <= count
