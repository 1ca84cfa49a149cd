# SPDX-License-Identifier: Apache-2.0
"""Files of at most 300 lines, functions of 40, hooks of 15 - or a reason beside what is longer.

The reason is a comment `// lengths: why` among the first 30 lines of a file, or in the comment above or in
the first lines of a function. Relies on clang-format's layout: a function begins and ends in column 0.
lengths.py [--self-test]
"""
import re
import sys
from pathlib import Path

import house

FILE, FUNCTION, HOOK = 300, 40, 15
REASON = "// lengths: "

# What begins in column 0 and ends in { without being a function.
NO_FUNCTION = re.compile(r"(inline )?namespace|struct|class|union|enum|extern|.*= \{$|.*\w\{$")


def functions(lines):
    """(first line, last line) of each function that starts in column 0, counted from 0."""
    head = start = None
    for number, line in enumerate(lines):
        if start is not None:
            if line.startswith("}"):
                yield start, number
                start = None
            continue
        if head is None and re.match(r"[A-Za-z_:~\[(]", line):
            head = number
        if head is None or line.startswith("#") or not line:
            head = None
        elif line.endswith("{"):
            start = None if NO_FUNCTION.match(lines[head]) else head
            head = None
        elif line.split("//")[0].rstrip().endswith((";", "}")):
            head = None


def has_reason(lines, first):
    """Whether the comment above a function, or its first lines, give a reason."""
    above = first
    while above and lines[above - 1].startswith("//"):
        above -= 1
    return any(REASON in line for line in lines[above : first + 4])


def complaints_of(path, text):
    lines = text.splitlines()
    found = []
    if len(lines) > FILE and not any(REASON in line for line in lines[:30]):
        found.append(f"{path}: {len(lines)} lines, more than {FILE}")
    for first, last in functions(lines):
        hook = lines[first].startswith("HOOK(")
        most, length = HOOK if hook else FUNCTION, last - first + 1
        if length > most and not has_reason(lines, first):
            kind = "hook" if hook else "function"
            found.append(f"{path}:{first + 1}: a {kind} of {length} lines, more than {most}")
    return found


def complaints():
    return [
        complaint
        for path in house.sources(".cc", ".h")
        for complaint in complaints_of(path, Path(house.ROOT, path).read_text())
    ]


def self_test():
    body = "  work();\n"
    hook = "HOOK(int, planted, (int fd)) {\n" + body * 20 + "}\n"
    long = "static int planted(int one,\n                   int two) {\n" + body * 50 + "}\n"
    house.must_find("a long hook", complaints_of("x.cc", hook), "a hook of 22 lines")
    house.must_find("a long function", complaints_of("x.cc", long), "a function of 53 lines")
    house.must_find("a long file", complaints_of("x.cc", "int x;\n" * 301), "301 lines")
    reason = f"{REASON}because\n"
    fine = complaints_of("x.cc", reason + long + "struct S {\n" + "  int x;\n" * 50 + "};\n")
    house.verdict([f"complained without reason: {sentence}" for sentence in fine])


if __name__ == "__main__":
    if "--self-test" in sys.argv:
        self_test()
    house.verdict(complaints())
