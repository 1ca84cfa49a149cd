"""Daemons that live on threads, as Debian ships them, alone and under coro: started, loaded by real clients, told by a
signal to reload, and stopped. The assertions are the same in both worlds."""

import asyncio
import signal
import socket
import struct
from pathlib import Path

import crowd
import pytest
from daemons import ROOT, ask, children, tmp_path  # noqa: F401
from world import HELPERS, HUBS, eventually, free_port, wait_until_connectable


def has_open(process, path):
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            if descriptor.readlink() == path:
                return True
        except FileNotFoundError:  # closed meanwhile
            pass
    return False


def check_report(world, process, fibers):
    if world.coro:
        report = world.report(process)
        assert report["fibers_alive_most"] >= fibers
        assert report["kernel_threads_most"] <= HUBS + HELPERS


# ---- memcached ----

class Memcached:
    """Each guest leaves its payload in pieces, gets it back, and counts itself."""

    async def arrive(self, guest):
        await guest.connect()
        await guest.say(b"set of%d 7 0 %d\r\n" % (guest.number, len(guest.payload)))
        await guest.say(guest.payload[:len(guest.payload) // 2])

    async def finish(self, guest, slow):
        await guest.say(guest.payload[len(guest.payload) // 2:] + b"\r\n", slow)
        assert await guest.hear(8) == b"STORED\r\n"
        await guest.say(b"get of%d\r\n" % guest.number)
        head = await guest.reader.readuntil(b"\r\n")
        assert head == b"VALUE of%d 7 %d\r\n" % (guest.number, len(guest.payload))
        assert crowd.checksum(await guest.hear(len(guest.payload), slow)) == crowd.checksum(guest.payload)
        assert await guest.hear(7) == b"\r\nEND\r\n"
        for _ in range(5):
            await guest.say(b"incr visits 1\r\n")
            await guest.reader.readuntil(b"\r\n")


async def memcached_says(port, *lines):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    for line in lines:
        writer.write(line.encode() + b"\r\n")
        answers.append((await asyncio.wait_for(reader.readuntil(b"\r\n"), 20)).decode().strip())
    writer.close()
    return answers


def memcached(start, *more):
    port = free_port()
    process = start(["memcached", "-l", "127.0.0.1", "-p", port, "-U", "0", "-I", "8m", "-m", "200", "-t", "4",
                     *(["-u", "nobody"] if ROOT else []), *more])
    wait_until_connectable(process, port)
    return process, port


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_memcached(world, start, number):
    process, port = memcached(start)
    assert asyncio.run(memcached_says(port, "set visits 0 0 1\r\n0")) == ["STORED"]
    threads, _ = asyncio.run(crowd.visit(process, port, Memcached()))
    assert threads <= HUBS + HELPERS
    assert asyncio.run(memcached_says(port, "incr visits 0")) == [str(5 * crowd.GUESTS)]
    assert process.stop(number) == 0, process.describe()
    check_report(world, process, 8)


def test_memcached_reloads_who_may_enter(start, tmp_path):
    password = tmp_path / "password"
    password.write_text("guest:first\n")
    process, port = memcached(start, "-Y", password)

    def enters(word):
        return asyncio.run(memcached_says(port, f"set auth 0 0 {len(word) + 6}\r\nguest {word}")) == ["STORED"]
    assert enters("first") and not enters("second")
    password.write_text("guest:second\n")
    process.signal(signal.SIGHUP)
    eventually(lambda: enters("second"), 20, process.describe)
    assert not enters("first")
    assert process.stop(signal.SIGTERM) == 0


# ---- nbdkit ----

class Nbd:
    """Each guest has a stretch of the disk, writes its payload there and reads it back."""
    SIZE = crowd.GUESTS * crowd.LARGE

    async def arrive(self, guest):
        await guest.connect()
        assert (await guest.hear(18))[:16] == b"NBDMAGICIHAVEOPT"
        await guest.say(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 0))
        size, _flags = struct.unpack(">QH", await guest.hear(10))
        assert size == self.SIZE

    async def finish(self, guest, slow):
        place, size = guest.number * crowd.LARGE, len(guest.payload)
        await guest.say(struct.pack(">IHHQQI", 0x25609513, 0, 1, guest.number, place, size))
        await guest.say(guest.payload, slow)
        assert struct.unpack(">IIQ", await guest.hear(16)) == (0x67446698, 0, guest.number)
        await guest.say(struct.pack(">IHHQQI", 0x25609513, 0, 0, guest.number, place, size))
        assert struct.unpack(">IIQ", await guest.hear(16)) == (0x67446698, 0, guest.number)
        assert crowd.checksum(await guest.hear(size, slow)) == crowd.checksum(guest.payload)


def nbdkit(start, *what):
    port = free_port()
    process = start(["nbdkit", "-f", "-i", "127.0.0.1", "-p", port, *what])
    wait_until_connectable(process, port)
    return process, port


@pytest.mark.parametrize("threads", [1, 4])
def test_nbdkit(world, start, threads):
    """A thread a connection, or four more each."""
    process, port = nbdkit(start, "-t", threads, "memory", f"size={Nbd.SIZE}")
    running, _ = asyncio.run(crowd.visit(process, port, Nbd()))  # a guest who lingers would keep nbdkit from ending
    assert running <= HUBS + HELPERS if world.coro else running >= crowd.GUESTS
    assert process.stop(signal.SIGTERM) == 0, process.describe()
    check_report(world, process, crowd.GUESTS)


def test_nbdkit_copies(world, start, tmp_path):
    """nbdcopy, in this world, too: a thread per connection and many requests in flight; a slow disk by nbdkit's filter."""
    original, copy, back = tmp_path / "original", tmp_path / "copy", tmp_path / "back"
    original.write_bytes(crowd.payload(crowd.LARGE) * 4)
    copy.write_bytes(bytes(4 * crowd.LARGE))
    process, port = nbdkit(start, "--filter=delay", "file", copy, "rdelay=2ms", "wdelay=2ms")
    for there, here in ((original, f"nbd://127.0.0.1:{port}"), (f"nbd://127.0.0.1:{port}", back)):
        nbdcopy = start(["nbdcopy", "--connections=4", "--threads=2", "--requests=32", there, here])
        assert nbdcopy.wait(60) == 0, nbdcopy.describe()
    assert back.read_bytes() == original.read_bytes()
    assert process.stop(signal.SIGINT) == 0, process.describe()


# ---- icecast2 ----

STREAM = b"".join(b"%08x" % number for number in range(1 << 18))  # 2 MB, and any long piece of it stands in one place
PLAYED_TWICE = STREAM + STREAM


class Listener:
    """Hears the station; what it hears is one piece of the stream."""

    async def arrive(self, guest):
        await guest.connect()
        await guest.say(b"GET /station HTTP/1.0\r\nHost: localhost\r\n\r\n")
        head = await guest.reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head.split(b"\r\n")[0], head

    async def finish(self, guest, slow):
        heard = await guest.hear(80_000, slow)
        assert heard in PLAYED_TWICE, f"guest {guest.number} heard what was not played"


async def play(port):
    """The source: plays the stream over and over until cancelled."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"SOURCE /station HTTP/1.0\r\nAuthorization: Basic c291cmNlOm1pYw==\r\n"  # source:mic
                 b"Content-Type: audio/mpeg\r\n\r\n")
    assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    try:
        while True:
            for begin in range(0, len(STREAM), 8_192):
                writer.write(STREAM[begin:begin + 8_192])
                await writer.drain()
                await asyncio.sleep(0.03)
    finally:
        writer.close()


def icecast_settings(directory, port, place):
    owner = "<security><changeowner><user>nobody</user><group>nogroup</group></changeowner></security>" if ROOT else ""
    (directory / "icecast.xml").write_text(f"""<icecast><location>{place}</location><admin>nobody@localhost</admin>
      <hostname>localhost</hostname>
      <limits><clients>400</clients><sources>4</sources><burst-size>65535</burst-size></limits>
      <authentication><source-password>mic</source-password><admin-user>admin</admin-user>
        <admin-password>admin</admin-password></authentication>
      <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
      <fileserve>1</fileserve>
      <paths><basedir>/usr/share/icecast2</basedir><logdir>{directory}</logdir><webroot>/usr/share/icecast2/web</webroot>
        <adminroot>/usr/share/icecast2/admin</adminroot></paths>
      <logging><accesslog>access.log</accesslog><errorlog>error.log</errorlog><loglevel>3</loglevel></logging>
      {owner}</icecast>""")


def begin_station(world, start, tmp_path):
    # Its main thread counts on a new thread to have set up the counters before it uses them. Alone, on a busy machine,
    # that is a matter of luck, and another start is another chance; under the library it must not be.
    for chances in reversed(range(1 if world.coro else 5)):
        port = free_port()
        icecast_settings(tmp_path, port, "Earth")
        process = start(["icecast2", "-c", tmp_path / "icecast.xml"])
        try:
            wait_until_connectable(process, port)
            eventually(lambda: "Earth" in ask("curl", "-sS", f"http://127.0.0.1:{port}/status-json.xsl"), 20, process.describe)
            return process, port
        except AssertionError:
            if process.running() or process.wait() != -signal.SIGSEGV or not chances:
                raise


def test_icecast(world, start, tmp_path):
    process, port = begin_station(world, start, tmp_path)

    def says_it_is_at(place):
        return f'"location":"{place}"' in ask("curl", "-sS", f"http://127.0.0.1:{port}/status-json.xsl")

    async def broadcast():
        playing = asyncio.create_task(play(port))
        threads, _ = await crowd.visit(process, port, Listener())
        assert threads <= HUBS + HELPERS
        icecast_settings(tmp_path, port, "Moon")
        process.signal(signal.SIGHUP)
        await asyncio.to_thread(eventually, lambda: says_it_is_at("Moon"), 20, process.describe)
        _, staying = await crowd.visit(process, port, Listener(), lingering=10)
        status = await asyncio.to_thread(process.stop, signal.SIGTERM)
        for guest in staying:
            await guest.leave()
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        return status

    assert asyncio.run(broadcast()) == 0, process.describe()
    check_report(world, process, 6)
    log = (tmp_path / "access.log").read_text()
    assert log.count("GET /station") == 2 * crowd.GUESTS


# ---- rsyslogd ----

def rsyslogd_settings(directory, tcp, udp):
    (directory / "rsyslog.conf").write_text(f"""
global(workDirectory="{directory}")
module(load="imtcp")
module(load="imudp")
main_queue(queue.type="LinkedList" queue.workerThreads="4" queue.workerThreadMinimumMessages="50")
input(type="imtcp" port="{tcp}" address="127.0.0.1")
input(type="imudp" port="{udp}" address="127.0.0.1")
template(name="message" type="string" string="%msg%\\n")
:syslogtag, isequal, "test:" action(type="omfile" file="{directory}/log" template="message"
                                    queue.type="LinkedList" queue.workerThreads="2")
""")


def test_rsyslogd(world, start, tmp_path):
    """A thread for each kind of input, and workers behind two queues that come and go with the load."""
    tcp, udp = free_port(), free_port()
    rsyslogd_settings(tmp_path, tcp, udp)
    process = start(["rsyslogd", "-n", "-f", tmp_path / "rsyslog.conf", "-i", tmp_path / "pid"])
    wait_until_connectable(process, tcp)
    log = tmp_path / "log"

    async def client(name):
        _, writer = await asyncio.open_connection("127.0.0.1", tcp)
        for number in range(200):
            writer.write(f"<13>Nov 21 11:00:00 host test: {name} {number}\n".encode())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def clients(day):
        await asyncio.wait_for(asyncio.gather(*(client(f"{day} {number}") for number in range(10))), 30)

    def all_there(day):
        expected = {f"{day} {name} {number}" for name in range(10) for number in range(200)} | {f"{day} datagram"}
        return log.exists() and sorted(expected) == sorted(line.strip() for line in log.read_text().splitlines())

    for day in ("monday", "tuesday"):
        asyncio.run(clients(day))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(f"<13>Nov 21 11:00:00 host test: {day} datagram".encode(), ("127.0.0.1", udp))
        eventually(lambda: all_there(day), 20, process.describe)  # each message once
        log.rename(tmp_path / f"log-{day}")
        process.signal(signal.SIGHUP)  # it closes its files
        eventually(lambda: not has_open(process, tmp_path / f"log-{day}"), 20, process.describe)
    assert process.stop(signal.SIGTERM) == 0, process.describe()
    check_report(world, process, 5)


# ---- haproxy ----

def haproxy_settings(directory, port, greeting):
    (directory / "haproxy.cfg").write_text(f"""
global
  nbthread 4
defaults
  mode http
  timeout client 20s
  timeout server 20s
  timeout connect 20s
frontend outer
  bind 127.0.0.1:{port}
  default_backend inner
backend inner
  server only unix@{directory}/inner.sock
frontend inner
  bind unix@{directory}/inner.sock
  http-request return status 200 content-type text/plain string "{greeting}"
""")


def test_haproxy(start, tmp_path):
    """Four threads, each with its epoll, in a worker; a master that executes itself anew to reload.

    The worker that is replaced is not asked how it ended: Debian 12's haproxy 2.6.12 now and then ends by a
    segmentation fault then (in free_proxy() as deinit() calls it), alone as often as under coro."""
    port = free_port()
    haproxy_settings(tmp_path, port, "morning")
    process = start(["haproxy", "-W", "-f", tmp_path / "haproxy.cfg"])
    wait_until_connectable(process, port)

    def load(*more):
        said = ask("ab", "-q", *more, "-c", "50", "-n", "2000", f"http://127.0.0.1:{port}/")
        assert "Complete requests:      2000" in said and "Failed requests:        0" in said, said
        assert "Non-2xx" not in said, said

    def greets():
        return ask("curl", "-sS", "--retry", "5", f"http://127.0.0.1:{port}/").strip()

    assert greets() == "morning"
    load("-k")
    load()
    first = children(process)
    haproxy_settings(tmp_path, port, "evening")
    process.signal(signal.SIGUSR2)
    eventually(lambda: greets() == "evening", 20, process.describe)
    eventually(lambda: len(children(process)) == 1 and children(process) != first, 20, process.describe)
    assert greets() == "evening"
    load()
    assert process.stop(signal.SIGTERM) == 0, process.describe()
