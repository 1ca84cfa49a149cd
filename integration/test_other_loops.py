"""Programs that bring an event loop of their own, or threads of a library, run under coro as if it were not there:
the classic echo servers on select, epoll and selectors; Redis; ZeroMQ; Twisted, eventlet and gevent."""

import asyncio
import signal

import crowd
import pytest
from test_gevent_lessons import transcript
from world import HELPERS, HUBS, free_port, kernel_threads, program, python, wait_until_connectable

ECHO = {
    "select": lambda: python("loops/select_echo.py"),
    "epoll": lambda: python("loops/epoll_echo.py"),
    "selectors": lambda: python("loops/selectors_echo.py"),
    "selectors on a second thread": lambda: [*python("loops/selectors_echo.py"), "thread"],
    "epoll in C": lambda: [program("epoll_echo")],
    "epoll in C on a second thread": lambda: [program("epoll_echo"), "thread"],
}


@pytest.mark.parametrize("loop", ECHO)
def test_two_hundred_guests_of_one_loop(world, start, loop):
    process = start(ECHO[loop]())
    port = int(process.said(r"listening on (\d+)")[1])
    threads, staying = asyncio.run(crowd.visit(process, port, crowd.Echo()))
    assert threads <= (HUBS + HELPERS if world.coro else 2)
    assert process.stop(signal.SIGTERM) == 0, process.describe()
    assert process.errors() == ""
    if world.coro:
        assert (world.report(process)["fibers_made"] > 0) == ("thread" in loop)


def start_redis(start, tmp_path, inside):
    port = free_port()
    process = start(["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", tmp_path, "--save", ""],
                    inside=inside)
    wait_until_connectable(process, port)
    return process, port


@pytest.mark.parametrize("inside", ["client", "server", "both"])
def test_redis_and_fifty_threads(world, start, tmp_path, inside):
    server, port = start_redis(start, tmp_path, inside != "client")
    script = "loops/redis_client.py"
    client = start([*python(script), port], inside=inside != "server")
    assert client.wait(60) == 0, client.describe()
    assert client.output() == transcript(script), client.describe()
    threads = kernel_threads(server.pid)
    assert server.stop(signal.SIGTERM) == 0, server.describe()
    if world.coro and inside != "server":
        assert world.report(client)["fibers_alive_most"] >= 50
    if world.coro and inside != "client":
        assert threads <= HUBS + HELPERS


@pytest.mark.parametrize("name", ["zmq_request_reply", "twisted_program", "eventlet_program", "gevent_program"])
def test_undisturbed(world, start, name):
    script = f"loops/{name}.py"
    process = start(python(script))
    assert process.wait(60) == 0, process.describe()
    assert process.output() == transcript(script), process.describe()
    assert process.errors() == ""
