# SPDX-License-Identifier: Apache-2.0
"""CPython's own threaded HTTP server with a small handler and HTTP/1.1 keep-alive.

    http_threads.py            a thread per connection (the alone and coro worlds)
    http_threads.py gevent     the same code after gevent's monkey.patch_all()
"""

import sys

if "gevent" in sys.argv[1:]:
    from gevent import monkey

    monkey.patch_all()

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = b"Hello from a thread of its own.\n"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # the load ends its connections with a reset


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print("port", server.server_address[1], flush=True)
    server.serve_forever()
