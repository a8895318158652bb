"""HTTP answers read in pieces, as clients see them: what goes wrong leaves as a provider's error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

__all__ = ["HttpStream", "StreamingTransport", "as_streaming"]


class HttpStream:
    """An answer whose head has come.

    Args:
        status: Its status.
        headers: Its headers; names in lower case, or found in any.
        receive: Returns what has come of the body since the last time; b"" at its end.

    Attributes:
        receive: Returns what has come of the body since the last time; b"" at its end. Raises a
            `ProviderError`.
    """

    __slots__ = ("headers", "receive", "status")

    def __init__(
        self, status: int, headers: Mapping[str, str], receive: Callable[[], Awaitable[bytes]]
    ) -> None:
        self.status = status
        self.headers = headers
        self.receive = receive

    async def whole(self, most: int) -> bytes:
        """Return all of the body that is still to come, or as much of it as passes `most` bytes."""
        received = bytearray()
        while (piece := await self.receive()) and len(received) <= most:
            received += piece
        return bytes(received)


@runtime_checkable
class StreamingTransport(Protocol):
    """A transport whose answers can be read in pieces; see `http.Transport` for the arguments."""

    def open(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        provider: str,
        model: str,
    ) -> AbstractAsyncContextManager[HttpStream]:
        """Send a request and return its answer once the head has come, whatever its status.

        `timeout_s` is for the whole exchange. Leaving before the end of the body closes the
        connection at once.
        """


def as_streaming(transport: object) -> StreamingTransport | None:
    """Return a transport if its answers can be read in pieces, else None: they are then whole."""
    return transport if isinstance(transport, StreamingTransport) else None
