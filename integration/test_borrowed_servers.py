"""Unmodified thread-per-connection servers: Debian's packages and ordinary programs, each with two hundred guests.

The assertions are the same in both worlds: every byte comes back, the server holds all guests at once, and it stops
by its usual signal with its usual status. Alone each has a kernel thread per guest (else the test would prove
nothing); under coro no more than its hubs and a few helpers, and its report shows a fiber per guest.
"""

import asyncio
import signal
import ssl
import subprocess
from dataclasses import dataclass
from typing import Callable

import crowd
import pytest
from world import HELPERS, HERE, HUBS, free_port, program, python, wait_until_connectable


@dataclass
class Server:
    """How one server is started (giving process and port), talked to, and stopped."""
    launch: Callable
    conversation: Callable
    signal: int
    status: int
    lingering: int = 10  # guests still there when the signal comes
    says: str = ""  # among its last words


# ---- how to start each ----

def says_its_port(argv, pattern=r"listening on (\d+)"):
    def launch(start, tmp_path, behind):
        process = start(argv() if callable(argv) else argv)
        return process, int(process.said(pattern)[1])
    return launch


def on_a_free_port(argv):
    """argv(port, tmp_path, behind): for servers that must be told."""
    def launch(start, tmp_path, behind):
        port = free_port()
        process = start(argv(port, tmp_path, behind))
        wait_until_connectable(process, port)
        return process, port
    return launch


def tinyproxy(port, tmp_path, behind):
    settings = tmp_path / "tinyproxy.conf"
    settings.write_text(f"Port {port}\nListen 127.0.0.1\nMaxClients 400\nTimeout 60\nAllow 127.0.0.1\n"
                        f"LogLevel Warning\nLogFile \"{tmp_path}/tinyproxy.log\"\n")
    return ["tinyproxy", "-d", "-c", settings]


def stunnel(port, tmp_path, behind):
    certificate(tmp_path)
    settings = tmp_path / "stunnel.conf"
    settings.write_text(f"foreground = yes\npid =\nsyslog = no\ndebug = notice\n[echo]\naccept = 127.0.0.1:{port}\n"
                        f"connect = 127.0.0.1:{behind}\ncert = {tmp_path}/cert.pem\nkey = {tmp_path}/key.pem\n")
    return ["stunnel4", settings]


def certificate(tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2",
                    "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
                   check=True, capture_output=True, timeout=30)


def file_server(start, tmp_path, behind):
    files = tmp_path / "files"
    files.mkdir()
    for size in {crowd.size_of(number) for number in range(crowd.GUESTS)}:
        (files / f"{size}.bin").write_bytes(crowd.payload(size))
    process = start(["/usr/bin/python3", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", files])
    return process, int(process.said(r"port (\d+)")[1])


def built(name, *arguments):
    return says_its_port(lambda: [program(name), *arguments])


# ---- what each speaks ----

def plain(conversation):
    return lambda tmp_path, behind: conversation()


def proxied(conversation):
    return lambda tmp_path, behind: conversation(behind)


def in_tls(tmp_path, behind):
    return crowd.TlsEcho(ssl.create_default_context(cafile=tmp_path / "cert.pem"))


TOTAL = f"served {crowd.GUESTS} connections, {crowd.bytes_echoed()} bytes"

SERVERS = {
    "microsocks": Server(
        on_a_free_port(lambda port, *_: ["microsocks", "-i", "127.0.0.1", "-p", port]),
        proxied(crowd.SocksEcho), signal.SIGTERM, -signal.SIGTERM),
    "tinyproxy": Server(on_a_free_port(tinyproxy), proxied(crowd.ConnectEcho), signal.SIGTERM, 0),
    "stunnel": Server(on_a_free_port(stunnel), in_tls, signal.SIGTERM, 0),
    "microhttpd": Server(built("microhttpd_server"), plain(crowd.HttpEcho), signal.SIGTERM, 0),
    "http.server": Server(file_server, plain(crowd.HttpFiles), signal.SIGINT, 0, lingering=0),
    "ThreadingHTTPServer": Server(
        says_its_port(python("servers/threading_http.py")), plain(crowd.HttpEcho), signal.SIGINT, 0),
    "ThreadingTCPServer": Server(
        says_its_port(python("servers/threading_tcp.py")), plain(crowd.Echo), signal.SIGTERM, 0, lingering=0),
    "Flask": Server(
        says_its_port(python("servers/flask_app.py"), r"Running on http://127.0.0.1:(\d+)"),
        plain(crowd.HttpEcho), signal.SIGINT, 0, lingering=0),
    "C": Server(built("echo_c"), plain(crowd.Echo), signal.SIGTERM, 0),
    "std::thread": Server(built("echo_cc", "thread"), plain(crowd.Echo), signal.SIGTERM, 0, says=TOTAL),
    "std::jthread": Server(built("echo_cc", "jthread"), plain(crowd.Echo), signal.SIGTERM, 0, says=TOTAL),
    "std::async": Server(built("echo_cc", "async"), plain(crowd.Echo), signal.SIGTERM, 0, says=TOTAL),
    "stdio": Server(built("echo_stdio"), plain(crowd.Lines), signal.SIGTERM, 0),
    "Ruby": Server(says_its_port(["ruby", HERE / "servers/echo_ruby.rb"]), plain(crowd.Echo), signal.SIGTERM, 0),
    "WEBrick": Server(
        says_its_port(["ruby", HERE / "servers/webrick.rb"]), plain(crowd.HttpEcho), signal.SIGINT, 0, lingering=0),
    "Perl": Server(says_its_port(["perl", HERE / "servers/echo_perl.pl"]), plain(crowd.Echo), signal.SIGTERM, 0,
                   lingering=0),
    "Rust": Server(built("echo_rs"), plain(crowd.Echo), signal.SIGTERM, -signal.SIGTERM),
}


@pytest.mark.parametrize("name", SERVERS)
def test_two_hundred_guests(world, start, tmp_path, name):
    server = SERVERS[name]

    async def visit():
        echo, behind = await crowd.serve_echo()
        process, port = server.launch(start, tmp_path, behind)
        conversation = server.conversation(tmp_path, behind)
        threads, staying = await crowd.visit(process, port, conversation, server.lingering)
        status = process.stop(server.signal)
        for guest in staying:
            await guest.leave()
        echo.close()
        return process, threads, status

    process, threads, status = asyncio.run(visit())
    assert status == server.status, process.describe()
    assert server.says in process.output()
    check_threads(world, threads)
    if world.coro and status >= 0:  # who is killed by a signal leaves no report
        assert world.report(process)["fibers_alive_most"] >= crowd.GUESTS


def check_threads(world, threads):
    if world.coro:
        assert threads <= HUBS + HELPERS
    else:
        assert threads >= crowd.GUESTS


def test_rust_counts_through_channel_mutex_and_condvar(world, start):
    process = start([program("echo_rs")])
    port = int(process.said(r"listening on (\d+)")[1])
    for size in (10, 1_000, 100_000):
        assert talk(port, crowd.payload(size)) == crowd.payload(size)
    assert talk(port, b"total 3\n") == b"3 connections, 101010 bytes\n"
    assert process.stop(signal.SIGTERM) == -signal.SIGTERM


def talk(port, data):
    """Says data while it listens, hangs up, and returns all it heard."""
    async def exchange():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def say():
            writer.write(data)
            await writer.drain()
            writer.write_eof()
        heard, _ = await asyncio.gather(reader.read(), say())
        writer.close()
        return heard
    return asyncio.run(asyncio.wait_for(exchange(), 20))


@pytest.mark.parametrize("reader", ["curl", "python3"])
def test_clients_through_a_proxy_chain(world, start, tmp_path, reader):
    """curl (its resolver is a thread) and urllib fetch 4 MB by microsocks or directly from http.server, all of this world."""
    (tmp_path / "large").write_bytes(crowd.payload(crowd.LARGE))
    files = start(["/usr/bin/python3", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", tmp_path])
    url = f"http://localhost:{files.said(r'port ([0-9]+)')[1]}/large"
    proxy = free_port()
    wait_until_connectable(start(["microsocks", "-i", "127.0.0.1", "-p", proxy]), proxy)
    fetched = tmp_path / "fetched"
    fetch = {"curl": ["curl", "-sS4", "--socks5", f"127.0.0.1:{proxy}", "-o", fetched, url],
             "python3": ["/usr/bin/python3", "-c",
                         f"import urllib.request; urllib.request.urlretrieve({url!r}, {str(fetched)!r})"]}[reader]
    process = start(fetch)
    assert process.wait() == 0, process.describe()
    assert crowd.checksum(fetched.read_bytes()) == crowd.checksum(crowd.payload(crowd.LARGE))
    assert process.errors() == ""
