"""The cache in Redis, against a real one: shared, bounded in time, and a miss whatever happens to it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import redis

from cascade.cache import MemoryCache, RedisCache, TieredCache
from cascade.cache.codec import encode
from cascade.errors import ConfigError
from cascade.ports import Cache

from ..redis_server import RedisServer
from .entries import SetClock, all_keys, entry, iso

pytestmark = [pytest.mark.redis, pytest.mark.anyio]


@asynccontextmanager
async def opened(server: RedisServer, **more: Any) -> AsyncIterator[RedisCache]:
    more.setdefault("clock", SetClock())
    more.setdefault("timeout_s", 5.0)
    store = RedisCache(server.url, **more)
    store.start()
    try:
        yield store
    finally:
        with anyio.CancelScope(shield=True):
            await store.aclose()


async def eventually(condition: Callable[[], Any], within_s: float = 10) -> None:
    give_up = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up
        await anyio.sleep(0.005)


async def healed(store: RedisCache, within_s: float = 10) -> None:
    """Ask until Redis can be asked again."""
    give_up = time.monotonic() + within_s
    while store.down:
        assert time.monotonic() < give_up
        await store.get("x")
        await anyio.sleep(0.005)


async def test_what_was_put_is_found_by_all(redis_server: RedisServer) -> None:
    """Under its own key, until somebody removes it; names may hold anything."""
    keys = ["k", "nul\0", "nul", "ключ", "*", "k*", "x" * 10_000, ""]
    async with opened(redis_server) as one, opened(redis_server) as two:
        assert isinstance(one, Cache)
        assert await one.get("k") is None
        for key in keys:
            assert await one.put(entry(key))
        for key in keys:
            assert await two.get(key) == entry(key)
        assert sorted(await all_keys(two.entries())) == sorted(keys)
        assert await two.remove(["k", "k", "*", "other"]) == 2
        assert await two.remove([]) == 0
        assert await one.get("k") is None
        assert await one.get("nul") is not None
        stats = one.stats()
        assert (stats["puts"], stats["hits"], stats["misses"]) == (8, 1, 2)
        assert "entries" not in stats
    await one.aclose()
    assert await one.get("nul") is None
    assert not await one.put(entry())


async def test_prefixes_keep_caches_apart(redis_server: RedisServer) -> None:
    """Also one that looks like a pattern."""
    async with opened(redis_server, prefix="[ab]*?\\") as one, opened(redis_server) as two:
        await one.put(entry("1"))
        await two.put(entry("2"))
        assert await one.get("2") is None
        assert await two.get("1") is None
        assert await all_keys(one.entries()) == ["1"]
        assert await all_keys(two.entries()) == ["2"]


async def test_thousands_are_listed_once_each_and_removed(redis_server: RedisServer) -> None:
    """In steps, among keys that are none of ours."""
    keys = {f"{number:04}" for number in range(1_500)}
    with redis.Redis.from_url(redis_server.url) as client:
        client.mset({f"other:{number}": 1 for number in range(1_000)})
        async with opened(redis_server) as store:
            async with anyio.create_task_group() as tasks:
                for key in keys:
                    tasks.start_soon(store.put, entry(key))
            listed = await all_keys(store.entries())
            assert set(listed) == keys
            assert len(listed) == len(keys)
            assert await store.remove(listed) == 1_500
            assert client.dbsize() == 1_000


async def test_redis_drops_entries_when_their_time_is_over(redis_server: RedisServer) -> None:
    """And the cache does not serve what Redis still has, nor what a clock set back would revive."""
    clock = SetClock()
    async with opened(redis_server, clock=clock) as store:
        assert await store.put(entry(ttl_s=600))
        assert await store.put(entry("for ever"))
        assert not await store.put(entry("over", ttl_s=0))
        with redis.Redis.from_url(redis_server.url) as client:
            assert 590 < client.ttl("cascade:cache:k") <= 600
            assert client.ttl("cascade:cache:for ever") == -1
        clock.move(600)
        assert await store.get("k") is None
        assert await all_keys(store.entries()) == ["for ever"]
        clock.move(-3600)
        clock.seconds += 7200
        assert await store.get("k") is None
        now = clock.wall
        short = entry("short", stored_at=iso(now), expires_at=iso(now + 0.05))
        assert await store.put(short)
        await anyio.sleep(0.1)
        assert await store.get("short") is None
        stats = store.stats()
        assert (stats["expired"], stats["unstorable"]) == (2, 1)


async def test_large_entries_are_kept_up_to_a_size(redis_server: RedisServer) -> None:
    """A long prompt is a prompt; what is longer than allowed is not even read."""
    long = entry("long", "x" * 10_000_000)
    async with opened(redis_server, timeout_s=20) as store:
        assert await store.put(long)
        assert await store.get("long") == long
        async with opened(redis_server, max_entry_mb=9) as small:
            assert await small.get("long") is None
            assert not await small.put(long)
            assert small.stats()["unreadable"] == 1
            assert small.stats()["too_large"] == 1


async def test_hostile_values_are_misses(redis_server: RedisServer) -> None:
    """Other types, other schemas, torn and huge values, another key's entry: counted, and overwritten."""
    good = encode(entry("k")) or b""
    with redis.Redis.from_url(redis_server.url) as client:

        def plant(key: str, value: bytes) -> None:
            client.set(f"cascade:cache:{key}", value)

        plant("torn", (encode(entry("torn")) or b"")[:-20])
        plant("schema", (encode(entry("schema")) or b"").replace(b"[1,", b"[9,"))
        plant("another's", good)
        plant("pickle", b"\x80\x04\x8c\x05posix\x8c\x06system\x93.")
        plant("empty", b"")
        plant("huge", b"[1," + b"x" * 60_000_000)
        client.rpush("cascade:cache:list", good)
        client.hset("cascade:cache:hash", "a", good)
        client.sadd("cascade:cache:set", good)
        client.xadd("cascade:cache:stream", {"a": good})
        client.set(b"cascade:cache:\xff", good)
        hostile = ["torn", "schema", "another's", "pickle", "huge", "list", "hash", "set", "stream"]
        async with opened(redis_server, timeout_s=20) as store:
            await store.put(entry("good"))
            for key in hostile:
                assert await store.get(key) is None
            assert await store.get("empty") is None
            assert await all_keys(store.entries()) == ["good"]
            assert store.stats()["unreadable"] == len(hostile)
            assert store.stats()["failures"] == 0
            for key in (*hostile, "empty"):
                assert await store.put(entry(key))
                assert await store.get(key) == entry(key)
            assert not store.down


async def test_many_lookups_share_round_trips(redis_server: RedisServer) -> None:
    """A thousand at once take some pipelines, and each gets its own."""
    async with opened(redis_server) as store:
        for number in range(100):
            await store.put(entry(str(number), f"{number}"))
        wrong = []

        async def look_up(number: int) -> None:
            found = await store.get(str(number))
            if found is None or found.answer.text != str(number):
                wrong.append(number)

        started = time.monotonic()
        async with anyio.create_task_group() as tasks:
            for number in range(1_000):
                tasks.start_soon(look_up, number % 100)
        assert wrong == []
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("how", ["killed", "hung"])
async def test_a_redis_that_dies_is_a_miss_in_bounded_time(
    redis_server: RedisServer, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits longer than told, and nobody at all once it is known; it heals, and is said twice."""
    async with opened(redis_server, timeout_s=0.2) as store:
        await store.put(entry())
        redis_server.kill() if how == "killed" else redis_server.hang()
        started = time.monotonic()
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(store.get, "k")
        assert time.monotonic() - started < 10  # one after the other they would wait for 20
        await eventually(lambda: store.down)
        started = time.monotonic()
        for _ in range(1_000):
            assert await store.get("k") is None
            assert not await store.put(entry("new"))
        assert time.monotonic() - started < 20  # waiting, each of them, they would take 400
        assert store.stats()["failures"] >= 2_000
        redis_server.start() if how == "killed" else redis_server.resume()
        await healed(store)
        assert await store.get("k") == entry()
        assert await store.put(entry("new"))
        assert store.stats()["outages"] == 1
    said = [record.getMessage() for record in caplog.records if record.name == "cascade"]
    assert len(said) == 2
    assert "cannot be asked" in said[0]
    assert said[1].endswith("back")


async def test_there_is_no_storm_of_connections(redis_server: RedisServer) -> None:
    """However many ask, Redis is tried again once in a while, ever more rarely."""
    async with opened(redis_server, timeout_s=0.1) as store:
        redis_server.kill()
        give_up = time.monotonic() + 1.5
        while time.monotonic() < give_up:
            async with anyio.create_task_group() as tasks:
                for _ in range(100):
                    tasks.start_soon(store.get, "k")
            await anyio.sleep(0.001)
        assert 2 <= store.attempts <= 6  # after 0.05 to 0.1 s, then 0.1 to 0.2, …


async def test_a_redis_that_is_away_at_the_start_is_an_outage(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is used as soon as it is there."""
    redis_server.kill()
    async with opened(redis_server, timeout_s=0.2) as store:
        assert await store.get("k") is None
        assert await store.remove(["k"]) == 0
        assert "could be removed" in caplog.text
        assert await all_keys(store.entries()) == []
        redis_server.start()
        await healed(store)
        assert await store.put(entry())
        assert await store.get("k") == entry()


async def test_a_full_redis_keeps_nothing_and_still_answers(redis_server: RedisServer) -> None:
    """Nor is that an outage."""
    async with opened(redis_server) as store:
        await store.put(entry())
        with redis.Redis.from_url(redis_server.url) as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1)
            assert not await store.put(entry("new"))
            assert await store.get("k") == entry()
            assert store.stats()["failures"] == 1
            assert not store.down
            client.config_set("maxmemory", 0)
        assert await store.put(entry("new"))


async def test_a_password_that_is_refused_is_said_at_the_start(redis_server: RedisServer) -> None:
    """A setting is wrong; waiting does not help. The address is not told."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("requirepass", "secret")
    for url in (redis_server.url, redis_server.url.replace("://", "://:wrong@")):
        with pytest.raises(ConfigError, match="refuses") as caught:
            RedisCache(url).start()
        assert "wrong@" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://localhost", "redis://localhost:port", ""])
async def test_an_address_that_is_none_is_said_at_the_start(url: str) -> None:
    """Without repeating it: it may hold a password."""
    with pytest.raises(ConfigError, match="url is not"):
        RedisCache(url).start()


@pytest.mark.parametrize(
    "arguments", [{"timeout_s": 0}, {"max_entry_mb": 0}, {"max_entry_mb": 600}]
)
async def test_arguments_have_ranges(arguments: dict[str, float]) -> None:
    """Said when it is made."""
    with pytest.raises(ConfigError, match=f"cache: {next(iter(arguments))} "):
        RedisCache("redis://localhost", **arguments)


async def test_an_address_may_not_turn_bytes_into_text(redis_server: RedisServer) -> None:
    """An option of redis-py that would make every value unreadable."""
    store = RedisCache(redis_server.url + "?decode_responses=True", clock=SetClock())
    store.start()
    await store.put(entry())
    assert await store.get("k") == entry()
    await store.aclose()


async def test_a_cancelled_lookup_takes_nothing_from_others(redis_server: RedisServer) -> None:
    """Its reply is dropped, and the next one's is its own."""
    async with opened(redis_server) as store:
        for number in range(10):
            await store.put(entry(str(number), str(number)))
        for number in range(50):
            with anyio.move_on_after(0):
                await store.get("0")
            found = await store.get(str(number % 10))
            assert found is not None
            assert found.answer.text == str(number % 10)


async def test_a_memory_over_it_heals_with_it(redis_server: RedisServer) -> None:
    """During an outage it serves what it has."""
    clock = SetClock()
    store = RedisCache(redis_server.url, timeout_s=0.2, clock=clock)
    tiers = TieredCache(MemoryCache(clock=clock), store)
    tiers.start()
    await tiers.put(entry())
    redis_server.kill()
    assert await tiers.get("other") is None
    assert await tiers.get("k") == entry()
    assert await tiers.put(entry("meanwhile"))
    assert await tiers.get("meanwhile") is not None
    redis_server.start()
    await healed(store)
    assert await tiers.put(entry("later"))
    assert await store.get("later") is not None
    assert await store.get("meanwhile") is None
    await tiers.aclose()


SHARES = """
import sys, anyio
from cascade.cache import RedisCache
from tests.cache.entries import entry

async def main():
    url, name = sys.argv[1:]
    store = RedisCache(url, timeout_s=20)
    store.start()

    async def work(number):
        assert await store.put(entry(f"{name}{number}", f"{name}{number}"))
        for other in "ab":
            found = await store.get(f"{other}{number}")
            assert found is None or found.answer.text == f"{other}{number}"

    for _ in range(5):
        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(work, number)
    await store.aclose()

anyio.run(main)
"""


async def test_two_processes_share_it(redis_server: RedisServer) -> None:
    """What one has kept the other finds."""
    command = [sys.executable, "-c", SHARES, redis_server.url]
    children = [
        subprocess.Popen([*command, name], stderr=subprocess.PIPE, text=True) for name in "ab"
    ]
    for child in children:
        assert child.communicate(timeout=60)[1] == ""
    async with opened(redis_server) as store:
        for name in "ab":
            for number in range(200):
                found = await store.get(f"{name}{number}")
                assert found is not None
                assert found.answer.text == f"{name}{number}"
