"""Reads an answer that comes as server-sent events, and tells it to the call's listener chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import anyio

from ..assembly import Assembly, estimated_usage
from ..errors import BadResponse, ConnectFailed, ProviderError
from ..ports import Listener
from ..types import Answer, Chunk, ModelCall, Usage
from ..wire.sse import EventReader, EventTooLarge
from .http import MAX_RESPONSE_BYTES
from .http_stream import HttpStream, StreamingTransport

__all__ = ["Exchanged", "exchange"]

_MAX_ERROR_BYTES = 1024 * 1024
"""Most that is read of an error."""

_REST_S = 0.05
"""Seconds to wait for the end of a body whose last event has come, so that its connection can be kept."""


class Reader(Protocol):
    """Reads the events of one API; see `wire.openai_stream.ChunkReader`."""

    model: str
    finish_reason: str | None
    usage: Usage | None
    ended: bool

    def read(self, data: bytes) -> Chunk | None:
        """Return what an event says, or None when it is nothing of the answer's."""


class Exchanged(NamedTuple):
    """What a server has answered to a request for a stream.

    Attributes:
        status: HTTP status.
        headers: Its headers; names in lower case, or found in any.
        body: The whole body where it was no stream, else b"".
        answer: The answer that was told, or None where it was no stream.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    answer: Answer | None


async def exchange(
    transport: StreamingTransport,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    timeout_s: float,
    reader: Reader,
    call: ModelCall,
    listener: Listener,
    provider: str,
) -> Exchanged:
    """Send a request for a stream and tell the listener what comes.

    An error, or the whole answer of a server that does not know of streams, is left to the caller.

    Raises:
        ProviderError: The call failed; see `_listen`.
    """
    async with transport.open(
        url, headers, body, timeout_s=timeout_s, provider=provider, model=call.model
    ) as stream:
        if not 200 <= stream.status < 300:
            whole = await stream.whole(_MAX_ERROR_BYTES)
        elif not _is_event_stream(stream):
            whole = await stream.whole(MAX_RESPONSE_BYTES)
        else:
            answer = await _listen(stream, reader, call, listener, provider)
            return Exchanged(stream.status, stream.headers, b"", answer)
        return Exchanged(stream.status, stream.headers, whole, None)


def _is_event_stream(stream: HttpStream) -> bool:
    """Return whether the body is one of server-sent events: a server may not know of streams."""
    kind = stream.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower() == "text/event-stream"


async def _listen(
    stream: HttpStream, reader: Reader, call: ModelCall, listener: Listener, provider: str
) -> Answer:
    """Tell the listener what comes; return the answer, or what has come of it when that was enough.

    Raises:
        BadResponse: An event cannot be understood, or is too large.
        ConnectFailed: The stream ended in the middle of the answer.
        ProviderError: The call failed otherwise.
    """
    events, said = EventReader(), Assembly()
    listener.begin()
    while not reader.ended and (piece := await stream.receive()):
        try:
            complete = events.feed(piece)
        except EventTooLarge as exc:
            message = "an event that is larger than any chunk"
            raise BadResponse(message, provider=provider, model=call.model) from exc
        for data in complete:
            chunk = reader.read(data)
            if chunk is None:
                continue
            said.add(chunk)
            if not await listener.take(chunk):
                usage = estimated_usage(call.request, said, reader.usage)
                return said.answer(reader.model, usage=usage)
    if reader.ended:
        await _read_rest(stream)
    elif reader.finish_reason is None:
        raise ConnectFailed(
            "the stream ended in the middle of the answer", provider=provider, model=call.model
        )
    return said.answer(reader.model, finish_reason=reader.finish_reason, usage=reader.usage)


async def _read_rest(stream: HttpStream) -> None:
    """Read to the end of the body, which says no more: a connection is kept only then."""
    try:
        with anyio.move_on_after(_REST_S):
            while await stream.receive():
                pass
    except ProviderError:
        pass  # the answer is complete
