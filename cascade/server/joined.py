"""Lets the head of an answer leave together with the first bytes of its body.

uvicorn writes them one after the other, and each write is a call of the system and a packet: a tenth of
what an answer through a ladder costs.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Handle  # noqa: TID251 - the types of what uvicorn's loop gives
from typing import Any

__all__ = ["JoinedWrites"]

_HEAD = b"HTTP/1.1 "
_MOST_JOINED = 65_536
"""Bytes up to which joining costs less than a second write."""


class JoinedWrites:
    """A transport that holds a head back until the next write, or the loop's next turn.

    It has what uvicorn's protocol asks of a transport.

    Args:
        transport: Where everything goes.
        loop: The event loop it is part of.
    """

    __slots__ = ("_head", "_loop", "_transport", "_turn")

    def __init__(self, transport: Any, loop: AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self._turn: Handle | None = None

    def write(self, data: bytes) -> None:
        """Send bytes, and before them the head that waits."""
        if self._head:
            head = self._take_head()
            if len(data) <= _MOST_JOINED:
                self._transport.write(head + data)
                return
            self._transport.write(head)
        elif data.startswith(_HEAD):
            self._head = data
            self._turn = self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        """Send what waits, and close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._take_head()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return whether it is closed, or about to be."""
        return bool(self._transport.is_closing())

    def pause_reading(self) -> None:
        """Take no more from the client."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take more from the client."""
        self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Return the bytes that have not left yet."""
        return len(self._head) + int(self._transport.get_write_buffer_size())

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection under this name."""
        return self._transport.get_extra_info(name, default)

    def _flush(self) -> None:
        if self._head:
            head = self._take_head()
            if not self._transport.is_closing():
                self._transport.write(head)

    def _take_head(self) -> bytes:
        head, self._head = self._head, b""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        return head
