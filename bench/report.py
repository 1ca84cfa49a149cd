# SPDX-License-Identifier: Apache-2.0
"""Turns the runs into medians, ratios and tables.

A ratio says how many times better coro is than the other world: above 1 is better for coro,
whether the number itself should be high (requests/s) or low (ns, bytes).
"""

from statistics import median

from benchmarks import HIGHER, NEITHER


class Result:
    """All runs of one benchmark: per world the numbers of each run and the failures."""

    def __init__(self, benchmark):
        self.benchmark = benchmark
        self.runs = {world: [] for world in benchmark.worlds}
        self.failures = {world: [] for world in benchmark.worlds}
        self.kernel_threads = 0  # most seen under coro

    def add(self, world, values):
        self.runs[world].append(values)
        if world == "coro":
            self.kernel_threads = max(self.kernel_threads, int(values.get("kernel_threads", 0)))

    def given_up(self, world):
        failures = len(self.failures[world])
        return failures > 1 or (failures == 1 and not self.runs[world])

    def median(self, world, key):
        values = [run[key] for run in self.runs.get(world, ()) if key in run]
        return median(values) if values else None

    def ratio(self, metric, other):
        coro, than = self.median("coro", metric.key), self.median(other, metric.key)
        if metric.better == NEITHER or not coro or not than:
            return None
        return coro / than if metric.better == HIGHER else than / coro

    def to_json(self):
        return {"title": self.benchmark.title, "runs": self.runs, "failures": self.failures,
                "medians": {world: {m.key: self.median(world, m.key)
                                    for m in self.benchmark.metrics}
                            for world in self.benchmark.worlds}}


OTHERS = ("epoll", "gevent", "two hubs")


def _cell(result, world, metric):
    if world not in result.runs:
        return ""
    value = result.median(world, metric.key)
    if value is None:
        return "failed" if result.failures[world] else "-"
    return f"{value:,.{metric.digits}f}"


def _ratio(result, metric, other):
    ratio = result.ratio(metric, other)
    return f"{ratio:.2f}x" if ratio else ""


def _rows(results, headline_only):
    """One row per metric: title, alone, coro, yardstick (epoll or gevent), the two ratios."""
    for result in results:
        third = next((w for w in result.benchmark.worlds if w in OTHERS), None)
        metrics = result.benchmark.metrics[:1] if headline_only else result.benchmark.metrics
        for index, metric in enumerate(metrics):
            title = (f"{result.benchmark.title}: {metric.title}" if index == 0
                     else f"    {metric.title}")
            yardstick = _cell(result, third, metric) if third else ""
            if third and headline_only:
                yardstick = f"{third} {yardstick}"
            yield [title, _cell(result, "alone", metric), _cell(result, "coro", metric), yardstick,
                   _ratio(result, metric, "alone"), _ratio(result, metric, third) if third else ""]


MOST_KERNEL_THREADS = 16  # one hub and our helpers; more means that threads did not become fibers
HEAD = ["", "alone", "coro", "epoll / gevent", "coro:alone", "coro:epoll/gevent"]


def plain(results):
    rows = [HEAD, *_rows(results, headline_only=False)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines + [""] + remarks(results)).rstrip()


def markdown(results):
    lines = ["| work, one core | alone | coro | other | coro against alone | against the other |",
             "|---|--:|--:|--:|--:|--:|"]
    lines += [f"| {' | '.join(row)} |" for row in _rows(results, headline_only=True)]
    return "\n".join(lines + [""] + remarks(results)).rstrip()


def remarks(results):
    """What the table cannot say: why runs gave no number, and threads that were not fibers."""
    told = {}
    for result in results:
        for world, failed in result.failures.items():
            for reason in failed[:1]:
                count = f"{len(failed)} of {len(failed) + len(result.runs[world])}"
                told.setdefault(f"{world}: {reason}", []).append(
                    f"{result.benchmark.name} ({count} runs)")
        if result.kernel_threads > MOST_KERNEL_THREADS:
            told.setdefault("coro: NOT fibers, too many kernel threads", []).append(
                f"{result.benchmark.name} ({result.kernel_threads})")
    return [f"{reason}: {', '.join(where)}" for reason, where in told.items()]
