"""Near-duplicates in front of the engine: what is told, what is never near, and the audit."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cascade import Cascade
from cascade.cache import DiskCache, MemoryCache
from cascade.cache.near import Near, NearHit, NearMiss
from cascade.caching import CacheSettings
from cascade.errors import ScorerError
from cascade.testing import ListSink, ScriptedClient, ScriptedScorer, reply

from .ladders import two_rungs

pytestmark = pytest.mark.anyio

ASKED = "How tall is the Eiffel tower in metres?"
PARAPHRASE = "What is the height of the Eiffel tower in metres?"
OTHER_NUMBER = "How tall is the Eiffel tower in 2 metres?"


@dataclass(frozen=True, slots=True)
class Verdict:
    p_same: float
    refused_by: tuple[str, ...] = ()


class Judge:
    """Takes everything for the same unless a digit differs."""

    version = "judge/1"
    threshold = 0.9
    slow = False

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def vector(self, text: str, *, at_hand: bool) -> None:
        """There is none."""

    def judge(self, cached: str, asked: str, *, similarity: float, margin: float) -> Verdict:
        self.threads.append(threading.current_thread())
        digits = [[c for c in text if c.isdigit()] for text in (cached, asked)]
        return Verdict(0.97, ("numbers",) if digits[0] != digits[1] else ())


def engine(answers: list[Any], **settings: Any) -> tuple[Cascade, ScriptedClient, ListSink, Near]:
    near, sink = Near(Judge(), floor=0.1), ListSink()
    client = ScriptedClient({"small": answers, "large": ["unused"]})
    cache = CacheSettings(
        store=MemoryCache(max_mb=10), near=near, **{"audit_share": 0.0} | settings
    )
    ladder = Cascade(
        two_rungs(), {"p": client}, scorer=ScriptedScorer(), sink=sink, cache=cache, log_text=True
    )
    return ladder, client, sink, near


async def test_a_near_hit_says_what_matched() -> None:
    """The prompt it was an answer to, how alike they are, and how surely they mean the same."""
    ladder, client, sink, _ = engine([reply("330", confidence=0.9)])
    async with ladder:
        await ladder.ask(ASKED)
        result = await ladder.ask(PARAPHRASE)
    assert result.cache is not None
    assert (result.cache.kind, result.cache.text, result.cache.p_same) == ("near", ASKED, 0.97)
    assert (result.text, result.cost_usd) == ("330", 0.0)
    assert f"was an answer to: {ASKED}" in result.explain()
    assert len(client.calls) == 1
    assert sink.records[1]["cache"]["kind"] == "near"


@pytest.mark.parametrize("slow", [False, True])
async def test_a_slow_judge_does_not_hold_the_event_loop(slow: bool) -> None:
    """It works in a thread; a quick one does not pay for going there."""
    judge = Judge()
    judge.slow = slow
    near = Near(judge, floor=0.1)
    near.add("a", "s", ASKED)
    hit = await near.lookup("s", PARAPHRASE)
    assert isinstance(hit, NearHit)
    assert hit == near.find("s", PARAPHRASE)
    here = threading.current_thread()
    assert [thread is here for thread in judge.threads] == [not slow, True]
    assert await near.lookup("t", PARAPHRASE) == NearMiss(best_key=None)


async def test_a_guard_that_refuses_is_named() -> None:
    """The ask is answered by a model, and says why it was no hit."""
    ladder, client, _, _ = engine([reply("330", confidence=0.9)])
    async with ladder:
        await ladder.ask(ASKED)
        result = await ladder.ask(OTHER_NUMBER)
    assert result.cache is None
    assert "the nearest differs in numbers" in (result.cache_miss or "")
    assert len(client.calls) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"tenant": "b"}),
        ({}, {"response_format": {"type": "text"}}),
        ({}, {"max_tokens": 5}),
        ({"tools": [{"name": "f"}]}, {"tools": [{"name": "f"}]}),
    ],
    ids=["tenant", "format", "limit", "tools"],
)
async def test_what_differs_in_more_than_the_last_text_is_never_near(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> None:
    """And nothing is near among requests with tools."""
    ladder, _, _, _ = engine([reply("330", confidence=0.9)])
    async with ladder:
        await ladder.ask(ASKED, **first)
        assert (await ladder.ask(PARAPHRASE, **second)).cache is None


async def test_in_a_conversation_the_turns_before_must_be_equal() -> None:
    """Only the last text may differ."""
    ladder, _, _, _ = engine([reply("330", confidence=0.9)])
    before = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello!"}]
    other = [{"role": "user", "content": "Hi"}, before[1]]
    async with ladder:
        await ladder.ask([*before, {"role": "user", "content": ASKED}])
        assert (await ladder.ask([*before, {"role": "user", "content": PARAPHRASE}])).cache
        assert not (await ladder.ask([*other, {"role": "user", "content": PARAPHRASE}])).cache


async def test_audited_hits_are_asked_all_the_same_and_false_ones_raise_the_threshold() -> None:
    """When more are false than was promised, only surer ones are served."""
    ladder, client, _, near = engine(
        [reply("330", confidence=0.9), reply("324", confidence=0.9)],
        audit_share=1.0,
        false_hits=0.01,
    )
    async with ladder:
        await ladder.ask(ASKED)
        audited = await ladder.ask(PARAPHRASE)
        stats = ladder.cache_stats()
        after = await ladder.ask("How tall is that Eiffel tower in metres?")
    assert (audited.text, audited.cache) == ("324", None)
    assert "compared with the ladder's own answer" in (audited.cache_miss or "")
    assert (stats["audits"], stats["audits_false"]) == (1, 1)
    assert near.threshold > 0.97
    assert "below" in (after.cache_miss or "")
    assert len(client.calls) == 3


async def test_an_engine_takes_in_the_prompts_of_what_its_store_holds(tmp_path: Path) -> None:
    """After a restart near hits are found again."""
    client = ScriptedClient({"small": [reply("330", confidence=0.9)], "large": ["unused"]})

    def make() -> Cascade:
        store = DiskCache(tmp_path / "cache")
        cache = CacheSettings(store=store, near=Near(Judge(), floor=0.1), audit_share=0.0)
        return Cascade(two_rungs(), {"p": client}, scorer=ScriptedScorer(), cache=cache)

    async with make() as ladder:
        await ladder.ask(ASKED)
    async with make() as ladder:
        assert (await ladder.ask(PARAPHRASE)).cache is not None


def test_a_ladder_file_names_the_embedder(tmp_path: Path) -> None:
    """A scorer that was fitted with another one is refused; unsaid, it is the scorer's own."""
    from cascade.build_cache import near_search
    from cascade.config import NearConfig
    from scorers.embedders import open_embedder
    from scorers.pair_artifact import SHIPPED

    static = str(SHIPPED / "static")
    with pytest.raises(ScorerError, match=r"cache\.near: .* fitted with .* static, .* with minilm"):
        near_search(NearConfig(scorer=static, embedder="minilm"))
    try:
        open_embedder("static")
    except ScorerError as exc:
        pytest.skip(str(exc))
    versions = {
        near_search(NearConfig(scorer=static)).version,
        near_search(NearConfig(scorer=static, embedder="static")).version,
        near_search(NearConfig(embedder="static")).version,
    }
    assert len(versions) == 1
    assert near_search().version not in versions
