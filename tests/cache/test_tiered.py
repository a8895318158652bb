"""One cache over another: what is found below is lifted, and nothing comes back that was removed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from cascade.cache import MemoryCache, TieredCache
from cascade.ports import Cache
from cascade.types import CacheEntry

from .entries import SetClock, all_keys, entry

pytestmark = pytest.mark.anyio


class Held:
    """A store whose replies can be held back after they were looked up."""

    def __init__(self, store: Cache) -> None:
        self.store = store
        self.free = anyio.Event()
        self.free.set()
        self.closed = 0

    def start(self) -> None:
        self.store.start()

    async def get(self, key: str) -> CacheEntry | None:
        found = await self.store.get(key)
        await self.free.wait()
        return found

    async def put(self, entry: CacheEntry) -> bool:
        await checkpoint()
        return await self.store.put(entry)

    async def remove(self, keys: Iterable[str]) -> int:
        await checkpoint()
        return await self.store.remove(keys)

    def entries(self) -> AsyncIterator[CacheEntry]:
        return self.store.entries()

    def stats(self) -> Mapping[str, int]:
        return self.store.stats()

    async def aclose(self) -> None:
        self.closed += 1
        await self.store.aclose()


class Tiers:
    def __init__(self, above_mb: float = 1.0) -> None:
        self.clock = SetClock()
        self.above = MemoryCache(max_mb=above_mb, clock=self.clock)
        self.below = Held(MemoryCache(clock=self.clock))
        self.both = TieredCache(self.above, self.below)
        self.both.start()


async def test_a_hit_below_is_lifted() -> None:
    """The second lookup does not go below."""
    tiers = Tiers()
    assert isinstance(tiers.both, Cache)
    await tiers.below.put(entry(ttl_s=60))
    assert await tiers.both.get("k") == entry(ttl_s=60)
    assert await tiers.both.get("k") == entry(ttl_s=60)
    assert await tiers.both.get("other") is None
    stats = tiers.both.stats()
    assert (stats["hits"], stats["misses"], stats["entries"]) == (2, 1, 1)
    assert (stats["above_hits"], stats["below_hits"]) == (1, 1)


async def test_its_time_goes_along() -> None:
    """Lifted late, it lives no longer."""
    tiers = Tiers()
    await tiers.below.put(entry(ttl_s=60))
    tiers.clock.move(50)
    assert await tiers.both.get("k") is not None
    tiers.clock.move(10)
    assert await tiers.above.get("k") is None
    assert await tiers.both.get("k") is None


async def test_what_is_put_is_in_both_and_what_is_removed_in_none() -> None:
    """And is counted once."""
    tiers = Tiers()
    assert await tiers.both.put(entry("a"))
    assert await tiers.both.put(entry("b"))
    await tiers.above.put(entry("c"))
    assert await all_keys(tiers.both.entries()) == ["a", "b", "c"]
    listed = tiers.both.entries()
    assert isinstance(listed, AsyncGenerator)
    async with aclosing(listed):
        assert (await anext(listed)).key == "a"
    assert await tiers.below.get("a") is not None
    assert await tiers.both.remove(["a", "nothing"]) == 1
    assert await tiers.above.get("a") is None
    assert await tiers.below.get("a") is None


async def test_what_is_too_large_for_above_is_kept_below() -> None:
    """One that keeps it is enough."""
    tiers = Tiers(above_mb=0.001)
    assert await tiers.both.put(entry(text="x" * 1000))
    assert await tiers.both.get("k") is not None
    assert tiers.above.stats()["entries"] == 0


async def test_what_is_removed_while_it_is_looked_up_does_not_come_back() -> None:
    """The lookup began before, so it may return it; the next one must not."""
    tiers = Tiers()
    await tiers.below.put(entry())
    tiers.below.free = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tiers.both.get, "k")
        await wait_all_tasks_blocked()
        assert await tiers.both.remove(["k"]) == 1
        tiers.below.free.set()
    assert await tiers.both.get("k") is None
    assert tiers.both._lifting == {}


async def test_what_is_put_while_an_older_one_is_looked_up_stays() -> None:
    """The older one is not lifted over it."""
    tiers = Tiers()
    await tiers.below.put(entry(text="old"))
    tiers.below.free = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tiers.both.get, "k")
        await wait_all_tasks_blocked()
        await tiers.both.put(entry(text="new"))
        tiers.below.free.set()
    found = await tiers.both.get("k")
    assert found is not None
    assert found.answer.text == "new"


async def test_a_cancelled_lookup_leaves_nothing_behind() -> None:
    """Nor does closing twice."""
    tiers = Tiers()
    tiers.below.free = anyio.Event()
    with anyio.move_on_after(0):
        await tiers.both.get("k")
    assert tiers.both._lifting == {}
    await tiers.both.aclose()
    await tiers.both.aclose()
    assert tiers.below.closed == 2
