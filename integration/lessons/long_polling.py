"""Long polling: browsers hang in GET until somebody posts a message, all get it at once; one that waits in vain is told.

Prints:
    browser 0 polled in vain
    posted
    browser 1 got news
    browser 2 got news
    browser 3 got news
    waited for the post: as long as the longest
"""

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lesson import run_all, timed

news = threading.Condition()
messages = []


class Poll(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with news:
            came = news.wait_for(lambda: messages, timeout=float(self.path[1:]))
        self.answer(200 if came else 204, messages[-1].encode() if came else b"")

    def do_POST(self):
        with news:
            messages.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            news.notify_all()
        self.answer(200, b"posted")

    def answer(self, status, body):
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


def ask(method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.request(method, path, body)
    answer = connection.getresponse()
    said = answer.read().decode()
    connection.close()
    return said or "polled in vain"


heard = {}


def browser(number, patience):
    heard[number] = ask("GET", f"/{patience}")


def poster():
    time.sleep(0.5)
    print(f"browser 0 {heard.get(0)}")
    print(ask("POST", "/", "news"))


with ThreadingHTTPServer(("127.0.0.1", 0), Poll) as server:
    threading.Thread(target=server.serve_forever).start()
    with timed("waited for the post", [0.5] * 4 + [0.1]):
        run_all([threading.Thread(target=browser, args=(0, 0.1)), threading.Thread(target=poster),
                 *(threading.Thread(target=browser, args=(number, 15)) for number in (1, 2, 3))])
        for number in (1, 2, 3):
            print(f"browser {number} got {heard[number]}")
    server.shutdown()
