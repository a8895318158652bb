"""The cache in memory: least recently used first, by bytes, and never past its time."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.cache import MemoryCache
from cascade.cache.codec import encode
from cascade.errors import ConfigError
from cascade.fingerprint import cache_keys
from cascade.ports import Cache
from cascade.types import Answer, CacheEntry, Message, Request

from .entries import NOW, SetClock, all_keys, entry, iso

pytestmark = pytest.mark.anyio

SIZE = len(encode(entry("0")) or b"")


def cache(entries_of_room: float = 1000, **more: float) -> MemoryCache:
    made = MemoryCache(max_mb=entries_of_room * SIZE / 1e6, clock=SetClock(), **more)
    made.start()
    return made


async def test_what_was_put_is_found_until_it_is_removed() -> None:
    """And only under its own key."""
    store = cache()
    assert isinstance(store, Cache)
    assert await store.get("k") is None
    assert await store.put(entry(text="1"))
    assert await store.put(entry(text="2"))
    assert await store.put(entry("nul\0"))
    assert await store.get("k") == entry(text="2")
    assert await store.get("nul\0") == entry("nul\0")
    assert await store.get("nul") is None
    assert await all_keys(store.entries()) == ["k", "nul\0"]
    assert await store.remove(["k", "k", "other"]) == 1
    assert await store.get("k") is None
    stats = store.stats()
    assert stats["bytes"] == len(encode(entry("nul\0")) or b"")
    assert (stats["entries"], stats["hits"], stats["misses"], stats["puts"]) == (1, 2, 3, 3)
    await store.aclose()
    await store.aclose()
    assert store.stats()["entries"] == store.stats()["bytes"] == 0


async def test_the_least_recently_used_is_dropped_first() -> None:
    """Looking one up is using it."""
    store = cache(3)
    for key in "012":
        await store.put(entry(key))
    assert await store.get("0") is not None
    await store.put(entry("3"))
    assert await all_keys(store.entries()) == ["2", "0", "3"]
    assert store.stats()["evictions"] == 1


async def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    """It drops nothing but what it would have replaced."""
    store = cache(2)
    await store.put(entry("0"))
    await store.put(entry("1"))
    assert not await store.put(entry("1", text="x" * 3 * SIZE))
    assert await all_keys(store.entries()) == ["0"]
    assert store.stats()["too_large"] == 1


async def test_ten_megabytes_are_kept_where_there_is_room() -> None:
    """A long prompt is a prompt."""
    store = MemoryCache(max_mb=11)
    long = entry(text="x" * 10_000_000)
    assert await store.put(long)
    assert await store.get("k") == long


async def test_an_entry_lives_until_its_time() -> None:
    """Not a millisecond longer, and then its room is free."""
    clock = SetClock()
    store = MemoryCache(clock=clock)
    await store.put(entry(ttl_s=60))
    await store.put(entry("for ever"))
    clock.move(59.9)
    assert await store.get("k") is not None
    clock.move(0.1)
    assert await all_keys(store.entries()) == ["for ever"]
    assert await store.get("k") is None
    assert await store.get("for ever") is not None
    assert store.stats()["expired"] == 1
    assert store.stats()["entries"] == 1


@pytest.mark.parametrize("set_by", [-3600.0, 3600.0], ids=["back", "forward"])
async def test_a_clock_that_is_set_lets_nothing_live_longer(set_by: float) -> None:
    """Back: the time since then counts. Forward: the time of the wall counts."""
    clock = SetClock()
    store = MemoryCache(clock=clock)
    await store.put(entry(ttl_s=60))
    clock.wall += set_by
    clock.move(1)
    assert (await store.get("k") is not None) == (set_by < 0)
    clock.move(59)
    assert await store.get("k") is None


async def test_what_is_over_when_it_is_put_is_not_kept() -> None:
    """Nor what was stored in a future that the clock has been set back from."""
    store = cache()
    assert not await store.put(entry(ttl_s=0))
    assert not await store.put(entry(stored_at=iso(NOW + 3600), ttl_s=7200))
    assert not await store.put(entry(stored_at="now"))
    assert not await store.put(entry("\ud800"))
    assert await store.get("\ud800") is None
    assert store.stats()["unstorable"] == 4


async def test_nothing_is_kept_longer_than_it_is_told() -> None:
    """Over a shared store that bounds how long others' removals go unseen."""
    clock = SetClock()
    store = MemoryCache(keep_s=10, clock=clock)
    await store.put(entry("a"))
    await store.put(entry("b", ttl_s=5))
    clock.move(5)
    assert await all_keys(store.entries()) == ["a"]
    clock.move(5)
    assert await all_keys(store.entries()) == []
    assert await store.get("a") is None


async def test_asks_share_nothing_that_one_could_change() -> None:
    """Whoever changes a tool call changes it for himself."""
    call = {"function": {"name": "f"}}
    store = cache()
    await store.put(entry(answer=Answer(text=None, model="m", tool_calls=[call])))
    call["function"]["name"] = "changed"
    for _ in range(2):
        found = await store.get("k")
        assert found is not None
        function = found.answer.tool_calls[0]["function"]
        assert function["name"] == "f"
        function["name"] = "changed"


async def test_fields_of_wrong_types_are_not_served() -> None:
    """A caller's mistake becomes a miss."""
    store = cache()
    assert await store.put(entry(rung="first"))
    assert await store.get("k") is None
    assert store.stats()["unreadable"] == 1


@pytest.mark.parametrize("arguments", [{"max_mb": 0}, {"max_mb": float("nan")}, {"keep_s": 0}])
async def test_arguments_have_ranges(arguments: dict[str, float]) -> None:
    """Said when it is made."""
    with pytest.raises(ConfigError, match="is not a number"):
        MemoryCache(**arguments)


keys = st.sampled_from("abcdef")
steps = st.lists(
    st.tuples(st.just("put"), keys, st.integers(0, 4 * SIZE))
    | st.tuples(st.sampled_from(["get", "remove"]), keys, st.just(0))
    | st.tuples(st.just("wait"), st.just(""), st.integers(0, 40)),
    max_size=40,
)


@given(steps, st.floats(0.5, 8))
@settings(deadline=None)
def test_it_never_exceeds_its_bytes_and_never_lies(
    done: list[tuple[str, str, int]], room: float
) -> None:
    """Whatever is put, looked up, removed and waited for: what is found is what was put last."""

    async def run() -> None:
        clock = SetClock()
        store = MemoryCache(max_mb=room * SIZE / 1e6, clock=clock)
        last: dict[str, tuple[CacheEntry, float]] = {}
        for number, (what, key, amount) in enumerate(done):
            if what == "put":
                made = entry(
                    key,
                    f"{number} {'x' * amount}",
                    stored_at=iso(clock.wall),
                    expires_at=iso(clock.wall + 60),
                )
                if await store.put(made):
                    last[key] = (made, clock.wall + 60)
                else:
                    last.pop(key, None)
            elif what == "get":
                found = await store.get(key)
                if found is not None:
                    assert found == last[key][0]
                    assert clock.wall < last[key][1]
            elif what == "remove":
                await store.remove([key])
                last.pop(key, None)
            else:
                clock.move(amount)
            stats = store.stats()
            assert stats["bytes"] <= room * SIZE
            assert stats["bytes"] == sum(len(data) for data, _, _ in store._kept.values())

    anyio.run(run)


tenants = st.none() | st.text(max_size=3)
questions = st.text(max_size=2)


@given(st.lists(st.tuples(tenants, questions), max_size=12), tenants, questions)
@settings(deadline=None)
def test_tenants_never_see_each_other(
    put: list[tuple[str | None, str]], tenant: str | None, question: str
) -> None:
    """What is found under a tenant's key was put for that tenant and that question."""

    def key(tenant: str | None, question: str) -> str:
        request = Request(messages=(Message(role="user", content=question),))
        return cache_keys(request, ladder="l", tenant=tenant)[0]

    async def run() -> None:
        store = cache()
        for whose, what in put:
            await store.put(entry(key(whose, what), what, tenant=whose))
        found = await store.get(key(tenant, question))
        assert (found is not None) == ((tenant, question) in put)
        if found is not None:
            assert (found.tenant, found.answer.text) == (tenant, question)

    anyio.run(run)
