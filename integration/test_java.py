"""OpenJDK under load: a thread per connection, compilers, collector and all, its thread dumps and its stop by SIGTERM.

The programs are in java/ and compiled once, beside both worlds. A virtual machine has some dozen threads of its own:
compilers and collectors compute, so under coro their hubs are handed on while they do.
"""

import asyncio
import random
import re
import signal
import subprocess

import crowd
import pytest
from world import BUILT, HELPERS, PATH, eventually, kernel_threads

JAVA = "/usr/bin/java"
CLASSES = BUILT / "java"
EVERY_KIND = [1, 100, 4_096, 20_000, 65_537]
OWN_THREADS = ("main", "Reference Handler", "Finalizer", "Signal Dispatcher", "C2 CompilerThread0")


def java(start, collector, hubs, *words):
    assert CLASSES.exists(), f"{CLASSES} is not built: cmake -S integration -B build/integration && cmake --build ..."
    return start([JAVA, f"-XX:+Use{collector}GC", "-Xmx256m", "-cp", CLASSES, *words], CORO_HUBS=str(hubs))


class Load:
    """Guests of an echo server, each with one request at a time until it is told to leave."""

    def __init__(self, port):
        self.port = port
        self.leaving = False
        self.bytes = 0
        self.requests = 0
        self.guests = []

    async def more_guests(self, number):
        """Returns when each of them has been served."""
        served = [asyncio.Event() for _ in range(number)]
        self.guests += [asyncio.create_task(self.guest(event)) for event in served]
        async with asyncio.timeout(30):
            for event in served:
                await event.wait()

    async def guest(self, served):
        chance = random.Random(len(self.guests))
        guest = crowd.Guest(4, self.port)
        await guest.connect()
        while not self.leaving:
            data = crowd.payload(chance.choice(EVERY_KIND))
            await guest.exchange(data)
            self.bytes += len(data)
            self.requests += 1
            served.set()
            await asyncio.sleep(chance.random() / 10)
        await guest.leave()

    async def leave(self):
        self.leaving = True
        async with asyncio.timeout(30):
            await asyncio.gather(*self.guests)


def guests_in(dump):
    return set(re.findall(r'^"(guest-\d+)" #\d+ ', dump, re.MULTILINE))


async def dump_by_signal(process, dumps):
    """SIGQUIT: the virtual machine writes all its threads to its output and goes on."""
    process.signal(signal.SIGQUIT)
    text = await asyncio.to_thread(
        eventually, lambda: (found := process.output().split("Full thread dump")[1:])[dumps:]
        and "JNI global refs" in found[-1] and found[-1], 20, process.describe)
    return text


async def dump_by_jstack(process):
    """jstack attaches by a unix socket that a thread of the virtual machine listens at. It is of neither world."""
    jstack = await asyncio.create_subprocess_exec(
        "jstack", str(process.pid), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={"PATH": PATH, "LC_ALL": "C.UTF-8"})
    text, _ = await asyncio.wait_for(jstack.communicate(), 20)
    assert jstack.returncode == 0, text
    return text.decode()


# Alone there are no hubs.
WORLDS = pytest.mark.parametrize("world, hubs", [("alone", 1), ("coro", 1), ("coro", 2)], indirect=["world"])


@WORLDS
@pytest.mark.parametrize("collector", ["G1", "Serial"])
def test_echo_server(world, start, collector, hubs):
    async def visit():
        process = java(start, collector, hubs, "EchoServer")
        load = Load(int(process.said(r"listening on (\d+)")[1]))
        dumps = []
        for guests in (50, 450):
            await load.more_guests(guests)
            dumps.append(await dump_by_signal(process, len(dumps)))
            expect_all_threads(dumps[-1], len(load.guests))
            expect_all_threads(await dump_by_jstack(process), len(load.guests))
            threads = kernel_threads(process.pid)
        before = load.requests
        await asyncio.sleep(0.5)
        assert load.requests > before
        await load.leave()
        return process, load, threads

    process, load, threads = asyncio.run(visit())
    if world.coro:
        assert threads <= hubs + HELPERS
    else:
        assert threads >= 500
    assert process.stop(signal.SIGTERM) == 128 + signal.SIGTERM, process.describe()
    assert f"served 500 connections, {load.bytes} bytes" in process.output()
    assert process.errors() == ""
    if world.coro:
        assert world.report(process)["fibers_alive_most"] >= 500


def expect_all_threads(dump, guests):
    assert guests_in(dump) == {f"guest-{number}" for number in range(1, guests + 1)}, dump[-3000:]
    for name in OWN_THREADS:
        assert f'"{name}"' in dump, dump
    assert "EchoServer.serve(" in dump


def test_terminated_in_the_midst_of_it(world, start):
    """SIGTERM while two hundred guests talk: the shutdown hook runs, and the status is the same."""
    async def visit():
        process = java(start, "G1", 1, "EchoServer")
        load = Load(int(process.said(r"listening on (\d+)")[1]))
        await load.more_guests(200)
        status = await asyncio.to_thread(process.stop, signal.SIGTERM)
        for guest in load.guests:
            guest.cancel()
        await asyncio.gather(*load.guests, return_exceptions=True)
        return process, status

    process, status = asyncio.run(visit())
    assert status == 128 + signal.SIGTERM, process.describe()
    assert "served 200 connections" in process.output()


THREADS = """\
monitors: 010101 160000
sleepers: 0 early, together true
interrupts: [InterruptedException, InterruptedException, InterruptedException, InterruptedException, \
InterruptedException, InterruptedException, InterruptedException, InterruptedException] true false
park: 2000 steps, true
locks: 1001000 2000 true
pools: 332833500 timeout true true 42!
parallel stream: 4000001
scheduled: true later true
meetings: 50 50 from the other, from main
closed sockets: [timeout, Socket closed, Socket closed, Socket closed, timeout, Socket closed]
interrupted channels: [ClosedByInterruptException, AsynchronousCloseException]
stack overflow: 30
null pointers: 200
collections beside parked threads: 8
child processes: [hello 0 0, hello 1 1, hello 2 2, hello 3 3, hello 4 4] false 143
thousand threads: 499500
"""

WEB = """\
sync 200 true
async 50 at once true
pool 1930300 true
url 5
timed out
files 0 different
workers true
"""


@WORLDS
@pytest.mark.parametrize("program, says", [("Threads", THREADS), ("Web", WEB)], ids=["threads", "web"])
def test_program(world, start, program, says, hubs):
    process = java(start, "G1", hubs, program)
    assert process.wait(40) == 0, process.describe()
    assert process.output() == says
    assert process.errors() == ""
