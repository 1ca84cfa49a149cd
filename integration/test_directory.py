"""slapd, the LDAP server (a pool of threads over one epoll), alone and under coro."""

import concurrent.futures
import errno
import signal
import socket

import ldap3
import pytest
from daemons import ask, tmp_path  # noqa: F401
from world import HELPERS, HUBS, eventually, free_port, kernel_threads, wait_until_connectable

THREADS = 8
BASE, ADMIN = "dc=example,dc=org", "cn=admin,dc=example,dc=org"


@pytest.fixture
def slapd(start, tmp_path):
    (tmp_path / "data").mkdir()
    settings = tmp_path / "slapd.conf"
    settings.write_text(f"""include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {tmp_path}/pid
modulepath /usr/lib/ldap
moduleload back_mdb
threads {THREADS}
gentlehup on
database mdb
maxsize 67108864
suffix "{BASE}"
rootdn "{ADMIN}"
rootpw secret
directory {tmp_path}/data
index uid eq
""")
    port = free_port()
    process = start(["slapd", "-d", "0", "-f", settings, "-h", f"ldap://127.0.0.1:{port}/"])
    wait_until_connectable(process, port)
    entries = tmp_path / "entries"
    entries.write_text(f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: example\ndc: example\n\n"
                       f"dn: ou=people,{BASE}\nobjectClass: organizationalUnit\nou: people\n")
    ask("ldapadd", "-x", "-H", f"ldap://127.0.0.1:{port}", "-D", ADMIN, "-w", "secret", "-f", entries)
    return process, port


def connect(port):
    server = ldap3.Server("127.0.0.1", port=port, get_info=ldap3.NONE, connect_timeout=20)
    return ldap3.Connection(server, ADMIN, "secret", auto_bind=True, receive_timeout=40, raise_exceptions=True)


def live(port, number):
    """One person's life: entered, found, renamed, compared, looked for among all."""
    with connect(port) as connection:
        name = f"uid=person{number},ou=people,{BASE}"
        connection.add(name, ["inetOrgPerson"], {"cn": f"Person {number}", "sn": "Person", "description": "x" * 5_000})
        connection.modify(name, {"description": [(ldap3.MODIFY_REPLACE, [f"number {number}"])]})
        assert connection.compare(name, "description", f"number {number}")
        connection.search(f"ou=people,{BASE}", f"(uid=person{number})", attributes=["description"])
        assert [str(entry.description) for entry in connection.entries] == [f"number {number}"]
        connection.search(f"ou=people,{BASE}", "(sn=Person)", attributes=["cn"])
        assert len(connection.entries) >= 1


def refused(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_slapd(world, slapd, number):
    process, port = slapd
    idle = [connect(port) for _ in range(40)]
    with concurrent.futures.ThreadPoolExecutor(30) as people:
        list(people.map(lambda who: live(port, who), range(60), timeout=60))
    # LMDB's lock is robust and shared: who writes has a guardian, and a helper while it waits (docs/limits.md).
    assert kernel_threads(process.pid) <= HUBS + HELPERS + 2 * THREADS
    found = ask("ldapsearch", "-x", "-LLL", "-H", f"ldap://127.0.0.1:{port}", "-b", f"ou=people,{BASE}",
                "(sn=Person)", "description")
    assert sorted(line for line in found.splitlines() if line.startswith("description")) == sorted(
        f"description: number {who}" for who in range(60))
    for connection in idle[10:]:
        connection.unbind()
    if number == signal.SIGHUP:  # gentle: it listens no more, but who is connected may go on
        process.signal(number)
        eventually(lambda: refused(port), 20, process.describe)
        for connection in idle[:10]:
            assert connection.search(BASE, "(objectClass=organization)")
        number = signal.SIGTERM
    assert process.stop(number) == 0, process.describe()
    if world.coro:
        assert world.report(process)["fibers_alive_most"] >= 4
