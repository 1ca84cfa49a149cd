#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs one program of tests/hooks, alone or under the library, and judges it.

A pass is: exit status 0 within the time-out and PASS as the last line. Under the library also: at least one
fiber was made, every --parks call parked at least once and no --no-park call did, as the stats file says
(one JSON object per line, one line per process at its exit).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", help="libcoro.so; without it the program runs alone")
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds")
    parser.add_argument("--parks", action="append", default=[], metavar="CALL[|CALL]")
    parser.add_argument("--no-park", action="append", default=[], metavar="CALL")
    parser.add_argument("--most-hand-offs", type=int, metavar="N")
    parser.add_argument("--env", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


def environment(args, stats):
    env = {k: v for k, v in os.environ.items() if not k.startswith("CORO_")}
    env.update(pair.split("=", 1) for pair in args.env)
    if args.library:
        env["LD_PRELOAD"] = " ".join(filter(None, [args.library, env.get("LD_PRELOAD")]))
        env["CORO_STRICT"] = "1"
        env["CORO_STATS"] = stats
        # What the caller set on purpose, such as CORO_HUBS=1 ctest, is handed through.
        for key, value in os.environ.items():
            if key.startswith("CORO_") and key not in env:
                env[key] = value
    return env


def stuck_threads(pid):
    """Says where each kernel thread of a program that timed out stands."""
    lines = []
    try:
        for tid in sorted(os.listdir(f"/proc/{pid}/task"), key=int):
            words = []
            for name in ("comm", "wchan", "syscall"):
                try:
                    with open(f"/proc/{pid}/task/{tid}/{name}") as file:
                        words.append(file.read().strip())
                except OSError:
                    words.append("?")
            lines.append(f"  thread {tid}: {words[0]}, in {words[1]}, syscall {words[2]}")
    except OSError:
        pass
    return "\n".join(lines)


def run(args, env, output):
    """Returns (problem or None). The program's process group is ended in any case."""
    process = subprocess.Popen(args.command, env=env, stdin=subprocess.DEVNULL, stdout=output,
                               stderr=subprocess.STDOUT, start_new_session=True)
    try:
        status = process.wait(args.timeout)
        problem = f"exit status {status}, not 0" if status else None
    except subprocess.TimeoutExpired:
        problem = f"still running after {args.timeout:g} s\n{stuck_threads(process.pid)}"
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    return problem


def read_stats(path):
    try:
        with open(path) as file:
            return [json.loads(line) for line in file if line.strip()]
    except (OSError, ValueError) as error:
        print(f"stats file: {error}")
        return []


def parks_of(reports, call):
    return sum(report.get("calls", {}).get(call, {}).get("parks", 0) for report in reports)


def judge_stats(args, reports):
    problems = []
    if not any(report.get("fibers_made", 0) >= 1 for report in reports):
        problems.append("no fiber was made")
    for wanted in args.parks:
        if not any(parks_of(reports, call) for call in wanted.split("|")):
            problems.append(f"{wanted} never parked")
    for unwanted in args.no_park:
        count = parks_of(reports, unwanted)
        if count:
            problems.append(f"{unwanted} parked {count} times")
    hand_offs = sum(report.get("hand_offs", 0) for report in reports)
    if args.most_hand_offs is not None and hand_offs > args.most_hand_offs:
        problems.append(f"{hand_offs} hand-offs, {args.most_hand_offs} allowed")
    return problems


def main():
    args = parse()
    with tempfile.TemporaryDirectory(prefix="hook_test.") as folder:
        stats = os.path.join(folder, "stats")
        with open(os.path.join(folder, "output"), "w+b") as output:
            problem = run(args, environment(args, stats), output)
            output.seek(0)
            text = output.read().decode(errors="replace")
        problems = [problem] if problem else []
        lines = text.split("\n")
        while lines and not lines[-1].strip():
            lines.pop()
        if not lines or lines[-1] != "PASS":
            problems.append("the last line is not PASS")
        if args.library and (os.path.exists(stats) or not problems):
            reports = read_stats(stats)
            problems += judge_stats(args, reports)
            if problems:
                for report in reports:
                    print(json.dumps(report))
    sys.stdout.write(text if len(text) < 20000 else text[:10000] + "\n...\n" + text[-10000:])
    for problem in problems:
        print("FAIL:", problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
