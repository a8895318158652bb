"""A load generator on bare sockets: prepared requests on keep-alive connections, answers checked and timed.

It costs some 30 µs of processor time a request, a tenth of what an HTTP library would, so that it may share
a core with the upstream. Whole answers and streams (chunked server-sent events) are both understood.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Connection", "Load", "Seen", "request"]


FIRST_WORD = b'"content":"the'
"""What the first token of the upstream's answers looks like in a stream."""


def request(path: str, body: bytes, port: int, headers: str = "") -> bytes:
    """Return the bytes of a POST."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer key\r\n{headers}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@dataclass(slots=True, kw_only=True)
class Seen:
    """One answer.

    Attributes:
        status: HTTP status; 0: the connection ended before the answer did.
        first_s: Seconds until the first piece of a stream that holds `FIRST_WORD`.
        whole_s: Seconds until its last byte.
        body: Without the head, and of a stream with the marks of its chunks.
    """

    status: int
    first_s: float
    whole_s: float
    body: bytes


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._done: asyncio.Future[Seen] | None = None
        self._end = -1
        self._chunked = False
        self._status = 0
        self._began = self._first = 0.0
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def ask(self, request: bytes) -> Seen:
        """Return the answer to a request."""
        assert self._transport is not None
        self._buffer.clear()
        self._end, self._status, self._first = -1, 0, 0.0
        self._done = asyncio.get_running_loop().create_future()
        self._began = time.perf_counter()
        self._transport.write(request)
        return await self._done

    def close(self) -> None:
        """Go away at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take in bytes until the answer is whole."""
        buffer = self._buffer
        buffer += data
        if self._end < 0:
            head_end = buffer.find(b"\r\n\r\n")
            if head_end < 0:
                return
            head = bytes(buffer[: head_end + 2]).lower()
            self._status = int(head[9:12])
            mark = head.find(b"content-length:")
            self._chunked = mark < 0
            size = 0 if mark < 0 else int(head[mark + 15 : head.find(b"\r", mark)])
            del buffer[: head_end + 4]
            self._end = size
        if self._chunked and not self._first and FIRST_WORD in buffer:
            self._first = time.perf_counter()
        whole = buffer.endswith(b"0\r\n\r\n") if self._chunked else len(buffer) >= self._end
        if whole:
            self._finish(self._status)

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer that is not whole never will be."""
        self._finish(0)

    def _finish(self, status: int) -> None:
        if self._done is not None and not self._done.done():
            now = time.perf_counter()
            self._done.set_result(
                Seen(
                    status=status,
                    first_s=(self._first or now) - self._began,
                    whole_s=now - self._began,
                    body=bytes(self._buffer),
                )
            )


@dataclass(slots=True, kw_only=True)
class Load:
    """What many connections have seen.

    Attributes:
        seconds: How long it went on.
        latencies_s: Of each whole answer.
        statuses: How many answers by status.
    """

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def per_s(self) -> float:
        """Answers with 200 a second."""
        return self.statuses.get(200, 0) / self.seconds


async def connect(port: int) -> Connection:
    """Return an open connection."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    return connection


async def closed_loop(
    port: int, next_request: Callable[[], bytes], *, connections: int, seconds: float
) -> Load:
    """Return what so many connections see that ask again as soon as they are answered."""
    opened = [await connect(port) for _ in range(connections)]
    load = Load()

    async def one(connection: Connection, until: float) -> None:
        while time.perf_counter() < until:
            seen = await connection.ask(next_request())
            load.statuses[seen.status] = load.statuses.get(seen.status, 0) + 1
            if seen.status == 200:
                load.latencies_s.append(seen.whole_s)
            if not connection.is_open:
                connection = await connect(port)

    try:
        await asyncio.gather(*(connection.ask(next_request()) for connection in opened))
        began = time.perf_counter()
        await asyncio.gather(*(one(connection, began + seconds) for connection in opened))
        load.seconds = time.perf_counter() - began
    finally:
        for connection in opened:
            connection.close()
    return load
