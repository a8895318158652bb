"""What every test may rely on: both event loops, no provider keys, no default ladder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .redis_server import RedisServer


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run each async test on both event loops."""
    return str(request.param)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset provider keys and the default ladder, so that no test can reach a paid API."""
    for name in list(os.environ):  # noqa: TID251 - to clean it
        if name.endswith("_API_KEY") or name == "CASCADE_CONFIG":
            monkeypatch.delenv(name)


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis of this test's own. Tests that take it are marked ``redis``."""
    program = shutil.which("redis-server")
    if program is None:
        missing = "redis-server is needed: apt-get install redis-server"
        if os.environ.get("CI"):  # noqa: TID251 - a missing Redis must not pass unseen there
            pytest.fail(missing)
        pytest.skip(missing)
    with RedisServer(program, tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def pair_scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a two-model ladder, trained on made-up traffic with everything in it."""
    return _trained(tmp_path_factory.mktemp("pair"), ("small", "large"))


@pytest.fixture(scope="session")
def ladder_scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a three-model ladder, trained on made-up traffic."""
    return _trained(tmp_path_factory.mktemp("ladder"), ("tiny", "small", "large"))


def _trained(folder: Path, models: tuple[str, ...]) -> Path:
    from scorers.dataset import collect
    from scorers.training import train

    from . import traffic

    made = [traffic.as_read(row) for row in traffic.rows(210, models)]
    train(collect(made), models, seeds=1).save(folder / "scorer", created="2026-01-01T00:00:00Z")
    return folder / "scorer"
