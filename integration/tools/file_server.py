"""ThreadingHTTPServer for the files of a folder, with a backlog for many clients at once. Prints its port."""

import functools
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 500


server = Server(("127.0.0.1", 0), functools.partial(Handler, directory=sys.argv[1]))
print("listening on", server.server_port, flush=True)
server.serve_forever()
