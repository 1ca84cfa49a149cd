#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the soak program and judges it: alone, or under the library with each of --hubs.

A pass is: exit status 0 and PASS as its last line within the time, and, looked at from outside while it ran, no growth:
resident memory, descriptors and kernel threads of the last third of the run are those of the second.

run.py PROGRAM [--library libcoro.so [--hubs 1 --hubs 2]] [--seconds 10] [--seed N] [--junit FILE]
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from xml.sax.saxutils import escape

OWN_DESCRIPTORS = 900  # the library keeps its own above
HELPERS = 80  # kernel threads that a rush may bring: CORO_OFFLOAD_THREADS, which is 64, hubs and what else we have
ENDING = 100  # seconds that the actors have to come to an end


def look(pid):
    """(resident kB, descriptors, kernel threads), or None when it has gone."""
    try:
        with open(f"/proc/{pid}/status") as file:
            resident = re.search(r"VmRSS:\s+(\d+)", file.read())
        descriptors = sum(int(fd) < OWN_DESCRIPTORS for fd in os.listdir(f"/proc/{pid}/fd"))
        return int(resident[1]), descriptors, len(os.listdir(f"/proc/{pid}/task"))
    except (OSError, TypeError, ValueError):
        return None


def growth(samples):
    """Complaints about what the last third of the run has more of than the second."""
    if len(samples) < 12:
        return ["too few samples"]
    third = len(samples) // 3
    complaints = []
    for what, index, least, factor in (("resident kB", 0, 12000, 1.15), ("descriptors", 1, 15, 1.2), ("kernel threads", 2, 6, 1.3)):
        enough = HELPERS if what == "kernel threads" else 0
        middle = statistics.median(s[index] for s in samples[third:2 * third])
        last = statistics.median(s[index] for s in samples[2 * third:])
        print(f"  {what}: median {middle:g}, then {last:g}; at most {max(s[index] for s in samples)}")
        if last > max(middle * factor + least, enough):
            complaints.append(f"{what} grow from {middle:g} to {last:g}")
    return complaints


def soak(args, library, hubs):
    """Complaints about one run."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CORO_")}
    if library:
        environment.update(LD_PRELOAD=library, CORO_STRICT="1", CORO_HUBS=str(hubs))
    command = [args.program, str(args.seconds)] + ([str(args.seed)] if args.seed else [])
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        end = time.monotonic() + args.seconds + ENDING
        ending = time.monotonic() + args.seconds
        samples = []
        while process.poll() is None and time.monotonic() < end:
            sample = look(process.pid) if time.monotonic() < ending else None
            if sample:
                samples.append(sample)
            time.sleep(min(0.5, args.seconds / 50))
        complaints = []
        if process.poll() is None:
            complaints.append("it does not end")
        elif process.returncode:
            complaints.append(f"exit status {process.returncode}")
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    lines = text.strip().split("\n")
    if lines[-1] != "PASS":
        complaints.append("the last line is not PASS")
    complaints += growth(samples)
    print("  " + "\n  ".join(lines[:40] if complaints else lines[:2]))
    return complaints


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--library")
    parser.add_argument("--hubs", type=int, action="append")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--junit", help="a report for .ci/summary.py")
    args = parser.parse_args()
    cases = []
    for hubs in (args.hubs or [1]) if args.library else [0]:
        name = f"coro.hubs{hubs}" if args.library else "alone"
        print(f"chaos {name}, {args.seconds:g} s", flush=True)
        complaints = soak(args, args.library, hubs)
        for complaint in complaints:
            print("FAIL:", complaint, flush=True)
        cases.append((name, complaints))
    if args.junit:
        with open(args.junit, "w") as file:
            file.write("<testsuite name='chaos'>\n")
            for name, complaints in cases:
                failure = f"<failure>{escape('; '.join(complaints))}</failure>" if complaints else ""
                file.write(f"<testcase name='chaos.{name}' status='{'fail' if complaints else 'run'}'>{failure}</testcase>\n")
            file.write("</testsuite>\n")
    return any(complaints for _, complaints in cases)


if __name__ == "__main__":
    sys.exit(main())
