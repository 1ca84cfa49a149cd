"""The classic echo server on raw epoll, edge-triggered: one thread; every event is worked off until EAGAIN.

Prints its port; SIGTERM ends it with status 0."""

import select
import signal
import socket
import sys

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
listener = socket.create_server(("127.0.0.1", 0), backlog=512)
listener.setblocking(False)
print("listening on", listener.getsockname()[1])
epoll = select.epoll()
epoll.register(listener, select.EPOLLIN | select.EPOLLET)
connections, pending = {}, {}


def accept_all():
    try:
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            connections[connection.fileno()] = connection
            pending[connection.fileno()] = b""
            epoll.register(connection, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
    except BlockingIOError:
        pass


def advance(fd):
    """Reads and writes in turn until one of them would block; false at the end of the stream."""
    connection = connections[fd]
    try:
        while True:
            while pending[fd]:
                pending[fd] = pending[fd][connection.send(pending[fd]):]
            pending[fd] = connection.recv(1 << 16)
            if not pending[fd]:
                return False
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


while True:
    for fd, event in epoll.poll():
        if fd == listener.fileno():
            accept_all()
        elif not advance(fd):
            epoll.unregister(fd)
            connections.pop(fd).close()
            del pending[fd]
