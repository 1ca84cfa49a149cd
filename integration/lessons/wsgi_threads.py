"""A WSGI server with a thread per request: five slow requests at once take as long as one; a fast one overtakes.

Prints:
    GET / -> 200 <h1>Hello World!</h1>
    GET /nowhere -> 404 <h1>Not Found</h1>
    POST / -> 200 you said 100000 bytes
    the fast one ended first
    five slow ones: as long as the longest
"""

import threading
import time
import urllib.error
import urllib.request
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from lesson import run_all, timed


def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.5)
    found = environ["PATH_INFO"] in ("/", "/slow")
    start_response("200 OK" if found else "404 Not Found", [("Content-Type", "text/html")])
    if environ["REQUEST_METHOD"] == "POST":
        return [b"you said %d bytes" % len(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))]
    return [b"<h1>Hello World!</h1>" if found else b"<h1>Not Found</h1>"]


class Server(ThreadingMixIn, WSGIServer):
    request_queue_size = 32


class Handler(WSGIRequestHandler):
    def log_message(self, *words):
        pass


def get(path, data=None):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}", data, timeout=20) as answer:
            return f"{answer.status} {answer.read().decode()}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"


ended = []


def slow():
    get("/slow")
    ended.append("slow")


def fast():
    time.sleep(0.05)
    get("/")
    ended.append("fast")


with make_server("127.0.0.1", 0, application, Server, Handler) as server:
    threading.Thread(target=server.serve_forever).start()
    print("GET / ->", get("/"))
    print("GET /nowhere ->", get("/nowhere"))
    print("POST / ->", get("/", b"x" * 100_000))
    with timed("five slow ones", [0.5] * 5):
        run_all([*(threading.Thread(target=slow) for _ in range(5)), threading.Thread(target=fast)])
        print("the fast one ended first" if ended[0] == "fast" else f"ended: {ended}")
    server.shutdown()
