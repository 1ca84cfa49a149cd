#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks a model with spin: the whole holds, and with any one rule left out (-DBREAK_...) spin finds the error.

    run.py MODEL.pml                  with the sizes that the model names
    run.py MODEL.pml -DFIBERS=3 ...   with others; the whole only, no rule is left out

Every interleaving is looked at, so there is nothing to repeat. Needs spin and a C compiler.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

SEARCH_DEPTH = 1_000_000  # steps; spin says so when it was too small
LIMIT = 100  # seconds for one search


def search(model, *defines):
    """What spin's verifier said of the model."""
    with tempfile.TemporaryDirectory(prefix="coro-model-") as folder:
        def run(*command):
            return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT)

        made = run("spin", *defines, "-a", str(model))
        if not (Path(folder) / "pan.c").exists():
            sys.exit(f"{model.name}: spin cannot read it:\n{made.stdout}{made.stderr}")
        # SAFETY: no cycles are looked for; what must not hang ends in an invalid end state.
        built = run("cc", "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=1000", "-o", "pan", "pan.c")
        if built.returncode:
            sys.exit(f"{model.name}: {built.stderr}")
        said = run("./pan", f"-m{SEARCH_DEPTH}").stdout
    found = re.search(r"errors: ([0-9]+)", said)
    if not found or "search depth too small" in said or (found[1] == "0" and "Search not completed" in said):
        sys.exit(f"{model.name} {' '.join(defines)}: the search is not complete:\n{said}")
    return said


def main():
    model = Path(sys.argv[1]).resolve()
    sizes = sys.argv[2:]
    said = search(model, *sizes)
    states = re.search(r"([0-9.e+]+) states, stored", said)[1]
    if "errors: 0" not in said:
        sys.exit(f"{model.name}: an error:\n{said}")
    print(f"{model.name} {' '.join(sizes)}: {states} states, no error")
    if sizes:
        return
    rules = sorted(set(re.findall(r"BREAK_\w+", model.read_text())) - {"BREAK_"})
    if not rules:
        sys.exit(f"{model.name}: has no rule to leave out: who says that it can fail?")
    failed = False
    for rule in rules:
        found = "errors: 0" not in search(model, f"-D{rule}")
        print(f"{model.name}: {rule}: {'found' if found else 'NOT FOUND'}")
        failed |= not found
    sys.exit(failed)


if __name__ == "__main__":
    main()
