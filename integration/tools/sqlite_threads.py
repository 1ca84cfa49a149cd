"""Twenty threads write to one database file, each with a connection of its own, while others read."""

import sqlite3
import sys
import threading

FILE = "database"


def connect():
    connection = sqlite3.connect(FILE, timeout=60, isolation_level=None)
    connection.execute("pragma synchronous=off")
    return connection


def write(writer):
    connection = connect()
    for number in range(50):
        connection.execute("begin immediate")
        total, = connection.execute("select total from sum").fetchone()
        connection.execute("insert into item values (?, ?)", (writer, number))
        connection.execute("update sum set total = ?", (total + number,))
        connection.execute("commit")


def read(problems):
    connection = connect()
    for _ in range(50):
        connection.execute("begin")
        (total,), (items,) = (connection.execute(question).fetchone()
                              for question in ("select total from sum", "select coalesce(sum(number), 0) from item"))
        connection.execute("commit")
        if total != items:
            problems.append((total, items))


with connect() as connection:
    connection.execute(f"pragma journal_mode={sys.argv[1]}")
    connection.execute("create table item (writer, number)")
    connection.execute("create table sum (total)")
    connection.execute("insert into sum values (0)")
problems = []
threads = [threading.Thread(target=write, args=[writer]) for writer in range(20)]
threads += [threading.Thread(target=read, args=[problems]) for _ in range(5)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(connect().execute("select count(*), (select total from sum) from item").fetchone(), problems)
print(connect().execute("pragma integrity_check").fetchone()[0])
