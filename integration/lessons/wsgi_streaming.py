"""Streaming: a WSGI application yields its page piece by piece, sent in chunks; readers see each piece as it comes.

Prints:
    five readers: as long as the longest
    transfer-encoding: chunked
    piece 0 on time
    piece 1 on time
    piece 2 on time
    piece 3 on time
    the page: <p>Hello</p><p>World</p><p>and</p><p>good bye</p>
"""

import http.client
import threading
import time
from socketserver import ThreadingMixIn
from wsgiref.handlers import SimpleHandler
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer, make_server

from lesson import run_all, timed

PIECES = [b"<p>Hello</p>", b"<p>World</p>", b"<p>and</p>", b"<p>good bye</p>"]
STEP = 0.2


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html")])
    for number, piece in enumerate(PIECES):
        if number:
            time.sleep(STEP)
        yield piece


class Chunked(ServerHandler):
    """wsgiref's handler, in HTTP/1.1 with chunks."""
    http_version = "1.1"

    def send_preamble(self):
        super().send_preamble()
        SimpleHandler._write(self, b"Transfer-Encoding: chunked\r\nConnection: close\r\n")

    def send_headers(self):
        self._framing = False
        super().send_headers()
        self._framing = True

    def _write(self, data):
        framed = b"%x\r\n%b\r\n" % (len(data), data) if getattr(self, "_framing", False) else data
        super()._write(framed)

    def finish_content(self):
        super().finish_content()
        super()._write(b"0\r\n\r\n")


class Handler(WSGIRequestHandler):
    def handle(self):
        self.raw_requestline = self.rfile.readline(65537)
        if self.parse_request():
            handler = Chunked(self.rfile, self.wfile, self.get_stderr(), self.get_environ(), multithread=True)
            handler.request_handler = self
            handler.run(self.server.get_app())

    def log_message(self, *words):
        pass


class Server(ThreadingMixIn, WSGIServer):
    request_queue_size = 32


def read_pieces():
    """Reads the page as it comes: the headers, and (when, what) of each piece."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    begin = time.monotonic()
    connection.request("GET", "/")
    answer = connection.getresponse()
    pieces = []
    while piece := answer.read1(1000):
        pieces.append((time.monotonic() - begin, piece))
    connection.close()
    return answer.headers, pieces


with make_server("127.0.0.1", 0, application, Server, Handler) as server:
    threading.Thread(target=server.serve_forever).start()
    with timed("five readers", [3 * STEP] * 5):
        run_all([threading.Thread(target=read_pieces) for _ in range(5)])
    headers, pieces = read_pieces()
    print("transfer-encoding:", headers["Transfer-Encoding"])
    for number, (when, piece) in enumerate(pieces):
        print(f"piece {number}", "on time" if abs(when - number * STEP) < STEP / 2 else f"at {when:.3f} s")
    print("the page:", b"".join(piece for _, piece in pieces).decode())
    server.shutdown()
