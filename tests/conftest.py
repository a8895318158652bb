"""What every test may rely on: both event loops, no provider keys, no default ladder."""

from __future__ import annotations

import os

import pytest


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
