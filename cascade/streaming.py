"""A stream as its reader sees it: events in order, and the result at the end.

The ask runs in a task of its own and puts events here; it waits while too many are unread, so that a
slow reader slows the model's connection down and not the memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Self

import anyio

from .events import Done, Event, TextDelta
from .types import Result

__all__ = ["AnswerStream"]

MOST_UNREAD = 64
"""Events that may wait for the reader before the ask waits for it."""


class AnswerStream:
    """The events of one streamed ask; made by `Cascade.stream`, and read by one task.

    Attributes:
        id: Id of the ask, as in the decision log.
    """

    def __init__(self, id: str) -> None:
        self.id = id
        self._unread: deque[Event] = deque()
        self._more: anyio.Event | None = None
        self._room: anyio.Event | None = None
        self._ended = False
        self._error: Exception | None = None
        self._result: Result | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event.

        Raises:
            CascadeError: The ask failed; as from `Cascade.ask`, and `StreamBroken` when a part of the
                answer had been passed on.
        """
        while not self._unread:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._more = anyio.Event()
            await self._more.wait()
        event = self._unread.popleft()
        if self._room is not None and len(self._unread) < MOST_UNREAD:
            self._room.set()
            self._room = None
        if isinstance(event, Done):
            self._result = event.result
        return event

    async def texts(self) -> AsyncIterator[str]:
        """Yield the pieces of the answer's text alone, to the end of the stream."""
        async for event in self:
            if isinstance(event, TextDelta):
                yield event.text

    @property
    def result(self) -> Result:
        """What `ask` would have returned.

        Raises:
            RuntimeError: The stream has not been read to its end.
        """
        if self._result is None:
            raise RuntimeError("the stream has not been read to its end")
        return self._result

    @property
    def unread(self) -> int:
        """Events that wait to be read."""
        return len(self._unread)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come; events may still be unread."""
        return self._ended

    def put_nowait(self, event: Event) -> None:
        """Add an event, however many are unread."""
        self._unread.append(event)
        if self._more is not None:
            self._more.set()
            self._more = None

    async def put(self, event: Event) -> None:
        """Add an event, once there is room for it."""
        while len(self._unread) >= MOST_UNREAD:
            if self._room is None:
                self._room = anyio.Event()
            await self._room.wait()
        self.put_nowait(event)

    def end(self, error: Exception | None = None) -> None:
        """Note that nothing more comes; `error` is raised to the reader after what is unread."""
        self._ended, self._error = True, error
        if self._more is not None:
            self._more.set()
            self._more = None
