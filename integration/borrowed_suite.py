"""Other people's test suites, alone and under coro: what passes alone must pass under coro, but for a table of known
exceptions, each with its reason. An exception that passes is as much an error as a failure that is none.

A table in known_exceptions/ has a line per test: its name, then the reason. A reason that begins with "sometimes" allows
both outcomes; one that begins with "never run" is for tests that would take the rest of a run with them.
"""

import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from world import HERE, LIBRARY, World, end_session, usual_signals


@dataclass
class Outcome:
    """How one test ended: "pass", "unsupported", or what went wrong; and the last it said."""
    name: str
    result: str
    said: str = ""

    @property
    def passed(self):
        return self.result == "pass"


@dataclass
class Exceptions:
    """The table of known exceptions of one suite."""
    reasons: dict = field(default_factory=dict)

    @staticmethod
    def read(suite):
        reasons = {}
        for line in (HERE / "known_exceptions" / f"{suite}.txt").read_text().splitlines():
            name, _, reason = line.partition(" ")
            if line.strip() and not name.startswith("#"):
                assert reason.strip(), f"the exception {name} has no reason"
                reasons[name] = reason.strip()
        return Exceptions(reasons)

    def never_run(self, name):
        return self.reasons.get(name, "").startswith("never run")

    def expects(self, outcome):
        """Whether an outcome under coro is what the table says."""
        reason = self.reasons.get(outcome.name)
        if reason is None:
            return outcome.passed
        return not outcome.passed or reason.startswith("sometimes")


def environment(world_name):
    kept = World(world_name, tempfile.gettempdir()).environment()
    kept.pop("CORO_STATS", None)
    return kept


def run_limited(argv, world_name, seconds, directory):
    """Runs a command in a session of its own, all of which ends with it. Gives its status (None: out of time) and
    what it said."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([str(word) for word in argv], env=environment(world_name), cwd=directory,
                                   stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                                   start_new_session=True, preexec_fn=usual_signals)
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        end_session(process.pid)
        process.wait()
        said.seek(0)
        return status, said.read().decode(errors="replace")


def describe_status(status):
    if status is None:
        return "out of time"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


def run_all(run, names, at_once=2):
    """run(name) gives an Outcome or a list of them; a dot each, for whoever watches."""
    outcomes = []
    with ThreadPoolExecutor(at_once) as pool:
        for result in pool.map(run, names):
            outcomes += result if isinstance(result, list) else [result]
            print(".", end="", flush=True)
    print()
    return outcomes


def compare(suite, alone, under_coro):
    """Prints every surprise and the closing line; returns the exit status."""
    exceptions = Exceptions.read(suite)
    good = {outcome.name for outcome in alone if outcome.passed}
    judged = list({outcome.name: outcome for outcome in under_coro if outcome.name in good}.values())
    surprises = [outcome for outcome in judged if not exceptions.expects(outcome)]
    for outcome in surprises:
        reason = exceptions.reasons.get(outcome.name)
        print(f"{outcome.name}: " + (f"passed, but was known to fail: {reason}" if reason else outcome.result))
        if not outcome.passed:
            print("    " + "\n    ".join(outcome.said.splitlines()[-12:]))
    known = sum(1 for outcome in judged if not outcome.passed) - sum(1 for o in surprises if not o.passed)
    print(f"{suite}: {len(alone)} alone, of which {len(good)} pass; under coro {len(judged)} ran, "
          f"{known} known exceptions")
    print(f"{len(judged) - len(surprises)} passed, {len(surprises)} failed")
    return 1 if surprises else 0


def require_library():
    if not LIBRARY.exists():
        sys.exit(f"{LIBRARY} is not built (set CORO_LIBRARY to use another)")
    return Path(LIBRARY)
