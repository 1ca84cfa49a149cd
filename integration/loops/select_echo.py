"""The classic echo server on select(): one thread, non-blocking sockets, output kept per connection.

Prints its port; SIGTERM ends it with status 0."""

import select
import signal
import socket
import sys

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
listener = socket.create_server(("127.0.0.1", 0), backlog=512)
listener.setblocking(False)
print("listening on", listener.getsockname()[1])
readers, pending = {listener}, {}


def hang_up(connection):
    readers.discard(connection)
    pending.pop(connection, None)
    connection.close()


def take(connection):
    data = connection.recv(1 << 16)
    if not data:
        return hang_up(connection)
    pending[connection] = data
    readers.discard(connection)  # no more until this is written back


def give(connection):
    rest = pending[connection][connection.send(pending[connection]):]
    if rest:
        pending[connection] = rest
        return
    del pending[connection]
    readers.add(connection)


while True:
    readable, writable, _ = select.select(readers, pending, [])
    for connection in readable:
        if connection is listener:
            connection, _ = listener.accept()
            connection.setblocking(False)
            readers.add(connection)
            continue
        try:
            take(connection)
        except ConnectionError:
            hang_up(connection)
    for connection in writable:
        try:
            give(connection)
        except ConnectionError:
            hang_up(connection)
