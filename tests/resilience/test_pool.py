"""Several deployments of one model behind one client."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.errors import (
    CircuitOpen,
    ConfigError,
    CoolingDown,
    LimitReached,
    NotCalled,
    ProviderError,
    ProviderTimeout,
    RequestRefused,
    ServerFailed,
)
from cascade.ports import Client
from cascade.pricing import Price
from cascade.resilience.deployment import FAILED_S, TAU_S, Deployment
from cascade.resilience.limits import CallLimits, Limited
from cascade.resilience.pool import Member, Pool, Strategy
from cascade.resilience.retry import Retrying, RetryPolicy
from cascade.resilience.strategies import STRATEGIES, chooser, preferred
from cascade.testing import FakeClock, ScriptedClient, reply
from cascade.types import Answer, CallContext, Message, ModelCall, Request, Try

from .waiting import HeldClient, settle

HELLO = Request(messages=(Message(role="user", content="hello"),))
CHEAP = Price(input=1.0, output=2.0)
DEAR = Price(input=10.0, output=20.0)

Said = Answer | str | Exception


def call(**context: Any) -> ModelCall:
    return ModelCall(model="m", request=HELLO, context=CallContext(**context))


def hedged_too(error: ProviderError, other: ProviderError) -> ProviderError:
    error.tries = (Try(deployment=other.provider, error=other, latency_s=1.0, cost_usd=None),)
    return error


def failed(name: str, kind: type[ProviderError] = ServerFailed) -> ProviderError:
    return kind("oops", provider=name, model="m")


def refused(
    name: str, retry_after_s: float | None = None, kind: type[NotCalled] = CircuitOpen
) -> NotCalled:
    return kind("is out", provider=name, model="m", retry_after_s=retry_after_s)


def pool_of(
    script: Mapping[str, Sequence[Said] | Said], **options: Any
) -> tuple[Pool, dict[str, ScriptedClient]]:
    """Return a pool, in turn if nothing else is said, and the client of each member."""
    clients = {
        name: ScriptedClient({"m": [said] if isinstance(said, Said) else list(said)})
        for name, said in script.items()
    }
    members = [Member(name, client) for name, client in clients.items()]
    options = {"strategy": "round_robin", "rng": Random(1), **options}
    return Pool("both", members, **options), clients


def calls_of(clients: Mapping[str, ScriptedClient]) -> dict[str, int]:
    return {name: len(client.calls) for name, client in clients.items()}


@pytest.mark.anyio
async def test_is_a_client_that_names_the_deployment() -> None:
    """The answer says which of the deployments gave it."""
    pool, _ = pool_of({"us": "a", "eu": "b"})
    assert isinstance(pool, Client)
    answers = [await pool.complete(call()) for _ in range(3)]
    assert [(answer.text, answer.deployment) for answer in answers] == [
        ("a", "us"),
        ("b", "eu"),
        ("a", "us"),
    ]


@pytest.mark.anyio
async def test_calls_a_deployment_by_its_own_name_of_the_model() -> None:
    """The call that is handed on is otherwise the same."""
    client = ScriptedClient({"name-there": ["hi"]})
    await Pool("both", [Member("eu", client, model="name-there")]).complete(call(tenant="a"))
    assert client.calls[0].model == "name-there"
    assert client.calls[0].context.tenant == "a"


@pytest.mark.anyio
async def test_an_answer_costs_what_its_deployment_asks() -> None:
    """Tokens times the member's own price."""
    client = ScriptedClient({"m": [reply("hi", prompt_tokens=1_000, completion_tokens=100)]})
    answer = await Pool("both", [Member("eu", client, price=CHEAP)]).complete(call())
    assert answer.cost_usd == pytest.approx(0.0012)


@pytest.mark.anyio
async def test_without_a_price_the_cost_is_left_to_the_asker() -> None:
    """None is what the client said."""
    pool, _ = pool_of({"us": "a"})
    assert (await pool.complete(call())).cost_usd is None


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [CircuitOpen, CoolingDown, LimitReached])
async def test_one_that_takes_no_calls_is_passed_over_at_once(kind: type[NotCalled]) -> None:
    """Within the same call another is asked."""
    pool, clients = pool_of({"us": refused("us", 5.0, kind), "eu": "b"})
    answer = await pool.complete(call())
    assert (answer.deployment, answer.tries) == ("eu", ())
    assert calls_of(clients) == {"us": 1, "eu": 1}


@pytest.mark.anyio
async def test_one_that_was_out_comes_back() -> None:
    """The pool keeps no grudge: whether a deployment takes calls is its breaker's to say."""
    pool, _ = pool_of({"us": [refused("us"), "a"], "eu": "b"})
    assert [(await pool.complete(call())).deployment for _ in range(3)] == ["eu", "us", "eu"]


@pytest.mark.anyio
async def test_when_all_refuse_the_soonest_is_raised_and_all_are_named() -> None:
    """Class and waiting time are of the one that ends first."""
    pool, _ = pool_of(
        {
            "us": refused("us", 9.0),
            "eu": refused("eu", 2.0, CoolingDown),
            "asia": refused("asia", None, LimitReached),
        }
    )
    with pytest.raises(
        CoolingDown, match=r"^both/m: .*us: is out; eu: is out; asia: is out$"
    ) as it:
        await pool.complete(call())
    assert it.value.retry_after_s == 2.0
    assert not it.value.sent


@pytest.mark.anyio
@pytest.mark.parametrize("refuse", [True, False])
async def test_a_limit_that_is_to_end_the_ask_still_does(refuse: bool) -> None:
    """What the limit of the soonest is set to holds for the pool."""
    limit = refused("us", 1.0, LimitReached)
    assert isinstance(limit, LimitReached)
    limit.refuse = refuse
    pool, _ = pool_of({"us": limit, "eu": refused("eu")})
    with pytest.raises(LimitReached) as caught:
        await pool.complete(call())
    assert caught.value.refuse is refuse


@pytest.mark.anyio
async def test_a_failure_is_not_repeated_here() -> None:
    """Repeating is for who counts repetitions."""
    pool, clients = pool_of({"us": failed("us"), "eu": "b"})
    with pytest.raises(ServerFailed):
        await pool.complete(call())
    assert calls_of(clients) == {"us": 1, "eu": 0}


@pytest.mark.anyio
async def test_a_repeated_call_goes_elsewhere_first() -> None:
    """Whatever the strategy would have said."""
    pool, clients = pool_of({"us": "a", "eu": "b"})
    for _ in range(4):
        answer = await pool.complete(call(failures=(failed("us"),)))
        assert answer.deployment == "eu"
    assert calls_of(clients) == {"us": 0, "eu": 4}


@pytest.mark.anyio
async def test_a_repeated_call_goes_back_when_nobody_else_takes_it() -> None:
    """One that failed is better than none."""
    pool, _ = pool_of({"us": "a", "eu": refused("eu")})
    assert (await pool.complete(call(failures=(failed("us"),)))).deployment == "us"


@pytest.mark.anyio
async def test_one_that_timed_out_is_not_asked_again() -> None:
    """Nobody waits twice for a dead upstream, not even when the others refuse."""
    pool, clients = pool_of({"us": "a", "eu": refused("eu")})
    with pytest.raises(CircuitOpen):
        await pool.complete(call(failures=(failed("us", ProviderTimeout),)))
    assert calls_of(clients) == {"us": 0, "eu": 1}


@pytest.mark.parametrize(
    ("before", "error", "expected"),
    [
        ([], failed("us"), True),
        ([], failed("us", ProviderTimeout), True),
        ([failed("eu")], failed("us"), False),
        ([failed("eu")], failed("us", ProviderTimeout), True),
        ([failed("eu", ProviderTimeout)], failed("us"), False),
        ([failed("eu", ProviderTimeout)], failed("us", ProviderTimeout), False),
        ([], hedged_too(failed("us"), failed("eu")), False),
        ([], refused("both"), False),
    ],
    ids=[
        "another is left",
        "another is left after a timeout",
        "both have failed once",
        "only the other has not timed out",
        "only this one has not timed out",
        "all have timed out",
        "a hedge has failed too",
        "nobody takes calls",
    ],
)
def test_elsewhere(before: list[ProviderError], error: ProviderError, expected: bool) -> None:
    """It says whether the repeated call would go to another deployment than the one that failed."""
    pool, _ = pool_of({"us": "a", "eu": "b"})
    assert pool.elsewhere(call(failures=tuple(before)), error) is expected


@pytest.mark.anyio
async def test_repetition_goes_elsewhere_and_never_back_to_one_that_timed_out() -> None:
    """As `Retrying` makes it over a pool: us, eu, and eu once more."""
    pool, clients = pool_of(
        {"us": failed("us", ProviderTimeout), "eu": [failed("eu"), "b"]}, clock=FakeClock()
    )
    retrying = Retrying(
        pool, RetryPolicy(), rng=Random(1), clock=FakeClock(), elsewhere=pool.elsewhere
    )
    answer = await retrying.complete(call())
    assert (answer.deployment, [other.deployment for other in answer.tries]) == ("eu", ["us", "eu"])
    assert calls_of(clients) == {"us": 1, "eu": 2}


@pytest.mark.anyio
async def test_closing_closes_every_member() -> None:
    """Each client is closed with the pool."""
    pool, clients = pool_of({"us": "a", "eu": "b"})
    await pool.aclose()
    assert all(client.closed for client in clients.values())


# Strategies


def deployments(weights: Mapping[str, float]) -> list[Deployment]:
    return [Deployment(Member(name, ScriptedClient({}), weight=w)) for name, w in weights.items()]


@given(
    st.lists(st.floats(0.1, 10.0), min_size=1, max_size=6),
    st.integers(0, 2**32),
)
@settings(max_examples=30, deadline=None)
def test_weights_are_kept(weights: list[float], seed: int) -> None:
    """Each gets its share of 2,000 calls, within five standard deviations."""
    among = deployments({str(i): weight for i, weight in enumerate(weights)})
    choose = chooser("weighted", Random(seed), FakeClock())
    calls = 2_000
    counts = Counter(choose.choose(among).member.name for _ in range(calls))
    for deployment in among:
        share = deployment.member.weight / sum(weights)
        spread = 5.0 * (calls * share * (1.0 - share)) ** 0.5 + 1.0
        assert abs(counts[deployment.member.name] - calls * share) <= spread


def test_in_turn_a_dead_one_burdens_all_others_alike() -> None:
    """Its calls do not all fall to the next in line."""
    among = deployments({"dead": 1.0, "a": 1.0, "b": 1.0})
    choose = chooser("round_robin", Random(1), FakeClock())
    counts: Counter[str] = Counter()
    for _ in range(300):
        chosen = choose.choose(among)
        if chosen.member.name == "dead":
            chosen = choose.choose(among[1:])
        counts[chosen.member.name] += 1
    assert counts == {"a": 150, "b": 150}


def test_least_busy_is_measured_by_weight() -> None:
    """Of two with calls in flight the one with fewer for its weight is chosen."""
    small, large = deployments({"small": 1.0, "large": 4.0})
    choose = chooser("least_busy", Random(1), FakeClock())
    counts: Counter[str] = Counter()
    for _ in range(100):
        chosen = choose.choose([small, large])
        chosen.in_flight += 1
        counts[chosen.member.name] += 1
    assert counts == {"large": 80, "small": 20}


def test_idle_ones_take_turns() -> None:
    """Least busy does not rush to the first when all are idle."""
    among = deployments({"a": 1.0, "b": 1.0, "c": 1.0})
    choose = chooser("least_busy", Random(1), FakeClock())
    assert {choose.choose(among).member.name for _ in range(3)} == {"a", "b", "c"}


@pytest.mark.parametrize("others", [0, 1, 5])
def test_fastest_prefers_the_quicker_of_two(others: int) -> None:
    """The slowest of all is chosen only when it is alone."""
    among = deployments({"slow": 1.0} | {f"quick-{i}": 1.0 for i in range(others)})
    for deployment in among:
        deployment.note_latency(9.0 if deployment.member.name == "slow" else 1.0, 0.0)
    choose = chooser("fastest", Random(1), FakeClock())
    chosen = {choose.choose(among).member.name for _ in range(200)}
    assert ("slow" in chosen) is (others == 0)


def test_fastest_counts_calls_in_flight() -> None:
    """A quick one that is crowded is slower than a slow one that is idle."""
    quick, slow = deployments({"quick": 1.0, "slow": 1.0})
    quick.note_latency(1.0, 0.0)
    slow.note_latency(3.0, 0.0)
    quick.in_flight = 5
    assert chooser("fastest", Random(1), FakeClock()).choose([quick, slow]) is slow


def test_a_latency_peak_counts_at_once_and_fades() -> None:
    """One slow answer is believed; later quick ones bring it down slowly."""
    (one,) = deployments({"one": 1.0})
    one.note_latency(1.0, 0.0)
    one.note_latency(8.0, 1.0)
    assert one.load(1.0) == 8.0
    one.note_latency(1.0, 1.0 + TAU_S)
    assert 3.0 < one.load(1.0 + TAU_S) < 4.0
    assert one.load(1.0 + 20 * TAU_S) < 1e-6


def test_an_unknown_one_is_tried_with_one_call_at_a_time() -> None:
    """Idle it is the first choice; with its first call in flight the last."""
    (one,) = deployments({"one": 1.0})
    assert one.load(0.0) == 0.0
    one.in_flight = 1
    assert one.load(0.0) > 1e5


@pytest.mark.anyio
async def test_failing_at_once_is_not_quick() -> None:
    """A deployment that only fails does not draw the calls of the others."""
    pool, clients = pool_of(
        {"broken": failed("broken"), "slow": "b"}, strategy="fastest", clock=FakeClock()
    )
    for _ in range(20):
        try:
            await pool.complete(call())
        except ServerFailed:
            assert pool._deployments[0].load(0.0) == FAILED_S
    assert len(clients["broken"].calls) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("error", [refused("us"), failed("us", RequestRefused)], ids=repr)
async def test_what_says_nothing_of_a_deployment_is_not_measured(error: ProviderError) -> None:
    """Neither a refusal of ours nor a bad request makes it quick or slow."""
    pool, _ = pool_of({"us": error}, strategy="fastest", clock=FakeClock())
    with pytest.raises(type(error)):
        await pool.complete(call())
    assert pool._deployments[0].load(0.0) == 0.0


@pytest.mark.anyio
async def test_cheapest_is_asked_first() -> None:
    """The dearer one serves only while the cheaper takes no calls."""
    dear = Member("dear", ScriptedClient({"m": ["a"]}), price=DEAR)
    cheap = Member("cheap", ScriptedClient({"m": ["b", refused("cheap"), "b"]}), price=CHEAP)
    pool = Pool("both", [dear, cheap], strategy="cheapest")
    names = [(await pool.complete(call())).deployment for _ in range(3)]
    assert names == ["cheap", "dear", "cheap"]


@pytest.mark.anyio
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_no_call_stays_in_flight(strategy: Strategy) -> None:
    """However a call ends, it is no longer counted."""
    said: list[Said] = ["a", failed("us"), refused("us"), "a"]
    members = [Member("us", ScriptedClient({"m": said}), price=CHEAP)]
    pool = Pool("both", members, strategy=strategy)
    for _ in said:
        with contextlib.suppress(ProviderError):
            await pool.complete(call())
    assert pool._deployments[0].in_flight == 0


# Sticky


@pytest.mark.anyio
@pytest.mark.parametrize("sticky", ["tenant", "session"])
async def test_sticky_calls_stay_together(sticky: str) -> None:
    """The calls of one tenant, or of one session, go to one deployment."""
    pool, _ = pool_of({"us": "a", "eu": "b", "asia": "c"}, sticky=sticky)
    of_each = {
        key: {(await pool.complete(call(**{sticky: key}))).deployment for _ in range(5)}
        for key in map(str, range(30))
    }
    assert {len(names) for names in of_each.values()} == {1}
    assert set.union(*of_each.values()) == {"us", "eu", "asia"}


@pytest.mark.anyio
async def test_calls_that_name_no_key_are_spread() -> None:
    """Sticky has nothing to hold on to."""
    pool, clients = pool_of({"us": "a", "eu": "b"}, sticky="session")
    for _ in range(4):
        await pool.complete(call(tenant="not-the-session"))
    assert calls_of(clients) == {"us": 2, "eu": 2}


@pytest.mark.anyio
async def test_a_sticky_call_moves_only_while_its_deployment_is_out() -> None:
    """It goes to the next of its own order, and comes back."""
    home = preferred("acme", deployments({"us": 1.0, "eu": 1.0})).member.name
    other = {"us": "eu", "eu": "us"}[home]
    pool, _ = pool_of({home: ["a", refused(home), "a"], other: "b"}, sticky="tenant")
    names = [(await pool.complete(call(tenant="acme"))).deployment for _ in range(3)]
    assert names == [home, other, home]


@given(
    st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=6, unique=True),
    st.lists(st.text(), min_size=1, max_size=50),
    st.data(),
)
def test_only_the_keys_of_a_removed_deployment_move(
    names: list[str], keys: list[str], data: st.DataObject
) -> None:
    """All others stay where their prompt cache is."""
    before = deployments(dict.fromkeys(names, 1.0))
    gone = data.draw(st.sampled_from(before))
    after = [deployment for deployment in before if deployment is not gone]
    for key in keys:
        home = preferred(key, before)
        if home is not gone:
            assert preferred(key, after) is home


def test_keys_are_shared_out_by_weight() -> None:
    """Of 4,000 keys a weight of 2 in 4 holds half, within 3 %."""
    among = deployments({"us": 1.0, "eu": 2.0, "asia": 1.0})
    counts = Counter(preferred(f"tenant-{i}", among).member.name for i in range(4_000))
    shares = {name: count / 4_000 for name, count in counts.items()}
    assert shares == pytest.approx({"us": 0.25, "eu": 0.5, "asia": 0.25}, abs=0.03)


def test_a_key_stays_in_another_process() -> None:
    """Two servers, and one before and after a restart, send a session to the same deployment."""
    code = (
        "from tests.resilience.test_pool import deployments, preferred\n"
        "among = deployments({'us': 1.0, 'eu': 1.0, 'asia': 1.0})\n"
        "print(''.join(preferred(str(i), among).member.name[0] for i in range(20)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    among = deployments({"us": 1.0, "eu": 1.0, "asia": 1.0})
    here = "".join(preferred(str(i), among).member.name[0] for i in range(20))
    assert done.stdout.strip() == here


# Bad input


@pytest.mark.parametrize(
    ("members", "options", "words"),
    [
        ([], {}, r"of: names no deployment"),
        (["us", "us"], {}, r"of: 'us' is named twice"),
        (["us"], {"strategy": "luckiest"}, r"strategy: 'luckiest' given; allowed: weighted, "),
        (["us"], {"sticky": "user"}, r"sticky: 'user' given; allowed: none, tenant, session"),
        (["us"], {"strategy": "cheapest"}, r"of\[0\]\.price: missing"),
    ],
)
def test_refuses_what_cannot_be_a_pool(
    members: list[str], options: dict[str, Any], words: str
) -> None:
    """At construction, naming the key path and what is allowed."""
    with pytest.raises(ConfigError, match=rf"^providers\.both\.{words}"):
        Pool("both", [Member(name, ScriptedClient({})) for name in members], **options)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan")])
def test_refuses_a_weight_that_is_none(weight: float) -> None:
    """Zero, less, or no number."""
    with pytest.raises(ConfigError, match=r"of\[0\]\.weight"):
        Pool("both", [Member("us", ScriptedClient({}), weight=weight)])


@pytest.mark.anyio
async def test_a_free_member_is_asked_before_waiting_for_a_full_one() -> None:
    """The call does not join the queue of the member that comes first while another has room."""
    held = HeldClient()
    full = Limited(held, CallLimits(concurrent=1), provider="full")
    free = ScriptedClient({"m": ["from the free one"]})
    pool = Pool("p", [Member("full", full, weight=1e9), Member("free", free)], rng=Random(0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(full.complete, call())
        await settle()
        answer = await pool.complete(call())
        tasks.cancel_scope.cancel()
    assert (answer.text, answer.deployment) == ("from the free one", "free")


@pytest.mark.anyio
async def test_when_every_member_is_full_the_call_waits_for_room() -> None:
    """It is answered by the first that has some."""
    held = HeldClient()
    full = [
        Member(name, Limited(held, CallLimits(concurrent=1), provider=name)) for name in ("a", "b")
    ]
    pool = Pool("p", full, rng=Random(0))
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await pool.complete(call()))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
        await settle()
        assert held.in_flight == 2
        for _ in range(3):
            await held.release(reply("done"))
    assert [answer.text for answer in answers] == ["done"] * 3
