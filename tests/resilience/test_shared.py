"""Limits and breakers' verdicts that processes keep together in a real Redis."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.clock import SystemClock
from cascade.errors import CircuitOpen, ConfigError, LimitReached, ServerFailed
from cascade.resilience import CallLimits, Limited
from cascade.resilience import shared_limits as shared_limits_module
from cascade.resilience.breaker import Breaker, BreakerSettings, Breaking
from cascade.resilience.shared_limits import Full, Grant
from cascade.resilience.shared_state import SharedState
from cascade.testing import reply

from ..redis_server import RedisServer
from .waiting import FailingClient, HeldClient, call, down, settle

aio = pytest.mark.anyio
real = pytest.mark.redis


@asynccontextmanager
async def sharing(server: RedisServer, **options: Any) -> AsyncIterator[SharedState]:
    """Open the shared state of one process."""
    state = SharedState(server.url, ladder="a", **options)
    state.start()
    try:
        yield state
    finally:
        await state.aclose()


def limited(state: SharedState, client: Any, limits: CallLimits) -> Limited:
    return Limited(
        client,
        limits,
        provider="p",
        clock=SystemClock(),
        shared=state.limits_of("provider:p", limits),
    )


async def until(true: Callable[[], Any], timeout_s: float = 10.0) -> None:
    with anyio.fail_after(timeout_s):
        while not true():
            await anyio.sleep(0.01)


@aio
@real
async def test_requests_a_minute_are_those_of_all_together(redis_server: RedisServer) -> None:
    """Six a minute is a burst of one: the second process finds it used up, and says until when."""
    limits = CallLimits(requests_per_min=6, when_full="escalate")
    async with sharing(redis_server) as one, sharing(redis_server) as two:
        clients = [
            limited(state, FailingClient(lambda: reply("a")), limits) for state in (one, two)
        ]
        assert (await clients[0].complete(call("x"))).text == "a"
        with pytest.raises(LimitReached, match="requests_per_min is used up by all") as raised:
            await clients[1].complete(call("x"))
        assert 0 < (raised.value.retry_after_s or 0) <= 10
        other = limited(two, FailingClient(lambda: reply("b")), limits)
        assert (await other.complete(call("x", model="other"))).text == "b"  # each model apart


@aio
@real
async def test_tokens_are_set_right_when_the_answer_has_come(redis_server: RedisServer) -> None:
    """What was reckoned too high is given back to all, and what was not sent at all too."""
    limits = CallLimits(tokens_per_min=6_000, when_full="escalate")
    async with sharing(redis_server) as one, sharing(redis_server) as two:
        shared = [state.limits_of("p", limits) for state in (one, two)]
        assert shared[0] is not None
        assert shared[1] is not None
        first = await shared[0].enter("m", 1_000, None)
        assert isinstance(first, Grant)
        full = await shared[1].enter("m", 500, None)
        assert isinstance(full, Full)
        assert full.why == "tokens_per_min"
        shared[0].leave(first, 300)
        await anyio.sleep(0.3)  # it is not waited for
        second = await shared[1].enter("m", 600, None)
        assert isinstance(second, Grant)
        shared[1].leave(second, None, made=False)
        third = await shared[1].enter("m", 600, None)
        assert isinstance(third, Grant)


@aio
@real
async def test_calls_in_flight_are_those_of_all_together_and_wait_their_turn(
    redis_server: RedisServer,
) -> None:
    """Whoever leaves in one process makes room in the other."""
    limits = CallLimits(concurrent=2)
    held = HeldClient()
    async with sharing(redis_server) as one, sharing(redis_server) as two:
        first, second = limited(one, held, limits), limited(two, held, limits)
        async with anyio.create_task_group() as group:
            for client in (first, second, first, second):
                group.start_soon(client.complete, call("x"))
            await until(lambda: held.in_flight == 2)
            await anyio.sleep(0.2)
            assert held.in_flight == 2
            for left in (2, 2, 1, 0):
                await held.release()
                await until(lambda left=left: held.in_flight == left)  # type: ignore[misc]
        assert len(held.calls) == 4
        assert one.statistics().alone == two.statistics().alone == 0


@aio
@real
async def test_a_cancelled_wait_and_a_cancelled_call_leave_nothing_behind(
    redis_server: RedisServer,
) -> None:
    """Their leases are given back."""
    limits = CallLimits(concurrent=1)
    held = HeldClient()
    async with sharing(redis_server) as state, sharing(redis_server) as other:
        async with anyio.create_task_group() as group:
            group.start_soon(limited(state, held, limits).complete, call("x"))
            await until(lambda: held.in_flight == 1)
            group.start_soon(limited(other, held, limits).complete, call("y"))
            await anyio.sleep(0.1)
            group.cancel_scope.cancel()
        assert len(held.calls) == 1
        again = limited(other, FailingClient(lambda: reply("a")), limits)
        assert (await again.complete(call("z"))).text == "a"


@aio
@real
async def test_the_lease_of_a_process_that_is_gone_runs_out(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that of one that lives is renewed as long as its call takes."""
    monkeypatch.setattr(shared_limits_module, "LEASE_S", 0.6)
    monkeypatch.setattr("cascade.resilience.shared_state.LEASE_S", 0.6)
    limits = CallLimits(concurrent=1)
    async with sharing(redis_server) as lives:
        gone = SharedState(redis_server.url, ladder="a")
        gone.start()
        dead = gone.limits_of("p", limits)
        kept = lives.limits_of("p", limits)
        assert dead is not None
        assert kept is not None
        assert isinstance(await dead.enter("m", 0, None), Grant)
        await gone.aclose()  # without a word about its call
        assert isinstance(await kept.enter("m", 0, None), Full)
        clock = SystemClock()
        mine = await kept.enter("m", 0, clock.monotonic() + 10)
        assert isinstance(mine, Grant)
        async with sharing(redis_server) as third:
            other = third.limits_of("p", limits)
            assert other is not None
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                assert isinstance(await other.enter("m", 0, None), Full)
                await anyio.sleep(0.1)
            kept.leave(mine, None)
            assert isinstance(await other.enter("m", 0, clock.monotonic() + 5), Grant)


@aio
@real
async def test_without_redis_each_process_goes_by_itself(redis_server: RedisServer) -> None:
    """That is counted; and once it is back they are together again."""
    limits = CallLimits(requests_per_min=6, when_full="escalate")
    async with sharing(redis_server) as one, sharing(redis_server) as two:
        clients = [
            limited(state, FailingClient(lambda: reply("a")), limits) for state in (one, two)
        ]
        redis_server.kill()
        for client in clients:
            assert (await client.complete(call("x"))).text == "a"
            with pytest.raises(LimitReached):  # by its own limit
                await client.complete(call("x"))
        assert one.statistics() == (True, 1, 1)
        redis_server.start()
        await until(lambda: not (one.statistics().down or two.statistics().down), 20)
        fresh = [limited(state, FailingClient(lambda: reply("b")), limits) for state in (one, two)]
        assert (await fresh[0].complete(call("x"))).text == "b"
        with pytest.raises(LimitReached, match="by all processes together"):
            await fresh[1].complete(call("x"))


@aio
@real
async def test_a_hanging_redis_holds_a_call_up_for_a_moment_at_most(
    redis_server: RedisServer,
) -> None:
    """Then it is made; what Redis grants late is given back."""
    limits = CallLimits(concurrent=1)
    async with sharing(redis_server) as state:
        client = limited(state, FailingClient(lambda: reply("a")), limits)
        redis_server.hang()
        began = time.monotonic()
        assert (await client.complete(call("x"))).text == "a"
        assert time.monotonic() - began < 5
        assert state.statistics().alone == 1
        redis_server.resume()


@aio
@real
async def test_a_breaker_that_opens_opens_in_all_processes(redis_server: RedisServer) -> None:
    """Also in one that begins later; another model's stays closed."""
    once = BreakerSettings(consecutive=1, open_s=5)
    async with sharing(redis_server) as one, sharing(redis_server) as two:
        failing = Breaking(FailingClient(down), once, provider="p", verdicts=one.verdicts)
        good = FailingClient(lambda: reply("a"))
        other = Breaking(good, once, provider="p", verdicts=two.verdicts)
        assert (await other.complete(call("x"))).text == "a"
        with pytest.raises(ServerFailed):
            await failing.complete(call("x"))

        async def is_open(client: Breaking) -> None:
            with anyio.fail_after(5):
                while True:
                    try:
                        await client.complete(call("x"))
                    except CircuitOpen:
                        return
                    await anyio.sleep(0.02)

        await is_open(other)
        assert other.states() == {"m": "open"}
        assert (await other.complete(call("x", model="n"))).text == "a"
        async with sharing(redis_server) as late:
            await is_open(Breaking(good, once, provider="p", verdicts=late.verdicts))


@aio
@real
async def test_keys_do_not_stay_for_ever(redis_server: RedisServer) -> None:
    """Limits and verdicts are forgotten by themselves."""
    limits = CallLimits(concurrent=3, requests_per_min=60, tokens_per_min=6000)
    async with sharing(redis_server) as state:
        shared = state.limits_of("{p}", limits)
        assert shared is not None
        assert isinstance(await shared.enter("a model\nof {braces}", 5, None), Grant)
        verdicts = state.verdicts
        assert verdicts is not None
        verdicts.opened("p", "m", 3.0)
        await until(lambda: verdicts.open_for_s("p", "m") > 0)
    with redis.Redis.from_url(redis_server.url) as client:
        keys = list(client.scan_iter("*"))
        assert len(keys) == 3
        assert all(0 < client.pttl(key) <= 120_000 for key in keys)


@aio
@real
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_no_more_goes_through_than_is_allowed_whatever_happens(
    redis_server: RedisServer,
) -> None:
    """Three processes, random comings and goings: never too many in flight, never too many a time."""
    import random

    rng = random.Random(5)
    limits = CallLimits(concurrent=4, requests_per_min=600, when_full="escalate")  # 100, then 10/s
    async with sharing(redis_server) as a, sharing(redis_server) as b, sharing(redis_server) as c:
        shared = [state.limits_of("p", limits) for state in (a, b, c)]
        out: list[tuple[int, Grant]] = []
        granted, began = 0, time.monotonic()
        for _ in range(600):
            if out and rng.random() < 0.45:
                who, grant = out.pop(rng.randrange(len(out)))
                one = shared[who]
                assert one is not None
                one.leave(grant, None)
                # A leave is not waited for; the next word of the same process is behind it.
            who = rng.randrange(3)
            one = shared[who]
            assert one is not None
            said = await one.enter("m", 0, None)
            if isinstance(said, Grant):
                out.append((who, said))
                granted += 1
            assert len(out) <= 4
            assert granted <= 100 + 10 * (time.monotonic() - began) + 1
        assert granted > 50


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("told"), st.floats(0.01, 100)),
            st.tuples(st.sampled_from(["fails", "answers", "gives up"]), st.just(0.0)),
            st.tuples(st.just("time"), st.floats(0.01, 10)),
        ),
        max_size=60,
    )
)
@settings(max_examples=300, deadline=None)
def test_a_told_breaker_is_shut_as_long_as_it_was_told_and_no_longer(
    steps: list[tuple[str, float]],
) -> None:
    """No call before, one call afterwards; a word that is too large is not believed."""
    open_s = 1.0
    breaker = Breaker(BreakerSettings(consecutive=2, open_s=open_s))
    now, shut_until = 0.0, 0.0
    for what, seconds in steps:
        if what == "time":
            now += seconds
            continue
        if what == "told":
            if breaker.told_open(seconds, now):
                assert breaker.state == "open"
                shut_until = now + min(seconds, 8 * open_s)
                assert breaker.enter(now) is None
            continue
        ticket = breaker.enter(now)
        if now < shut_until:
            assert ticket is None
        if ticket is None:
            continue
        if what == "fails":
            breaker.failed(ticket, now)
        elif what == "answers":
            breaker.succeeded(ticket, now)
        else:
            breaker.gave_up(ticket)
    assert breaker.enter(now + 8 * open_s + 1) is not None


def test_an_old_ticket_is_no_news_of_what_another_process_has_found() -> None:
    """A call from before may still succeed; the breaker stays open."""
    breaker = Breaker(BreakerSettings(open_s=5))
    ticket = breaker.enter(0.0)
    assert ticket is not None
    assert breaker.told_open(3.0, 1.0)
    assert not breaker.told_open(3.05, 1.0)  # the same verdict, heard again
    assert not breaker.succeeded(ticket, 1.5)
    assert breaker.enter(2.0) is None
    assert breaker.enter(4.0) is not None


@aio
@real
async def test_a_bad_address_is_told_without_what_it_holds() -> None:
    """It may hold a password."""
    state = SharedState("http://:SECRET@x", ladder="a")
    with pytest.raises(ConfigError, match="shared: url is not redis://") as raised:
        state.start()
    assert "SECRET" not in str(raised.value)
    await settle()
