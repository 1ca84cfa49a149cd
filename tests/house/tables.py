# SPDX-License-Identifier: Apache-2.0
"""The tables and what must follow from them.

Each SYMBOL of symbols.def has a HOOK in a file of its family (<family>.cc, <family>_*.cc, and by the words of
HOMES), and its name occurs in a program of tests/hooks; each HOOK has a row; each ALIAS is one of a SYMBOL of
its family. Each option and counter has a help text. README.md holds the tables that the launcher prints.
tables.py LAUNCHER [--self-test | --update]       --update writes the tables into README.md
"""
import re
import subprocess
import sys
from pathlib import Path

import house

README = house.ROOT / "README.md"
GENERATED = re.compile(r"<!-- begin: coro (\w+ --markdown) -->\n(.*?)<!-- end -->", re.DOTALL)


HOOK = re.compile(r"\bHOOK\w*\(\s*[^(),]+(?:\([^()]*\)[^(),]*)*,\s*(\w+)\s*,")
MACRO = re.compile(r"^#define (\w+)\(([^)]*)\)((?:[^\n]*\\\n)*[^\n]*)\n", re.MULTILINE)


def hooks_in(text):
    """The names that a source file of hooks/ defines, those made by its own macros included."""
    text = house.without_comments(text)
    plain = MACRO.sub("", text)
    found = set(HOOK.findall(plain))
    for macro, parameters, body in MACRO.findall(text):
        parameters = re.split(r"\s*,\s*", parameters.strip())
        uses = re.findall(rf"\b{macro}\(\s*([^()]*?)\s*\)", plain)
        for name in HOOK.findall(body):
            if name not in parameters:
                found.add(name)
                continue
            found |= {re.split(r"\s*,\s*", use)[parameters.index(name)] for use in uses}
    return found


# The first words of the files that a family lives in, where it has more than its own name: io.cc, io_anything.cc.
HOMES = {
    "io": ("io", "transfer"),
    "poll": ("poll", "select"),
    "signals": ("signals", "signal", "jumps"),
    "thread": ("thread", "affinity"),
}


def belongs(file, family):
    return file.removesuffix(".cc").split("_")[0] in HOMES.get(family, (family,))


def hook_complaints(symbols, hooks):
    """`hooks`: the names defined, by file of hooks/."""
    found = []
    for name, family, _ in symbols:
        homes = [file for file, names in hooks.items() if name in names]
        if not homes:
            found.append(f"{name} has a row, but no HOOK")
        elif not any(belongs(file, family) for file in homes):
            found.append(f"{name} is of family {family}, but lives in hooks/{homes[0]}")
    known = {row[0] for row in symbols}
    for file, names in hooks.items():
        found += [f"hooks/{file} defines {name}, which has no row" for name in sorted(names - known)]
    return found


def alias_complaints(aliases, symbols):
    known = {(name, family) for name, family, _ in symbols}
    return [
        f"symbols.def: {name} is an alias of {of}, which is no symbol of family {family}"
        for name, family, of in aliases
        if (of, family) not in known
    ]


def order_complaints(symbols):
    found, seen = [], []
    for name, family, _ in symbols:
        if family in seen[:-1]:
            found.append(f"symbols.def: {name} stands apart from its family {family}")
        elif family not in seen:
            seen.append(family)
    names = [row[0] for row in symbols]
    found += [f"symbols.def has {name} twice" for name in sorted({n for n in names if names.count(n) > 1})]
    return found


def test_complaints(symbols, tests):
    words = set(re.findall(r"\w+", tests))
    return [f"{row[0]} occurs in no program of tests/hooks" for row in symbols if row[0] not in words]


def help_complaints(table, macro):
    return [f"{table}: {row[0]} has no help" for row in house.rows(house.ROOT / table, macro) if not row[-1]]


def readme_complaints(readme, print_table):
    found = [
        f"README.md: the table of `coro {command}` is old: tests/house/tables.py --update writes it"
        for command, text in GENERATED.findall(readme)
        if text != print_table(command)
    ]
    present = {command for command, _ in GENERATED.findall(readme)}
    return found + [
        f"README.md has no table of `coro {command}`"
        for command in ("options --markdown", "profiles --markdown", "calls --markdown")
        if command not in present
    ]


def printer(launcher):
    def print_table(command):
        return subprocess.run([launcher, *command.split()], check=True, capture_output=True, text=True).stdout

    return print_table


def complaints(launcher):
    symbols = house.symbols()
    hooks = {path.name: hooks_in(path.read_text()) for path in (house.ROOT / "hooks").glob("*.cc")}
    tests = "\n".join(path.read_text() for path in (house.ROOT / "tests/hooks").glob("*.cc"))
    return (
        ([] if symbols else ["symbols.def has no rows"])
        + order_complaints(symbols)
        + order_complaints(house.aliases())
        + alias_complaints(house.aliases(), symbols)
        + hook_complaints(symbols, hooks)
        + test_complaints(symbols, tests)
        + help_complaints("preload/options.def", "OPTION")
        + help_complaints("preload/profiles.def", "PROFILE")
        + help_complaints("scheduler/counters.def", "COUNTER")
        + readme_complaints(README.read_text(), printer(launcher))
    )


def update(launcher):
    print_table = printer(launcher)

    def fresh(match):
        return f"<!-- begin: coro {match[1]} -->\n{print_table(match[1])}<!-- end -->"

    README.write_text(GENERATED.sub(fresh, README.read_text()))


def self_test():
    symbols = [("read", "io", "parks"), ("recv", "socket", "parks"), ("planted", "io", "parks")]
    source = "HOOK(ssize_t, read, (int fd)) {\nHOOK(void (*)(int), recv, (int fd)) {\nHOOK(int, stray, ()) {\n"
    found = hook_complaints(symbols, {"io.cc": hooks_in(source)})
    house.must_find("a row without a hook", found, "planted has a row")
    house.must_find("a hook in the wrong file", found, "recv is of family socket")
    house.must_find("a hook without a row", found, "stray, which has no row")
    homes = {"io_far.cc": {"read", "planted"}, "iota.cc": {"recv"}}
    found = hook_complaints(symbols, homes)
    house.must_find("a hook in a file that only begins like a family's", found, "lives in hooks/iota.cc")
    house.must_not_find("a hook in one of several files", found, "hooks/io_far.cc")
    source = "#define DOOR(name, type) \\\n  HOOK(int, name, (type)) { \\\n  }\n\nDOOR(read, int)\nDOOR(odd, long)\n"
    found = hook_complaints(symbols, {"io.cc": hooks_in(source)})
    house.must_find("a macro's hook without a row", found, "defines odd")
    house.must_not_find("a macro's hook", found, "read has a row")
    house.must_not_find("a macro's parameter", found, "defines name")
    house.must_find("a row without a test", test_complaints(symbols, "read() recv()"), "planted")
    found = alias_complaints([("__read", "io", "raed")], symbols)
    house.must_find("an alias of nothing", found, "alias of raed")
    found = order_complaints(symbols + symbols[:1])
    house.must_find("a family in two places", found, "stands apart")
    house.must_find("a name given twice", found, "read twice")
    old = "<!-- begin: coro options --markdown -->\nold\n<!-- end -->"
    found = readme_complaints(old, lambda command: "new\n")
    house.must_find("an old table", found, "is old")
    house.must_find("a missing table", found, "no table of `coro calls")
    house.verdict([])


if __name__ == "__main__":
    if "--self-test" in sys.argv:
        self_test()
    if "--update" in sys.argv:
        update(sys.argv[1])
        sys.exit(0)
    house.verdict(complaints(sys.argv[1]))
