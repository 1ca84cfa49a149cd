# SPDX-License-Identifier: Apache-2.0
"""Adds up the JUnit files of ./check: one line a part, then 'N passed, N failed, N skipped'.

summary.py RESULTS PART=STATUS...: STATUS is what the part's command ended with. A part without a result
file, without a single test, or with a bad status but no failed test counts as one failure: silence is
never success. Exits 0 only when nothing failed.
"""
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def outcome_of(case):
    """passed, failed or skipped, of one <testcase> by pytest or ctest."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    status = case.get("status", "run")
    if status == "run":
        return "skipped" if case.find("skipped") is not None else "passed"
    skipped = case.find("skipped")
    asked = skipped is not None and skipped.get("message", "").startswith("SKIP_")
    return "skipped" if asked else "failed"  # ctest: not run, because its program is missing


def read_part(file, status):
    """Counts of one part and the names of what failed."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failed = []
    try:
        cases = list(ElementTree.parse(file).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return {**counts, "failed": 1}, ["(did not run: no result file)"]
    for case in cases:
        outcome = outcome_of(case)
        counts[outcome] += 1
        if outcome == "failed":
            names = dict.fromkeys([case.get("classname"), case.get("name")])  # ctest: both the same
            failed.append(" ".join(filter(None, names)))
    if not cases:
        failed.append("(ran no test)")
    elif status and not failed:
        failed.append(f"(ended with status {status})")
    counts["failed"] = len(failed)
    return counts, failed


def main(results, *parts):
    total = {"passed": 0, "failed": 0, "skipped": 0}
    for part in parts:
        name, status = part.split("=")
        counts, failed = read_part(Path(results) / f"{name}.xml", int(status))
        for key, count in counts.items():
            total[key] += count
        print(f"{name:12}" + ", ".join(f"{count:4} {key}" for key, count in counts.items()))
        for line in failed:
            print(f"    failed: {line}")
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**total))
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
