"""A name server on 127.0.0.1:53 of a network namespace of its own, and a program that is started beside it.

dns_stub.py PROGRAM...: must run inside `unshare -rnm`. Brings the loopback interface up, makes libc ask this server alone,
serves, and ends with the program's status. Every name of zone.test: what its first label says.
  quick            10.0.0.1
  slow             10.0.0.2 after half a second
  many             40 addresses: the answer over UDP is cut short, so the resolver asks again over TCP
  lost             10.0.0.4, the first question of each client socket is not answered
  here             127.0.0.1
  none             no such name
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

A, IN, NO_SUCH_NAME, CUT_SHORT, ANSWER = 1, 1, 3, 0x0200, 0x8180
lost = set()


def bring_up_loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running


def use_only_this_server(folder):
    for name, text in [("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:3\n"),
                       ("nsswitch.conf", "hosts: files dns\n"), ("hosts", "127.0.0.1 localhost\n10.9.9.9 of.hosts\n")]:
        Path(folder, name).write_text(text)
        subprocess.run(["mount", "--bind", Path(folder, name), Path("/etc", name)], check=True)


def answer(question, client):
    """The reply to a query; None: no reply. client: who asked over UDP, None over TCP."""
    identity, = struct.unpack(">H", question[:2])
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1:at + 1 + question[at]].decode())
        at += 1 + question[at]
    asked, kind = question[12:at + 5], struct.unpack(">H", question[at + 1:at + 3])[0]
    label, flags, addresses = labels[0], ANSWER, []
    if label == "slow":
        time.sleep(0.5)
    if label == "lost" and client and client not in lost:
        lost.add(client)
        return None
    if label == "none":
        flags |= NO_SUCH_NAME
    elif kind == A:
        addresses = {"here": ["127.0.0.1"], "slow": ["10.0.0.2"], "lost": ["10.0.0.4"],
                     "many": [f"10.1.0.{n}" for n in range(1, 41)]}.get(label, ["10.0.0.1"])
    if len(addresses) > 20 and client:
        flags, addresses = flags | CUT_SHORT, []
    head = struct.pack(">HHHHHH", identity, flags, 1, len(addresses), 0, 0)
    return head + asked + b"".join(
        struct.pack(">HHHIH4s", 0xC00C, A, IN, 60, 4, socket.inet_aton(address)) for address in addresses)


def serve_udp(server):
    def reply(question, client):
        if (text := answer(question, client)) is not None:
            server.sendto(text, client)
    while True:
        threading.Thread(target=reply, args=server.recvfrom(2000), daemon=True).start()


def serve_tcp(server):
    def reply(connection):
        with connection, connection.makefile("rb") as questions:
            while size := questions.read(2):
                text = answer(questions.read(struct.unpack(">H", size)[0]), None)
                connection.sendall(struct.pack(">H", len(text)) + text)
    while True:
        threading.Thread(target=reply, args=server.accept()[:1], daemon=True).start()


def main():
    bring_up_loopback()
    use_only_this_server(os.getcwd())
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 53))
    tcp = socket.create_server(("127.0.0.1", 53), backlog=200)
    threading.Thread(target=serve_udp, args=[udp], daemon=True).start()
    threading.Thread(target=serve_tcp, args=[tcp], daemon=True).start()
    variables = dict(word.split("=", 1) for word in os.environ.pop("OF_THE_PROGRAM", "").split("\n") if word)
    sys.exit(subprocess.run(sys.argv[1:], env={**os.environ, **variables}).returncode)


main()
