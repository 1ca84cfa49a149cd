"""MariaDB as Debian ships it, a thread per connection, alone and under coro: it is installed, started, loaded with
64 and 1,000 connections, killed, recovered and shut down, and says the same of its tables in both worlds."""

import re
import shutil
import signal
import threading

import pymysql
import pytest
from mariadb import MariaDB, install
from world import HELPERS, World, eventually, kernel_threads

OWN = 6  # what MariaDB itself has at most as kernel threads under coro: InnoDB's wait for its io_uring, and hand-offs of it


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """installed(world): a data directory made in that world, once."""
    made = {}

    def get(world):
        if world.name not in made:
            directory = tmp_path_factory.mktemp(f"installed-{world.name}")
            data = directory / "data"
            install(World(world.name, directory), data)
            made[world.name] = data
        return made[world.name]
    return get


@pytest.fixture
def server(world, start, tmp_path, installed):
    data = tmp_path / "data"
    shutil.copytree(installed(world), data)
    server = MariaDB(start, data)
    server.launch()
    server.sql("create database shop; create table shop.sold (id int primary key auto_increment, pieces int)")
    return server


def check_stop(world, server, connections=0):
    """The usual stop: SIGTERM, status 0, its last words; and no kernel thread a connection."""
    status = server.process.stop(signal.SIGTERM, 40)
    assert status == 0, server.process.describe()
    assert "Shutdown complete" in server.process.errors()
    assert "[ERROR]" not in server.process.errors()
    if world.coro:
        report = world.report(server.process)
        assert report["fibers_alive_most"] >= connections * 3 // 4  # the first may have finished when the last arrive
        assert report["kernel_threads_most"] <= report["hubs"] + HELPERS + OWN


@pytest.mark.parametrize("connections,sales", [(64, 6_400), (1_000, 6_000)])
def test_every_sale_is_booked(world, server, connections, sales):
    """mysqlslap over TCP: each query is its own transaction, and must be there afterwards."""
    server.slap(connections, sales, "insert into shop.sold (pieces) values (3)", tcp=True)
    assert server.sql("select count(*), sum(pieces), count(distinct id) from shop.sold") == f"{sales}\t{3 * sales}\t{sales}"
    server.slap(connections, sales, "select 1")
    check_stop(world, server, connections)


def check_sysbench(server, connections, events, **how):
    said = server.sysbench(connections, "run", f"--events={events}", **how)
    assert int(re.search(r"transactions: +(\d+)", said)[1]) == events, said
    # A transaction deletes a row and inserts it again: whatever the order, the rows are the same afterwards.
    for table in range(1, 5):
        assert server.sql(f"select count(*), sum(id) from shop.sbtest{table}") == "1000\t500500"
        assert server.sql(f"check table shop.sbtest{table} extended").endswith("status\tOK")


@pytest.mark.parametrize("client", ["client alone", "client likewise"])
def test_sysbench_with_64_connections(world, server, client):
    inside = client == "client likewise"
    server.sysbench(4, "prepare", inside=inside)
    check_sysbench(server, 64, 1_000, inside=inside)
    check_stop(world, server, 64)


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("hubs", ["1", "2"])
def test_sysbench_with_1000_connections(world, server, hubs):
    check_stop(world, server)
    world.report_file.unlink(missing_ok=True)
    server.launch(CORO_HUBS=hubs)
    server.sysbench(4, "prepare")
    check_sysbench(server, 1_000, 4_000, seconds=240)
    check_stop(world, server, 1_000)


class Shopper(threading.Thread):
    """Buys one piece after the other, each its own transaction, and remembers what the server has confirmed."""

    def __init__(self, server, number):
        super().__init__()
        self.number, self.confirmed = number, 0
        self.connection = pymysql.connect(unix_socket=str(server.socket), user="root", database="shop")

    def run(self):
        try:
            with self.connection.cursor() as cursor:
                while True:
                    cursor.execute("insert into bought values (%s, %s)", (self.number, self.confirmed + 1))
                    self.connection.commit()
                    self.confirmed += 1
        except pymysql.err.Error:
            pass  # the server was killed


def test_killed_it_recovers_and_no_commit_is_lost(world, server):
    server.sql("create table shop.bought (shopper int, piece int, primary key (shopper, piece))")
    undecided = pymysql.connect(unix_socket=str(server.socket), user="root", database="shop")
    undecided.cursor().execute("insert into bought values (0, 1)")
    shoppers = [Shopper(server, number) for number in range(1, 33)]
    for shopper in shoppers:
        shopper.start()
    eventually(lambda: sum(shopper.confirmed for shopper in shoppers) > 500, 40, server.process.describe)
    assert server.process.stop(signal.SIGKILL) == -signal.SIGKILL
    for shopper in shoppers:
        shopper.join(20)
    server.launch()
    assert "Starting crash recovery" in server.process.errors()
    there = dict(line.split("\t") for line in server.sql(
        "select shopper, if(count(*) = max(piece), count(*), -1) from shop.bought group by shopper").splitlines())
    assert "0" not in there, "a transaction that was never committed came back"
    for shopper in shoppers:
        found = int(there.get(str(shopper.number), 0))
        assert found in (shopper.confirmed, shopper.confirmed + 1), f"{found} found, {shopper.confirmed} confirmed"
    check_stop(world, server)


def test_connections_are_fibers(world, server):
    """Two hundred idle guests, and what the server says of them."""
    guests = [pymysql.connect(unix_socket=str(server.socket), user="root") for _ in range(200)]
    threads = kernel_threads(server.process.pid)
    assert threads <= 1 + HELPERS + OWN if world.coro else threads >= 200
    assert int(server.sql("show status like 'Threads_connected'").split()[1]) >= 200
    # Killing one from another: its fiber sits in poll and must hear of it.
    cursor = guests[0].cursor()
    cursor.execute(f"kill connection {guests[1].thread_id()}")
    with pytest.raises(pymysql.err.Error):
        guests[1].cursor().execute("select 1")
    # One that waits for a lock is told, too.
    cursor.execute("select get_lock('door', 0)")
    waiter = threading.Thread(target=lambda: guests[2].cursor().execute("select get_lock('door', 50)"))
    waiter.start()
    eventually(lambda: "User lock" in server.sql("show processlist"), 20, lambda: server.sql("show processlist"))
    cursor.execute(f"kill query {guests[2].thread_id()}")
    waiter.join(20)
    assert not waiter.is_alive()
    check_stop(world, server, 200)
