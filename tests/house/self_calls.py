# SPDX-License-Identifier: Apache-2.0
"""No object file of ours calls a name that we interpose: it is real.read(...) or nothing.

It also catches what comes in by the library: std::mutex calls pthread_mutex_lock, sleep_for nanosleep.
self_calls.py OBJECT...                 checks object files
self_calls.py --self-test COMPILER      compiles such a file and must find it
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import house

# Object files that may, with the reason.
ALLOWED = {
    "backstop.cc": "re-enters by the front door: that is its job",
    "futex_doors.cc": "syscall(SYS_read, ...) goes to the hook of read, and so on",
}

PLANTED = """
#include <mutex>
#include <unistd.h>
std::mutex planted;
long planted_read(char* buffer) { std::lock_guard<std::mutex> held(planted); return read(0, buffer, 1); }
"""


def undefined(file):
    lines = subprocess.run(
        ["nm", "-u", file], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return {line.split()[-1].split("@")[0] for line in lines}


def complaints(objects, table):
    found = []
    for file in objects:
        if Path(file).name.removesuffix(".o") in ALLOWED:
            continue
        for name in sorted(undefined(file) & table):
            found.append(f"{file} calls {name}, which we interpose: use real.{name} or sys::")
    return found


def self_test(compiler, table):
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "planted.cc"), Path(folder, "planted.cc.o")
        source.write_text(PLANTED)
        subprocess.run([compiler, "-O2", "-c", source, "-o", target], check=True)
        found = complaints([target], table | {"read", "pthread_mutex_lock"})
        house.must_find("a plain call of read", found, "calls read,")
        house.must_find("a std::mutex", found, "calls pthread_mutex_lock,")
        target.rename(Path(folder, "backstop.cc.o"))
        if complaints([Path(folder, "backstop.cc.o")], table | {"read"}):
            house.verdict(["an allowed file is complained about"])


if __name__ == "__main__":
    table = house.interposed()
    if sys.argv[1] == "--self-test":
        self_test(sys.argv[2], table)
        house.verdict([])
    house.verdict(complaints(sys.argv[1:], table))
