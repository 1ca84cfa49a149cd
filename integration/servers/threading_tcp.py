"""socketserver.ThreadingTCPServer, echoing. Its threads are no daemons: closing the server joins every one of them.

Prints its port. SIGTERM raises SystemExit in the main thread and so ends it with status 0."""

import signal
import socketserver
import sys


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(1 << 14):
            self.request.sendall(data)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
    print("listening on", server.server_address[1])
    server.serve_forever()
