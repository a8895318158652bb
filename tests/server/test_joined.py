"""Heads of answers leave with the first bytes of their bodies, and are never left behind."""

from __future__ import annotations

import socket
from typing import Any

import anyio
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from cascade.server.joined import JoinedWrites
from cascade.server.protocol import HeadLimits, guarded
from cascade.server.traffic import Traffic

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Wire:
    """A transport that notes what is done with it."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        """Note it."""
        self.done.append(data)

    def close(self) -> None:
        """Note it."""
        self.done.append("close")
        self.closing = True

    def abort(self) -> None:
        """Note it."""
        self.done.append("abort")
        self.closing = True

    def is_closing(self) -> bool:
        """Say so."""
        return self.closing

    def get_write_buffer_size(self) -> int:
        """Say that all has left."""
        return 0


def joined() -> tuple[JoinedWrites, Wire]:
    import asyncio  # noqa: TID251 - whose transport it wraps

    wire = Wire()
    return JoinedWrites(wire, asyncio.get_running_loop()), wire


async def test_a_head_leaves_with_what_follows() -> None:
    """In one write; what comes later leaves as it comes."""
    transport, wire = joined()
    transport.write(HEAD)
    assert (wire.done, transport.get_write_buffer_size()) == ([], len(HEAD))
    transport.write(b"body")
    transport.write(b"more")
    await anyio.sleep(0)
    assert wire.done == [HEAD + b"body", b"more"]


async def test_a_head_without_a_body_leaves_at_the_next_turn() -> None:
    """Nobody waits for it."""
    transport, wire = joined()
    transport.write(HEAD)
    await anyio.sleep(0)
    assert wire.done == [HEAD]


async def test_a_large_body_is_not_copied() -> None:
    """It leaves after its head."""
    transport, wire = joined()
    large = bytes(100_000)
    transport.write(HEAD)
    transport.write(large)
    assert wire.done == [HEAD, large]


async def test_closing_sends_what_waits_and_aborting_does_not() -> None:
    """And nothing is sent afterwards."""
    transport, wire = joined()
    transport.write(HEAD)
    transport.close()
    await anyio.sleep(0)
    assert wire.done == [HEAD, "close"]
    transport, wire = joined()
    transport.write(HEAD)
    transport.abort()
    await anyio.sleep(0)
    assert wire.done == ["abort"]


async def test_an_application_that_sends_its_head_first_is_heard_at_once() -> None:
    """Over a real connection: the head comes while the body is still being made."""
    go_on = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"made"})

    http = guarded(HeadLimits(), Traffic())
    config = uvicorn.Config(app, http=http, lifespan="off", log_config=None, ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener, anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server._serve, [listener])
            async with await anyio.connect_tcp(*listener.getsockname()) as client:
                await client.send(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                head = await client.receive()
                assert head.startswith(b"HTTP/1.1 200 OK")
                assert b"made" not in head
                go_on.set()
                rest = b""
                while b"made" not in rest:
                    rest += await client.receive()
            server.should_exit = True
