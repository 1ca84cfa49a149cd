"""Two hundred guests of one server, all connected at once: the client side, one asyncio loop, never under coro.

Every guest arrives (connects, and says enough for the server to be in the midst of serving it). When the server
holds all of them, the brisk half finishes its business at once while the slow half sits idle; then the slow half goes
on in small pieces with pauses, and reads as slowly. Every byte that comes back is compared by checksum.
What the guests say is a conversation: arrive(guest) and finish(guest, slow).
"""

import asyncio
import base64
import functools
import hashlib
import random

from world import kernel_threads, open_descriptors

GUESTS = 200
SIZES = [1, 100, 4_096, 65_537, 300_000]
LARGE = 4 << 20  # more than any socket buffer: the server must park in write while its peer writes too


HELLO = b"hello from a guest"


def size_of(number):
    return LARGE if number < 4 else SIZES[number % len(SIZES)]


@functools.lru_cache(maxsize=None)
def payload(size):
    return random.Random(size).randbytes(size)


@functools.lru_cache(maxsize=None)
def text(size):
    """As much text, in lines of 76 characters."""
    words = base64.encodebytes(payload(size))[:size - 1]
    return words + b"\n"


def checksum(data):
    return hashlib.sha256(data).hexdigest()


class Guest:
    """One client connection."""

    def __init__(self, number, port):
        self.number = number
        self.port = port
        self.payload = payload(size_of(number))

    async def connect(self, **how):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, **how)

    async def say(self, data, slow=False):
        """Writes all of it; slowly means in pieces with pauses."""
        pieces = 8 if slow else 1
        step = max(1, -(-len(data) // pieces))
        for begin in range(0, len(data), step):
            self.writer.write(data[begin:begin + step])
            await self.writer.drain()
            if slow:
                await asyncio.sleep(0.04)

    async def hear(self, size, slow=False):
        """Reads exactly that much; slowly means after a pause in which the other side's buffers fill."""
        if slow:
            await asyncio.sleep(0.1)
        return await self.reader.readexactly(size)

    async def exchange(self, data, slow=False):
        """Says data while it hears the same amount, and checks that it is the same data."""
        heard, _ = await asyncio.gather(self.hear(len(data), slow), self.say(data, slow))
        assert checksum(heard) == checksum(data), f"guest {self.number} heard other bytes than it said"

    async def leave(self):
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (ConnectionError, OSError):
            pass


# ---- conversations ----

def bytes_echoed():
    """What all guests of an Echo conversation say together."""
    return sum(len(HELLO) + size_of(number) for number in range(GUESTS))


class Echo:
    """The server sends back what it gets."""

    async def arrive(self, guest):
        await guest.connect()
        await guest.exchange(HELLO)

    async def finish(self, guest, slow):
        await guest.exchange(guest.payload, slow)


class Lines(Echo):
    """An echo server for lines: what is said is text, and none of its bytes is 0."""

    async def arrive(self, guest):
        await guest.connect()
        await guest.exchange(HELLO + b"\n")

    async def finish(self, guest, slow):
        await guest.exchange(text(len(guest.payload)), slow)


class TlsEcho(Echo):
    """The same inside TLS."""

    def __init__(self, context):
        self.context = context

    async def arrive(self, guest):
        await guest.connect(ssl=self.context, server_hostname="localhost")
        await guest.exchange(HELLO)


class SocksEcho(Echo):
    """An echo server behind a SOCKS5 proxy."""

    def __init__(self, behind):
        self.behind = behind

    async def arrive(self, guest):
        await guest.connect()
        await guest.say(b"\5\1\0")
        assert await guest.hear(2) == b"\5\0"
        await guest.say(b"\5\1\0\1\x7f\0\0\1" + self.behind.to_bytes(2, "big"))
        assert (await guest.hear(10))[:2] == b"\5\0"
        await guest.exchange(HELLO)


class ConnectEcho(Echo):
    """An echo server behind an HTTP proxy, reached with CONNECT."""

    def __init__(self, behind):
        self.behind = behind

    async def arrive(self, guest):
        await guest.connect()
        await guest.say(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % self.behind)
        answer = await guest.reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in answer.split(b"\r\n")[0], answer
        await guest.exchange(HELLO)


class Http:
    """Requests whose first half is sent on arrival; what makes request and expected body is left to subclasses."""

    async def arrive(self, guest):
        await guest.connect()
        await guest.say(self.head(guest)[:12])

    async def finish(self, guest, slow):
        await guest.say(self.head(guest)[12:], slow)
        body, _ = await asyncio.gather(self.answer(guest, slow), guest.say(self.body(guest), slow))
        assert checksum(body) == checksum(guest.payload), f"guest {guest.number} got another body"

    async def answer(self, guest, slow):
        head = await guest.reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode("latin1").split("\r\n")
        assert status.split()[1] == "200", head
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return await guest.hear(int(fields["content-length"]), slow)

    def body(self, guest):
        return b""


class HttpFiles(Http):
    """GET of files named after their size."""

    def head(self, guest):
        return b"GET /%d.bin HTTP/1.0\r\nHost: localhost\r\n\r\n" % len(guest.payload)


class HttpEcho(Http):
    """POST /echo, answered with the request's own body; keep-alive, so one more request follows on the connection."""

    def head(self, guest):
        return b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(guest.payload)

    def body(self, guest):
        return guest.payload


# ---- the crowd ----

async def serve_echo():
    """What stands behind proxies: an echo server in our own loop; returns it and its port."""
    async def echo(reader, writer):
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=512)
    return server, server.sockets[0].getsockname()[1]


async def settled(count):
    """What count() says once it says the same for 50 ms: the last thread may still be starting or ending."""
    last = None
    while last != (now := count()):
        last = now
        await asyncio.sleep(0.05)
    return now


async def all_arrive(guests, conversation, process):
    """A few at a time: many servers listen with a backlog of five, and a lost SYN costs a second."""
    before = await settled(lambda: open_descriptors(process.pid))
    for begin in range(0, len(guests), 4):
        await asyncio.gather(*(conversation.arrive(guest) for guest in guests[begin:begin + 4]))
        while open_descriptors(process.pid) - before < min(begin + 4, len(guests)):
            assert process.running(), process.describe()
            await asyncio.sleep(0.002)


async def visit(process, port, conversation, lingering=0):
    """The whole visit. Returns how many kernel threads the server had while all guests were there, and the guests
    that have not left."""
    guests = [Guest(number, port) for number in range(GUESTS)]
    brisk, slow = guests[0::2], guests[1::2]
    await asyncio.wait_for(all_arrive(guests, conversation, process), 30)
    threads = await settled(lambda: kernel_threads(process.pid))
    await asyncio.wait_for(asyncio.gather(*(conversation.finish(guest, False) for guest in brisk)), 30)
    threads = max(threads, kernel_threads(process.pid))
    await asyncio.wait_for(asyncio.gather(*(conversation.finish(guest, True) for guest in slow)), 30)
    staying = guests[len(guests) - lingering:]
    await asyncio.gather(*(guest.leave() for guest in guests[:len(guests) - lingering]))
    return threads, staying
