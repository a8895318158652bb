"""Laws of streams: the walk of an ask, no leak however a reader leaves, rules that decide early."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade import (
    Answer,
    Attempt,
    BadResponse,
    Cascade,
    CascadeError,
    ConnectFailed,
    DeadlineExceeded,
    Ladder,
    ModelCall,
    Price,
    RateLimited,
    Request,
    Rung,
    Score,
    StreamBroken,
    StreamRule,
    TextDelta,
)
from cascade.records import row_from_record
from cascade.resilience import Retrying, RetryPolicy
from cascade.resilience.hedge import Hedge
from cascade.stream_rules import judge, next_checkpoint
from cascade.testing import FakeClock, ListSink, ScriptedClient, ScriptedScorer, reply
from cascade.types import Chunk

HOLD = StreamRule(mode="hold", last="as_mode")
MODELS = ("small", "middle", "large")


def three_rungs() -> Ladder:
    price = Price(input=1, output=2)
    return Ladder(
        name="t",
        rungs=tuple(Rung(model=m, provider="p", accept=0.6, price=price) for m in MODELS),
    )


def failure(kind: type[CascadeError], model: str) -> CascadeError:
    return kind("no", provider="p", model=model)  # type: ignore[call-arg]


@st.composite
def scripts(draw: st.DrawFn) -> dict[str, list[Answer | Exception]]:
    """What each model says, call by call: answers sure and unsure, refused ones, failures."""
    script: dict[str, list[Answer | Exception]] = {}
    for model in MODELS:
        said: list[Answer | Exception] = []
        for i in range(draw(st.integers(1, 3))):
            kind = draw(st.sampled_from(["good", "good", "empty", "cut", "connect", "bad", "busy"]))
            confidence = draw(st.sampled_from([None, 0.1, 0.5, 0.6, 0.9]))
            if kind == "good":
                said.append(reply(f"{model}-{i} says so", confidence=confidence))
            elif kind == "empty":
                said.append(reply("", confidence=confidence))
            elif kind == "cut":
                said.append(reply("cut of", confidence=confidence, finish_reason="length"))
            else:
                classes = {"connect": ConnectFailed, "bad": BadResponse, "busy": RateLimited}
                said.append(failure(classes[kind], model))
        script[model] = said
    return script


def engine(
    script: dict[str, list[Answer | Exception]], sink: ListSink, **options: Any
) -> tuple[Cascade, ScriptedClient]:
    fresh = copy.deepcopy(
        script
    )  # an error that is raised twice keeps what was tried the first time
    client = ScriptedClient(fresh, chunk_chars=3)
    policy = RetryPolicy(attempts=2, backoff_s=0.0, max_backoff_s=0.0, share=1.0)
    made = Cascade(
        three_rungs(),
        {"p": Retrying(client, policy, rng=random.Random(0), clock=FakeClock())},
        scorer=ScriptedScorer(),
        sink=sink,
        clock=FakeClock(),
        new_id=lambda: "id",
        **options,
    )
    return made, client


async def asked(script: dict[str, Any], **options: Any) -> tuple[Any, list[Any], list[str]]:
    sink = ListSink()
    made, client = engine(script, sink)
    async with made:
        try:
            result: Any = await made.ask("Which?", **options)
        except CascadeError as exc:
            result = exc
    return result, sink.records, [call.model for call in client.calls]


async def streamed(
    script: dict[str, Any], rules: Sequence[StreamRule], **options: Any
) -> tuple[Any, list[Any], list[str], str]:
    sink, told = ListSink(), ""
    made, client = engine(script, sink, stream_rules=rules)
    async with made:
        try:
            async with made.stream("Which?", **options) as events:
                async for event in events:
                    if isinstance(event, TextDelta):
                        told += event.text
            result: Any = events.result
        except CascadeError as exc:
            result = exc
    return result, sink.records, [call.model for call in client.calls], told


def shape(record: dict[str, Any]) -> dict[str, Any]:
    """A decision record without what streams add to it."""
    attempts = [
        {k: v for k, v in attempt.items() if k != "streaming"} for attempt in record["attempts"]
    ]
    return {**record, "attempts": attempts}


@settings(max_examples=150, deadline=None)
@given(script=scripts(), floor=st.sampled_from([None, 0.55]), money=st.sampled_from([None, 3e-5]))
def test_a_stream_that_holds_walks_as_an_ask_does(
    script: dict[str, Any], floor: float | None, money: float | None
) -> None:
    """Attempts, verdicts, reasons, costs, the answer and the record are the same, whatever happens."""
    options: dict[str, Any] = {"min_confidence": floor, "max_cost_usd": money}

    async def both() -> None:
        result, records, calls = await asked(script, **options)
        again, others, other_calls, told = await streamed(script, [HOLD] * 3, **options)
        assert calls == other_calls
        assert [shape(record) for record in records] == [shape(record) for record in others]
        if isinstance(result, Exception):
            assert (type(again), str(again), told) == (type(result), str(result), "")
            assert again.cost_usd == result.cost_usd
        else:
            assert (again.text, again.rung, again.cost_usd) == (
                result.text,
                result.rung,
                result.cost_usd,
            )
            assert told == result.text

    anyio.run(both)


@settings(max_examples=100, deadline=None)
@given(script=scripts())
def test_a_last_rung_that_streams_through_is_called_and_paid_as_in_an_ask(
    script: dict[str, Any],
) -> None:
    """Only which answer is kept may differ: that which the reader has."""

    async def both() -> None:
        result, records, calls = await asked(script)
        again, others, other_calls, told = await streamed(script, [StreamRule()] * 3)
        assert calls == other_calls
        assert [a["cost_usd"] for a in records[0]["attempts"]] == [
            a["cost_usd"] for a in others[0]["attempts"]
        ]
        if not isinstance(again, Exception):
            assert told == again.text
            modes = [a.streamed.mode for a in again.attempts if a.streamed is not None]
            if "through" not in modes:
                assert (again.text, again.rung) == (result.text, result.rung)

    anyio.run(both)


class Babbling:
    """A client whose models say many tagged pieces, with pauses, and sometimes fail in the middle."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.open = 0
        self.texts: dict[str, str] = {}

    async def complete(self, call: ModelCall) -> Answer:
        listener = call.listener
        assert listener is not None
        self.open += 1
        try:
            listener.begin()
            said = ""
            fails_at = self.chance.choice([None, None, 0, 3, 7])
            for i in range(12):
                await anyio.sleep(0 if self.chance.random() < 0.7 else 0.0005)
                if i == fails_at:
                    self.texts[call.model] = said
                    raise ConnectFailed("cut", provider="p", model=call.model)
                said += f"<{call.model}{i}>"
                if not await listener.take(Chunk(text=f"<{call.model}{i}>")):
                    break
            self.texts[call.model] = said
            return reply(said, confidence=self.chance.random())
        finally:
            self.open -= 1

    async def aclose(self) -> None:
        """Hold nothing."""


class Guessing:
    """Scores beginnings at random."""

    version = "guessing"

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    async def score_prefix(
        self,
        request: Request,
        attempts: Sequence[Attempt],
        prefix: Answer,
        *,
        rung: int,
        tokens: int,
    ) -> Score:
        await anyio.lowlevel.checkpoint()
        return Score(confidence=self.chance.random())


@pytest.mark.anyio
async def test_no_leak_and_no_task_however_a_reader_leaves() -> None:
    """At random points: by leaving, by cancellation, by a deadline; what was told is of one draft."""
    early = StreamRule(mode="early", accept=0.7, reject=0.2, checkpoints=(2, 4, 6))
    for seed in range(200):
        client, sink, chance = Babbling(seed), ListSink(), random.Random(seed)
        made = Cascade(
            three_rungs(),
            {"p": client},
            scorer=ScriptedScorer(),
            prefix_scorer=Guessing(seed),
            stream_rules=[early, early, StreamRule()],
            sink=sink,
            hedge=Hedge(after_s=0.0005, share=1.0) if seed % 2 else None,
        )
        told, leaves_at = "", chance.choice([None, 0, 1, 3, 6, 10, 20])
        deadline_s = chance.choice([None, None, 0.002])
        async with made:
            with anyio.move_on_after(chance.choice([0.001, 0.005, 5.0])):
                try:
                    async with made.stream("Which?", deadline_s=deadline_s) as events:
                        count = 0
                        async for event in events:
                            count += 1
                            told += event.text if isinstance(event, TextDelta) else ""
                            if count == leaves_at:
                                break
                        else:
                            assert told == events.result.text
                except (StreamBroken, DeadlineExceeded, ConnectFailed, CascadeError):
                    pass
            assert client.open == 0
        assert len(sink.records) == 1
        tags = {piece.rstrip("0123456789") for piece in told.strip("<>").split("><") if piece}
        assert len(tags) <= 1, told


@pytest.mark.anyio
async def test_an_early_draft_is_passed_on_and_committed() -> None:
    """Though the whole turns out unsure, no other rung is asked, and the log says at which token."""
    client = ScriptedClient(
        {
            "small": [reply("abcdefghijkl", confidence=0.1)],
            "middle": ["unused"],
            "large": ["unused"],
        },
        chunk_chars=1,
    )
    sink = ListSink()
    rule = StreamRule(mode="early", accept=0.5, checkpoints=(4, 8))
    made = Cascade(
        three_rungs(),
        {"p": client},
        scorer=ScriptedScorer(),
        prefix_scorer=Always(0.9),
        stream_rules=[rule] * 3,
        sink=sink,
    )
    async with made, made.stream("Which?") as events:
        texts = [text async for text in events.texts()]
    assert texts == ["a", "b", "c", "d", *"efghijkl"]
    assert [call.model for call in client.calls] == ["small"]
    attempt = sink.records[0]["attempts"][0]
    assert attempt["verdict"] == "accepted"
    assert attempt["reason"].startswith("kept") or attempt["reason"].startswith("passed on")
    assert attempt["streaming"]["mode"] == "early_accept"
    assert attempt["streaming"]["released_at_tokens"] == 4
    assert attempt["streaming"]["judged"] == ((4, 0.9),)


@pytest.mark.anyio
async def test_an_early_draft_is_ended_and_only_what_came_is_paid() -> None:
    """Below `reject` the client is told to stop; the next rung answers."""
    client = ScriptedClient(
        {
            "small": [reply("abcdefghijkl", confidence=0.9, completion_tokens=12)],
            "middle": [reply("Right.", confidence=0.9)],
            "large": ["unused"],
        },
        chunk_chars=1,
    )
    sink = ListSink()
    rule = StreamRule(mode="early", reject=0.3, checkpoints=(4, 8))
    made = Cascade(
        three_rungs(),
        {"p": client},
        scorer=ScriptedScorer(),
        prefix_scorer=Always(0.1),
        stream_rules=[rule, StreamRule(), StreamRule()],
        sink=sink,
    )
    async with made, made.stream("Which?") as events:
        told = "".join([text async for text in events.texts()])
    assert told == "Right."
    first = sink.records[0]["attempts"][0]
    assert first["verdict"] == "rejected"
    assert first["reason"] == "ended at token 4: confidence 0.10 < 0.30"
    assert first["streaming"]["stopped_at_tokens"] == 4
    assert (first["completion_tokens"], first["tokens_estimated"]) == (4, True)
    assert first["cost_usd"] == pytest.approx((10 + 4 * 2) / 1e6)
    row = row_from_record(sink.records[0])
    assert [response.model for response in row.responses] == ["middle"]  # no draft to learn from


@pytest.mark.anyio
async def test_a_refusal_is_ended_by_its_opening() -> None:
    """A gate that can tell by the beginning ends the draft at the next checkpoint."""
    client = ScriptedClient(
        {
            "small": [reply("I'm sorry, but I can't help with that. " * 3, confidence=0.9)],
            "middle": [reply("Lead.", confidence=0.9)],
            "large": ["unused"],
        },
        chunk_chars=4,
    )
    rule = StreamRule(mode="early", checkpoints=(8, 16))
    made = Cascade(three_rungs(), {"p": client}, scorer=ScriptedScorer(), stream_rules=[rule] * 3)
    async with made, made.stream("Which?") as events:
        async for _ in events:
            pass
    assert events.result.text == "Lead."
    assert events.result.attempts[0].reason == "failed gate not_refusal by token 8"


class Always:
    """Scores every beginning the same."""

    version = "always"

    def __init__(self, confidence: float) -> None:
        self.confidence = confidence

    async def score_prefix(
        self,
        request: Request,
        attempts: Sequence[Attempt],
        prefix: Answer,
        *,
        rung: int,
        tokens: int,
    ) -> Score:
        return Score(confidence=self.confidence)


@given(
    low=st.floats(0, 1),
    high=st.floats(0, 1),
    accept=st.floats(0.5, 1),
    reject=st.floats(0, 0.49),
)
def test_a_surer_beginning_never_fares_worse(
    low: float, high: float, accept: float, reject: float
) -> None:
    """stop < wait < release, rising with the confidence."""
    low, high = sorted((low, high))
    rule = StreamRule(mode="early", accept=accept, reject=reject)
    order = {"stop": 0, "wait": 1, "release": 2}
    assert order[judge(rule, low, None)] <= order[judge(rule, high, None)]


def test_checkpoints_are_met_once_each() -> None:
    """A chunk that jumps over one is judged at it, and the next one is beyond."""
    assert next_checkpoint((4, 8, 16), 9) == 16
    assert next_checkpoint((4, 8, 16), 16) is None
