"""Servers that have their own event loop or a process per client, and must simply not notice us: redis, nginx, postgres."""

import asyncio
import re
import signal

import pytest
from daemons import (ROOT, Fetch, ask, children, crowd_of_many_processes, serve_sizes, tmp_path,  # noqa: F401
                     unprivileged)
from world import eventually, free_port, wait_until_connectable

# ---- redis ----


def redis(start, directory, *more):
    port = free_port()
    process = start(["redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", directory, "--save", "3600 1", *more])
    wait_until_connectable(process, port)
    eventually(lambda: cli(port, "ping") == "PONG", 30, process.describe)  # it answers while it still loads its data
    return process, port


def cli(port, *words):
    return ask("redis-cli", "-p", port, *words).strip()


@pytest.mark.parametrize("more", [
    pytest.param([], id="snapshot"),
    pytest.param(["--appendonly", "yes", "--appendfsync", "always"], id="log"),
    pytest.param(["--io-threads", "3"], id="io-threads", marks=pytest.mark.heavy)])  # they spin: no joy with two processors
def test_redis(start, tmp_path, more):
    """Its threads close files and sync the log; it forks to write its snapshot; it saves when it is told to end."""
    process, port = redis(start, tmp_path, *more)
    requests = 20_000 if not more else 3_000
    said = ask("redis-benchmark", "-p", port, "-c", "50", "-n", requests, "-r", "1000", "-t", "set,get,incr,lpush", "--csv")
    assert len(re.findall(r'^"(SET|GET|INCR|LPUSH)"', said, re.M)) == 4, said
    assert cli(port, "llen", "mylist") == str(requests)
    assert cli(port, "bgsave") == "Background saving started"
    eventually(lambda: "rdb_bgsave_in_progress:0" in cli(port, "info", "persistence"), 30, process.describe)
    assert "rdb_last_bgsave_status:ok" in cli(port, "info", "persistence")
    size = int(cli(port, "dbsize"))
    if not more:
        assert cli(port, "flushall", "async") == "OK"  # its values are freed by a thread
    cli(port, "set", "last", "word")
    assert process.stop(signal.SIGTERM) == 0, process.describe()
    process, port = redis(start, tmp_path, *more)
    assert cli(port, "get", "last") == "word"
    assert int(cli(port, "dbsize")) == (1 if not more else size + 1)
    assert process.stop(signal.SIGINT) == 0, process.describe()
    assert "bye bye" in process.output()


# ---- nginx ----

def nginx_settings(directory, port, greeting):
    (directory / "nginx.conf").write_text(f"""
{"user nobody nogroup;" if ROOT else ""}
daemon off; worker_processes 2; pid {directory}/nginx.pid; error_log {directory}/error.log notice;
events {{ worker_connections 1000; }}
http {{
  access_log {directory}/access.log; default_type text/plain;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port}; root {directory}/files;
    aio threads; sendfile off; output_buffers 1 64k;
    location = /greeting {{ return 200 "{greeting}\\n"; }}
  }}
}}""")


def test_nginx(start, tmp_path):
    """Two worker processes; files are read by a pool of threads in each."""
    serve_sizes(tmp_path / "files")
    port = free_port()
    nginx_settings(tmp_path, port, "morning")
    process = start(["nginx", "-e", tmp_path / "error.log", "-c", tmp_path / "nginx.conf"])
    wait_until_connectable(process, port)

    def greets():
        return ask("curl", "-sS", f"http://127.0.0.1:{port}/greeting").strip()

    assert greets() == "morning"
    asyncio.run(crowd_of_many_processes(port, Fetch()))
    nginx_settings(tmp_path, port, "evening")
    process.signal(signal.SIGHUP)
    eventually(lambda: greets() == "evening", 20, process.describe)
    (tmp_path / "access.log").rename(tmp_path / "old.log")
    process.signal(signal.SIGUSR1)
    eventually((tmp_path / "access.log").exists, 20, process.describe)
    said = ask("ab", "-q", "-k", "-c", "100", "-n", "5000", f"http://127.0.0.1:{port}/4096.bin")
    assert "Complete requests:      5000" in said and "Failed requests:        0" in said
    eventually(lambda: (tmp_path / "access.log").read_text().count("GET /4096.bin") >= 5_000, 20, process.describe)
    eventually(lambda: len(children(process)) == 2, 20, process.describe)  # the old workers have gone
    assert process.stop(signal.SIGQUIT) == 0, process.describe()
    log = (tmp_path / "error.log").read_text()
    assert "[alert]" not in log and "[crit]" not in log and "exited on signal" not in log, log


# ---- postgres ----

BIN = "/usr/lib/postgresql/15/bin"


def test_postgres(start, tmp_path):
    """A process per client and shared memory between them."""
    data, port = tmp_path / "data", free_port()
    made = start(unprivileged([f"{BIN}/initdb", "-D", data, "-A", "trust", "-U", "postgres", "-N", "--locale=C"]))
    assert made.wait(60) == 0, made.describe()
    process = start(unprivileged([f"{BIN}/postgres", "-D", data, "-h", "127.0.0.1", "-p", port, "-k", tmp_path,
                                  "-c", "max_connections=60"]))
    reached = ["-h", "127.0.0.1", "-p", port, "-U", "postgres"]

    def sql(statement):
        return ask("psql", *reached, "-Atc", statement, "postgres").strip()

    wait_until_connectable(process, port)
    eventually(lambda: "ready to accept" in process.errors(), 30, process.describe)
    ask(f"{BIN}/pgbench", *reached, "-i", "-q", "postgres")
    said = ask(f"{BIN}/pgbench", *reached, "-n", "-c", "40", "-j", "2", "-t", "25", "postgres")
    assert "1000/1000" in said, said
    assert sql("select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history), "
               "(select sum(tbalance) from pgbench_tellers) = (select sum(bbalance) from pgbench_branches), "
               "(select count(*) from pgbench_history)") == "t|t|1000"
    assert sql("set min_parallel_table_scan_size = 0; set parallel_setup_cost = 0; set parallel_tuple_cost = 0; "
               "select count(distinct bid), count(*) from pgbench_accounts").endswith("1|100000")
    with open(data / "postgresql.conf", "a") as settings:
        settings.write("work_mem = '5MB'\n")
    process.signal(signal.SIGHUP)
    eventually(lambda: sql("show work_mem") == "5MB", 20, process.describe)
    assert process.stop(signal.SIGINT) == 0, process.describe()
    assert "database system is shut down" in process.errors()
    assert "PANIC" not in process.errors() and "FATAL" not in process.errors(), process.describe()
