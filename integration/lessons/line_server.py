"""A threaded line server, spoken to by nc as by telnet: a line in, the line back; "quit" ends the conversation.

Prints:
    first nc: Welcome to the echo server! | one | two | bye
    second nc, idle all the while: Welcome to the echo server! | late | bye
    four at once: 4 x hello
"""

import socketserver
import subprocess
import threading


class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        self.answer("Welcome to the echo server!")
        for line in self.rfile:
            word = line.decode().strip()
            self.answer("bye" if word == "quit" else word)
            if word == "quit":
                return

    def answer(self, line):
        self.wfile.write(f"{line}\n".encode())


def nc():
    return subprocess.Popen(["nc", "127.0.0.1", str(server.server_address[1])], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)


def lines(process, said):
    return " | ".join(process.communicate(said, timeout=10)[0].splitlines())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 32


with Server(("127.0.0.1", 0), Lines) as server:
    threading.Thread(target=server.serve_forever).start()
    idle = nc()
    print("first nc:", lines(nc(), "one\ntwo\nquit\n"))
    print("second nc, idle all the while:", lines(idle, "late\nquit\n"))
    talkers = [nc() for _ in range(4)]
    heard = [lines(talker, "hello\nquit\n").split(" | ")[1] for talker in talkers]
    print(f"four at once: {len(heard)} x", *set(heard))
    server.shutdown()
