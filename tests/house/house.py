# SPDX-License-Identifier: Apache-2.0
"""What the checks of the house share: where things are, how a table is read, how a verdict is given.

Each check is a script with one function that returns its complaints as sentences. Run plainly it prints
them and fails if there are any; run with --self-test it plants violations and fails unless each is found.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("preload", "hooks", "scheduler")


def rows(table, macro):
    """The arguments of each macro(...) row of a .def file, as stripped strings. Texts may hold commas."""
    text = Path(table).read_text()
    found = []
    for row in re.findall(rf"^{macro}\((.*?)\)[ \t]*(?://[^\n]*)?$", text, re.MULTILINE | re.DOTALL):
        columns = re.findall(r'\s*("(?:[^"\\]|\\.)*"|[^,]+?)\s*(?:,|$)', row)
        found.append([column.strip().strip('"') for column in columns])
    return found


def symbols():
    """(name, family, does) for each row of symbols.def."""
    return [tuple(row[:3]) for row in rows(ROOT / "preload/symbols.def", "SYMBOL")]


def aliases():
    """(name, family, of) for each second door in symbols.def."""
    return [tuple(row[:3]) for row in rows(ROOT / "preload/symbols.def", "ALIAS")]


def interposed():
    """Every name that we export: symbols and their aliases."""
    return {row[0] for row in symbols() + aliases()}


def sources(*suffixes, under=ROOMS):
    """The source files of our rooms, as paths relative to the root."""
    return [
        path.relative_to(ROOT)
        for folder in under
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in suffixes
    ]


def without_comments(text):
    """C++ text with comments blanked out and line numbers kept; string literals stay."""
    pattern = r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/'

    def blank(match):
        return match[0] if match[0].startswith('"') else "\n" * match[0].count("\n")

    return re.sub(pattern, blank, text, flags=re.DOTALL)


def verdict(complaints):
    """Prints complaints and PASS or FAIL; exits."""
    for complaint in complaints:
        print(complaint)
    print(f"FAIL: {len(complaints)} complaints" if complaints else "PASS")
    sys.exit(1 if complaints else 0)


def must_find(what, complaints, word):
    """Used by self-tests: a planted violation must be complained about in a sentence holding `word`."""
    if not any(word in complaint for complaint in complaints):
        print(f"FAIL: {what} was not found; complaints: {complaints}")
        sys.exit(1)
    print(f"found: {what}")


def must_not_find(what, complaints, word):
    """Used by self-tests: what is allowed must not be complained about."""
    if any(word in complaint for complaint in complaints):
        print(f"FAIL: {what} was complained about: {complaints}")
        sys.exit(1)
    print(f"allowed: {what}")
