"""Reading a request's body within bounds: of size, and of the time a client may take to send it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import anyio

from .failures import Refused

__all__ = ["DEPARTURE", "BodyLimits", "ClientGone", "Departure", "read_body"]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

LINGER_S = 2.0
"""Seconds that a body which is too large is read and thrown away, so that its sender reads the answer:
one whose connection is cut while it sends never sees why."""


DEPARTURE = "cascade.departure"
"""Where the ASGI scope holds the `Departure` of its connection, if its protocol is ours."""


class Departure:
    """What the protocol of a connection knows of its client: whether it is still there.

    Attributes:
        gone: Whether it has gone.
        all_here: Whether the body of its newest request has come as a whole.
        cancel: Called when it goes; None: nothing is done for it that could be cancelled.
    """

    __slots__ = ("all_here", "cancel", "gone")

    def __init__(self) -> None:
        self.gone = False
        self.all_here = False
        self.cancel: Callable[[], None] | None = None

    def happen(self) -> None:
        """The client goes."""
        self.gone = True
        if self.cancel is not None:
            self.cancel()


class BodyLimits:
    """How much a client may send, and how slowly.

    Args:
        max_bytes: Most bytes of a body.
        timeout_s: Seconds it may take.
    """

    def __init__(self, max_bytes: int, timeout_s: float) -> None:
        self.max_bytes = max_bytes
        self.timeout_s = timeout_s


async def read_body(
    receive: Receive,
    headers: Mapping[bytes, bytes],
    limits: BodyLimits,
    departure: Departure | None = None,
) -> bytes:
    """Return the body of a request.

    Args:
        receive: Gives its pieces.
        headers: Its headers, names in lower case.
        limits: How large and how slow it may be.
        departure: What the protocol knows of the client, if it is ours.

    Raises:
        Refused: It is too large, too slow, or compressed.
        ClientGone: The client went away.
    """
    coding = headers.get(b"content-encoding")
    if coding is not None and coding.lower() != b"identity":
        raise Refused(415, "compressed_body", "content-encoding: allowed: none", close=True)
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > limits.max_bytes:
        if headers.get(b"expect") is None:  # who waits for a word has not sent anything yet
            await _throw_away(receive)
        raise _too_large(limits)
    if departure is not None and departure.all_here:  # the usual case: there is nothing to wait for
        message = await receive()
        whole: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body", False):
            if len(whole) > limits.max_bytes:
                raise _too_large(limits)
            return whole
        raise ClientGone
    pieces: list[bytes] = []
    size = 0
    with anyio.move_on_after(limits.timeout_s):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > limits.max_bytes:
                break
            if not message.get("more_body", False):
                return b"".join((*pieces, piece)) if pieces else piece
            pieces.append(piece)
    if size <= limits.max_bytes:
        raise Refused(
            408,
            "body_timeout",
            f"the body was not complete within {limits.timeout_s:g} s",
            close=True,
        )
    pieces.clear()
    await _throw_away(receive)
    raise _too_large(limits)


class ClientGone(Exception):
    """The client closed the connection; there is nobody to answer."""


async def _throw_away(receive: Receive) -> None:
    with anyio.move_on_after(LINGER_S):
        while (message := await receive())["type"] != "http.disconnect":
            if not message.get("more_body", False):
                return


def _too_large(limits: BodyLimits) -> Refused:
    most = limits.max_bytes / 1_000_000
    return Refused(413, "body_too_large", f"the body is larger than {most:g} MB", close=True)
