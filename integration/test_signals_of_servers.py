"""A daemon that lives by signals, in the four usual ways of receiving them: it reloads on SIGHUP, reaps on SIGCHLD, keeps
house on SIGALRM, stops on SIGTERM or SIGINT, all the while serving connections whose threads sit in read or sleep."""

import contextlib
import signal
import socket
import time

import pytest
from world import HELPERS, HUBS, eventually, kernel_threads, program

WAYS = ["flag", "pipe", "sigwait", "signalfd"]


class Peer:
    """A client that says lines."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=15)
        self.answers = self.socket.makefile("r")

    def ask(self, line):
        self.say(f"{line}\n")
        return self.hear()

    def say(self, text):
        self.socket.sendall(text.encode())

    def hear(self):
        return self.answers.readline().rstrip("\n")

    def leave(self):
        self.answers.close()
        self.socket.close()


class Daemon:
    def __init__(self, process, greeting, peers):
        self.process, self.greeting, self._peers = process, greeting, peers
        self.port = int(process.said(r"listening on (\d+)")[1])

    def peer(self):
        peer = Peer(self.port)
        self._peers.callback(peer.leave)
        return peer

    def wait_until(self, peer, question, answer):
        eventually(lambda: peer.ask(question) == answer, 15,
                   lambda: f"{question}: {peer.ask(question)!r} for ever, expected {answer!r}")


@pytest.fixture(params=WAYS)
def daemon(request, start, tmp_path):
    greeting = tmp_path / "greeting"
    greeting.write_text("good morning\n")
    with contextlib.ExitStack() as peers:
        yield Daemon(start([program("signals_server"), request.param, greeting]), greeting, peers)


def test_sighup_reloads_and_disturbs_nobody(daemon):
    idle = [daemon.peer() for _ in range(20)]
    peer = daemon.peer()
    peer.say("half a ")
    assert idle[0].ask("greeting") == "good morning"
    for greeting in ("good day", "good evening"):
        daemon.greeting.write_text(f"{greeting}\n")
        daemon.process.signal(signal.SIGHUP)
        daemon.wait_until(idle[1], "greeting", greeting)
    peer.say("line\n")
    assert peer.hear() == "half a line"
    assert [guest.ask("still here") for guest in idle] == ["still here"] * 20


def test_sigchld_reaps_every_child(daemon):
    peers = [daemon.peer() for _ in range(5)]
    for status, peer in enumerate(peers):
        assert peer.ask(f"spawn {status}") == "spawned"
    eventually(lambda: peers[0].ask("children").startswith("5 "), 15, daemon.process.describe)
    assert peers[1].ask("spawn 42") == "spawned"
    daemon.wait_until(peers[2], "children", "6 42")


def test_sigalrm_keeps_house_while_workers_sleep(daemon):
    sleepers, peer = [daemon.peer() for _ in range(5)], daemon.peer()
    begin, before = time.monotonic(), int(peer.ask("ticks"))
    for sleeper in sleepers:
        sleeper.say("sleep 300\n")
    assert [sleeper.hear() for sleeper in sleepers] == ["interrupted 0 times"] * 5
    ticked = int(peer.ask("ticks")) - before
    assert 5 <= ticked <= (time.monotonic() - begin) / 0.02 + 1  # a busy machine may lose some of the 15


@pytest.mark.parametrize("number,status", [(signal.SIGTERM, 0), (signal.SIGINT, 3),
                                           (signal.SIGKILL, -signal.SIGKILL), (signal.SIGUSR1, -signal.SIGUSR1)])
def test_stops(world, daemon, number, status):
    peers = [daemon.peer() for _ in range(20)]
    for peer in peers:
        assert peer.ask("hello") == "hello"
    threads = kernel_threads(daemon.process.pid)
    assert threads <= HUBS + HELPERS if world.coro else threads >= 21
    assert daemon.process.stop(number) == status, daemon.process.describe()
    assert ("stopped" in daemon.process.output()) == (status >= 0)
    assert [peer.hear() for peer in peers] == [""] * 20
    if world.coro and status >= 0:
        assert world.report(daemon.process)["fibers_made"] >= 20
