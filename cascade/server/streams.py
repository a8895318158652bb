"""Passes an answer on while it comes about, in whichever API's events."""

from __future__ import annotations

from typing import Protocol

import anyio
import msgspec

from ..events import AnswerStarted, Done, Event
from ..streaming import AnswerStream
from ..types import Result
from .asked import result_headers
from .failures import Shape
from .replies import Header, Outflow

__all__ = ["PING_S", "Teller", "error_event", "pass_on", "server_sent"]

PING_S = 15.0
"""Seconds of silence after which a sign of life is sent: proxies cut connections that say nothing. From
then on the status is 200, whatever comes."""


class Teller(Protocol):
    """Puts the events of one stream into an API's words. Pure."""

    def tell(self, event: Event, id: str) -> bytes:
        """Return an event of the ask `id` as server-sent events; b"" where the API has none for it."""

    def ping(self) -> bytes:
        """Return a sign of life."""


async def pass_on(events: AnswerStream, out: Outflow, teller: Teller) -> Result:
    """Send a stream to its end; return what it came to.

    The head is sent with the first bytes of the answer, so that what fails before is an error with a
    status of its own. Events that wait together leave together.

    Raises:
        CascadeError: The ask failed; `out.begun` says whether anything was sent.
    """
    result: Result | None = None
    rung: int | None = None
    pieces: list[bytes] = []
    while result is None:
        event = await _next(events)
        if event is None:
            if not out.begun:
                await out.begin(_headers(events.id, None))
            await out.write(teller.ping())
            continue
        if isinstance(event, AnswerStarted):
            rung = event.rung
        elif isinstance(event, Done):
            result = event.result
        told = teller.tell(event, events.id)
        if told:
            pieces.append(told)
        if not pieces or (events.unread and result is None):
            continue
        if not out.begun:
            await out.begin(_headers(events.id, rung) if result is None else result_headers(result))
        if result is None:
            await out.write(b"".join(pieces))
            pieces.clear()
    await out.end(b"".join(pieces))
    return result


def error_event(body: bytes, shape: Shape) -> bytes:
    """Return the body of an error as the last event of a stream."""
    return (b"event: error\ndata: %b\n\n" if shape == "anthropic" else b"data: %b\n\n") % body


def server_sent(data: object, name: bytes | None = None) -> bytes:
    """Return one event with JSON in it."""
    told = b"data: " + msgspec.json.encode(data) + b"\n\n"
    return told if name is None else b"event: " + name + b"\n" + told


async def _next(events: AnswerStream) -> Event | None:
    """Return the next event, or None when there was none for a while."""
    if events.unread:
        return await anext(events)
    with anyio.move_on_after(PING_S):
        return await anext(events)
    return None


def _headers(id: str, rung: int | None) -> list[Header]:
    headers = [(b"x-cascade-id", id.encode("ascii", "backslashreplace"))]
    if rung is not None:
        headers.append((b"x-cascade-rung", b"%d" % rung))
    return headers
