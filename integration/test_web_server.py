"""Apache with the worker MPM: processes that each have a listener and many worker threads, alone and under coro."""

import asyncio
import signal

import crowd
import pytest
from daemons import (ROOT, Fetch, ask, children, crowd_of_many_processes, serve_sizes, tmp_path)  # noqa: F401
from world import HELPERS, HUBS, eventually, free_port, kernel_threads, wait_until_connectable

WORKERS = 64


def settings(directory, ports, greeting):
    (directory / "greeting").mkdir(exist_ok=True)
    (directory / "greeting" / greeting).write_text(f"{greeting}\n")
    modules = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
                      for name in ("mpm_worker", "authz_core", "alias"))
    # Two ports: the processes then take turns at listening, by a lock that they share.
    (directory / "apache.conf").write_text(modules + "".join(f"Listen 127.0.0.1:{port}\n" for port in ports) + f"""
ServerName localhost
{"User nobody" if ROOT else ""}
{"Group nogroup" if ROOT else ""}
PidFile {directory}/apache.pid
DefaultRuntimeDir {directory}
ErrorLog {directory}/error.log
StartServers 2
ServerLimit 6
ThreadsPerChild {WORKERS}
MaxRequestWorkers {6 * WORKERS}
MinSpareThreads {WORKERS}
MaxSpareThreads {6 * WORKERS}
DocumentRoot {directory}/files
Alias /greeting {directory}/greeting/{greeting}
""")


@pytest.fixture
def apache(start, tmp_path):
    serve_sizes(tmp_path / "files")
    ports = free_port(), free_port()
    settings(tmp_path, ports, "morning")
    process = start(["apache2", "-D", "FOREGROUND", "-f", tmp_path / "apache.conf"])
    wait_until_connectable(process, ports[0])
    eventually(lambda: len(children(process)) >= 2, 20, process.describe)
    return process, ports


def greets(port, retry="--retry-connrefused"):
    return ask("curl", "-sS", "--retry", "5", retry, f"http://127.0.0.1:{port}/greeting").strip()


def check_children(world, process):
    """A kernel thread for each worker, or not."""
    threads = [kernel_threads(child) for child in children(process)]
    if world.coro:
        assert max(threads) <= HUBS + HELPERS
    else:
        assert max(threads) >= WORKERS  # one that has just been started has not made all of them yet


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGWINCH])
def test_two_hundred_guests(world, apache, number):
    process, ports = apache
    asyncio.run(crowd_of_many_processes(ports[0], Fetch(), lambda: check_children(world, process)))
    said = ask("ab", "-q", "-k", "-c", "100", "-n", "5000", f"http://127.0.0.1:{ports[1]}/100.bin")
    assert "Complete requests:      5000" in said and "Failed requests:        0" in said
    assert "Non-2xx" not in said
    assert process.stop(number, 40) == 0, process.describe()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_it_reloads(world, apache, tmp_path, number):
    """SIGUSR1 lets those who are being served finish, SIGHUP does not: who asks at that moment may have to ask again, also alone."""
    process, ports = apache
    retry = "--retry-connrefused" if number == signal.SIGUSR1 else "--retry-all-errors"

    async def reload():
        guest = crowd.Guest(1, ports[0])
        guest.payload = crowd.payload(crowd.LARGE)
        fetch = Fetch()
        await fetch.arrive(guest)
        await guest.say(fetch.head(guest)[12:])
        for greeting in ("day", "evening"):
            settings(tmp_path, ports, greeting)
            process.signal(number)
            await asyncio.to_thread(eventually, lambda: greets(ports[1], retry) == greeting, 20, process.describe)
        if number == signal.SIGUSR1:
            assert crowd.checksum(await fetch.answer(guest, slow=True)) == crowd.checksum(guest.payload)
        await guest.leave()

    assert greets(ports[0]) == "morning"
    asyncio.run(reload())
    assert process.stop(signal.SIGTERM, 40) == 0, process.describe()
    log = (tmp_path / "error.log").read_text()
    assert "resuming normal operations" in log and "caught SIGTERM, shutting down" in log
    assert "exit signal" not in log, log
