"""The client on uvloop, which behaves like asyncio's loop in most things, not in all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cascade.clients.openai import OpenAIClient
from cascade.types import Message, ModelCall, Request
from tests.upstream_server import UpstreamServer, running_server

uvloop = pytest.importorskip("uvloop")


@pytest.fixture(scope="module")
def upstream() -> Iterator[UpstreamServer]:
    """The test upstream."""
    with running_server() as server:
        yield server


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_calls_are_answered_on_uvloop(upstream: UpstreamServer, host: str) -> None:
    """By address, and by a name that has to be looked up."""

    async def ask() -> str | None:
        url = upstream.url("ok").replace("127.0.0.1", host)
        client = OpenAIClient("p", url, None)
        try:
            call = ModelCall(
                request=Request(messages=(Message(role="user", content="?"),)), model="m"
            )
            return (await client.complete(call)).text
        finally:
            await client.aclose()

    assert uvloop.run(ask()) == "lead"
