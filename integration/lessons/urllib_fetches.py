"""Concurrent urllib fetches of ten local pages, each of which takes a while: the longest, not the sum.

Prints:
    page 0: 1000 bytes
    page 1: 2000 bytes
    page 2: 3000 bytes
    page 3: 4000 bytes
    page 4: 5000 bytes
    page 5: 6000 bytes
    page 6: 7000 bytes
    page 7: 8000 bytes
    page 8: 9000 bytes
    page 9: 10000 bytes
    ten fetches: as long as the longest
"""

import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lesson import run_all, timed

DELAY = 0.4


class Slow(BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(DELAY)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * 1000 * (int(self.path[1:]) + 1))

    def log_message(self, *words):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 64


server = Server(("localhost", 0), Slow)
threading.Thread(target=server.serve_forever).start()
pages = {}


def fetch(number):
    with urllib.request.urlopen(f"http://localhost:{server.server_port}/{number}", timeout=20) as answer:
        pages[number] = answer.read()


with timed("ten fetches", [DELAY] * 10):
    run_all([threading.Thread(target=fetch, args=(number,)) for number in range(10)])
    for number in range(10):
        print(f"page {number}: {len(pages[number])} bytes")
server.shutdown()
server.server_close()
