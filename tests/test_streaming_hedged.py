"""Streams and hedging: of two calls at once one is listened to, and the other is ended."""

from __future__ import annotations

import random

import anyio
import pytest

from cascade import Answer, Cascade, ConnectFailed, ModelCall, Result, StreamBroken, StreamRule
from cascade.resilience.hedge import Hedge
from cascade.resilience.pool import Member, Pool
from cascade.testing import ListSink, ScriptedScorer, reply
from cascade.types import Chunk

from .ladders import two_rungs
from .test_streaming_laws import Always

pytestmark = pytest.mark.anyio

ALWAYS = Hedge(after_s=0.01, share=1.0)


class Saying:
    """A client that says pieces after a while, and may fail after them."""

    def __init__(
        self, pieces: list[str], *, first_s: float = 0.0, fails: bool = False, p: float = 0.9
    ) -> None:
        self.pieces = pieces
        self.first_s = first_s
        self.fails = fails
        self.confidence = p
        self.cancelled = 0

    async def complete(self, call: ModelCall) -> Answer:
        assert call.listener is not None
        try:
            call.listener.begin()
            await anyio.sleep(self.first_s)
            for piece in self.pieces:
                await call.listener.take(Chunk(text=piece))
                await anyio.sleep(0.02)
            if self.fails:
                raise ConnectFailed("cut", provider="p", model=call.model)
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        return reply("".join(self.pieces), confidence=self.confidence)

    async def aclose(self) -> None:
        """Hold nothing."""


class ByModel:
    """A client for each model."""

    def __init__(self, **clients: Saying) -> None:
        self.clients = clients

    async def complete(self, call: ModelCall) -> Answer:
        return await self.clients[call.model].complete(call)

    async def aclose(self) -> None:
        """Hold nothing."""


async def test_in_a_pool_the_first_to_be_heard_is_listened_to() -> None:
    """The slow one is ended at the other's first chunk, and nothing of it is told."""
    slow, quick = Saying(["slow", "!"], first_s=5.0), Saying(["qui", "ck"])
    pool = Pool(
        "p",
        [Member("a", slow, weight=1e9), Member("b", quick, weight=1e-9)],
        hedge=ALWAYS,
        rng=random.Random(0),
    )
    sink = ListSink()
    ladder = Cascade(two_rungs(accept=None), {"p": pool}, scorer=ScriptedScorer(), sink=sink)
    async with ladder:
        await read(ladder)  # saves up leave to hedge
        told, result = await read(ladder)
    assert (told, result.text) == ("quick", "quick")
    assert slow.cancelled
    assert result.attempts[-1].provider == "b"


async def test_in_a_pool_who_is_heard_first_and_fails_breaks_the_stream() -> None:
    """The other has been ended by then, and cannot take over."""
    slow, breaking = Saying(["slow"], first_s=5.0), Saying(["ha", "lf"], fails=True)
    pool = Pool(
        "p",
        [Member("a", slow, weight=1e9), Member("b", breaking, weight=1e-9)],
        hedge=Hedge(after_s=0.01, share=1.0),
        rng=random.Random(0),
    )
    rules = [StreamRule(mode="through"), StreamRule()]
    ladder = Cascade(two_rungs(), {"p": pool}, scorer=ScriptedScorer(), stream_rules=rules)
    async with ladder:
        with pytest.raises(StreamBroken):
            await read(ladder)


async def test_between_rungs_a_draft_that_is_passed_on_ends_the_other() -> None:
    """The slow rung is heard at last, is sure early, and its backup is ended and paid for."""
    small = Saying(["sure ", "thing"] * 4, first_s=0.05)
    large = Saying(["dear"], first_s=5.0)
    sink = ListSink()
    ladder = Cascade(
        two_rungs(),
        {"p": ByModel(small=small, large=large)},
        scorer=ScriptedScorer(),
        prefix_scorer=Always(0.95),
        stream_rules=[StreamRule(mode="early", accept=0.9, checkpoints=(2,)), StreamRule()],
        hedge=ALWAYS,
        sink=sink,
    )
    async with ladder:
        told, result = await read(ladder)
    assert told == result.text == "sure thing" * 4
    assert large.cancelled == 1
    assert [attempt.verdict for attempt in result.attempts] == ["accepted", "hedged"]


async def test_between_rungs_the_quicker_backup_is_told_as_a_whole() -> None:
    """What the slow rung would have said is never told."""
    small, large = Saying(["slow"], first_s=5.0), Saying(["de", "ar"])
    ladder = Cascade(
        two_rungs(),
        {"p": ByModel(small=small, large=large)},
        scorer=ScriptedScorer(),
        hedge=ALWAYS,
    )
    async with ladder:
        told, result = await read(ladder)
    assert (told, result.rung) == ("dear", 1)
    assert small.cancelled == 1


async def read(ladder: Cascade) -> tuple[str, Result]:
    async with ladder.stream("Which?") as events:
        told = "".join([text async for text in events.texts()])
    return told, events.result
