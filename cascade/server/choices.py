"""Several answers to one request (`n`): as many independent walks of the ladder at once, or none.

Each is an ask of its own, with an id, a budget check and a decision record; none reads the cache or waits
for an equal ask, which would give the same answer again. Should one fail, the others are cancelled: what
they had cost by then is in their decision records.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
import msgspec
from anyio.abc import TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream

from ..engine import Cascade
from ..errors import RequestError
from ..events import Done, Event
from ..types import Result

__all__ = ["AllDone", "ChoiceEvent", "ChoiceStream", "ask_choices", "each_choice", "stream_choices"]

MOST_UNREAD = 64
"""Events of all choices together that may wait for the reader before the asks wait for it."""


class ChoiceEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of one choice.

    Attributes:
        index: Which, from 0.
        event: It.
    """

    index: int
    event: Event


class AllDone(msgspec.Struct, frozen=True, kw_only=True):
    """The last event: all choices are complete.

    Attributes:
        last: Index of the choice that ended last.
        results: In the order of the choices.
    """

    last: int
    results: Sequence[Result]


_Item = ChoiceEvent | AllDone | Exception


def each_choice(options: Mapping[str, Any], n: int) -> list[dict[str, Any]]:
    """Return the options of each choice's ask.

    The cache is off. A seed counts up, so that equal requests get equal choices, and no two choices are
    equal because of it. What bounds the request as a whole is divided.

    Args:
        options: Those of the request.
        n: Number of choices, >= 2.

    Raises:
        RequestError: The cache is wanted, or there are fewer tokens than choices.

    >>> each_choice({"seed": 7, "max_cost_usd": 0.5}, 2)[1]
    {'seed': 8, 'max_cost_usd': 0.25, 'cache': 'off'}
    """
    cache = options.get("cache", "off")
    if cache != "off":
        raise RequestError(f"cascade.cache: {cache!r} given with n: {n}; allowed: 'off'")
    common: dict[str, Any] = {**options, "cache": "off"}
    cost, tokens = common.get("max_cost_usd"), common.get("max_total_tokens")
    if cost is not None:
        common["max_cost_usd"] = cost / n
    if tokens is not None:
        if tokens < n:
            raise RequestError(
                f"cascade.max_total_tokens: {tokens} given with n: {n}; allowed: >= {n}"
            )
        common["max_total_tokens"] = tokens // n
    seed = common.get("seed")
    if seed is None:
        return [common] * n
    return [{**common, "seed": seed + i} for i in range(n)]


async def ask_choices(
    engine: Cascade, prompt: Any, asks: Sequence[Mapping[str, Any]]
) -> list[Result]:
    """Return the results in the order of the asks.

    Args:
        engine: Answers.
        prompt: Of all of them.
        asks: Options, by choice.

    Raises:
        CascadeError: The error of the first that fails; the others are cancelled.
    """
    results: dict[int, Result] = {}
    raised: list[Exception] = []

    async def one(index: int, options: Mapping[str, Any]) -> None:
        try:
            results[index] = await engine.ask(prompt, **options)
        except Exception as exc:  # noqa: BLE001 - raised again, out of the group's own wrapping
            raised.append(exc)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for index, options in enumerate(asks):
            tasks.start_soon(one, index, options)
    if raised:
        raise raised[0]
    return [results[index] for index in range(len(asks))]


class ChoiceStream:
    """The events of all choices, as they come; made by `stream_choices`, and read by one task.

    Attributes:
        id: Id of the first choice's ask.
    """

    def __init__(self, id: str, unread: MemoryObjectReceiveStream[_Item]) -> None:
        self.id = id
        self._unread = unread

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChoiceEvent | AllDone:
        """Return the next event.

        Raises:
            CascadeError: A choice has failed.
        """
        item = await self._unread.receive()
        if isinstance(item, Exception):
            raise item
        return item

    @property
    def unread(self) -> int:
        """Events that wait to be read."""
        return self._unread.statistics().current_buffer_used


@asynccontextmanager
async def stream_choices(
    engine: Cascade, prompt: Any, asks: Sequence[Mapping[str, Any]]
) -> AsyncIterator[ChoiceStream]:
    """Ask for all choices, and read them while they come about; leaving early cancels all of them.

    Args:
        engine: Answers.
        prompt: Of all of them.
        asks: Options, by choice.

    Raises:
        RequestError: The prompt or an option cannot be sent; nothing was spent.
        CascadeError: Raised to the reader of the events: a choice has failed.
    """
    put, get = anyio.create_memory_object_stream[_Item](MOST_UNREAD)
    results: dict[int, Result] = {}

    async def one(index: int, *, task_status: TaskStatus[str]) -> None:
        begun = last = False
        try:
            async with engine.stream(prompt, **asks[index]) as events:
                begun = True
                task_status.started(events.id)
                async for event in events:
                    if isinstance(event, Done):
                        results[index] = event.result
                        last = len(results) == len(asks)
                    if not last:
                        await put.send(ChoiceEvent(index=index, event=event))
        except Exception as exc:
            if not begun:
                raise
            await put.send(exc)  # raised to the reader
            return
        if last:
            whole = [results[i] for i in range(len(asks))]
            await put.send(AllDone(last=index, results=whole))

    raised: BaseException | None = None
    with put, get:
        async with anyio.create_task_group() as tasks:
            try:
                ids = [await tasks.start(one, index) for index in range(len(asks))]
                yield ChoiceStream(ids[0], get)
            except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001 - raised again, out of the group's own wrapping
                raised = exc
            tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised
