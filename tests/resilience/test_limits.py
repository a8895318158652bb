"""Limits: what goes through, what waits in which order, and what leaves how."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.errors import (
    ConfigError,
    ConnectFailed,
    CoolingDown,
    LimitReached,
    NotCalled,
    ProviderTimeout,
    RateLimited,
    ServerFailed,
)
from cascade.resilience import CallLimits, Limited, LimiterState
from cascade.resilience import limits as limits_module
from cascade.resilience.adaptive import SMALLEST_WINDOW, AdaptiveLimit
from cascade.resilience.buckets import TokenBucket
from cascade.resilience.limiter import BURST_S, MOST_PAUSE_S, Limiter, Waiter
from cascade.testing import FakeClock, ScriptedClient, reply
from cascade.types import Answer, Message, ModelCall, Request

from .waiting import FailingClient, HeldClient, ManualClock, busy, call, down, settle

pytestmark = pytest.mark.anyio


class Asks:
    """Asks that run in a task group; what became of each is kept in `ends`, in the order they ended."""

    def __init__(self, client: Limited, group: Any) -> None:
        self._client = client
        self._group = group
        self.ends: list[str] = []
        self.errors: dict[str, NotCalled] = {}

    async def start(self, *names: str, **options: Any) -> list[anyio.CancelScope]:
        """Start asks and let them run until they wait; return what cancels each."""
        scopes = []
        for name in names:
            scope = anyio.CancelScope()
            scopes.append(scope)
            self._group.start_soon(self._ask, name, scope, options)
            await settle()
        return scopes

    async def _ask(self, name: str, scope: anyio.CancelScope, options: dict[str, Any]) -> None:
        with scope:
            try:
                await self._client.complete(call(name, **options))
                self.ends.append(name)
            except NotCalled as exc:
                self.errors[name] = exc
                self.ends.append(f"{name} {type(exc).__name__}")
            except ServerFailed:
                self.ends.append(f"{name} failed")
        if scope.cancelled_caught:
            self.ends.append(f"{name} cancelled")


def prompts(client: HeldClient) -> list[str]:
    """The prompts that reached the upstream, in order."""
    return [made.request.prompt for made in client.calls]


def limited(
    client: HeldClient | FailingClient | ScriptedClient, clock: FakeClock, **limits: Any
) -> Limited:
    return Limited(client, CallLimits(**limits), provider="p", clock=clock)


def state(client: Limited, key: str = "m") -> LimiterState:
    return client.states()[key]


NOTHING = LimiterState(in_flight=0, waiting=0, limit=1, paused_s=0.0)


# Concurrency and the queue


async def test_no_more_than_concurrent_are_out() -> None:
    """The rest wait, and each that ends lets one in."""
    client, clock = HeldClient(), ManualClock()
    wrapped = limited(client, clock, concurrent=2)
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)
        await asks.start("a", "b", "c", "d")
        assert state(wrapped) == LimiterState(in_flight=2, waiting=2, limit=2, paused_s=0.0)
        for _ in range(4):
            assert client.in_flight <= 2
            await client.release()
    assert asks.ends == ["a", "b", "c", "d"]
    assert state(wrapped).in_flight == 0


@pytest.mark.parametrize(("order", "served"), [("fifo", "abcde"), ("lifo", "aedcb")])
async def test_the_queue_has_a_stated_order(order: str, served: str) -> None:
    """First come first served, or last come first served."""
    client = HeldClient()
    wrapped = limited(client, ManualClock(), concurrent=1, order=order)
    async with anyio.create_task_group() as group:
        await Asks(wrapped, group).start(*"abcde")
        for _ in "abcde":
            await client.release()
    assert "".join(prompts(client)) == served


async def test_a_newcomer_does_not_pass_those_who_wait() -> None:
    """A place that has become free is the first one's, also when it has not run yet."""
    client = HeldClient()
    wrapped = limited(client, ManualClock(), concurrent=1)
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)
        await asks.start("a", "b")
        event, box = client._held.pop(0)
        box.append(reply("ok"))
        event.set()
        group.start_soon(asks._ask, "c", anyio.CancelScope(), {})
        await settle()
        await client.release()
        await client.release()
    assert prompts(client) == ["a", "b", "c"]


async def test_a_failed_call_frees_its_place() -> None:
    """Whatever a call ends in, the next one goes."""
    client = HeldClient()
    wrapped = limited(client, ManualClock(), concurrent=1)
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)
        await asks.start("a", "b")
        await client.release(down())
        await client.release()
    assert asks.ends == ["a failed", "b"]
    assert state(wrapped) == NOTHING


async def test_a_full_queue_refuses_at_once() -> None:
    """No more than `queue` wait; what there is no room in is told."""
    client = HeldClient()
    wrapped = limited(client, ManualClock(), concurrent=1, queue=1)
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)
        await asks.start("a", "b", "c")
        assert asks.ends == ["c LimitReached"]
        await client.release()
        await client.release()
    assert str(asks.errors["c"]) == "p/m: no room: 1 calls are in flight, of 1"
    assert not asks.errors["c"].sent


@pytest.mark.parametrize("when_full", ["escalate", "refuse"])
async def test_who_will_not_wait_is_refused_at_once(when_full: Any) -> None:
    """The ladder goes on, or the engine ends the ask, as the error says."""
    client = HeldClient()
    wrapped = limited(client, ManualClock(), concurrent=1, when_full=when_full)
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)
        await asks.start("a", "b")
        assert asks.ends == ["b LimitReached"]
        await client.release()
    error = asks.errors["b"]
    assert isinstance(error, LimitReached)
    assert error.refuse == (when_full == "refuse")


@pytest.mark.parametrize(("deadline", "gives_up_at"), [(None, 30.0), (12.0, 12.0), (50.0, 30.0)])
async def test_nobody_waits_past_max_wait_or_the_deadline(
    deadline: float | None, gives_up_at: float
) -> None:
    """Whichever comes first."""
    client, clock = HeldClient(), ManualClock()
    wrapped = limited(client, clock, concurrent=1, max_wait_s=30.0)
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)
        await asks.start("a")
        await asks.start("b", deadline=deadline)
        await clock.advance(gives_up_at - 0.01)
        assert asks.ends == []
        await clock.advance(0.01)
        assert asks.ends == ["b LimitReached"]
        assert state(wrapped).waiting == 0
        await client.release()


@pytest.mark.parametrize("victim", [0, 1, 2, 3], ids=["running", "first", "middle", "last"])
async def test_a_cancelled_call_leaves_at_once_and_leaks_nothing(victim: int) -> None:
    """Running or waiting: its place is free, the others go on in order."""
    client, clock = HeldClient(), ManualClock()
    wrapped = limited(client, clock, concurrent=1)
    names = ["a", "b", "c", "d"]
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)
        scopes = await asks.start(*names)
        scopes[victim].cancel()
        await settle()
        assert (state(wrapped).in_flight, state(wrapped).waiting) == (1, 2)
        if victim == 0:
            client._held.pop(0)
        for _ in range(3):
            await client.release()
    gone = names.pop(victim)
    assert asks.ends == [f"{gone} cancelled", *names]
    assert state(wrapped) == NOTHING
    assert clock._sleepers == []


async def test_who_is_cancelled_when_its_place_comes_passes_it_on() -> None:
    """Granted and cancelled in the same moment: the place goes to the next."""
    client = HeldClient()
    wrapped = limited(client, ManualClock(), concurrent=1)
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)

        async def first() -> None:
            await wrapped.complete(call("a"))
            scopes[0].cancel()  # b has the place, and has not run yet

        group.start_soon(first)
        await settle()
        scopes = await asks.start("b", "c")
        await client.release()
        assert asks.ends == ["b cancelled"]
        await client.release()
    assert prompts(client) == ["a", "c"]
    assert state(wrapped) == NOTHING


async def test_closing_sends_away_those_who_wait() -> None:
    """Nobody waits for a client that is closed."""
    client = HeldClient()
    wrapped = limited(client, ManualClock(), concurrent=1)
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)
        await asks.start("a", "b", "c")
        await wrapped.aclose()
        await settle()
        assert sorted(asks.ends) == ["b LimitReached", "c LimitReached"]
        await client.release()
    assert client.closed


async def test_who_is_sent_away_by_closing_is_told_so() -> None:
    """Also when a place became free in the same moment."""
    client = HeldClient()
    wrapped = limited(client, ManualClock(), concurrent=1)
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)
        scopes = await asks.start("a", "b")
        await wrapped.aclose()
        scopes[0].cancel()
        await settle()
    assert str(asks.errors["b"]).startswith("p/m: no room: ")
    assert state(wrapped) == NOTHING


# Rates


async def test_requests_beyond_the_burst_wait_for_their_turn() -> None:
    """60 a minute: ten at once, then one a second."""
    client, clock = ScriptedClient({"m": ["ok"]}), ManualClock()
    wrapped = limited(client, clock, requests_per_min=60)
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)
        await asks.start(*[f"{i}" for i in range(15)])
        assert len(client.calls) == BURST_S
        for more in range(1, 6):
            await clock.advance(1.001)
            assert len(client.calls) == BURST_S + more
    assert asks.ends == [f"{i}" for i in range(15)]


async def test_who_would_wait_in_vain_is_told_at_once_when_to_come_back() -> None:
    """With 60 a minute and ten before it, the eleventh in the queue has eleven seconds to wait."""
    client, clock = ScriptedClient({"m": ["ok"]}), ManualClock()
    wrapped = limited(client, clock, requests_per_min=60, max_wait_s=10.5)
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)
        await asks.start(*[f"{i}" for i in range(21)])
        assert asks.ends[-1] == "20 LimitReached"
        assert asks.errors["20"].retry_after_s == pytest.approx(11.0)
        assert str(asks.errors["20"]) == "p/m: no room: requests_per_min 60 is used up"
        await clock.advance(20.0)
    assert len(client.calls) == 20


async def test_tokens_are_reckoned_then_corrected_by_the_answer() -> None:
    """A quarter of the characters and max_tokens; what was not used is given back."""
    client, clock = HeldClient(), ManualClock()
    wrapped = limited(client, clock, tokens_per_min=6_000)  # a burst of 1,000
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)
        await asks.start("x" * 400, "y" * 400, max_tokens=500)  # 600 each
        assert len(client.calls) == 1
        await client.release(reply("ok", prompt_tokens=90, completion_tokens=10))
        assert len(client.calls) == 2  # 500 came back
        await client.release()
    assert len(asks.ends) == 2


async def test_more_tokens_than_reckoned_are_owed() -> None:
    """What an answer used beyond the reckoning is waited for by the next."""
    client, clock = HeldClient(), ManualClock()
    wrapped = limited(client, clock, tokens_per_min=6_000)
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)
        await asks.start("a", max_tokens=100)
        await client.release(reply("ok", prompt_tokens=1000, completion_tokens=1000))
        await asks.start("b", max_tokens=100)
        await clock.advance(10.0)  # 1,000 owed
        assert len(client.calls) == 1
        await clock.advance(1.1)
        assert len(client.calls) == 2
        await client.release()


async def test_tokens_that_are_used_up_are_named() -> None:
    """The message says which limit it was, and when there is room again."""
    client = ScriptedClient({"m": ["ok"]})
    wrapped = limited(client, FakeClock(), tokens_per_min=6_000, when_full="escalate")
    await wrapped.complete(call(max_tokens=1_000))
    with pytest.raises(LimitReached) as caught:
        await wrapped.complete(call("", max_tokens=1_000))
    assert str(caught.value) == "p/m: no room: tokens_per_min 6000 is used up"
    assert caught.value.retry_after_s == pytest.approx(0.15)  # 15 tokens were used


async def test_without_max_tokens_the_mean_completion_is_reckoned_with() -> None:
    """It follows what the answers say; unlimited tokens reckon nothing."""
    limiter = Limiter(CallLimits(tokens_per_min=60_000), 0.0)
    before = limiter.tokens_of(call("x" * 40))
    for _ in range(200):
        assert limiter.enter(0.0, 0.0)
        limiter.answered(reply("ok", completion_tokens=20, prompt_tokens=0), 0.0, 0.0, 0.0)
    assert (before, limiter.tokens_of(call("x" * 40))) == (266.0, pytest.approx(30.0, abs=0.1))
    assert Limiter(CallLimits(), 0.0).tokens_of(call("x" * 40)) == 0.0


def test_text_in_parts_is_counted() -> None:
    """Of content in parts the text counts, of none nothing."""
    limiter = Limiter(CallLimits(tokens_per_min=60_000), 0.0)
    parts = [{"type": "text", "text": "x" * 40}, {"type": "image_url", "image_url": "…"}]
    messages = (
        Message(role="user", content=parts),
        Message(role="assistant", content=None),
    )
    request = Request(messages=messages, max_tokens=5)
    assert limiter.tokens_of(ModelCall(model="m", request=request)) == 15.0


async def test_what_was_never_sent_uses_nothing() -> None:
    """A connection that could not be made gives its request and tokens back."""

    def unsent() -> ConnectFailed:
        return ConnectFailed("no connection", provider="p", model="m", sent=False)

    client = FailingClient(unsent)
    wrapped = limited(
        client, FakeClock(), requests_per_min=6, tokens_per_min=600, when_full="refuse"
    )
    for _ in range(20):
        with pytest.raises(ConnectFailed):
            await wrapped.complete(call(max_tokens=90))
    assert len(client.calls) == 20


async def test_a_call_larger_than_the_burst_goes_and_leaves_a_debt() -> None:
    """It would never go otherwise; the mean rate holds."""
    client, clock = ScriptedClient({"m": [Answer(text="ok", model="m")]}), ManualClock()
    wrapped = limited(client, clock, tokens_per_min=600, max_wait_s=100)
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)
        await asks.start("a", "b", max_tokens=250)
        assert len(client.calls) == 1
        await clock.advance(24.0)
        assert len(client.calls) == 1
        await clock.advance(1.1)
        assert len(client.calls) == 2


# Pauses


@pytest.mark.parametrize(
    "outcome", [lambda: busy(5.0), lambda: Answer(text="ok", model="m", pause_s=5.0)]
)
async def test_a_pause_holds_for_every_ask(outcome: Callable[[], Any]) -> None:
    """Asked for by a 429 or by an answer's headers: nobody calls before it is over, all do then."""
    client, clock = HeldClient(), ManualClock()
    wrapped = limited(client, clock)
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)

        async def first() -> None:
            with suppress(RateLimited):
                await wrapped.complete(call("first"))

        group.start_soon(first)
        await settle()
        await client.release(outcome())
        await asks.start("a", "b")
        assert state(wrapped).paused_s == 5.0
        await clock.advance(4.99)
        assert prompts(client) == ["first"]
        await clock.advance(0.02)
        assert prompts(client) == ["first", "a", "b"]
        await client.release()
        await client.release()


async def paused(seconds: float, clock: FakeClock, **limits: Any) -> Limited:
    """A client whose deployment has just asked for a pause."""
    client = FailingClient(lambda: busy(seconds), lambda: reply("ok"))
    wrapped = limited(client, clock, **limits)
    with pytest.raises(RateLimited):
        await wrapped.complete(call())
    return wrapped


@pytest.mark.parametrize(
    ("limits", "options"),
    [
        ({"max_wait_s": 4.0}, {}),
        ({}, {"deadline": 4.0}),
        ({"when_full": "escalate"}, {}),
        ({"queue": 0}, {}),
    ],
    ids=["max_wait_s", "deadline", "escalate", "no queue"],
)
async def test_a_pause_that_cannot_be_waited_out_is_said(
    limits: dict[str, Any], options: dict[str, Any]
) -> None:
    """`CoolingDown` at once, with the rest of the pause."""
    clock = FakeClock()
    wrapped = await paused(5.0, clock, **limits)
    with pytest.raises(CoolingDown) as caught:
        await wrapped.complete(call(**options))
    assert (caught.value.retry_after_s, clock.seconds) == (5.0, 0.0)
    assert str(caught.value) == "p/m: it asked for a pause, 5.0 s of it left"


async def test_a_new_pause_sends_away_whom_it_would_hold_too_long() -> None:
    """Whoever can still wait it out stays in the queue."""
    client, clock = HeldClient(), ManualClock()
    wrapped = limited(client, clock, concurrent=1)
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)

        async def first() -> None:
            with pytest.raises(RateLimited):
                await wrapped.complete(call("first"))

        group.start_soon(first)
        await settle()
        await asks.start("hurried", deadline=4.0)
        await asks.start("patient")
        await client.release(busy(5.0))
        assert asks.ends == ["hurried CoolingDown"]
        await clock.advance(5.01)
        await client.release()
    assert asks.ends == ["hurried CoolingDown", "patient"]


async def test_each_model_has_its_own_pause() -> None:
    """Rate limits of a provider are kept by model."""
    wrapped = await paused(5.0, FakeClock(), when_full="refuse")
    assert (await wrapped.complete(call(model="other"))).text == "ok"


@pytest.mark.parametrize("seconds", [float("nan"), -1.0, 0.0])
async def test_a_pause_that_is_none_is_none(seconds: float) -> None:
    """Headers lie."""
    wrapped = await paused(seconds, FakeClock(), when_full="refuse")
    assert (await wrapped.complete(call())).text == "ok"


async def test_an_absurd_pause_is_bounded() -> None:
    """A typing error on the other side does not close a deployment for a year."""
    wrapped = await paused(1e12, FakeClock())
    assert state(wrapped).paused_s == MOST_PAUSE_S


# Tenants


async def test_limits_by_tenant_are_each_ones_own() -> None:
    """A busy tenant waits; another one, and asks without a tenant, do not. Pauses are not theirs."""
    client = HeldClient()
    wrapped = Limited(
        client, CallLimits(concurrent=1), provider="p", clock=ManualClock(), by="tenant"
    )
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)
        await asks.start("a1", "a2", tenant="a")
        await asks.start("b1", tenant="b")
        await asks.start("n1", "n2")
        assert prompts(client) == ["a1", "b1", "n1", "n2"]
        await client.release(Answer(text="ok", model="m", pause_s=60.0))
        assert prompts(client)[-1] == "a2"
        for _ in range(4):
            await client.release()
    assert set(wrapped.states()) == {"a", "b"}


async def test_a_tenant_is_told_that_it_is_its_own_limit() -> None:
    """The message does not name the tenant: it may be a customer's name."""
    wrapped = Limited(
        ScriptedClient({"m": ["ok"]}),
        CallLimits(requests_per_min=1, when_full="escalate"),
        provider="p",
        clock=FakeClock(),
        by="tenant",
    )
    await wrapped.complete(call(tenant="acme"))
    with pytest.raises(LimitReached) as caught:
        await wrapped.complete(call(tenant="acme"))
    assert str(caught.value) == "p/m: no room for this tenant: requests_per_min 1 is used up"
    assert caught.value.retry_after_s == 60.0


async def test_tenants_kept_are_bounded_and_the_busy_ones_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that a new limiter would treat the same go first, those with calls out never."""
    monkeypatch.setattr(limits_module, "MOST_KEPT", 20)
    client, clock = HeldClient(), ManualClock()
    limits = CallLimits(concurrent=1, requests_per_min=6)
    wrapped = Limited(client, limits, provider="p", clock=clock, by="tenant")
    async with anyio.create_task_group() as group:
        asks = Asks(wrapped, group)
        await asks.start("x", tenant="busy")
        for i in range(200):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await wrapped.complete(call(tenant=f"t{i}"))
        assert len(wrapped.states()) == 20
        assert wrapped.states()["busy"].in_flight == 1
        await client.release()


# The state machines by themselves


@settings(max_examples=300, deadline=None)
@given(
    per_s=st.floats(0.01, 1e4),
    burst=st.floats(1, 1e5),
    ops=st.lists(st.tuples(st.floats(0, 100), st.floats(0.001, 1)), max_size=100),
)
def test_a_bucket_never_passes_rate_times_time_and_burst(
    per_s: float, burst: float, ops: list[tuple[float, float]]
) -> None:
    """From any moment on; and after `wait_s` there is room."""
    now, taken = 0.0, 0.0
    bucket = TokenBucket(per_s, burst, now)
    bounds: list[tuple[float, float]] = [(0.0, 0.0)]
    for wait_s, share in ops:
        now += wait_s
        bounds.append((now, taken))
        amount = share * burst
        if bucket.has(amount, now):
            bucket.take(amount)
            taken += amount
        else:
            due = bucket.wait_s(amount, now)
            assert due > 0
            assert bucket.has(amount, now + due * 1.000001 + 1e-6)
            bucket._at = now + due * 1.000001 + 1e-6
            now = bucket._at
        for since, before in bounds:
            assert taken - before <= (burst + per_s * (now - since)) * 1.00001


def test_a_clock_that_goes_backwards_fills_nothing() -> None:
    """Nor does it take anything away."""
    bucket = TokenBucket(1.0, 10.0, 100.0)
    bucket.take(10.0)
    assert not bucket.has(1.0, 50.0)
    assert bucket.has(1.0, 101.0)


def test_a_million_minutes_take_seconds() -> None:
    """Two years at twice the allowed rate: what goes through is the rate, within a burst."""
    bucket = TokenBucket(1.0, 10.0, 0.0)
    began, taken = time.perf_counter(), 0
    for minute in range(1_000_000):
        for half in (0.0, 30.0):
            now = minute * 60.0 + half
            if bucket.has(60.0 / 6, now):
                bucket.take(10.0)
                taken += 10
    assert taken <= 10 + now
    assert taken == 20_000_000
    assert time.perf_counter() - began < 20.0


Op = tuple[str, int]


@settings(max_examples=400, deadline=None)
@given(
    order=st.sampled_from(["fifo", "lifo"]),
    ops=st.lists(
        st.tuples(
            st.sampled_from(
                ["ask", "ask", "answer", "fail", "unsent", "cancel", "wait", "pause", "look"]
            ),
            st.integers(0, 7),
        ),
        max_size=80,
    ),
)
def test_a_limiter_keeps_its_promises_under_any_interleaving(order: Any, ops: list[Op]) -> None:
    """Never more out than allowed, never more sent than rate and burst, in order, and nothing leaks."""
    limits = CallLimits(concurrent=3, requests_per_min=60, tokens_per_min=600, order=order)
    limiter, now = Limiter(limits, 0.0), 0.0
    out: list[float] = []
    waiting: list[Waiter] = []
    entered = given_back = 0
    paused_until = 0.0

    def collect() -> None:
        """Take over whom the limiter has granted; they are the first ones in order."""
        nonlocal entered
        granted = [waiter for waiter in waiting if waiter.granted]
        first = (
            waiting[: len(granted)] if order == "fifo" else waiting[len(waiting) - len(granted) :]
        )
        assert granted == first
        assert not granted or now >= paused_until
        for waiter in granted:
            waiting.remove(waiter)
            out.append(waiter.tokens)
            entered += 1

    for op, i in ops:
        tokens = 10.0 * (i + 1)
        if op == "ask":
            if limiter.enter(tokens, now):
                assert not waiting or order == "lifo"
                assert now >= paused_until
                out.append(tokens)
                entered += 1
            else:
                waiter = Waiter(tokens, now + 1e9)
                limiter.join(waiter)
                waiting.append(waiter)
        elif op == "wait":
            now += i
        elif op == "look":
            limiter.admit(now)
        elif op == "cancel" and waiting:
            limiter.forget(waiting.pop(i % len(waiting)), now)
        elif op == "pause":
            limiter.pause(i / 2, now)
            paused_until = max(paused_until, now + i / 2)
        elif out:
            used = out.pop(i % len(out))
            if op == "answer":
                limiter.answered(reply("ok", completion_tokens=5 * i), used, now, now)
            elif op == "fail":
                limiter.failed(down(), used, now, now)
            else:
                error = ConnectFailed("no", provider="p", model="m", sent=False)
                limiter.failed(error, used, now, now)
                given_back += 1
        collect()
        assert len(out) <= 3
        assert entered - given_back <= BURST_S + now + 1e-6
        told = limiter.state(now)
        assert (told.in_flight, told.waiting) == (len(out), len(waiting))
    while waiting or out:  # everybody gets through in the end
        if out:
            limiter.answered(reply("ok"), out.pop(), now, now)
        else:
            now += 1000.0
            limiter.admit(now)
        collect()
    assert limiter.is_as_new(now + 1000.0)


@settings(max_examples=40, deadline=None)
@given(
    backend=st.sampled_from(["asyncio", "trio"]),
    order=st.sampled_from(["fifo", "lifo"]),
    ops=st.lists(
        st.tuples(st.sampled_from(["ask", "ask", "end", "cancel", "move"]), st.integers(0, 9)),
        max_size=40,
    ),
)
def test_nothing_leaks_whatever_is_cancelled(backend: str, order: str, ops: Sequence[Op]) -> None:
    """At the end no call is out, nobody waits, no timer is left; and nobody was forgotten."""

    async def main() -> None:
        client, clock = HeldClient(), ManualClock()
        wrapped = limited(
            client, clock, concurrent=2, requests_per_min=120, queue=4, order=order, max_wait_s=20
        )
        scopes: list[anyio.CancelScope] = []
        async with anyio.create_task_group() as group:
            asks = Asks(wrapped, group)
            for op, i in ops:
                if op == "ask":
                    scopes += await asks.start(f"{len(scopes)}")
                elif op == "move":
                    await clock.advance(float(i))
                elif op == "cancel" and scopes:
                    scopes[i % len(scopes)].cancel()
                elif client._held:
                    await client.release([None, down()][i % 2])
                assert client.in_flight <= 2
            for scope in scopes:
                scope.cancel()
        assert len(asks.ends) == len(scopes)
        assert clock._sleepers == []
        for told in wrapped.states().values():
            assert (told.in_flight, told.waiting) == (0, 0)

    anyio.run(main, backend=backend)


def window(limit: AdaptiveLimit, latency_s: float, now: float) -> float:
    """Let as many calls be answered as make a window, all at once and as many as allowed."""
    for _ in range(max(limit.limit, SMALLEST_WINDOW)):
        limit.answered(now, now + latency_s, limit.limit)
    return now + latency_s


def test_a_429_halves_and_good_windows_add_one() -> None:
    """AIMD, between one and the upper bound."""
    limit = AdaptiveLimit(64)
    limit.overloaded(0.0, 1.0)
    assert limit.limit == 32
    now = window(limit, 1.0, 1.0)
    assert limit.limit == 33
    for _ in range(100):
        now = window(limit, 1.0, now)
    assert limit.limit == 64
    for _ in range(10):
        limit.overloaded(now, now)
    assert limit.limit == 1


def test_one_overload_cuts_once() -> None:
    """Of 64 calls out, 64 may come back with 429: they tell of one overload."""
    limit = AdaptiveLimit(64)
    for _ in range(64):
        limit.overloaded(0.0, 1.0)
    assert limit.limit == 32


def test_answers_to_calls_from_before_a_cut_do_not_grow_it() -> None:
    """They tell of the load before it."""
    limit = AdaptiveLimit(8)
    limit.overloaded(0.0, 5.0)
    for _ in range(100):
        limit.answered(4.0, 6.0, 8)
    assert limit.limit == 4


def test_slow_windows_cut() -> None:
    """Three times the quickest window's mean, not a single slow call."""
    limit = AdaptiveLimit(64)
    now = window(limit, 1.0, 0.0)
    now = window(limit, 2.5, now)
    assert limit.limit == 64
    window(limit, 3.5, now)
    assert limit.limit == 32


def test_what_was_not_used_does_not_grow() -> None:
    """A quiet hour does not show what the deployment bears."""
    limit = AdaptiveLimit(64)
    limit.overloaded(0.0, 0.0)
    for _ in range(1000):
        limit.answered(1.0, 2.0, 3)
    assert limit.limit == 32


async def test_adaptive_limits_hold_calls_back() -> None:
    """After a 429 (or a timeout) half as many go out at once."""
    client = HeldClient()
    wrapped = limited(client, ManualClock(), concurrent=4, adaptive=True)
    timeout = ProviderTimeout("late", provider="p", model="m")
    async with anyio.create_task_group() as group:

        async def first() -> None:
            with pytest.raises(ProviderTimeout):
                await wrapped.complete(call("first"))

        group.start_soon(first)
        await settle()
        asks = Asks(wrapped, group)
        await client.release(timeout)
        await asks.start(*"abcd")
        assert (client.in_flight, state(wrapped).limit) == (2, 2)
        for _ in "abcd":
            await client.release()


async def test_no_timer_and_no_wait_while_there_is_room() -> None:
    """The happy path awaits the call and nothing else."""
    client = ScriptedClient({"m": ["ok"]})

    class NoSleep(FakeClock):
        async def sleep(self, seconds: float) -> None:
            pytest.fail("slept")

    wrapped = limited(client, NoSleep(), concurrent=1, requests_per_min=600, tokens_per_min=1e6)
    for _ in range(20):
        await wrapped.complete(call())


async def test_an_unknown_exception_frees_the_place() -> None:
    """It passes through untouched."""
    bug = KeyError("bug")
    wrapped = limited(FailingClient(lambda: bug), FakeClock(), concurrent=1)
    for _ in range(3):
        with pytest.raises(KeyError) as caught:
            await wrapped.complete(call())
        assert caught.value is bug
    assert state(wrapped) == NOTHING


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"concurrent": 0}, "limits.concurrent: 0 (allowed: a whole number from 1 to 1000000)"),
        ({"requests_per_min": 0}, "limits.requests_per_min: 0 (allowed: a number above 0"),
        ({"tokens_per_min": -5}, "limits.tokens_per_min: -5"),
        ({"queue": -1}, "limits.queue: -1"),
        ({"order": "random"}, "limits.order: 'random' (allowed: fifo, lifo)"),
        ({"when_full": "drop"}, "limits.when_full: 'drop' (allowed: wait, escalate, refuse)"),
        ({"max_wait_s": float("inf")}, "limits.max_wait_s: inf (allowed: a number from 0 to"),
        ({"adaptive": True}, "limits.adaptive: true (allowed: with `concurrent`"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_limits_that_make_no_sense_are_refused(fields: dict[str, Any], words: str) -> None:
    """The message says what was given and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        CallLimits(**fields)
    assert str(caught.value).startswith(words)
