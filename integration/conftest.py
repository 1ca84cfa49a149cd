"""Fixtures: `world` runs a test twice, alone and under coro; `start` starts programs of that world and ends them."""

import pytest

from world import LIBRARY, Process, World


@pytest.fixture(params=["alone", "coro"])
def world(request, tmp_path):
    world = World(request.param, tmp_path)
    if world.coro:
        assert LIBRARY.exists(), f"{LIBRARY} is not built (set CORO_LIBRARY to use another)"
    return world


@pytest.fixture
def start(world, tmp_path):
    """start(argv, inside=True, **environment): a Process in this world, or beside it with inside=False."""
    started = []

    def start(argv, inside=True, **environment):
        process = Process(argv, world.environment(inside, **environment), tmp_path)
        started.append(process)
        return process

    yield start
    for process in started:
        process.end()
