"""What only a connection of one's own shows: clients that do not read, and servers that are not ours."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest
import uvicorn

from cascade.clock import SystemClock
from cascade.server.app import make_app
from cascade.server.bodies import BodyLimits
from cascade.server.endpoint import Gate
from cascade.server.protocol import HeadLimits, guarded
from cascade.server.served import Ladders
from cascade.server.traffic import Traffic
from tests.upstream_server import UpstreamServer

from .serving import chat, ladder, until


@contextlib.contextmanager
def running(app: Any, limits: HeadLimits) -> Iterator[int]:
    """Run an application behind our protocol in a thread; yield its port."""
    config = uvicorn.Config(
        app, http=guarded(limits, Traffic()), lifespan="off", log_config=None, ws="none"
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def test_a_client_that_reads_nothing_is_let_go(capfd: pytest.CaptureFixture[str]) -> None:
    """After the time that is set, with all that was to be sent."""
    ended = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
            if (scope["cascade.departure"]).gone:
                ended.set()
                return

    with running(app, HeadLimits(write_timeout_s=0.3)) as port, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        began = time.monotonic()
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert ended.wait(30)
        assert 0.2 < time.monotonic() - began < 30


def test_requests_in_a_row_on_one_connection_are_all_answered() -> None:
    """Sent at once, the answers come in their order; the time for heads does not run meanwhile."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await anyio.sleep(0.2)
        body = scope["path"].encode()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with (
        running(app, HeadLimits(timeout_s=0.15)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=5) as client,
    ):
        client.sendall(
            b"".join(b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % n for n in (b"a", b"b", b"c"))
        )
        received = b""
        while not received.endswith(b"/c"):
            piece = client.recv(65_536)
            assert piece, received
            received += piece
        assert [received.find(b"\r\n/" + n) > 0 for n in (b"a", b"b", b"c")] == [True] * 3
        assert received.count(b"HTTP/1.1 200 ") == 3


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_application_runs_behind_any_asgi_server(
    upstream: UpstreamServer, tmp_path: Any
) -> None:
    """And learns of clients that go away by listening."""
    file = tmp_path / "a.yaml"
    file.write_text(ladder(upstream, "a", "ok"))
    slow = tmp_path / "slow.yaml"
    slow.write_text(ladder(upstream, "slow", "hang"))
    ladders = Ladders([file, slow])
    await ladders.open()
    app = make_app(ladders, Gate(None, BodyLimits(10_000, 5.0), SystemClock()))
    try:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.post("/v1/chat/completions", json=chat("cascade/a"))
            assert answer.json()["model"] == "a-0"
        before = len(upstream.seen("hang"))
        sent: list[Any] = []
        body = httpx.Request("POST", "http://x", json=chat("cascade/slow")).content
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            for message in messages:
                return message
            while len(upstream.seen("hang")) == before:
                await anyio.sleep(0.02)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "headers": [],
            "query_string": b"",
            "root_path": "",
        }
        with anyio.fail_after(10):
            await app(scope, receive, send)
        assert sent == []
    finally:
        await ladders.aclose(0.0)
