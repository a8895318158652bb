"""Answers from the cache: what is served, what is kept, and what never is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import pytest

from cascade import AllRungsFailed, Cascade, DeadlineExceeded, RequestError, ServerFailed
from cascade.cache import MemoryCache
from cascade.cached import Keeping
from cascade.caching import CacheSettings
from cascade.testing import FakeClock, ListSink, ScriptedClient, ScriptedScorer, reply
from cascade.types import Answer, ModelCall

from .ladders import engine, two_rungs

pytestmark = pytest.mark.anyio


def cached(**settings: Any) -> CacheSettings:
    return CacheSettings(store=MemoryCache(max_mb=10), **settings)


async def test_the_second_ask_is_a_hit_that_costs_nothing() -> None:
    """It says which ask it was an answer to, what that had cost, and is logged as a decision."""
    ladder, client, sink = engine(reply("Iron.", confidence=0.9), cache=cached())
    async with ladder:
        first = await ladder.ask("Which?")
        second = await ladder.ask("Which?")
    assert (second.text, second.model, second.confidence) == ("Iron.", "small", 0.9)
    assert (second.cost_usd, second.saving_usd_estimate) == (0.0, first.cost_usd)
    assert second.cache is not None
    assert (second.cache.kind, second.cache.ask_id) == ("exact", first.id)
    assert first.cache is None
    assert first.cache_miss == "it has not been asked"
    assert len(client.calls) == 1
    assert [record["cache"] and record["cache"]["kind"] for record in sink.records] == [
        None,
        "exact",
    ]
    assert sink.records[1]["cost_usd"] == 0.0
    assert "the same request" in second.explain()


@pytest.mark.parametrize(
    "changed",
    [
        {"tenant": "another"},
        {"temperature": 0.0},
        {"max_tokens": 7},
        {"stop": "x"},
        {"seed": 3},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"user": "somebody"},
    ],
    ids=lambda changed: next(iter(changed)),
)
async def test_another_request_is_another_key(changed: Mapping[str, Any]) -> None:
    """Everything that can change the answer is part of the key, the tenant too."""
    ladder, client, _ = engine(reply("{}", confidence=0.9), cache=cached())
    async with ladder:
        await ladder.ask("Which?")
        again = await ladder.ask("Which?", **changed)
    assert again.cache is None
    assert len(client.calls) == 2


async def test_a_later_turn_is_keyed_by_the_whole_conversation() -> None:
    """The same last question after another beginning is another request."""
    ladder, client, _ = engine(reply("A", confidence=0.9), cache=cached())
    turns = [{"role": "user", "content": "Iron?"}, {"role": "assistant", "content": "Yes."}]
    last = {"role": "user", "content": "And lead?"}
    async with ladder:
        await ladder.ask([*turns, last])
        await ladder.ask([{**turns[0], "content": "Gold?"}, turns[1], last])
        again = await ladder.ask([*turns, last])
    assert again.cache is not None
    assert len(client.calls) == 2


@pytest.mark.parametrize(
    ("answers", "asked", "rules"),
    [
        ([reply("cut", confidence=0.9, finish_reason="length")] * 2, {}, {}),
        ([reply("unsure", confidence=0.85)] * 2, {}, {"min_confidence": 0.95}),
        ([reply("hot", confidence=0.9)] * 2, {"temperature": 0.7}, {}),
        ([reply(None, confidence=0.9, tool_calls=[{"id": "1"}])] * 2, {}, {}),
        ([reply("secret", confidence=0.9)] * 2, {}, {"private": lambda request: True}),
        ([reply("read only", confidence=0.9)] * 2, {"cache": "read"}, {}),
        ([reply("off", confidence=0.9)] * 2, {"cache": "off"}, {}),
    ],
    ids=["truncated", "unsure", "sampled", "tool-calls", "private", "read", "off"],
)
async def test_what_must_not_be_kept_is_not(
    answers: Sequence[Answer], asked: Mapping[str, Any], rules: Mapping[str, Any]
) -> None:
    """The second ask is answered by a model."""
    keeping = cached(keeping=Keeping(**rules))
    ladder, client, _ = engine(list(answers), "dear", cache=keeping, gates=())
    async with ladder:
        await ladder.ask("Which?", **asked)
        again = await ladder.ask("Which?", **asked)
    assert again.cache is None
    assert len(client.calls) >= 2


async def test_a_degraded_answer_is_not_kept() -> None:
    """What is less than was asked for must not become what everybody gets."""
    ladder, client, _ = engine(
        reply("A", confidence=0.5), ServerFailed("", provider="p", model="large"), cache=cached()
    )
    async with ladder:
        assert (await ladder.ask("Which?")).degraded
        assert (await ladder.ask("Which?")).cache is None
    assert len(client.calls) == 4


async def test_refresh_asks_again_and_keeps_the_new_answer() -> None:
    """What is kept is replaced."""
    ladder, client, _ = engine(
        [reply("old", confidence=0.9), reply("new", confidence=0.9)], cache=cached()
    )
    async with ladder:
        await ladder.ask("Which?")
        assert (await ladder.ask("Which?", cache="refresh")).text == "new"
        assert (await ladder.ask("Which?")).text == "new"
    assert len(client.calls) == 2


async def test_a_hit_must_meet_what_the_ask_demands() -> None:
    """An answer less sure, or older, than demanded is a miss that says so."""
    clock = FakeClock()
    store = MemoryCache(max_mb=10, clock=clock)
    ladder, _, _ = engine(
        [reply("A", confidence=0.85), reply("B", confidence=0.99)],
        cache=CacheSettings(store=store),
        clock=clock,
    )
    async with ladder:
        await ladder.ask("Which?")
        strict = await ladder.ask("Which?", min_confidence=0.95)
        assert strict.text == "B"
        assert "confidence 0.85 does not reach 0.95" in (strict.cache_miss or "")
        clock.seconds += 10
        assert (await ladder.ask("Which?", max_age_s=60)).cache is not None
        late = await ladder.ask("Which?", max_age_s=5)
    assert "older than 5 s" in (late.cache_miss or "")


async def test_an_answer_is_served_until_its_time() -> None:
    """`ttl_s` after it was stored it is gone."""
    clock = FakeClock()
    settings = CacheSettings(store=MemoryCache(max_mb=10, clock=clock), ttl_s=30.0)
    ladder, client, _ = engine(reply("A", confidence=0.9), cache=settings, clock=clock)
    async with ladder:
        await ladder.ask("Which?")
        clock.seconds += 29
        assert (await ladder.ask("Which?")).cache is not None
        clock.seconds += 2
        assert (await ladder.ask("Which?")).cache is None
    assert len(client.calls) == 2


class Gate(ScriptedClient):
    """Answers when told to."""

    def __init__(self, script: Mapping[str, Sequence[Answer | str | Exception]]) -> None:
        super().__init__(script)
        self.asked, self.may_answer = anyio.Event(), anyio.Event()

    async def complete(self, call: ModelCall) -> Answer:
        self.calls.append(call)
        self.asked.set()
        await self.may_answer.wait()
        said = self._script[call.model][0]
        if isinstance(said, Exception):
            raise said
        assert isinstance(said, Answer)
        return said


def gated(said: Answer | Exception) -> tuple[Cascade, Gate, ListSink]:
    client, sink = Gate({"small": [said], "large": [said]}), ListSink()
    ladder = Cascade(two_rungs(), {"p": client}, scorer=ScriptedScorer(), sink=sink, cache=cached())
    return ladder, client, sink


async def test_equal_asks_in_flight_share_one_call() -> None:
    """One pays; the others say whose answer it is, and every ask has its record."""
    ladder, client, sink = gated(reply("A", confidence=0.9))
    results = []

    async def one() -> None:
        results.append(await ladder.ask("Which?"))

    async with ladder, anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(one)
        await client.asked.wait()
        await anyio.wait_all_tasks_blocked()
        client.may_answer.set()
    assert len(client.calls) == 1
    assert [result.text for result in results] == ["A"] * 5
    kinds = [None if result.cache is None else result.cache.kind for result in results]
    assert sorted(kinds, key=str) == [None, *["shared"] * 4]
    assert sum(result.cost_usd or 0.0 for result in results) == pytest.approx(15e-6)
    assert len({record["id"] for record in sink.records}) == 5


async def test_a_cancelled_leader_does_not_take_the_others_with_it() -> None:
    """One of those who wait makes the call itself."""
    ladder, client, _ = gated(reply("A", confidence=0.9))
    results = []
    leader = anyio.CancelScope()

    async def lead() -> None:
        with leader:
            await ladder.ask("Which?")

    async def follow() -> None:
        results.append(await ladder.ask("Which?"))

    async with ladder, anyio.create_task_group() as tasks:
        tasks.start_soon(lead)
        await client.asked.wait()
        for _ in range(2):
            tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        leader.cancel()
        await anyio.wait_all_tasks_blocked()
        client.may_answer.set()
    assert [result.text for result in results] == ["A", "A"]
    assert len(client.calls) == 2


async def test_an_error_reaches_all_who_waited_and_is_not_kept() -> None:
    """The next ask calls again."""
    down = ServerFailed("HTTP 500", provider="p", model="small", status=500)
    ladder, client, sink = gated(down)
    errors: list[AllRungsFailed] = []

    async def one() -> None:
        try:
            await ladder.ask("Which?")
        except AllRungsFailed as error:
            errors.append(error)

    async with ladder:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(one)
            await client.asked.wait()
            await anyio.wait_all_tasks_blocked()
            client.may_answer.set()
        assert len(client.calls) == 2
        await one()
    assert len(client.calls) == 4
    assert len({error.ask_id for error in errors}) == 4
    assert len(sink.records) == 4


async def test_who_waits_for_another_ask_keeps_its_own_deadline() -> None:
    """It ends in time, and the other goes on."""
    ladder, client, _ = gated(reply("A", confidence=0.9))
    async with ladder, anyio.create_task_group() as tasks:
        tasks.start_soon(ladder.ask, "Which?")
        await client.asked.wait()
        with pytest.raises(DeadlineExceeded):
            await ladder.ask("Which?", deadline_s=0.05)
        client.may_answer.set()


@pytest.mark.parametrize(
    "wrong", [{"cache": "sometimes"}, {"max_age_s": -1}, {"cache_tags": "a"}], ids=str
)
async def test_wrong_wishes_are_refused(wrong: Mapping[str, Any]) -> None:
    """Before any call, with what is allowed."""
    ladder, client, _ = engine("A", cache=cached())
    async with ladder:
        with pytest.raises(RequestError, match=next(iter(wrong))):
            await ladder.ask("Which?", **wrong)
    assert client.calls == []
