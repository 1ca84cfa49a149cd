"""What the gevent guides teach, without gevent: each program in lessons/ uses nothing but the standard library.

The transcript a lesson must print stands in its own head, so the same lines are expected alone and under coro. Under
coro there is one hub, hence one kernel thread that runs all of it, and nothing else but our own helpers.
"""

import ast
import textwrap

import pytest
from world import HELPERS, HERE, python

LESSONS = sorted(path.stem for path in (HERE / "lessons").glob("*.py") if path.stem != "lesson")


def transcript(script):
    head = ast.get_docstring(ast.parse((HERE / script).read_text()), clean=False)
    return textwrap.dedent(head.partition("Prints:\n")[2])


@pytest.mark.parametrize("lesson", LESSONS)
def test_lesson(world, start, lesson):
    script = f"lessons/{lesson}.py"
    process = start(python(script), CORO_HUBS="1")
    status = process.wait(40)
    assert process.output() == transcript(script), process.describe()
    assert (status, process.errors()) == (0, "")
    if world.coro:
        report = world.report(process)
        assert report["fibers_made"] >= 1
        assert report["hubs"] == 1
        assert report["kernel_threads_most"] <= 1 + HELPERS
