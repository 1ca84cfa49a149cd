# SPDX-License-Identifier: Apache-2.0
"""libcoro.so exports the names of symbols.def, all of them and nothing else, needs libc only, and has no static objects
with a constructor: they would run in every program, also one that never makes a thread.

Whatever else it needed would be loaded into every program before the program's own libraries: libev comes by
dlopen with the first hub, the C++ runtime never.
exports.py LIBRARY [--self-test]
"""
import re
import subprocess
import sys

import house


def exported(library):
    """The names that the dynamic symbol table defines, without versions."""
    lines = subprocess.run(
        ["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return {line.split()[-1].split("@")[0] for line in lines}


# What the loader may bring in with us; the names of libc.so.6 and of the parts that old glibcs keep apart.
MAY_NEED = {"libc.so.6", "libdl.so.2", "ld-linux-x86-64.so.2"}


def needed(library):
    """The libraries that the dynamic section names."""
    text = subprocess.run(["readelf", "-dW", library], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", text))


def needed_complaints(libraries):
    found = [f"libcoro.so needs {name}: it may need libc only" for name in sorted(libraries - MAY_NEED)]
    return found if "libc.so.6" in libraries else found + ["libcoro.so does not even need libc.so.6"]


def constructor_complaints(symbols):
    return [f"{symbol[len('_GLOBAL__sub_I_'):]} has static objects that the loader must construct: make them constinit"
            for symbol in symbols if symbol.startswith("_GLOBAL__sub_I_")]


def local_symbols(library):
    lines = subprocess.run(["nm", library], check=True, capture_output=True, text=True).stdout.splitlines()
    return [line.split()[-1] for line in lines]


def complaints(names, table):
    missing = [f"symbols.def has {name}, libcoro.so does not export it" for name in table - names]
    extra = [f"libcoro.so exports {name}, symbols.def has no row for it" for name in names - table]
    return sorted(missing + extra)


def self_test(names, table):
    found = complaints(names, table | {"planted_row"})
    house.must_find("a row without an export", found, "planted_row")
    found = complaints(names | {"planted_export"}, table)
    house.must_find("an export without a row", found, "planted_export")
    for name in ("libstdc++.so.6", "libgcc_s.so.1", "libev.so.4"):
        house.must_find(f"a need of {name}", needed_complaints(needed(sys.argv[1]) | {name}), f"needs {name}")
    found = constructor_complaints(local_symbols(sys.argv[1]) + ["_GLOBAL__sub_I_queue.cc"])
    house.must_find("a static constructor", found, "queue.cc has static objects")


if __name__ == "__main__":
    names, table = exported(sys.argv[1]), house.interposed()
    if "--self-test" in sys.argv:
        self_test(names, table)
        house.verdict([])
    found = complaints(names, table) + needed_complaints(needed(sys.argv[1]))
    found += constructor_complaints(local_symbols(sys.argv[1]))
    house.verdict(found or ([] if table else ["symbols.def has no rows"]))
