"""The engine behind `await cascade.ask(…)`: built once per event loop, closed with the loop's end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from .engine import Cascade
from .intake import Prompt
from .streaming import AnswerStream
from .types import OneOfMany, Result

__all__ = ["ask", "ask_many", "stream"]


class _Holder:
    """The engine of one event loop, and the generator whose finalisation closes it."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.lifespan: AsyncGenerator[Cascade, None] | None = None
        self.engine: Cascade | None = None


_HOLDER: RunVar[_Holder] = RunVar("cascade_default_engine")


async def ask(prompt: Prompt, **options: Any) -> Result:
    """Ask the default ladder: the file in ``$CASCADE_CONFIG``, or ``./cascade.yaml``.

    The engine is built at the first call and closed when the event loop ends. Options are those of
    `Cascade.ask`.

    Raises:
        ConfigError: There is no ladder file; the message says where it was looked for.
        LadderError: The file has mistakes.
    """
    engine = await _default_engine()
    return await engine.ask(prompt, **options)


async def ask_many(questions: Sequence[str], **options: Any) -> list[OneOfMany]:
    """Ask the default ladder several questions; see `Cascade.ask_many`.

    Raises:
        ConfigError: There is no ladder file; the message says where it was looked for.
        LadderError: The file has mistakes.
    """
    engine = await _default_engine()
    return await engine.ask_many(questions, **options)


@asynccontextmanager
async def stream(prompt: Prompt, **options: Any) -> AsyncIterator[AnswerStream]:
    """Ask the default ladder as `ask` does, and read the answer while it comes about.

    Raises:
        ConfigError: There is no ladder file; the message says where it was looked for.
        LadderError: The file has mistakes.
    """
    engine = await _default_engine()
    async with engine.stream(prompt, **options) as events:
        yield events


async def _default_engine() -> Cascade:
    holder = _HOLDER.get(None)
    if holder is None:
        holder = _Holder()
        _HOLDER.set(holder)
    if holder.engine is None:
        async with holder.lock:
            if holder.engine is None:
                holder.lifespan = _lifespan()
                holder.engine = await anext(holder.lifespan)
    return holder.engine


async def _lifespan() -> AsyncGenerator[Cascade, None]:
    """Open an engine and keep it until this generator is finalised.

    Event loops finalise the async generators that are still alive when they end, which is the one
    hook asyncio and trio share. The engine holds no task group across the yield.
    """
    from .build import default_config_path

    # Half a second of imports and YAML, in a thread so that the loop's other tasks go on.
    engine = await anyio.to_thread.run_sync(Cascade.from_yaml, default_config_path())
    await engine.__aenter__()
    try:
        yield engine
    finally:
        await engine.aclose()
