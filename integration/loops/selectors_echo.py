"""The classic echo server on selectors.DefaultSelector. With "thread" as its argument the loop runs on a second thread
while main waits for the signal.

Prints its port; SIGTERM ends it with status 0."""

import selectors
import signal
import socket
import sys
import threading

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
listener = socket.create_server(("127.0.0.1", 0), backlog=512)
listener.setblocking(False)
selector = selectors.DefaultSelector()
pending = {}


def accept(listener, mask):
    connection, _ = listener.accept()
    connection.setblocking(False)
    pending[connection] = b""
    selector.register(connection, selectors.EVENT_READ, exchange)


def exchange(connection, mask):
    try:
        if mask & selectors.EVENT_READ:
            pending[connection] = connection.recv(1 << 16)
            if not pending[connection]:
                return hang_up(connection)
        pending[connection] = pending[connection][connection.send(pending[connection]):]
    except BlockingIOError:
        pass
    except ConnectionError:
        return hang_up(connection)
    wanted = selectors.EVENT_WRITE if pending[connection] else selectors.EVENT_READ
    selector.modify(connection, wanted, exchange)


def hang_up(connection):
    selector.unregister(connection)
    del pending[connection]
    connection.close()


def run():
    while True:
        for key, mask in selector.select():
            key.data(key.fileobj, mask)


selector.register(listener, selectors.EVENT_READ, accept)
print("listening on", listener.getsockname()[1])
if sys.argv[1:] == ["thread"]:
    threading.Thread(target=run, daemon=True).start()
    signal.pause()
else:
    run()
