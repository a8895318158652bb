"""A second deployment beside one that takes long."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.errors import CircuitOpen, ConnectFailed, ProviderError, RequestError, ServerFailed
from cascade.pricing import Price
from cascade.resilience.hedge import BURST, LEAST_KNOWN, Hedge, Hedging
from cascade.resilience.pool import Member, Pool
from cascade.testing import ScriptedClient, reply
from cascade.types import Answer, CallContext, Message, ModelCall, Request

pytestmark = pytest.mark.anyio

SOON = Hedge(after_s=0.01, share=1.0)
NEVER_SO_LONG = Hedge(after_s=60.0, share=1.0)
CHEAP = Price(input=1.0, output=2.0)


def call(*, idempotent: bool = True) -> ModelCall:
    request = Request(messages=(Message(role="user", content="hello"),))
    return ModelCall(model="m", request=request, context=CallContext(idempotent=idempotent))


class Held:
    """A client whose calls wait until they are let go; then it answers, or raises what it is given."""

    def __init__(self, outcome: Answer | Exception | None = None) -> None:
        self.outcome = outcome or reply("held")
        self.started = anyio.Event()
        self.let_go = anyio.Event()
        self.cancelled = 0

    async def complete(self, call: ModelCall) -> Answer:
        self.started.set()
        try:
            await self.let_go.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def aclose(self) -> None:
        self.let_go.set()


def quick(*said: Answer | str | Exception) -> ScriptedClient:
    return ScriptedClient({"m": said})


def error_of(name: str, kind: type[ProviderError] = ServerFailed) -> ProviderError:
    return kind("oops", provider=name, model="m")


def pool_of(
    first: Held | ScriptedClient,
    second: Held | ScriptedClient,
    *others: ScriptedClient,
    hedge: Hedge = SOON,
    prices: tuple[Price | None, Price | None] = (None, None),
) -> Pool:
    """Return a pool that asks `first` first: in turn from there."""
    members = [
        Member("first", first, price=prices[0]),
        Member("second", second, price=prices[1]),
        *(Member(f"other-{i}", client) for i, client in enumerate(others)),
    ]
    return Pool("both", members, strategy="round_robin", hedge=hedge, rng=Random(1))


async def test_the_quicker_of_two_answers_and_the_other_is_cancelled() -> None:
    """At once: nobody goes on writing for nobody."""
    slow = Held()
    answer = await pool_of(slow, quick("quick")).complete(call())
    assert (answer.text, answer.deployment) == ("quick", "second")
    assert slow.cancelled == 1


async def test_the_first_may_still_win() -> None:
    """The second is then the one that is cancelled."""
    first, second = Held(), Held()
    pool = pool_of(first, second)
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await pool.complete(call()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await second.started.wait()
        first.let_go.set()
    assert [answer.deployment for answer in answers] == ["first"]
    assert [other.deployment for other in answers[0].tries] == ["second"]
    assert (first.cancelled, second.cancelled) == (0, 1)


async def test_an_answer_in_time_is_not_hedged() -> None:
    """The second is never asked."""
    second = quick("b")
    answer = await pool_of(quick("a"), second, hedge=NEVER_SO_LONG).complete(call())
    assert (answer.text, answer.tries, second.calls) == ("a", (), [])


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        ((CHEAP, CHEAP), 20e-6),
        ((Price(input=2.0, output=2.0), CHEAP), 30e-6),
        ((None, CHEAP), None),
        ((None, None), None),
    ],
    ids=["same price", "its own price", "its price is unknown", "no prices"],
)
async def test_what_was_cancelled_is_counted_with_the_most_it_may_have_cost(
    prices: tuple[Price | None, Price | None], expected: float | None
) -> None:
    """The winner's 10 + 5 tokens at the price of the loser, marked as estimated."""
    answer = await pool_of(Held(), quick(reply("b")), prices=prices).complete(call())
    (other,) = answer.tries
    assert (other.deployment, other.error, other.estimated) == ("first", None, True)
    assert other.cost_usd == (None if expected is None else pytest.approx(expected))
    assert other.latency_s > 0


async def test_what_had_failed_is_counted_as_a_failure() -> None:
    """A first that fails after the second was asked costs what failures cost."""
    slow, second = Held(error_of("first", ConnectFailed)), Held(reply("b"))
    pool = pool_of(slow, second)
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await pool.complete(call()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await second.started.wait()
        slow.let_go.set()
        await anyio.wait_all_tasks_blocked()
        second.let_go.set()
    (other,) = answers[0].tries
    assert (answers[0].text, other.error, other.estimated) == ("b", slow.outcome, False)
    assert other.cost_usd is None  # it was sent: nobody knows


async def test_a_failure_before_the_delay_is_not_hedged() -> None:
    """It leaves as it is: repeating is for who counts repetitions."""
    second = quick("b")
    pool = pool_of(quick(error_of("first")), second, hedge=NEVER_SO_LONG)
    with pytest.raises(ServerFailed) as caught:
        await pool.complete(call())
    assert (caught.value.tries, second.calls) == ((), [])


async def test_when_both_fail_the_first_is_raised_with_the_second_in_it() -> None:
    """As itself, not as a group."""
    first, second = Held(error_of("first")), Held(error_of("second", ConnectFailed))
    pool = pool_of(first, second)

    async def ask() -> None:
        with pytest.raises(ServerFailed) as caught:
            await pool.complete(call())
        assert caught.value is first.outcome
        assert [(t.deployment, t.error) for t in caught.value.tries] == [("second", second.outcome)]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await second.started.wait()
        second.let_go.set()
        await anyio.wait_all_tasks_blocked()
        first.let_go.set()


@pytest.mark.parametrize("error", [RequestError("cannot be sent"), KeyError("a bug")], ids=repr)
async def test_what_is_no_providers_failure_leaves_at_once(error: Exception) -> None:
    """As itself, and the other is cancelled."""
    slow = Held()
    with pytest.raises(type(error)) as caught:
        await pool_of(slow, quick(error)).complete(call())
    assert caught.value is error
    assert slow.cancelled == 1


@pytest.mark.parametrize("hedge", [SOON, NEVER_SO_LONG], ids=["both asked", "first asked"])
async def test_a_cancelled_caller_cancels_all(hedge: Hedge) -> None:
    """Nothing runs on, whichever were asked."""
    first, second = Held(), Held()
    pool = pool_of(first, second, hedge=hedge)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pool.complete, call())
        await (second if hedge is SOON else first).started.wait()
        tasks.cancel_scope.cancel()
    assert (first.cancelled, second.cancelled) == (1, int(hedge is SOON))
    assert [deployment.in_flight for deployment in pool._deployments] == [0, 0]


async def test_a_call_that_may_not_be_made_twice_never_is() -> None:
    """However long it takes."""
    slow, second = Held(), quick("b")
    pool = pool_of(slow, second)

    async def let_go_late() -> None:
        await anyio.sleep(0.03)
        slow.let_go.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(let_go_late)
        answer = await pool.complete(call(idempotent=False))
    assert (answer.text, second.calls) == ("held", [])


async def test_a_second_that_takes_no_calls_is_passed_over() -> None:
    """A third is asked in its place."""
    refusal = CircuitOpen("is out", provider="second", model="m", retry_after_s=1.0)
    answer = await pool_of(Held(), quick(refusal), quick("c")).complete(call())
    assert answer.deployment == "other-0"
    assert [other.deployment for other in answer.tries] == ["first"]


async def test_a_hedge_that_nobody_takes_is_none() -> None:
    """It is not counted, and the first goes on."""
    refusal = CircuitOpen("is out", provider="second", model="m", retry_after_s=1.0)
    slow, second = Held(), quick(refusal)
    pool = pool_of(slow, second)

    async def let_go_late() -> None:
        while not second.calls:
            await anyio.sleep(0.001)
        await anyio.wait_all_tasks_blocked()  # it has been refused
        slow.let_go.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(let_go_late)
        answer = await pool.complete(call())
    assert (answer.deployment, answer.tries) == ("first", ())
    assert pool._hedging is not None
    assert pool._hedging.take_nowait()


async def test_when_nobody_takes_the_call_the_refusal_is_raised() -> None:
    """As without hedging."""
    out = [CircuitOpen("is out", provider=name, model="m") for name in ("first", "second")]
    with pytest.raises(CircuitOpen, match="first: is out; second: is out"):
        await pool_of(quick(out[0]), quick(out[1])).complete(call())


async def test_a_share_of_calls_is_hedged_at_most() -> None:
    """Of 20 slow calls a quarter is made twice."""
    first, second = ScriptedClient({"m": ["a"]}, delay_s=0.02), quick("b")
    pool = Pool(
        "both",
        [
            Member("first", first, price=CHEAP),
            Member("second", second, price=Price(input=9, output=9)),
        ],
        strategy="cheapest",
        hedge=Hedge(after_s=0.005, share=0.25),
    )
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await pool.complete(call()))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    assert (len(answers), len(second.calls)) == (20, 5)


@pytest.mark.parametrize("hedge", [None, NEVER_SO_LONG], ids=["not hedged", "hedged if slow"])
async def test_a_quick_call_runs_in_the_callers_own_task(hedge: Hedge | None) -> None:
    """A task a call would cost more than all else that stands before a client."""
    tasks: set[int] = set()

    class Noting(ScriptedClient):
        async def complete(self, call: ModelCall) -> Answer:
            tasks.add(anyio.get_current_task().id)
            return await super().complete(call)

    client = Noting({"m": ["a"]})
    pool = Pool("both", [Member("us", client), Member("eu", client)], hedge=hedge)
    for _ in range(3):
        await pool.complete(call())
    assert tasks == {anyio.get_current_task().id}


# The state machine


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_a_quantile_needs_enough_latencies(anyio_backend: str) -> None:
    """With fewer nothing is hedged; a model has its own."""
    hedging = Hedging(Hedge(share=1.0))
    for i in range(LEAST_KNOWN):
        hedging.count_call()
        assert hedging.delay_s("m") is None
        hedging.note_latency("m", float(i))
    assert hedging.delay_s("m") == LEAST_KNOWN * 0.95 - 1
    assert hedging.delay_s("other") is None


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@given(st.floats(0.001, 1.0), st.lists(st.booleans(), max_size=300))
def test_hedges_never_pass_their_share(anyio_backend: str, share: float, slow: list[bool]) -> None:
    """At no time more than that share of the calls so far, and no more than the burst at once."""
    hedging = Hedging(Hedge(after_s=1.0, share=share))
    hedged = 0
    for calls, takes_long in enumerate(slow, start=1):
        hedging.count_call()
        if takes_long and hedging.delay_s("m") is not None:
            hedged += hedging.take_nowait()
        assert hedged <= share * calls + 1e-9
    at_once = 0
    while hedging.take_nowait():
        at_once += 1
    assert at_once <= BURST


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Hedge(after_s=0.0),
        lambda: Hedge(after_s=float("nan")),
        lambda: Hedge(quantile=1.0),
        lambda: Hedge(share=0.0),
        lambda: Hedge(share=1.5),
    ],
)
def test_refuses_what_cannot_be(anyio_backend: str, make: Callable[[], Hedge]) -> None:
    """No delay, no quantile, no share."""
    with pytest.raises(ValueError):
        make()
