"""Entries as the tests of the cache make them, and a clock that can be set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import anyio
from hypothesis import strategies as st

from cascade.types import Answer, CacheEntry, Usage

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()


class SetClock:
    """A clock whose two times move together, and whose wall clock can be set."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.wall = NOW

    def monotonic(self) -> float:
        return self.seconds

    def now_iso(self) -> str:
        return iso(self.wall)

    def move(self, seconds: float) -> None:
        self.seconds += seconds
        self.wall += seconds

    async def sleep(self, seconds: float) -> None:
        self.move(seconds)
        await anyio.lowlevel.checkpoint()


def iso(seconds: float) -> str:
    """The wall clock's form of a time."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def entry(
    key: str = "k", text: str | None = "42", *, ttl_s: float | None = None, **more: Any
) -> CacheEntry:
    """An entry stored at noon."""
    given: dict[str, Any] = {
        "key": key,
        "scope": "scope",
        "tenant": None,
        "text": "What is 6 times 7?",
        "answer": Answer(
            text=text,
            model="small-1",
            finish_reason="stop",
            usage=Usage(prompt_tokens=9, completion_tokens=1),
        ),
        "rung": 0,
        "model": "small",
        "confidence": 0.9,
        "cost_usd": 0.0001,
        "ladder": "l1",
        "policy": "p1",
        "scorer": None,
        "ask_id": "a1",
        "stored_at": iso(NOW),
        "expires_at": None if ttl_s is None else iso(NOW + ttl_s),
    }
    return CacheEntry(**(given | more))


async def all_keys(listed: AsyncIterator[CacheEntry]) -> list[str]:
    """The keys of what a store lists."""
    return [found.key async for found in listed]


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_text = st.text(max_size=40)
_share = st.floats(0, 1) | st.none()
_cost = st.floats(0, 1e6) | st.none()
_seconds = st.integers(0, 4 * 10**9).map(float)

answers = st.builds(
    Answer,
    text=st.none() | _text,
    model=_text,
    finish_reason=st.none() | _text,
    usage=st.builds(Usage, prompt_tokens=st.none() | st.integers(0, 10**9)),
    tool_calls=st.lists(st.dictionaries(st.text(), _json, max_size=3), max_size=2).map(tuple),
    refusal=st.none() | _text,
    cost_usd=_cost,
    p_true=_share,
    deployment=st.none() | _text,
)

entries = st.builds(
    CacheEntry,
    key=_text,
    scope=_text,
    tenant=st.none() | _text,
    text=st.none() | _text,
    answer=answers,
    rung=st.integers(0, 9),
    model=_text,
    confidence=_share,
    cost_usd=_cost,
    ladder=_text,
    policy=_text,
    scorer=st.none() | _text,
    ask_id=_text,
    stored_at=_seconds.map(iso),
    expires_at=st.none() | _seconds.map(iso),
    tags=st.lists(_text, max_size=3).map(tuple),
)
