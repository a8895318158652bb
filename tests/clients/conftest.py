"""One real model server for all client tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.upstream_server import UpstreamServer, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[UpstreamServer]:
    """Run the scriptable server in a process of its own."""
    with running_server() as running:
        yield running
