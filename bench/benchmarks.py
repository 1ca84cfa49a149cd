# SPDX-License-Identifier: Apache-2.0
"""The benchmarks: what runs, in which worlds, and what is read off. One entry each in ALL."""

import re
import time
from dataclasses import dataclass, field
from typing import Callable

import worlds
from worlds import (ALL_CORES, BENCH, BUILD, LOAD_CORE, PYTHON, SERVER_CORE, Failed, numbers,
                    run, serving)

HIGHER, LOWER, NEITHER = "higher", "lower", "neither"


@dataclass(frozen=True)
class Metric:
    key: str
    title: str
    better: str = LOWER
    digits: int = 0


@dataclass(frozen=True)
class Benchmark:
    name: str
    title: str
    worlds: tuple
    metrics: tuple  # the first is the headline, the others explain it
    once: Callable  # (world, seconds) -> {key: value}; several worlds at once: {world: {...}}
    rounds: tuple  # quick (0: not at all), full
    seconds: tuple = field(default=(1, 5))  # quick, full
    all_worlds_in_one_run: bool = False


SERVER_METRICS = (
    Metric("p50", "p50, µs"),
    Metric("p99", "p99, µs"),
    Metric("server_busy", "server's CPU share", NEITHER, 2),
    Metric("kernel_threads", "server's kernel threads", NEITHER),
)


def echo(connections, *arguments, cores=SERVER_CORE):
    def once(world, seconds):
        program = "echo_epoll" if world == "epoll" else "echo_threads"
        with serving([BUILD / program, *arguments], world, cores) as server:
            load = [BUILD / "echo_load", server.port, connections, seconds, 0.4, server.pid]
            if cores != SERVER_CORE:
                load.append("sleeps")
            out = run(load, cores=cores | LOAD_CORE, limit=seconds + 20, watch=server.watch)
        return numbers(out) | {"kernel_threads": server.kernel_threads}
    return once


ECHO_METRICS = (Metric("requests", "requests/s", HIGHER), *SERVER_METRICS,
                Metric("set_up", "until all connections were answered, s", LOWER, 3),
                Metric("client_idle", "load's idle share", NEITHER, 2))


def http(connections, cores=SERVER_CORE):
    def once(world, seconds):
        server_command = [PYTHON, BENCH / "http_threads.py"] + ["gevent"] * (world == "gevent")
        with serving(server_command, world, cores) as server:
            load = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout",
                    "5s", f"http://127.0.0.1:{server.port}/"]
            cpu, begin = server.cpu_seconds(), time.monotonic()
            out = run(load, cores=LOAD_CORE, limit=seconds + 10, watch=server.watch)
            busy = (server.cpu_seconds() - cpu) / (time.monotonic() - begin)
        return read_wrk(out) | {"server_busy": busy, "kernel_threads": server.kernel_threads}
    return once


def read_wrk(out):
    """Reads wrk's report: requests/s, latencies in µs, and how many requests failed."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    if not rate or float(rate[1]) == 0:
        raise Failed("wrk got no answer")
    found = {"requests": float(rate[1])}
    for percent, value, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s|m)\b", out):
        found[f"p{percent}"] = float(value) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}[unit]
    found["errors"] = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", out)))
    found["errors"] += sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", out)))
    return found


HTTP_METRICS = (Metric("requests", "requests/s", HIGHER), *SERVER_METRICS,
                Metric("errors", "errors and time-outs", NEITHER))


def switches(kind, divisor=1):
    def once(world, seconds):
        found = numbers(run([BUILD / "switches", kind], world, limit=15))
        return {"ns": found["ns"] / divisor}
    return once


def parked_memory(kind, threads=10_000):
    def once(world, seconds):
        return numbers(run([BUILD / "parked_memory", kind, threads], world, limit=30))
    return once


MEMORY_METRICS = (
    Metric("total", "bytes per thread"), Metric("rss", "of it VmRSS"),
    Metric("page_tables", "of it page tables"), Metric("kernel_stack", "of it kernel stack"),
    Metric("slab", "of it slab"), Metric("create_us", "pthread_create until parked, µs", LOWER, 1),
    Metric("threads", "threads", NEITHER), Metric("kernel_threads", "kernel threads", NEITHER),
)


def startup(program):
    def once(world, seconds):
        library = worlds.library()
        found = numbers(run([BUILD / "startup", seconds, library, program], limit=60))
        return {"alone": {"us": found["alone"], "added": 0.0},
                "coro": {"us": found["coro"], "added": found["coro"] - found["alone"]}}
    return once


STARTUP_METRICS = (Metric("us", "µs"), Metric("added", "added, µs", NEITHER))

THREADS, ECHO, HTTP = ("alone", "coro"), ("alone", "coro", "epoll"), ("alone", "coro", "gevent")

ALL = (
    Benchmark("echo-100", "C echo, 100 connections", ECHO, ECHO_METRICS,
              echo(100), (5, 9)),
    Benchmark("echo-5000", "C echo, 5,000 connections", ECHO, ECHO_METRICS,
              echo(5000), (3, 9)),
    Benchmark("echo-poll-64", "C echo, 64 connections, poll() as MariaDB", THREADS,
              ECHO_METRICS, echo(64, "poll"), (3, 9)),
    Benchmark("echo-stdio-64", "C echo, 64 connections, fgets and fprintf on the socket", THREADS,
              ECHO_METRICS, echo(64, "stdio"), (3, 9)),
    Benchmark("http-32", "CPython ThreadingHTTPServer, 32 connections", HTTP, HTTP_METRICS,
              http(32), (3, 7), (2, 5)),
    Benchmark("http-512", "CPython ThreadingHTTPServer, 512 connections", HTTP,
              HTTP_METRICS, http(512), (3, 7), (2, 5)),
    Benchmark("http-32-free", "CPython ThreadingHTTPServer, 32, on all cores", HTTP,
              HTTP_METRICS, http(32, ALL_CORES), (2, 7), (2, 5)),
    Benchmark("work-64", "C server that computes 0.5 ms a request, 64 connections, on all cores",
              ("alone", "coro", "two hubs"), ECHO_METRICS,
              echo(64, "work", cores=ALL_CORES), (0, 5), (2, 3)),
    Benchmark("yield", "sched_yield between two threads", THREADS,
              (Metric("ns", "ns per call"),), switches("yield"), (3, 9)),
    Benchmark("semaphore", "semaphore round trip between two threads", THREADS,
              (Metric("ns", "ns"),), switches("semaphore"), (3, 9)),
    Benchmark("condition", "mutex + condition round trip between two threads", THREADS,
              (Metric("ns", "ns"),), switches("condition"), (3, 9)),
    Benchmark("mutex", "mutex lock + unlock, nobody else there", THREADS,
              (Metric("ns", "ns", LOWER, 1),), switches("mutex"), (3, 9)),
    Benchmark("create", "pthread_create + join", THREADS,
              (Metric("ns", "µs", LOWER, 1),), switches("create", 1000), (3, 9)),
    Benchmark("memory-read", "memory per thread parked in read()", THREADS, MEMORY_METRICS,
              parked_memory("read"), (3, 7)),
    Benchmark("memory-condition", "memory per thread parked in pthread_cond_wait()", THREADS,
              MEMORY_METRICS, parked_memory("condition"), (3, 7)),
    Benchmark("startup-true", "start-up: /bin/true", THREADS, STARTUP_METRICS,
              startup("/bin/true"), (1, 3), (300, 1000), all_worlds_in_one_run=True),
    Benchmark("startup-nothing", "start-up: int main(void) { return 0; }", THREADS,
              STARTUP_METRICS, startup(BUILD / "nothing"), (1, 3), (300, 1000),
              all_worlds_in_one_run=True),
)
