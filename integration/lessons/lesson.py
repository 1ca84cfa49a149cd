"""What the lessons share: did it take as long as the longest part, or as all parts together?"""

import contextlib
import socket
import time


def verdict(elapsed, longest, total):
    if elapsed < 0.95 * longest:
        return f"too short: {elapsed:.3f} s of {longest} s"
    if elapsed < 0.95 * total:  # a busy machine may add to the longest, but cannot take from the sum
        return "as long as the longest"
    if elapsed < 2 * total:
        return "as long as all together"
    return f"{elapsed:.3f} s, with {longest} s for the longest and {total} s for all"


@contextlib.contextmanager
def timed(label, parts):
    """Says how the time of the block compares with that of its parts (seconds each)."""
    begin = time.monotonic()
    yield
    print(f"{label}: {verdict(time.monotonic() - begin, max(parts), sum(parts))}")


def run_all(threads):
    """Starts all of them, then joins all."""
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Peer:
    """A client connection that speaks in lines."""

    def __init__(self, port, greeting=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.lines = self.socket.makefile("r", encoding="utf-8", newline="\n")
        if greeting is not None:
            self.say(greeting)

    def say(self, line):
        self.socket.sendall(f"{line}\n".encode())

    def hear(self):
        return self.lines.readline().rstrip("\n")

    def leave(self):
        """Says good-bye and listens until the server hangs up, so that nothing it still says meets a closed door."""
        self.socket.shutdown(socket.SHUT_WR)
        while self.lines.readline():
            pass
        self.lines.close()
        self.socket.close()
