"""Passes an answer on while it comes about, in whichever API's events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import anyio
import msgspec

from ..events import AnswerStarted, Done
from ..types import Result
from .asked import result_headers
from .choices import AllDone
from .failures import Shape
from .replies import Header, Outflow

__all__ = ["PING_S", "Source", "Teller", "error_event", "pass_on", "server_sent"]

PING_S = 15.0
"""Seconds of silence after which a sign of life is sent: proxies cut connections that say nothing. From
then on the status is 200, whatever comes."""


E = TypeVar("E")
Out = TypeVar("Out", covariant=True)
In = TypeVar("In", contravariant=True)


class Source(Protocol[Out]):
    """Where the events of a stream come from; an `AnswerStream` is one.

    Attributes:
        id: Id of the ask.
    """

    id: str

    @property
    def unread(self) -> int:
        """Events that wait to be read."""

    async def __anext__(self) -> Out:
        """Return the next event."""


class Teller(Protocol[In]):
    """Puts the events of one stream into an API's words. Pure."""

    def tell(self, event: In, id: str) -> bytes:
        """Return an event of the ask `id` as server-sent events; b"" where the API has none for it."""

    def ping(self) -> bytes:
        """Return a sign of life."""


async def pass_on(events: Source[E], out: Outflow, teller: Teller[E]) -> Sequence[Result]:
    """Send a stream to its end; return what it came to, by choice.

    The head is sent with the first bytes of the answer, so that what fails before is an error with a
    status of its own. Events that wait together leave together.

    Raises:
        CascadeError: The ask failed; `out.begun` says whether anything was sent.
    """
    results: Sequence[Result] = ()
    rung: int | None = None
    pieces: list[bytes] = []
    while not results:
        event = await _next(events)
        if event is None:
            if not out.begun:
                await out.begin(_headers(events.id, None))
            await out.write(teller.ping())
            continue
        if isinstance(event, AnswerStarted):
            rung = event.rung
        elif isinstance(event, Done):
            results = (event.result,)
        elif isinstance(event, AllDone):
            results = event.results
        told = teller.tell(event, events.id)
        if told:
            pieces.append(told)
        if not pieces or (events.unread and not results):
            continue
        if not out.begun:
            await out.begin(result_headers(results) if results else _headers(events.id, rung))
        if not results:
            await out.write(b"".join(pieces))
            pieces.clear()
    await out.end(b"".join(pieces))
    return results


def error_event(body: bytes, shape: Shape) -> bytes:
    """Return the body of an error as the last event of a stream."""
    return (b"event: error\ndata: %b\n\n" if shape == "anthropic" else b"data: %b\n\n") % body


def server_sent(data: object, name: bytes | None = None) -> bytes:
    """Return one event with JSON in it."""
    told = b"data: " + msgspec.json.encode(data) + b"\n\n"
    return told if name is None else b"event: " + name + b"\n" + told


async def _next(events: Source[E]) -> E | None:
    """Return the next event, or None when there was none for a while."""
    if events.unread:
        return await events.__anext__()
    with anyio.move_on_after(PING_S):
        return await events.__anext__()
    return None


def _headers(id: str, rung: int | None) -> list[Header]:
    headers = [(b"x-cascade-id", id.encode("ascii", "backslashreplace"))]
    if rung is not None:
        headers.append((b"x-cascade-rung", b"%d" % rung))
    return headers
