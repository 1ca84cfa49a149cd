# SPDX-License-Identifier: Apache-2.0
"""Who may include whom: the graph of STYLE 3.3, read off the include lines.

layers.py [--self-test]
"""
import re
import sys
from pathlib import Path

import house

# For files matching the first pattern, in this order: every include of ours must match the second.
RULES = [
    (r"preload/start\.cc", r"(preload|hooks|scheduler)/.*"),
    (r"preload/.*", r"preload/.*|scheduler/(check|counters|sys)\.(h|def)"),
    (r"hooks/.*", r"hooks/.*|scheduler/.*|preload/(real|options|profile|self|undeclared|backstop)\.h|preload/symbols\.def"),
    (r"scheduler/.*", r"scheduler/.*"),
    (r"tests/scheduler/.*", r"scheduler/.*|tests/scheduler/.*"),
    (r"tests/preload/.*", r"preload/.*"),
    (r"tests/hooks/.*", r"(tests/)?(\w+_)?testing\.h"),
    (r"(integration|bench)/.*", r"[^/]*\.h"),
]

# Headers of the libraries we stand on: each has one file that knows it.
OWNERS = {
    r"ev\.h": r"scheduler/loop\.cc",
    r"boost/context/.*": r"scheduler/context\.(cc|h)",
    r"seccomp\.h": r"preload/make_filter\.cc",
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def complaints_of(path, text):
    found = []
    allowed = next((want for file, want in RULES if re.fullmatch(file, path)), ".*")
    for bracket, name in INCLUDE.findall(house.without_comments(text)):
        ours = name.split("/")[0] in house.ROOMS or bracket == '"'
        if ours and not re.fullmatch(allowed, name):
            found.append(f"{path} may not include {name}")
        for header, owner in OWNERS.items():
            if re.fullmatch(header, name) and not re.fullmatch(owner, path):
                if path.startswith(house.ROOMS):
                    found.append(f"{path} includes {name}, which belongs to {owner} alone")
    return found


def complaints():
    folders = house.ROOMS + ("tests", "integration", "bench")
    return [
        complaint
        for path in house.sources(".cc", ".h", ".c", ".def", under=folders)
        for complaint in complaints_of(str(path), Path(house.ROOT, path).read_text())
    ]


def self_test():
    planted = {
        ("scheduler/hub.cc", '#include "hooks/hook.h"'): "may not include hooks/hook.h",
        ("scheduler/hub.cc", "#include <ev.h>"): "belongs to",
        ("hooks/io.cc", '#include "preload/elf.h"'): "may not include preload/elf.h",
        ("hooks/io.cc", '#include "retry.h"'): "may not include retry.h",
        ("preload/real.cc", '#include "scheduler/hub.h"'): "may not include scheduler/hub.h",
        ("preload/options.cc", "#include <seccomp.h>"): "belongs to",
        ("tests/hooks/recv.cc", '#include "scheduler/wait.h"'): "may not include scheduler/wait.h",
        ("integration/servers/echo.c", '#include "preload/real.h"'): "may not include",
    }
    for (path, line), word in planted.items():
        house.must_find(f"{line} in {path}", complaints_of(path, line), word)
    fine = complaints_of("hooks/io.cc", '#include "scheduler/wait.h"\n// #include "start.h"\n')
    house.verdict([f"complained without reason: {sentence}" for sentence in fine])


if __name__ == "__main__":
    if "--self-test" in sys.argv:
        self_test()
    house.verdict(complaints())
