#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Has spin try every order of steps of hubs.pml; with --self-test: with mistakes planted, which it must find."""

import pathlib
import re
import subprocess
import sys
import tempfile

MODEL = pathlib.Path(__file__).with_name("hubs.pml")

# About a million states each. -DROUNDS=2 has 18 million and needs 700 MB.
SOUND = ["-DROUNDS=1", "-DFIBERS=3 -DHUBS=1 -DTAKES=2 -DROUNDS=1"]
PLANTED = ["-DROUNDS=1 -DPLANT_NO_SECOND_LOOK", "-DROUNDS=1 -DPLANT_TAKE_IN_TWO_STEPS",
           "-DROUNDS=1 -DPLANT_VISIT_WITHOUT_MARK"]


def errors(defines):
    """How many errors spin finds; None when it could not look everywhere."""
    with tempfile.TemporaryDirectory(prefix="model.") as folder:
        def run(*command):
            return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50)

        for command in (["spin", *defines.split(), "-a", str(MODEL)],
                        ["cc", "-w", "-O1", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=500", "-o", "pan", "pan.c"]):
            made = run(*command)
            if made.returncode:
                sys.exit(f"{' '.join(command)}:\n{made.stdout}{made.stderr}")
        said = run("./pan", "-m100000").stdout
    found = re.search(r"errors: (\d+)", said)
    print(f"{defines}: {found[0] if found else said}, {''.join(re.findall(r'[0-9.e+]+ states, stored', said))}")
    complete = found and ("Search not completed" not in said or int(found[1])) and "search depth too small" not in said
    return int(found[1]) if complete else None


def main():
    if "--self-test" in sys.argv:
        wrong = [d for d in PLANTED if not errors(d)]
    else:
        wrong = [d for d in SOUND if errors(d) != 0]
    print("\n".join(["wrong: " + d for d in wrong]) or "PASS")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
