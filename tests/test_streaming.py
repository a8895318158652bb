"""Streams: what is passed on and when, what is never passed on, and how a stream ends."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

import cascade.sync
from cascade import (
    AllRungsFailed,
    AnswerStarted,
    Cascade,
    ConnectFailed,
    Done,
    Event,
    RequestError,
    RungLeft,
    RungStarted,
    StreamBroken,
    StreamRule,
    TextDelta,
)
from cascade.testing import ListSink, ScriptedClient, ScriptedScorer, reply
from cascade.types import Answer, Chunk, ModelCall

from .ladders import engine, two_rungs

pytestmark = pytest.mark.anyio

CUT = ConnectFailed("cut", provider="p", model="large")


def streamed(
    small: Answer | Exception | str | Sequence[Answer | Exception | str],
    large: Answer | Exception | str | Sequence[Answer | Exception | str] = "unused",
    **options: Any,
) -> tuple[Cascade, ScriptedClient, ListSink]:
    """An engine over two rungs whose client says its answers four characters at a time."""
    script = {
        "small": small if isinstance(small, list) else [small],
        "large": large if isinstance(large, list) else [large],
    }
    client, sink = ScriptedClient(script, chunk_chars=4), ListSink()
    made = Cascade(
        two_rungs(), {"p": client}, **({"scorer": ScriptedScorer(), "sink": sink} | options)
    )
    return made, client, sink


async def read(ladder: Cascade, prompt: str = "Which?", **options: Any) -> list[Event]:
    """Ask, and return all events."""
    async with ladder.stream(prompt, **options) as events:
        return [event async for event in events]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


class Breaking:
    """A client that says a few chunks and then fails."""

    def __init__(self, error: Exception, chunks: Sequence[str] = ("Ha", "lf")) -> None:
        self.error = error
        self.chunks = chunks

    async def complete(self, call: ModelCall) -> Answer:
        if call.model == "small":
            return reply("No.", confidence=0.1)
        assert call.listener is not None
        call.listener.begin()
        for text in self.chunks:
            await call.listener.take(Chunk(text=text))
        raise self.error

    async def aclose(self) -> None:
        """Hold nothing."""


async def test_an_accepted_draft_is_released_whole() -> None:
    """A rung that is not the last is held until its answer is accepted."""
    ladder, _, sink = streamed(reply("Iron is heavy.", confidence=0.9))
    async with ladder:
        events = await read(ladder)
    started, begun, delta, done = events
    assert isinstance(started, RungStarted)
    assert isinstance(begun, AnswerStarted)
    assert isinstance(delta, TextDelta)
    assert isinstance(done, Done)
    assert (begun.model, delta.text, done.result.text) == (
        "small",
        "Iron is heavy.",
        "Iron is heavy.",
    )
    assert sink.records[0]["attempts"][0]["streaming"]["mode"] == "hold"


async def test_no_part_of_a_rejected_draft_is_told() -> None:
    """The reader hears that a rung was left and why, and nothing of what it said."""
    ladder, _, sink = streamed(
        reply("SECRET", confidence=0.1), reply("Lead it is.", confidence=0.9)
    )
    async with ladder:
        events = await read(ladder)
    kinds = [type(event).__name__ for event in events]
    assert kinds[:4] == ["RungStarted", "RungLeft", "RungStarted", "AnswerStarted"]
    assert events[1] == RungLeft(rung=0, model="small", reason="confidence 0.10 < 0.80")
    assert text_of(events) == "Lead it is."
    assert "SECRET" not in repr(events[:-1])
    assert [a["streaming"]["mode"] for a in sink.records[0]["attempts"]] == ["hold", "through"]


async def test_the_last_rung_streams_straight_through() -> None:
    """Its chunks are told one by one, and its answer is final although an earlier one was surer."""
    ladder, _, _ = streamed(reply("A", confidence=0.7), reply("B or C then", confidence=0.2))
    async with ladder, ladder.stream("Which?") as events:
        texts = [text async for text in events.texts()]
    assert texts == ["B or", " C t", "hen"]
    assert (events.result.rung, events.result.confidence) == (1, 0.2)
    assert events.result.attempts[1].reason.startswith("kept, as its reader has it already")


async def test_a_last_rung_that_holds_gives_the_best_of_all() -> None:
    """Told to hold the last rung too, a stream returns what `ask` would have."""
    rule = StreamRule(mode="hold", last="as_mode")
    ladder, _, _ = streamed(
        reply("A", confidence=0.7), reply("B", confidence=0.2), stream_rules=[StreamRule(), rule]
    )
    async with ladder:
        events = await read(ladder)
    assert text_of(events) == "A"


async def test_failure_before_the_first_released_byte_goes_on_to_the_next_rung() -> None:
    """A rung that fails is left like in an ask."""
    ladder, _, _ = streamed(ConnectFailed("no", provider="p", model="small"), reply("Lead."))
    async with ladder:
        events = await read(ladder)
    assert text_of(events) == "Lead."


async def test_failure_after_the_first_released_byte_is_told_with_what_was_paid() -> None:
    """No other rung takes over; the error holds the attempts, the cost and the id."""
    sink = ListSink()
    ladder = Cascade(two_rungs(), {"p": Breaking(CUT)}, scorer=ScriptedScorer(), sink=sink)
    async with ladder, ladder.stream("Which?") as events:
        told = [await anext(events) for _ in range(6)]
        with pytest.raises(StreamBroken, match="large failed after a part") as caught:
            await anext(events)
    error = caught.value
    assert text_of(told) == "Half"
    assert error.__cause__ is CUT
    assert [attempt.rung for attempt in error.attempts] == [0, 1]
    assert error.cost_usd == pytest.approx(15e-6 + 12 * 10e-6)  # estimated: 10 of prompt, 2 said
    assert error.ask_id == sink.records[0]["id"]
    assert sink.records[0]["outcome"] == "failed"
    assert sink.records[0]["attempts"][1]["tokens_estimated"] is True


async def test_when_every_rung_fails_the_reader_is_raised_what_ask_raises() -> None:
    """Errors leave as themselves, not in a group of the stream's task."""
    ladder, _, _ = streamed(ConnectFailed("no", provider="p", model="small"), CUT)
    async with ladder:
        with pytest.raises(AllRungsFailed):
            await read(ladder)


async def test_what_the_reader_raises_leaves_as_itself() -> None:
    """The body's own exception is not wrapped, and the ask is cancelled."""
    ladder, _, sink = streamed(reply("A", confidence=0.9))
    async with ladder:
        with pytest.raises(ZeroDivisionError):
            async with ladder.stream("Which?"):
                raise ZeroDivisionError
    assert sink.records[0]["outcome"] == "cancelled"


async def test_leaving_early_cancels_and_records_what_it_cost() -> None:
    """The record says cancelled, with the tokens that had come."""
    ladder, _, sink = streamed(reply("A", confidence=0.1), reply("Lead it is then", confidence=1))
    async with ladder:
        async with ladder.stream("Which?") as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break
        with pytest.raises(RuntimeError, match="read to its end"):
            _ = events.result
    record = sink.records[0]
    assert record["outcome"] == "cancelled"
    assert record["attempts"][1]["reason"] == "cancelled: its reader has left"
    came = record["attempts"][1]["completion_tokens"]
    assert came in (1, 2)
    assert record["cost_usd"] == pytest.approx(15e-6 + (10 + came) * 10e-6)


async def test_a_stream_that_cannot_be_asked_raises_on_entering() -> None:
    """Mistakes are told before anything is spent."""
    ladder, client, _ = streamed("unused")
    async with ladder:
        with pytest.raises(RequestError):
            async with ladder.stream(""):
                pass
    assert client.calls == []


async def test_a_client_without_streams_is_told_as_a_whole() -> None:
    """Its answer is one delta once it is accepted."""
    ladder, _, _ = engine(reply("A", confidence=0.1), reply("Lead.", confidence=0.9))
    async with ladder:
        events = await read(ladder)
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Lead."]


async def test_a_slow_reader_slows_the_model_down() -> None:
    """No more than a few events wait for a reader that does not read."""
    ladder, _, _ = streamed(reply("A", confidence=0.1), reply("x" * 4000, confidence=1))
    async with ladder, ladder.stream("Which?") as events:
        await anyio.wait_all_tasks_blocked()
        assert 0 < len(events._unread) <= 64
        assert len("".join([text async for text in events.texts()])) == 4000


async def test_a_slow_reader_does_not_make_a_rung_slow() -> None:
    """The time of an answer that was passed on is in part its reader's: no deadline reckons with it."""
    ladder, _, _ = streamed(reply("A", confidence=0.1), reply("x" * 40, confidence=1))
    async with ladder:
        for _ in range(6):
            async with ladder.stream("Which?") as events:
                async for _ in events:
                    await anyio.sleep(0.005)
        assert len(ladder._driver._latencies[0]) == 6
        assert len(ladder._driver._latencies[1]) == 0


def test_a_blocking_stream_tells_the_same() -> None:
    """`cascade.sync` reads a stream from a thread."""
    ladder, _, _ = streamed(reply("A", confidence=0.1), reply("Lead it is.", confidence=0.9))
    with cascade.sync.Cascade(ladder) as blocking, blocking.stream("Which?") as events:
        assert list(events.texts()) == ["Lead", " it ", "is."]
        assert events.result.model == "large"


def test_a_broken_stream_survives_pickling() -> None:
    """What workers send each other keeps its fields."""
    error = StreamBroken("words", rung=1, model="m")
    error.cost_usd = 0.5
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.rung, again.model, again.cost_usd) == ("words", 1, "m", 0.5)
