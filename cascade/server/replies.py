"""What leaves the server: an answer in one piece, or one in pieces as server-sent events."""

from __future__ import annotations

import msgspec
from starlette.types import Send

__all__ = ["Outflow", "Reply", "send_reply"]

Header = tuple[bytes, bytes]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer in one piece.

    Attributes:
        body: JSON, or what `content_type` says.
        status: HTTP status.
        headers: Beside those every answer has.
        content_type: What the body is.
    """

    body: bytes
    status: int = 200
    headers: list[Header] = []
    content_type: bytes = b"application/json"


class Outflow:
    """An answer that leaves in pieces.

    Attributes:
        begun: Whether its head has left: from then on an error cannot have a status of its own.
    """

    __slots__ = ("_request_id", "_send", "begun")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.begun = False

    async def begin(self, headers: list[Header]) -> None:
        """Send the head of a stream of events."""
        self.begun = True
        head = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),  # nginx would hold events back
            *_ids(self._request_id),
            *headers,
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": head})

    async def write(self, data: bytes) -> None:
        """Send events; waits while the client does not read."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last events."""
        await self._send({"type": "http.response.body", "body": data})


async def send_reply(reply: Reply, request_id: str, send: Send) -> None:
    """Send an answer in one piece."""
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", b"%d" % len(reply.body)),
        *_ids(request_id),
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def _ids(request_id: str) -> tuple[Header, Header]:
    name = request_id.encode("latin-1")
    return (b"x-request-id", name), (
        b"request-id",
        name,
    )  # the latter is what Anthropic's SDK reads
