"""The breaker: when it opens, whom it lets through, and how it closes again."""

from __future__ import annotations

import logging
import time

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.errors import (
    BadResponse,
    CircuitOpen,
    ConfigError,
    ConnectFailed,
    LimitReached,
    ProviderError,
    ProviderTimeout,
    RateLimited,
    RequestRefused,
    ServerFailed,
    Unauthorized,
)
from cascade.resilience import Breaker, BreakerSettings, Breaking
from cascade.resilience.breaker import MOST_MODELS
from cascade.testing import FakeClock, ScriptedClient, reply
from cascade.types import Answer, CallContext, ModelCall, Request

from .waiting import FailingClient, HeldClient, call, down, settle

pytestmark = pytest.mark.anyio

BY_RATE = BreakerSettings(
    failure_rate=0.5, window_s=10.0, min_calls=4, consecutive=1000, open_s=5.0
)
IN_A_ROW = BreakerSettings(consecutive=3, min_calls=1000, open_s=5.0)


def run(breaker: Breaker, outcomes: str, now: float) -> None:
    """Make one call after another: ``.`` is answered, ``x`` fails."""
    for outcome in outcomes:
        ticket = breaker.enter(now)
        assert ticket is not None
        (breaker.failed if outcome == "x" else breaker.succeeded)(ticket, now)


def opened(settings: BreakerSettings = IN_A_ROW, now: float = 0.0) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker(settings)
    run(breaker, "xxx", now)
    return breaker


def breaking(client: FailingClient | HeldClient | ScriptedClient, clock: FakeClock) -> Breaking:
    return Breaking(client, IN_A_ROW, provider="p", clock=clock)


def test_failures_in_a_row_open_it() -> None:
    """The third of three in a row; one answer between starts the row anew."""
    breaker = Breaker(IN_A_ROW)
    run(breaker, "xx.xx", 0.0)
    assert breaker.state == "closed"
    run(breaker, "x", 0.0)
    assert breaker.state == "open"


def test_the_rate_opens_it_once_there_are_enough_calls() -> None:
    """Half of at least four; fewer calls say nothing."""
    breaker = Breaker(BY_RATE)
    run(breaker, "xx.", 0.0)
    assert breaker.state == "closed"
    run(breaker, ".x", 0.0)
    assert breaker.state == "open"


def test_the_window_slides() -> None:
    """What is older than the window no longer counts, what is younger does."""
    breaker = Breaker(BY_RATE)
    run(breaker, "x", 0.0)
    run(breaker, "x.", 5.0)
    assert breaker.state == "closed"
    run(breaker, "..", 9.5)
    run(breaker, "x", 10.5)  # the first failure is gone: 2 of 5
    assert breaker.state == "closed"
    run(breaker, "x", 11.0)  # 3 of 6
    assert breaker.state == "open"


def test_a_long_silence_empties_the_window() -> None:
    """After more than a window without calls the rate starts anew."""
    breaker = Breaker(BY_RATE)
    run(breaker, "..x", 0.0)
    run(breaker, "xx", 1e9)
    assert breaker.state == "closed"


def test_an_open_one_says_when_it_may_be_asked() -> None:
    """Nothing goes through until `open_s` is over; how long is left is told."""
    breaker = opened(now=100.0)
    assert breaker.enter(104.9) is None
    assert breaker.retry_after_s(104.0) == pytest.approx(1.0)
    assert breaker.enter(105.0) is not None


def test_one_probe_goes_through_at_a_time() -> None:
    """While it is out nobody knows when the next may go."""
    breaker = opened()
    assert breaker.enter(5.0) is not None
    assert breaker.state == "half_open"
    assert breaker.enter(5.0) is None
    assert breaker.retry_after_s(5.0) is None


def test_a_good_probe_closes_it_with_a_clean_slate() -> None:
    """Old failures do not count against it."""
    breaker = opened()
    run(breaker, ".xx", 5.0)
    assert breaker.state == "closed"
    run(breaker, "x", 5.0)
    assert breaker.state == "open"


def test_open_time_doubles_up_to_eightfold_and_returns() -> None:
    """A dead upstream is asked ever more rarely, at least every eight times `open_s`."""
    breaker, now, waits = opened(), 0.0, []
    for _ in range(5):
        wait_s = breaker.retry_after_s(now)
        assert wait_s is not None
        waits.append(wait_s)
        now += wait_s
        run(breaker, "x", now)
    assert waits == [5.0, 10.0, 20.0, 40.0, 40.0]
    now += 40.0
    run(breaker, ".xxx", now)
    assert breaker.retry_after_s(now) == 5.0


def test_a_probe_that_gave_up_gives_its_place_back() -> None:
    """The next call is the probe; nothing is said about the deployment."""
    breaker = opened()
    ticket = breaker.enter(5.0)
    assert ticket is not None
    breaker.gave_up(ticket)
    assert breaker.state == "half_open"
    assert breaker.retry_after_s(5.0) == 0.0
    run(breaker, ".", 5.0)
    assert breaker.state == "closed"


def test_news_from_before_it_opened_is_ignored() -> None:
    """Calls that were out when it opened neither close nor reopen it."""
    breaker = Breaker(IN_A_ROW)
    old = [breaker.enter(0.0) for _ in range(2)]
    run(breaker, "xxx", 0.0)
    assert breaker.enter(5.0) is not None
    for ticket in old:
        assert ticket is not None
        assert not breaker.succeeded(ticket, 5.0)
        assert not breaker.failed(ticket, 5.0)
        breaker.gave_up(ticket)
    assert breaker.state == "half_open"
    assert breaker.enter(5.0) is None


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["enter", "enter", "succeeded", "failed", "gave_up", "wait"]),
            st.integers(0, 5),
        ),
        max_size=80,
    )
)
def test_never_more_than_one_probe(ops: list[tuple[str, int]]) -> None:
    """Whatever the order of calls, answers, failures and cancellations, stale ones included."""
    breaker = Breaker(BreakerSettings(consecutive=2, min_calls=2, window_s=4.0, open_s=2.0))
    now = 0.0
    out: list[tuple[int, bool]] = []
    for op, i in ops:
        if op == "wait":
            now += i / 2
        elif op == "enter":
            was_closed = breaker.state == "closed"
            ticket = breaker.enter(now)
            assert ticket is not None or not was_closed
            if ticket is not None:
                out.append((ticket, not was_closed))
        elif out:
            ticket, _ = out.pop(i % len(out))
            if op == "succeeded":
                breaker.succeeded(ticket, now)
            elif op == "failed":
                breaker.failed(ticket, now)
            else:
                breaker.gave_up(ticket)
        assert sum(is_probe for _, is_probe in out) <= 1
        probes = [ticket for ticket, is_probe in out if is_probe]
        assert (breaker.state == "half_open") >= bool(probes)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 4), st.booleans()), min_size=1, max_size=80))
def test_the_ring_counts_what_a_list_would(calls: list[tuple[float, bool]]) -> None:
    """The window holds at most what is younger than `window_s`, at least what is younger than 9/10 of it."""
    breaker = Breaker(BreakerSettings(window_s=10.0, min_calls=10**6, consecutive=10**6))
    now = 0.0
    made: list[tuple[float, bool]] = []
    for wait_s, good in calls:
        now += wait_s
        run(breaker, "." if good else "x", now)
        made.append((now, good))
        least = sum(1 for at, _ in made if now - at < 8.999)
        most = sum(1 for at, _ in made if now - at <= 10.001)
        assert least <= breaker._total_calls <= most
        assert breaker._total_failures <= breaker._total_calls


def test_a_million_minutes_take_seconds() -> None:
    """Two years of an upstream that is down for a third of every hour, a call a minute and a burst an hour."""
    breaker = Breaker(BreakerSettings())
    began = time.perf_counter()
    seen: set[str] = set()
    for minute in range(1_000_000):
        now = minute * 60.0
        is_down = minute % 60 < 20
        for _ in range(10 if minute % 60 == 0 else 1):
            ticket = breaker.enter(now)
            if ticket is None:
                break
            if is_down:
                breaker.failed(ticket, now)
            else:
                breaker.succeeded(ticket, now)
        if minute % 60 in (19, 59):
            seen.add(f"{is_down} {breaker.state}")
    assert seen == {"True open", "False closed"}
    assert time.perf_counter() - began < 20.0


@pytest.mark.parametrize("kind", [ConnectFailed, ProviderTimeout, ServerFailed, BadResponse])
async def test_failures_of_the_deployment_count(kind: type[ProviderError]) -> None:
    """No connection, no answer in time, 5xx and no completion open it."""
    wrapped = breaking(FailingClient(lambda: kind("!", provider="p", model="m")), FakeClock())
    for _ in range(3):
        with pytest.raises(kind):
            await wrapped.complete(call())
    assert wrapped.states() == {"m": "open"}


@pytest.mark.parametrize("kind", [RateLimited, RequestRefused, Unauthorized])
async def test_a_refused_request_is_an_answer(kind: type[ProviderError]) -> None:
    """A 4xx says that somebody is there: it keeps the breaker closed, and closes a half-open one."""
    clock = FakeClock()
    client = FailingClient(down, down, down, lambda: kind("!", provider="p", model="m"))
    wrapped = breaking(client, clock)
    for _ in range(3):
        with pytest.raises(ServerFailed):
            await wrapped.complete(call())
    clock.seconds += 5.0
    for _ in range(10):
        with pytest.raises(kind):
            await wrapped.complete(call())
    assert wrapped.states() == {"m": "closed"}


async def test_while_open_no_call_is_made() -> None:
    """`CircuitOpen` says when to come back, and costs nothing."""
    clock, client = FakeClock(), FailingClient(down)
    wrapped = breaking(client, clock)
    for _ in range(3):
        with pytest.raises(ServerFailed):
            await wrapped.complete(call())
    clock.seconds += 1.0
    with pytest.raises(CircuitOpen) as caught:
        await wrapped.complete(call())
    assert (len(client.calls), caught.value.retry_after_s) == (3, 4.0)
    assert str(caught.value) == "p/m: its breaker is open: for 4.0 s more"
    assert (caught.value.sent, caught.value.model) == (False, "m")


async def test_each_model_has_its_own() -> None:
    """One model's outage does not close another."""
    client = FailingClient(down, down, down, lambda: reply("ok"))
    wrapped = breaking(client, FakeClock())
    for _ in range(3):
        with pytest.raises(ServerFailed):
            await wrapped.complete(call(model="a"))
    assert (await wrapped.complete(call(model="b"))).text == "ok"
    assert wrapped.states() == {"a": "open", "b": "closed"}


async def half_open(clock: FakeClock) -> tuple[Breaking, HeldClient]:
    """A breaker whose time is over, before a client that holds calls."""
    client = HeldClient()
    wrapped = breaking(client, clock)

    async def fail() -> None:
        with pytest.raises(ServerFailed):
            await wrapped.complete(call())

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(fail)
        await settle()
        for _ in range(3):
            await client.release(down())
    clock.seconds += 5.0
    return wrapped, client


async def test_only_the_probe_reaches_the_upstream() -> None:
    """Of a hundred calls that come when the time is over, one is made; then all are."""
    wrapped, client = await half_open(FakeClock())
    ends: list[str] = []

    async def ask() -> None:
        try:
            ends.append((await wrapped.complete(call())).text or "")
        except CircuitOpen as exc:
            ends.append(f"open {exc.retry_after_s}")

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(ask)
        await settle()
        assert client.in_flight == 1
        await client.release()
    assert sorted(ends) == ["ok"] + ["open None"] * 99
    assert wrapped.states() == {"m": "closed"}


async def test_a_cancelled_probe_gives_its_place_back() -> None:
    """The next call is the probe."""
    wrapped, client = await half_open(FakeClock())
    async with anyio.create_task_group() as group:
        group.start_soon(wrapped.complete, call())
        await settle()
        group.cancel_scope.cancel()
    assert wrapped.states() == {"m": "half_open"}
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await wrapped.complete(call()))

    client._held.clear()
    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await settle()
        await client.release()
    assert (len(answers), wrapped.states()) == (1, {"m": "closed"})


@pytest.mark.parametrize(
    "error", [LimitReached("full", provider="p", model="m"), KeyError("bug")], ids=["unsent", "bug"]
)
async def test_a_probe_that_was_not_sent_gives_its_place_back(error: Exception) -> None:
    """A limit of ours or a mistake of ours says nothing about the deployment."""
    wrapped, client = await half_open(FakeClock())

    async def ask() -> None:
        with pytest.raises(type(error)):
            await wrapped.complete(call())

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await settle()
        await client.release(error)
    assert wrapped.states() == {"m": "half_open"}


async def test_opening_and_closing_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """One line each: which deployment, how long, after what."""
    clock = FakeClock()
    wrapped = breaking(FailingClient(down, down, down, lambda: reply("ok")), clock)
    with caplog.at_level(logging.INFO, "cascade"):
        for _ in range(3):
            with pytest.raises(ServerFailed):
                await wrapped.complete(call())
        clock.seconds += 5.0
        await wrapped.complete(call())
    assert caplog.messages == [
        "breaker of p/m opened for 5 s after ServerFailed",
        "breaker of p/m closed: it answers again",
    ]


async def test_models_kept_apart_are_bounded() -> None:
    """A caller who makes up model names fills no memory."""
    wrapped = breaking(FailingClient(lambda: reply("ok")), FakeClock())
    for i in range(MOST_MODELS + 10):
        await wrapped.complete(call(model=f"m{i}"))
    assert len(wrapped.states()) == MOST_MODELS


async def test_closing_closes_the_client() -> None:
    """The wrapper owns what it holds."""
    client = FailingClient(down)
    await breaking(client, FakeClock()).aclose()
    assert client.closed


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"failure_rate": 0}, "breaker.failure_rate: 0 (allowed: a number above 0, at most 1)"),
        ({"failure_rate": 50}, "breaker.failure_rate: 50"),
        ({"window_s": 0}, "breaker.window_s: 0 (allowed: a number above 0, at most 86400)"),
        ({"min_calls": 0}, "breaker.min_calls: 0 (allowed: a whole number from 1 to 1000000)"),
        ({"consecutive": 2.5}, "breaker.consecutive: 2.5"),
        ({"open_s": float("nan")}, "breaker.open_s: nan"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, float], words: str) -> None:
    """The message says what was given and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        BreakerSettings(**fields)  # type: ignore[arg-type]
    assert str(caught.value).startswith(words)


class _Hanging:
    """A client that hangs until it is cancelled, and tells the clock that time has passed."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds

    async def complete(self, call: ModelCall) -> Answer:
        self._clock.seconds += self._seconds
        await anyio.sleep_forever()
        raise AssertionError

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize(("seconds", "state"), [(2.0, "open"), (0.5, "closed")])
async def test_a_call_cut_by_the_deadline_of_its_ask_counts_if_it_had_time(
    seconds: float, state: str
) -> None:
    """An upstream that hangs longer than asks may take is found out all the same."""
    clock = FakeClock()
    once = BreakerSettings(consecutive=1)
    breaking = Breaking(_Hanging(clock, seconds), once, provider="p", clock=clock)
    hung = ModelCall(model="m", request=Request(messages=()), context=CallContext(deadline=seconds))
    with anyio.move_on_after(0.01):
        await breaking.complete(hung)
    assert breaking.states() == {"m": state}
