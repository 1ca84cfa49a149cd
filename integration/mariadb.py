"""A MariaDB server of its own: data directory, socket and port, as Debian's package has it (a thread per connection)."""

import os
import pwd
import subprocess

from world import eventually, free_port

# Small logs: the data directory is copied for each test.
SIZES = ["--innodb-log-file-size=16M", "--innodb-buffer-pool-size=64M"]
ROOM = ["--max-connections=2000", "--back-log=1000", "--max-prepared-stmt-count=100000"]


def install(world, directory):
    """Makes a data directory by mariadb-install-db, a shell script that runs `mariadbd --bootstrap`, all in this world."""
    made = subprocess.run(["mariadb-install-db", "--no-defaults", f"--user={user()}", f"--datadir={directory}",
                           "--auth-root-authentication-method=normal", "--skip-test-db", *SIZES],
                          env=world.environment(), capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stdout + made.stderr


def user():
    return pwd.getpwuid(os.geteuid()).pw_name


class MariaDB:
    """One server process on a data directory; restart() after its end gives the next one."""

    def __init__(self, start, data):
        self._start, self.data = start, data
        self.socket = data.parent / "socket"
        self.port = free_port()

    def launch(self, *more, **environment):
        self.process = self._start(
            ["mariadbd", "--no-defaults", f"--user={user()}", f"--datadir={self.data}", f"--socket={self.socket}",
             f"--port={self.port}", "--bind-address=127.0.0.1", *SIZES, *ROOM, *more], **environment)
        eventually(self._answers, 40, self.process.describe)
        return self.process

    def _answers(self):
        assert self.process.running(), self.process.describe()
        ping = self.client(["mariadb-admin", *self.reached(), "ping"])
        return ping.wait() == 0

    def reached(self, tcp=False):
        place = ["--protocol=tcp", "--host=127.0.0.1", f"--port={self.port}"] if tcp else [f"--socket={self.socket}"]
        return ["--no-defaults", "--user=root", *place]

    def client(self, argv, inside=False):
        return self._start(argv, inside=inside)

    def sql(self, statements):
        """What the plain client prints, without headings."""
        client = self.client(["mariadb", *self.reached(), "--batch", "--skip-column-names", "--execute", statements])
        assert client.wait(60) == 0, client.describe()
        return client.output().strip()

    def slap(self, connections, queries, query, inside=False, tcp=False, seconds=80):
        """mysqlslap: that many connections at once make that many queries together."""
        load = self.client(["mariadb-slap", *self.reached(tcp), "--create-schema=shop", f"--concurrency={connections}",
                            f"--number-of-queries={queries}", f"--query={query}", "--delimiter=;", "--csv"], inside)
        assert load.wait(seconds) == 0 and load.errors() == "", load.describe()

    def sysbench(self, connections, command, *more, inside=False, seconds=80):
        """sysbench oltp_read_write on four tables; gives what it printed."""
        bench = self.client(["sysbench", "oltp_read_write", f"--mysql-socket={self.socket}", "--mysql-user=root",
                             "--mysql-db=shop", "--tables=4", "--table-size=1000", "--time=0",
                             # Deadlocks are part of the load, as in a server of its own: undone and tried again.
                             "--mysql-ignore-errors=1213,1205,1020", f"--threads={connections}", *more, command], inside)
        assert bench.wait(seconds) == 0, bench.describe()
        return bench.output()
