# SPDX-License-Identifier: Apache-2.0
"""docs/life-of-a-read.md tells the truth: its trace is what the echo server really says, its files exist.

The page's first block is the documented trace. Numbers of fibers and descriptors, and times, may differ.
life_of_a_read.py LIBRARY ECHO_SERVER [--self-test]
"""
import os
import re
import socket
import subprocess
import sys
import threading

import house

PAGE = house.ROOT / "docs/life-of-a-read.md"
PATIENCE = 20


def normalised(line):
    line = re.sub(r"\bfiber \d+", "fiber N", line)
    line = re.sub(r"\bfd \d+", "fd N", line)
    return re.sub(r"\b\d+\.\d ms", "N ms", line)


def trace_lines(text):
    return [line for line in text.splitlines() if line.startswith("coro: ")]


def documented(page):
    blocks = re.findall(r"^```\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return trace_lines(blocks[0]) if blocks else []


def complaints(page_lines, real_lines):
    found = [] if page_lines else ["the page holds no trace"]
    for number in range(max(len(page_lines), len(real_lines))):
        said = page_lines[number] if number < len(page_lines) else "(nothing)"
        real = real_lines[number] if number < len(real_lines) else "(nothing)"
        if normalised(said) != normalised(real):
            found.append(f"line {number + 1}: the page says: {said}\n        the server says: {real}")
    return found


def path_complaints(page):
    paths = re.findall(r"`((?:preload|hooks|scheduler|tests|integration)/[\w./]+)`", page)
    return [f"the page names {path}, which does not exist" for path in paths if not (house.ROOT / path).exists()]


class Server:
    """The echo server under the library; collects what it says on stderr."""

    def __init__(self, library, program):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CORO_")}
        mine = {"LD_PRELOAD": library, "CORO_TRACE": "read", "CORO_HUBS": "1", "CORO_STRICT": "1"}
        self.process = subprocess.Popen(
            [program], env={**clean, **mine}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines, self.news = [], threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()
        self.port = int(self.process.stdout.readline().split()[-1])

    def listen(self):
        for line in self.process.stderr:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify()

    def wait_for(self, text, times):
        """Until the server has said `text` so many times."""
        with self.news:
            said = lambda: sum(text in line for line in self.lines) >= times
            if not self.news.wait_for(said, PATIENCE):
                print("\n".join(self.lines))
                sys.exit(f"FAIL: the server did not say '{text}' {times} times in {PATIENCE} s")


def real_trace(library, program):
    server = Server(library, program)
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
            server.wait_for("hub 0 waits", 1)
            client.sendall(b"hello there\n")
            client.recv(100)
            server.wait_for("hub 0 waits", 2)
        server.wait_for("= 0", 1)
    finally:
        server.process.kill()
        server.process.wait()
    return trace_lines("\n".join(server.lines))


def self_test(page, page_lines):
    house.must_find("a missing station", complaints(page_lines, page_lines[:2] + page_lines[3:]), "line 3")
    house.must_find("one station too many", complaints(page_lines[:-1], page_lines), f"line {len(page_lines)}")
    moved = [line.replace("wait.cc", "fiber.cc") for line in page_lines]
    house.must_find("a station in another file", complaints(page_lines, moved), "line 2")
    wrong = [line.replace("= 12", "= 13") for line in page_lines]
    house.must_find("another answer", complaints(page_lines, wrong), "= 13")
    house.must_find("a page without a trace", complaints([], page_lines), "no trace")
    house.must_find("a file that is gone", path_complaints("see `hooks/gone.cc`"), "hooks/gone.cc")
    other = [line.replace("fiber 2", "fiber 7").replace("fd 4", "fd 9").replace("4.1 ms", "0.0 ms") for line in page_lines]
    house.verdict(complaints(page_lines, other))


if __name__ == "__main__":
    page = PAGE.read_text()
    page_lines = documented(page)
    if "--self-test" in sys.argv:
        self_test(page, page_lines)
    house.verdict(complaints(page_lines, real_trace(*sys.argv[1:3])) + path_complaints(page))
