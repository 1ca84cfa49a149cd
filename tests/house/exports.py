# SPDX-License-Identifier: Apache-2.0
"""libcoro.so exports the names of symbols.def, all of them and nothing else.

exports.py LIBRARY [--self-test]
"""
import subprocess
import sys

import house


def exported(library):
    """The names that the dynamic symbol table defines, without versions."""
    lines = subprocess.run(
        ["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return {line.split()[-1].split("@")[0] for line in lines}


def complaints(names, table):
    missing = [f"symbols.def has {name}, libcoro.so does not export it" for name in table - names]
    extra = [f"libcoro.so exports {name}, symbols.def has no row for it" for name in names - table]
    return sorted(missing + extra)


def self_test(names, table):
    found = complaints(names, table | {"planted_row"})
    house.must_find("a row without an export", found, "planted_row")
    found = complaints(names | {"planted_export"}, table)
    house.must_find("an export without a row", found, "planted_export")


if __name__ == "__main__":
    names, table = exported(sys.argv[1]), house.interposed()
    if "--self-test" in sys.argv:
        self_test(names, table)
        house.verdict([])
    house.verdict(complaints(names, table) or ([] if table else ["symbols.def has no rows"]))
