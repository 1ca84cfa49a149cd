"""http.server's ThreadingHTTPServer with HTTP/1.1 keep-alive: POST is answered with its own body.

Prints its port. SIGINT ends it with status 0."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    print("listening on", server.server_port)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("stopped")
