"""Repetitions: what is repeated, when, how often, and what is kept of it."""

from __future__ import annotations

import contextlib
import random

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade import errors
from cascade.errors import (
    CircuitOpen,
    ConfigError,
    CoolingDown,
    LimitReached,
    ProviderError,
    ProviderTimeout,
    RateLimited,
    ServerFailed,
)
from cascade.resilience import RetryBudget, Retrying, RetryPolicy, retry
from cascade.resilience.retry import BURST, Elsewhere, delay_s
from cascade.testing import FakeClock, ScriptedClient, reply
from cascade.types import Answer, ModelCall, Try

from .waiting import FailingClient, ManualClock, busy, call, cut, down, settle

pytestmark = pytest.mark.anyio


def timed_out() -> ProviderTimeout:
    """No answer in time."""
    return ProviderTimeout("no answer in time", provider="p", model="m")


def cooling(seconds: float) -> CoolingDown:
    """A pause of the deployment."""
    return CoolingDown("paused", provider="p", model="m", retry_after_s=seconds)


def retrying(
    client: FailingClient | ScriptedClient,
    *,
    clock: FakeClock | None = None,
    elsewhere: Elsewhere | None = None,
    budget: RetryBudget | None = None,
    **policy: float,
) -> Retrying:
    """Repetitions with waits of at most a second, unless said otherwise."""
    fields = {"attempts": 3, "backoff_s": 1.0, "max_backoff_s": 4.0, "share": 1.0} | policy
    return Retrying(
        client,
        RetryPolicy(**fields),  # type: ignore[arg-type]
        rng=random.Random(1),
        clock=clock or FakeClock(),
        elsewhere=elsewhere,
        budget=budget,
    )


def table() -> dict[str, str]:
    """The table in the docstring of the module."""
    rows = [line.split() for line in (retry.__doc__ or "").splitlines()]
    return {row[0]: row[1] for row in rows if len(row) > 2 and hasattr(errors, row[0])}


def provider_errors() -> list[type[ProviderError]]:
    """Every kind of failed call, save the two that only group others."""
    kinds = [getattr(errors, name) for name in errors.__all__]
    groups = (ProviderError, errors.NotCalled)
    return [kind for kind in kinds if issubclass(kind, ProviderError) and kind not in groups]


def an_error(kind: type[ProviderError]) -> ProviderError:
    return kind("it failed", provider="p", model="m")


@pytest.mark.parametrize("kind", provider_errors())
async def test_the_table_is_what_is_done(kind: type[ProviderError]) -> None:
    """Each class is repeated as the docstring's table says, and no other."""
    word = table()[kind.__name__]
    alone = FailingClient(lambda: an_error(kind), lambda: reply("ok"))
    with_others = FailingClient(lambda: an_error(kind), lambda: reply("ok"))
    for wrapped in (retrying(alone), retrying(with_others, elsewhere=lambda _call, _error: True)):
        with contextlib.suppress(kind):
            await wrapped.complete(call())
    assert len(alone.calls) == (2 if word in ("yes", "wait") else 1)
    assert len(with_others.calls) == (1 if word == "no" else 2)


@pytest.mark.parametrize("kind", provider_errors())
def test_the_table_agrees_with_the_classes(kind: type[ProviderError]) -> None:
    """`retryable` is the root; a pause is the one thing waited for that no request was made for."""
    word = table()[kind.__name__]
    assert (word in ("yes", "elsewhere")) == kind.retryable
    assert (word == "wait") == (kind is CoolingDown)


async def test_an_answer_at_once_is_passed_on_untouched() -> None:
    """Nothing is added to a good answer, and nothing waited for."""
    answer, clock = reply("ok"), FakeClock()
    assert await retrying(ScriptedClient({"m": [answer]}), clock=clock).complete(call()) is answer
    assert clock.seconds == 0.0


async def test_an_answer_after_failures_carries_them() -> None:
    """Every failed call is kept with its error, its time and its cost."""
    client = FailingClient(down, cut, lambda: reply("ok"))
    answer = await retrying(client).complete(call())
    assert answer.text == "ok"
    assert [(t.deployment, type(t.error).__name__, t.cost_usd) for t in answer.tries] == [
        ("p", "ServerFailed", 0.0),
        ("p", "ConnectFailed", None),
    ]


async def test_the_error_that_leaves_carries_those_before_it() -> None:
    """`attempts` calls are made; the last error is raised, not counted among its own tries."""
    client = FailingClient(down)
    with pytest.raises(ServerFailed) as caught:
        await retrying(client, attempts=3).complete(call())
    assert len(client.calls) == 3
    assert len(caught.value.tries) == 2
    assert all(t.error is not caught.value for t in caught.value.tries)


async def test_tries_of_a_client_inside_are_kept_in_order() -> None:
    """A pool's own tries stand where they happened, once each."""

    def inside(name: str) -> tuple[Try, ...]:
        return (Try(deployment=name, error=None, latency_s=0.0, cost_usd=None),)

    def failing() -> ServerFailed:
        error = down()
        error.tries = inside("a")
        return error

    answer = Answer(text="ok", model="m", tries=inside("b"))
    told = await retrying(FailingClient(failing, lambda: answer)).complete(call())
    assert [t.deployment for t in told.tries] == ["a", "p", "b"]
    with pytest.raises(ServerFailed) as caught:
        await retrying(FailingClient(failing), attempts=2).complete(call())
    assert [t.deployment for t in caught.value.tries] == ["a", "p", "a"]


async def test_the_time_of_a_try_is_that_of_its_call() -> None:
    """Waits between calls are nobody's latency."""
    clock = FakeClock()

    class Slow(FailingClient):
        async def complete(self, call: ModelCall) -> Answer:
            clock.seconds += 2.0
            return await super().complete(call)

    answer = await retrying(Slow(down, down, lambda: reply("ok")), clock=clock).complete(call())
    assert [t.latency_s for t in answer.tries] == [2.0, 2.0]
    assert clock.seconds > 6.0


async def test_an_unknown_exception_is_not_repeated() -> None:
    """Only failed calls are; a mistake passes through as it is, also from a repetition."""
    bug = KeyError("bug")
    for script in ([lambda: bug], [down, lambda: bug]):
        client = FailingClient(*script)
        with pytest.raises(KeyError) as caught:
            await retrying(client).complete(call())
        assert caught.value is bug
        assert len(client.calls) == len(script)


async def test_one_attempt_repeats_nothing() -> None:
    """`attempts: 1` is no repetition."""
    client = FailingClient(down)
    with pytest.raises(ServerFailed):
        await retrying(client, attempts=1).complete(call())
    assert len(client.calls) == 1


async def test_retry_after_is_a_lower_bound() -> None:
    """What the deployment asks for is waited, and the jitter on top of it."""
    clock = FakeClock()
    await retrying(FailingClient(lambda: busy(3.0), lambda: reply("ok")), clock=clock).complete(
        call()
    )
    assert 3.0 <= clock.seconds <= 4.0


@pytest.mark.parametrize("make", [busy, cooling])
async def test_a_longer_pause_than_max_backoff_is_left_to_the_ladder(make: object) -> None:
    """Another rung answers sooner."""
    client = FailingClient(lambda: make(4.5))  # type: ignore[operator]
    with pytest.raises((RateLimited, CoolingDown)):
        await retrying(client, max_backoff_s=4.0).complete(call())
    assert len(client.calls) == 1


async def test_another_deployment_need_not_wait_for_the_one_that_asked() -> None:
    """With another one there, `retry_after_s` is the first one's business."""
    clock = FakeClock()
    client = FailingClient(lambda: busy(60.0), lambda: reply("ok"))
    wrapped = retrying(client, clock=clock, elsewhere=lambda _call, _error: True)
    assert (await wrapped.complete(call())).text == "ok"
    assert clock.seconds <= 1.0


async def test_a_wait_past_the_deadline_is_not_begun() -> None:
    """The error leaves at once, so that the ladder has the rest of the time."""
    clock = FakeClock()
    client = FailingClient(lambda: busy(3.0))
    with pytest.raises(RateLimited):
        await retrying(client, clock=clock).complete(call(deadline=3.0))
    assert (clock.seconds, len(client.calls)) == (0.0, 1)


async def test_a_spent_budget_ends_repetitions() -> None:
    """In an outage a burst is repeated, then only the stated share."""
    client = FailingClient(down)
    wrapped = retrying(client, share=0.1)
    for _ in range(200):
        with pytest.raises(ServerFailed):
            await wrapped.complete(call())
    assert 200 + BURST <= len(client.calls) <= 200 + BURST + 0.1 * 200


async def test_a_call_that_was_not_made_costs_no_budget() -> None:
    """Waiting for a pause to end amplifies nothing."""
    budget = RetryBudget(share=0.0)
    client = FailingClient(lambda: cooling(0.5), lambda: reply("ok"))
    assert (await retrying(client, budget=budget).complete(call())).text == "ok"


@pytest.mark.parametrize("kind", [CircuitOpen, LimitReached])
async def test_what_was_not_sent_for_good_reason_is_not_waited_for(
    kind: type[ProviderError],
) -> None:
    """An open breaker and a full queue are for the ladder to pass."""
    clock = FakeClock()
    with pytest.raises(kind):
        await retrying(FailingClient(lambda: an_error(kind)), clock=clock).complete(call())
    assert clock.seconds == 0.0


async def test_a_cancelled_wait_makes_no_further_call() -> None:
    """Cancellation passes through the wait at once."""
    clock, client = ManualClock(), FailingClient(down)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(retrying(client, clock=clock).complete, call())
            await settle()
            scope.cancel()
    assert len(client.calls) == 1


async def test_closing_ends_repetitions() -> None:
    """A call that waits when the client is closed is not made again; its error leaves."""
    clock, client = ManualClock(), FailingClient(down)
    wrapped = retrying(client, clock=clock)
    caught: list[ServerFailed] = []

    async def ask() -> None:
        try:
            await wrapped.complete(call())
        except ServerFailed as exc:
            caught.append(exc)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await settle()
        await wrapped.aclose()
        await clock.advance(10.0)
    assert (len(client.calls), client.closed) == (1, True)
    assert caught[0].tries == ()


async def test_asks_in_parallel_keep_their_own_tries() -> None:
    """tenacity's state is one call's: nothing of it is shared."""

    class FailsAsOftenAsAsked(FailingClient):
        async def complete(self, call: ModelCall) -> Answer:
            self.calls.append(call)
            if sum(made is call for made in self.calls) <= int(call.request.prompt):
                raise down()
            return reply("ok")

    clock = ManualClock()
    wrapped = retrying(FailsAsOftenAsAsked(down), clock=clock, attempts=9)
    tries: dict[int, int] = {}

    async def ask(failures: int) -> None:
        tries[failures] = len((await wrapped.complete(call(str(failures)))).tries)

    async with anyio.create_task_group() as group:
        for failures in range(5):
            group.start_soon(ask, failures)
        await clock.advance(60.0)
    assert tries == {n: n for n in range(5)}


@settings(max_examples=200, deadline=None)
@given(
    attempts=st.integers(1, 8),
    backoff_s=st.floats(0, 5),
    more_s=st.floats(0, 20),
    asked=st.lists(st.none() | st.floats(0, 30), min_size=1, max_size=8),
    deadline=st.floats(0, 60),
    seed=st.integers(0, 2**32),
)
def test_waits_never_pass_the_deadline(
    attempts: int,
    backoff_s: float,
    more_s: float,
    asked: list[float | None],
    deadline: float,
    seed: int,
) -> None:
    """Whatever is asked for, no call is made at or after the deadline, nor waited for past it."""
    clock = FakeClock()
    policy = RetryPolicy(
        attempts=attempts, backoff_s=backoff_s, max_backoff_s=backoff_s + more_s, share=1.0
    )
    client = FailingClient(*[lambda s=s: busy(s) for s in asked])
    wrapped = Retrying(client, policy, rng=random.Random(seed), clock=clock)

    async def main() -> None:
        with pytest.raises(RateLimited):
            await wrapped.complete(call(deadline=deadline))

    anyio.run(main)
    assert clock.seconds < deadline or clock.seconds == 0.0
    assert len(client.calls) <= attempts


@given(
    repetition=st.integers(0, 99),
    chance=st.floats(0, 1, exclude_max=True),
    asked_s=st.floats(0, 1e6),
    backoff_s=st.floats(0, 3600),
)
def test_a_delay_is_bounded(
    repetition: int, chance: float, asked_s: float, backoff_s: float
) -> None:
    """A delay is at least what was asked for, and passes it by max_backoff_s at most."""
    policy = RetryPolicy(backoff_s=backoff_s, max_backoff_s=3600.0)
    delay = delay_s(policy, repetition, chance, asked_s)
    assert asked_s <= delay <= (asked_s + 3600.0) * (1 + 1e-12)


@given(st.floats(0, 1), st.floats(0, 20), st.lists(st.booleans(), max_size=300))
def test_repetitions_keep_to_their_share(share: float, burst: float, ops: list[bool]) -> None:
    """Repetitions <= burst + share · calls, whatever the order."""
    budget = RetryBudget(share, burst)
    calls = repetitions = 0
    for is_call in ops:
        if is_call:
            budget.earn()
            calls += 1
        else:
            repetitions += budget.spend()
        assert repetitions <= burst + share * calls + 1e-9


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"attempts": 0}, "retry.attempts: 0 (allowed: a whole number from 1 to 100)"),
        ({"attempts": True}, "retry.attempts: True"),
        ({"backoff_s": -1.0}, "retry.backoff_s: -1.0 (allowed: a number from 0 to 3600)"),
        ({"backoff_s": float("nan")}, "retry.backoff_s: nan"),
        ({"max_backoff_s": float("inf")}, "retry.max_backoff_s: inf"),
        ({"backoff_s": 9.0}, "retry.backoff_s: 9.0 (allowed: at most max_backoff_s, 8)"),
        ({"share": 1.5}, "retry.share: 1.5 (allowed: a number from 0 to 1)"),
        ({"share": "half"}, "retry.share: 'half'"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_a_policy_that_makes_no_sense_is_refused(fields: dict[str, float], words: str) -> None:
    """The message says what was given and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        RetryPolicy(**fields)  # type: ignore[arg-type]
    assert str(caught.value).startswith(words)
