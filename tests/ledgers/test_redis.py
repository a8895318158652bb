"""The shared ledger against a real Redis: one budget for several processes, and what an outage does."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import redis

from cascade.errors import ConfigError
from cascade.ledgers import Budget, Ledger, Left, RedisLedger, Refusal, Reservation, Spend
from cascade.ledgers.ledger import Books

from ..redis_server import RedisServer
from .times import Calendar

pytestmark = [pytest.mark.redis, pytest.mark.anyio]

LIMITS = (Budget(usd=10, tokens=10_000, per="day"), Budget(usd=100, per="month"))
AN_ASK = Spend(usd=0.5, tokens=100)


@asynccontextmanager
async def opened(server: RedisServer, **more: Any) -> AsyncIterator[RedisLedger]:
    more.setdefault("clock", Calendar())
    more.setdefault("timeout_s", 5)  # on a busy machine a Redis that is well may take its time
    ledger = RedisLedger(server.url, **more)
    ledger.start()
    try:
        yield ledger
    finally:
        with anyio.CancelScope(shield=True):
            await ledger.aclose()


async def held(ledger: Ledger, amount: Spend = AN_ASK, account: str = "a") -> Reservation:
    reply = await ledger.reserve(account, amount, LIMITS)
    assert isinstance(reply, Reservation)
    return reply


async def spend(ledger: Ledger, amount: Spend = AN_ASK, account: str = "a") -> None:
    await ledger.settle(await held(ledger, amount, account), amount)


async def numbers(ledger: Ledger, account: str = "a") -> tuple[float, float | None]:
    """Spent and left of the day, once everything sent has arrived."""
    left = await ledger.left(account, LIMITS)
    assert left is not None
    return left[0].usd_spent, left[0].usd_left


async def eventually(condition: Callable[[], Any], within_s: float = 10) -> None:
    give_up = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up
        await anyio.sleep(0.005)


async def until(ledger: Ledger, usd_spent: float, account: str = "a") -> None:
    await _until(ledger, lambda left: left.usd_spent == pytest.approx(usd_spent), account)


async def until_left(ledger: Ledger, usd_left: float) -> None:
    await _until(ledger, lambda left: left.usd_left == pytest.approx(usd_left), "a")


async def _until(ledger: Ledger, condition: Callable[[Left], bool], account: str) -> None:
    give_up = time.monotonic() + 10
    while True:
        left = await ledger.left(account, LIMITS)
        if left is not None and condition(left[0]):
            return
        assert time.monotonic() < give_up, left
        await anyio.sleep(0.005)


async def test_two_ledgers_share_one_budget(redis_server: RedisServer) -> None:
    """What one holds the other cannot have, and what one has spent the other knows."""
    async with opened(redis_server) as one, opened(redis_server) as two:
        first = await held(one, Spend(usd=6, tokens=1))
        refusal = await two.reserve("a", Spend(usd=6, tokens=1), LIMITS)
        assert isinstance(refusal, Refusal)
        assert (refusal.why, refusal.usd_left, refusal.tokens_left) == ("held", 4.0, 9_999)
        assert refusal.budget == LIMITS[0]
        assert refusal.retry_after_s == pytest.approx(12 * 3600 - 30)
        await one.settle(first, Spend(usd=1, tokens=None))
        await until(two, 1.0)
        second = await held(two, Spend(usd=6, tokens=1))
        await two.release(second)
        await two.release(second)
        await two.settle(second, AN_ASK)
        await until_left(one, 9.0)
        assert await numbers(one) == (1.0, 9.0)
        assert await numbers(one, "somebody else") == (0.0, 10.0)
        assert one.open_reservations == two.open_reservations == 0


async def test_it_survives_everybody_leaving(redis_server: RedisServer) -> None:
    """Closing sends all costs; accounts may have any name."""
    name = "b}\ud800 {x}:\0"
    async with opened(redis_server) as ledger:
        for _ in range(300):
            await spend(ledger, Spend(usd=0.01, tokens=1), name)
    async with opened(redis_server) as ledger:
        assert await numbers(ledger, name) == (3.0, 7.0)


async def test_without_limits_redis_is_not_asked(redis_server: RedisServer) -> None:
    """Nor is anything counted."""
    async with opened(redis_server, timeout_s=0.25) as ledger:
        redis_server.hang()
        reply = await ledger.reserve("a", Spend(), ())
        assert isinstance(reply, Reservation)
        await ledger.settle(reply, AN_ASK)
        assert await ledger.left("a", ()) == ()
        redis_server.resume()


async def test_a_thousand_calls_at_once_pass_a_budget_by_their_own_overrun_only(
    redis_server: RedisServer,
) -> None:
    """Every call costs three times what was held; without reserving, all 1,000 would have gone."""
    called = 0

    async def ask(ledger: RedisLedger) -> None:
        nonlocal called
        reply = await ledger.reserve("a", Spend(usd=0.1, tokens=1), LIMITS)
        assert not ledger.down
        if isinstance(reply, Reservation):
            called += 1
            await anyio.sleep(0.3)  # all of them have asked by then
            await ledger.settle(reply, Spend(usd=0.3, tokens=1))

    async with opened(redis_server, timeout_s=5) as one, opened(redis_server, timeout_s=5) as two:
        async with anyio.create_task_group() as tasks:
            for i in range(1000):
                tasks.start_soon(ask, (one, two)[i % 2])
        assert called == 100
        await until(one, 30.0)


SHARER = """
import sys, anyio
from cascade.ledgers import Budget, RedisLedger, Reservation, Spend

async def main():
    ledger = RedisLedger(sys.argv[1], timeout_s=5)
    ledger.start()
    limits = (Budget(usd=1, per="month"),)
    calls = 0
    print("ready", flush=True)
    sys.stdin.readline()

    async def ask():
        nonlocal calls
        while True:
            reply = await ledger.reserve("a", Spend(usd=0.004), limits)
            if isinstance(reply, Reservation):
                assert not reply.unsettled
                calls += 1
                await anyio.sleep(0.1)
                await ledger.settle(reply, Spend(usd=0.002))
            elif reply.why == "held":  # calls in flight may cost less than they hold
                await anyio.sleep(0.05)
            else:
                assert reply.why == "spent"
                return

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(ask)
    await ledger.aclose()
    print(calls)

anyio.run(main)
"""


async def test_two_processes_keep_one_budget(redis_server: RedisServer) -> None:
    """Calls of 0.2 cents are made as long as there is money; the budget of a dollar allows 499 of them."""
    command = [sys.executable, "-c", SHARER, redis_server.url]
    pipe = subprocess.PIPE
    children = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        print("go", file=child.stdin, flush=True)
    calls = [int(child.communicate(timeout=60)[0]) for child in children]
    # The last one has to find room for what it may cost: twice what it costs.
    assert sum(calls) == 499
    assert min(calls) > 0
    ledger = RedisLedger(redis_server.url)
    ledger.start()
    left = await ledger.left("a", (Budget(usd=1, per="month"),))
    await ledger.aclose()
    assert left is not None
    assert left[0].usd_spent == pytest.approx(0.998)
    assert left[0].usd_left == pytest.approx(0.002)


DIES = """
import os, signal, sys, anyio
from cascade.ledgers import Budget, RedisLedger, Spend

async def main():
    ledger = RedisLedger(sys.argv[1], lease_s=0.5)
    ledger.start()
    for _ in range(3):
        await ledger.reserve("a", Spend(usd=3), (Budget(usd=10, per="month"),))
    os.kill(os.getpid(), signal.SIGKILL)

anyio.run(main)
"""


async def test_what_a_killed_process_held_is_free_after_its_lease(
    redis_server: RedisServer,
) -> None:
    """Nothing leaks for ever."""
    limits = (Budget(usd=10, per="month"),)
    ledger = RedisLedger(redis_server.url)
    ledger.start()
    subprocess.run([sys.executable, "-c", DIES, redis_server.url], timeout=60)
    left = await ledger.left("a", limits)
    assert left is not None
    if left[0].usd_left != 10.0:  # unless this machine took half a second to get here
        assert left[0].usd_left == 1.0
    give_up = time.monotonic() + 10
    while True:
        reply = await ledger.reserve("a", Spend(usd=9), limits)
        if isinstance(reply, Reservation):
            break
        assert time.monotonic() < give_up
        await anyio.sleep(0.02)
    await ledger.aclose()


async def test_a_call_longer_than_its_lease_is_counted_once(redis_server: RedisServer) -> None:
    """The lease runs out, the cost does not."""
    async with opened(redis_server, lease_s=0.05) as ledger:
        long = await held(ledger, Spend(usd=4, tokens=0))
        await anyio.sleep(0.1)
        assert await numbers(ledger) == (0.0, 10.0)
        await ledger.settle(long, Spend(usd=5, tokens=0))
        await until(ledger, 5.0)
        assert await numbers(ledger) == (5.0, 5.0)


async def test_keys_do_not_stay_for_ever(redis_server: RedisServer) -> None:
    """Every key expires, a day and a lease after its period."""
    async with opened(redis_server) as ledger:
        await spend(ledger)
        await held(ledger)
        await until(ledger, 0.5)
    with redis.Redis.from_url(redis_server.url) as client:
        lives = {key: client.ttl(key) for key in client.scan_iter()}
    day = 12 * 3600 - 30 + 600 + 86400
    assert lives.pop(b"cascade:ledger:probe") > 0
    assert len(lives) == 4
    assert all(day - 60 < life <= day for life in lives.values())


async def test_a_new_period_begins_with_nothing_spent(redis_server: RedisServer) -> None:
    """By the calendar; a clock set back does not begin the old one again."""
    clock = Calendar()
    limits = (Budget(usd=1, per="minute"),)
    async with opened(redis_server, clock=clock) as ledger:
        reply = await ledger.reserve("a", Spend(usd=1), limits)
        assert isinstance(reply, Reservation)
        clock.move(31)
        reply = await ledger.reserve("a", Spend(usd=1), limits)
        assert isinstance(reply, Reservation)
        clock.wall = Calendar().wall
        refusal = await ledger.reserve("a", Spend(usd=1), limits)
        assert isinstance(refusal, Refusal)


@pytest.mark.parametrize("how", ["killed", "hung"])
async def test_open_allows_and_counts_when_it_is_back(
    redis_server: RedisServer, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """During the outage nobody waits; afterwards every cost is there, once."""
    async with opened(redis_server, timeout_s=0.1) as ledger:
        before = [await held(ledger) for _ in range(3)]
        redis_server.kill() if how == "killed" else redis_server.hang()
        await ledger.settle(before[0], AN_ASK)
        await eventually(lambda: ledger.down)
        assert await ledger.left("a", LIMITS) is None
        started = time.monotonic()
        unseen = [await held(ledger) for _ in range(100)]
        assert time.monotonic() - started < 5
        assert all(reply.unsettled for reply in unseen)
        for reply in unseen[:4]:
            await ledger.settle(reply, Spend(usd=0.25, tokens=1))
            await ledger.settle(reply, Spend(usd=0.25, tokens=1))
        for reply in unseen[4:99]:
            await ledger.release(reply)
        await ledger.settle(before[1], Spend(usd=0.75, tokens=1))
        await anyio.sleep(0.3)
        redis_server.start() if how == "killed" else redis_server.resume()
        await eventually(lambda: not ledger.down)
        await ledger.settle(unseen[99], Spend(usd=0.125, tokens=1))
        await ledger.settle(before[2], Spend(usd=0.0625, tokens=1))
        await until(ledger, 0.5 + 4 * 0.25 + 0.75 + 0.125 + 0.0625)
        await anyio.sleep(0.1)
        assert await numbers(ledger) == (2.4375, 7.5625)
        assert ledger.outages == 1
        assert ledger.open_reservations == 0
    said = [r.getMessage() for r in caplog.records if r.name == "cascade"]
    assert len(said) == 2
    assert "cannot be asked" in said[0]
    assert "costs are sent then" in said[0]
    assert said[1].endswith("back")


async def test_closed_refuses_with_a_reason(redis_server: RedisServer) -> None:
    """Typed, at once, and with the time of the next try."""
    async with opened(redis_server, on_outage="closed", timeout_s=0.1) as ledger:
        redis_server.kill()
        for _ in range(3):
            refusal = await ledger.reserve("a", AN_ASK, LIMITS)
            assert isinstance(refusal, Refusal)
            assert (refusal.why, refusal.budget) == ("outage", None)
            assert refusal.retry_after_s is not None
            assert 0 <= refusal.retry_after_s <= 5
        assert ledger.open_reservations == 0
        redis_server.start()
        await eventually(lambda: not ledger.down)
        await spend(ledger)
        await until(ledger, 0.5)


async def test_a_hung_redis_holds_nobody_longer_than_the_timeout(
    redis_server: RedisServer,
) -> None:
    """1,000 calls at once, and not one waits for its turn behind the others."""
    slowest = 0.0

    async def ask(ledger: RedisLedger) -> None:
        nonlocal slowest
        started = time.monotonic()
        reply = await held(ledger)
        slowest = max(slowest, time.monotonic() - started)
        assert reply.unsettled
        await ledger.release(reply)

    async with opened(redis_server, timeout_s=0.25) as ledger:
        redis_server.hang()
        async with anyio.create_task_group() as tasks:
            for _ in range(1000):
                tasks.start_soon(ask, ledger)
        redis_server.resume()
        await eventually(lambda: not ledger.down)
        await anyio.sleep(0.1)
        assert await numbers(ledger) == (0.0, 10.0)
    assert slowest < 0.25 + 5  # a busy machine has to wake a thousand


async def test_a_redis_that_is_away_is_not_stormed(redis_server: RedisServer) -> None:
    """However many calls ask, one thread tries again, ever more rarely."""
    async with opened(redis_server, timeout_s=0.25) as ledger:
        redis_server.kill()
        give_up = time.monotonic() + 1.5
        asked = 0
        while time.monotonic() < give_up:
            await ledger.release(await held(ledger))
            asked += 1
            await anyio.lowlevel.checkpoint()
        assert asked > 1000
        # Pauses of 0.1, 0.2, 0.4, 0.8 s, each at least half of it.
        assert 1 <= ledger.attempts <= 5


async def test_nobody_waits_for_a_thread_that_has_ended(redis_server: RedisServer) -> None:
    """After closing, the setting for outages decides; starting twice does not start two threads."""
    async with opened(redis_server, on_outage="closed") as ledger:
        ledger.start()
        await spend(ledger)
        await ledger.aclose()
        assert ledger.down
        refusal = await ledger.reserve("a", AN_ASK, LIMITS)
        assert isinstance(refusal, Refusal)
        ledger.start()
        assert await numbers(ledger) == (0.5, 9.5)
        assert isinstance(ledger, Ledger)


async def test_a_redis_that_is_away_at_the_start_is_an_outage(redis_server: RedisServer) -> None:
    """The program starts; budgets hold once it is there."""
    redis_server.kill()
    async with opened(redis_server) as ledger:
        assert ledger.down
        assert (await held(ledger)).unsettled
        redis_server.start()
        await eventually(lambda: not ledger.down)
        assert not (await held(ledger)).unsettled


async def test_a_redis_that_lost_everything_counts_from_there(redis_server: RedisServer) -> None:
    """Scripts are sent along, and a cost whose reservation is gone is counted all the same."""
    async with opened(redis_server) as ledger:
        await spend(ledger)
        await until(ledger, 0.5)
        reply = await held(ledger)
        with redis.Redis.from_url(redis_server.url) as client:
            client.flushall()
            client.script_flush()
        await ledger.settle(reply, Spend(usd=0.25, tokens=1))
        await until(ledger, 0.25)
        assert await numbers(ledger) == (0.25, 9.75)
        assert ledger.outages == 0


async def test_a_restart_between_two_calls_goes_unseen(redis_server: RedisServer) -> None:
    """The dead connection is noticed before it is used."""
    async with opened(redis_server, on_outage="closed") as ledger:
        await spend(ledger)
        await until(ledger, 0.5)
        redis_server.kill()
        redis_server.start()
        await spend(ledger)
        await until(ledger, 1.0)
        assert ledger.outages == 0


async def test_a_full_redis_is_an_outage(redis_server: RedisServer) -> None:
    """It answers, but stores nothing."""
    async with opened(redis_server, on_outage="closed") as ledger:
        reply = await held(ledger)
        with redis.Redis.from_url(redis_server.url) as client:
            client.config_set("maxmemory", 1)
            refusal = await ledger.reserve("a", AN_ASK, LIMITS)
            assert isinstance(refusal, Refusal)
            assert refusal.why == "outage"
            await ledger.settle(reply, AN_ASK)
            await anyio.sleep(0.3)
            assert ledger.down
            client.config_set("maxmemory", 0)
        await eventually(lambda: not ledger.down)
        await until(ledger, 0.5)
        assert await numbers(ledger) == (0.5, 9.5)
        assert ledger.lost == 0


async def test_a_key_of_somebody_else_harms_only_its_account(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Waiting would not help: it is said, counted, and the others go on."""
    async with opened(redis_server, on_outage="closed") as ledger:
        reply = await held(ledger)
        with redis.Redis.from_url(redis_server.url) as client:
            client.set("cascade:ledger:{a}:day:2026-01-31", "mine")
        await ledger.settle(reply, AN_ASK)
        await eventually(lambda: ledger.lost == 1)
        refusal = await ledger.reserve("a", AN_ASK, LIMITS)
        assert isinstance(refusal, Refusal)
        assert refusal.why == "outage"
        await spend(ledger, account="b")
        await until(ledger, 0.5, "b")
        assert ledger.outages == 0
    assert "1 costs lost (WRONGTYPE" in caplog.text


async def test_closing_during_an_outage_says_what_is_lost(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not wait for Redis, and it does not keep silent."""
    async with opened(redis_server, timeout_s=0.1) as ledger:
        reply = await held(ledger)
        redis_server.hang()
        await ledger.settle(reply, AN_ASK)
        await eventually(lambda: ledger.down)
        await spend(ledger)
        started = time.monotonic()
        await ledger.aclose()
        assert time.monotonic() - started < 1
        await ledger.aclose()
        assert (await held(ledger)).unsettled
    assert "2 costs lost at closing" in caplog.text


async def test_cancelled_calls_hold_nothing(redis_server: RedisServer) -> None:
    """Cancelled while waiting to be sent, while Redis decides, or with the reply under way."""
    pick = random.Random(7)
    kept: list[Reservation] = []

    async with opened(redis_server) as ledger:

        async def ask() -> None:
            with anyio.move_on_after(pick.choice([0, 0.001, 0.003, 0.01, 0.03, 1])):
                reply = await ledger.reserve("a", Spend(usd=0.001, tokens=1), LIMITS)
                assert isinstance(reply, Reservation)
                assert not reply.unsettled
                kept.append(reply)

        for _ in range(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(ask)
        assert ledger.open_reservations == len(kept)
        assert 0 < len(kept) < 600
        for reply in kept:
            await ledger.release(reply)
        await until_left(ledger, 10.0)
    with redis.Redis.from_url(redis_server.url) as client:
        for key in client.scan_iter("*}:day:*"):
            if not key.endswith(b":leases"):
                assert client.hget(key, "held_usd") == b"0"


async def test_an_ask_that_timed_out_is_given_back(redis_server: RedisServer) -> None:
    """Redis got the question, hung, and answered when nobody waited any more."""
    async with opened(redis_server, timeout_s=0.05) as ledger:
        redis_server.hang()
        reply = await held(ledger)
        assert reply.unsettled
        await ledger.release(reply)
        redis_server.resume()
        await eventually(lambda: not ledger.down)
        await until_left(ledger, 10.0)


async def test_every_cost_arrives_once_whatever_happens_to_redis(
    redis_server: RedisServer,
) -> None:
    """Killed, hung and started again under load: costs are sent again, and none counts twice."""
    limits = (Budget(usd=1e6, per="month"),)
    settled = 0
    stop = anyio.Event()

    async def asker(ledger: RedisLedger) -> None:
        nonlocal settled
        pick = random.Random(settled)
        while not stop.is_set():
            reply = await ledger.reserve("a", Spend(usd=0.002), limits)
            assert isinstance(reply, Reservation)
            await anyio.sleep(pick.uniform(0, 0.01))
            if pick.random() < 0.2:
                await ledger.release(reply)
            else:
                await ledger.settle(reply, Spend(usd=0.001))
                settled += 1

    async with (
        opened(redis_server, timeout_s=0.1) as one,
        opened(redis_server, timeout_s=0.25) as two,
    ):
        async with anyio.create_task_group() as tasks:
            for i in range(20):
                tasks.start_soon(asker, (one, two)[i % 2])
            for _ in range(3):
                await anyio.sleep(0.2)
                redis_server.hang()
                await anyio.sleep(0.3)
                redis_server.resume()
                await anyio.sleep(0.2)
                redis_server.kill()
                await anyio.sleep(0.1)
                redis_server.start()
            stop.set()
        await eventually(lambda: not one.down and not two.down)
        give_up = time.monotonic() + 10
        while True:
            (left,) = await one.left("a", limits) or [None]
            if left is not None and left.usd_spent == pytest.approx(settled * 0.001):
                break
            assert time.monotonic() < give_up, (left, settled)
            await anyio.sleep(0.02)
        assert one.outages >= 3
        assert one.lost == two.lost == 0
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.hget("cascade:ledger:{a}:month:2026-01", "held_usd") == b"0"
        assert client.zcard("cascade:ledger:{a}:month:2026-01:leases") == 0
        assert client.hget("cascade:ledger:{a}:month:2026-01", "usd") == b"%d" % (settled * 10**6)


@pytest.mark.parametrize("seed", range(3))
async def test_redis_decides_as_the_books_do(redis_server: RedisServer, seed: int) -> None:
    """The same 300 random steps, each answered the same by the state machine in Python."""
    pick = random.Random(seed)
    clock = Calendar("2026-01-31T23:55:00Z")
    limits = (
        Budget(usd=0.001, per="minute"),
        Budget(tokens=4000, per="day"),
        Budget(usd=0.02, tokens=9000, per="month"),
    )
    books = Books(clock)
    pairs: list[tuple[Reservation, Reservation]] = []
    async with opened(redis_server, clock=clock, timeout_s=5) as ledger:
        for _ in range(300):
            step = pick.random()
            if step < 0.55:
                account = pick.choice("ab")
                amount = Spend(
                    usd=pick.choice([None, *[pick.uniform(0, 0.0011) for _ in range(20)]]),
                    tokens=pick.choice([None, *[pick.randrange(500) for _ in range(20)]]),
                )
                mine = books.reserve(account, amount, limits)
                theirs = await ledger.reserve(account, amount, limits)
                if isinstance(mine, Refusal):
                    assert theirs == mine
                else:
                    assert isinstance(theirs, Reservation)
                    assert theirs.periods == mine.periods
                    pairs.append((mine, theirs))
            elif step < 0.9 and pairs:
                mine, theirs = pairs.pop(pick.randrange(len(pairs)))
                if pick.random() < 0.2:
                    books.release(mine)
                    await ledger.release(theirs)
                else:
                    cost = Spend(
                        usd=pick.choice([None, pick.uniform(0, 0.0005)]),
                        tokens=pick.choice([None, pick.randrange(300)]),
                    )
                    books.settle(mine, cost)
                    await ledger.settle(theirs, cost)
            else:
                clock.move(pick.choice([1, 25, 61]))
            for account in "ab":
                assert await ledger.left(account, limits) == books.left(account, limits)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"on_outage": "maybe"}, "on_outage 'maybe' is not one of open, closed"),
        ({"timeout_s": 0}, "timeout_s 0 is not in"),
        ({"timeout_s": float("nan")}, "timeout_s nan is not in"),
        ({"lease_s": -1}, "lease_s -1 is not in"),
        ({"prefix": "{x}"}, "may not hold a brace"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any], said: str) -> None:
    """The message names what was given and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        RedisLedger("redis://127.0.0.1:1/0", **given)
    assert said in str(caught.value)


def test_an_address_that_is_none_is_refused() -> None:
    """Without repeating it: it may hold a password."""
    for url in ("http://:secret@host", "redis://:secret@host:port/0", "redis://:secret@host/?db=x"):
        with pytest.raises(ConfigError) as caught:
            RedisLedger(url).start()
        assert "secret" not in str(caught.value)


def test_a_password_that_redis_refuses_is_a_mistake_of_the_configuration(
    redis_server: RedisServer,
) -> None:
    """Said at the start; waiting would not help."""
    redis_server.kill()
    redis_server.start("--requirepass", "right")
    good = redis_server.url.replace("//", "//:right@")
    for url in (redis_server.url, redis_server.url.replace("//", "//:wrong@")):
        with pytest.raises(ConfigError, match=r"ledger: Redis at 127\.0\.0\.1:\d+ "):
            RedisLedger(url).start()

    async def opens() -> None:
        ledger = RedisLedger(good)
        ledger.start()
        assert not ledger.down
        await ledger.aclose()

    anyio.run(opens)


def test_redis_is_imported_only_when_it_is_used() -> None:
    """Importing and making a ledger does not need redis-py; opening it does, and says so."""
    script = """
import sys
sys.modules["redis"] = None
from cascade.errors import ConfigError
from cascade.ledgers import RedisLedger
ledger = RedisLedger("redis://127.0.0.1:1/0")
try:
    ledger.start()
except ConfigError as exc:
    print(exc)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "pip install 'cascade-ask[redis]'" in done.stdout, done.stderr
