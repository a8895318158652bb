"""Policies beside thresholds, live: what they ask, when they stop, and what they do when things go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace as changed

from cascade.errors import ConfigError, ServerFailed
from cascade.intake import make_request
from cascade.ladder import Ladder, Rung
from cascade.policies import (
    Agreement,
    CascadeRouting,
    Chain,
    Fixed,
    Induction,
    RandomShare,
    Routing,
    Weighted,
    continuation,
)
from cascade.policy import Policy, State
from cascade.testing import reply
from cascade.types import Attempt, Demand, Score

LADDER = Ladder(
    name="t", rungs=tuple(Rung(model=m, provider="p") for m in ("small", "middle", "large"))
)
COSTS: dict[str, Any] = {
    "models": ("small", "middle", "large"),
    "cost_usd": (0.001, 0.01, 0.1),
    "tradeoff_usd": 1.0,
}


def attempt(rung: int, confidence: float | None = 0.5, **fields: Any) -> Attempt:
    """An answered attempt."""
    made = Attempt(
        rung=rung,
        model=LADDER.rungs[rung].model,
        provider="p",
        verdict="escalated",
        reason="",
        answer=reply(f"answer {rung}"),
        score=Score(confidence=confidence),
    )
    return changed(made, **fields)


def failed(rung: int) -> Attempt:
    """An attempt whose call failed."""
    error = ServerFailed("down", provider="p", model="m")
    return attempt(rung, answer=None, score=None, error=error, verdict="failed")


def state(*attempts: Attempt, forecast: Mapping[int, float] | None = None, **demand: Any) -> State:
    """A state after these attempts."""
    called = {a.rung for a in attempts}
    return State(
        ladder=LADDER,
        attempts=attempts,
        open=tuple(i for i in range(3) if i not in called),
        forecast=forecast or {},
        demand=Demand(**demand),
        request=make_request("x"),
    )


EVERY: list[Policy] = [
    Routing(**COSTS),
    CascadeRouting(**COSTS),
    Induction(
        **COSTS,
        weights={
            (s, j): (0, 0, 0, 1, 0, 0, 0) for s in range(8) for j in range(3) if not s >> j & 1
        },
    ),
    Chain(models=("small", "middle", "large"), accept=(0.8, 0.8)),
    Agreement(models=("small", "middle", "large")),
    Fixed(model="middle"),
    Weighted(models=("small", "large"), weights=(0.5, 0.5)),
    RandomShare(weak="small", strong="large", share=0.5),
]


@pytest.mark.parametrize("policy", EVERY, ids=lambda p: p.version.partition("/")[0])
def test_every_policy_asks_until_something_has_answered(policy: Policy) -> None:
    """However many calls fail, it names an open rung as long as nothing is at hand."""
    attempts: list[Attempt] = []
    for _ in range(3):
        decision = policy.decide(state(*attempts, forecast={0: 0.2, 1: 0.5, 2: 0.9}))
        assert decision.rung is not None
        assert decision.rung not in {a.rung for a in attempts}
        attempts.append(failed(decision.rung))
    assert policy.decide(state(*attempts)).rung is None


@pytest.mark.parametrize("policy", EVERY[:3], ids=lambda p: p.version.partition("/")[0])
def test_without_a_forecast_the_strongest_model_is_asked(policy: Policy) -> None:
    """A scorer that fails must not lower quality."""
    assert policy.decide(state()).rung == 2
    after = policy.decide(state(attempt(2, None)))
    assert after.rung is None
    assert after.accepted


def test_cascade_routing_asks_when_the_gain_exceeds_the_price() -> None:
    """The call must raise the expected quality by more than cost / tradeoff."""
    policy = CascadeRouting(**COSTS)
    asked = policy.decide(state(attempt(0), forecast={0: 0.5, 1: 0.55, 2: 0.65}))
    assert asked.rung == 2, "0.65 - 0.1 beats 0.55 - 0.01 and 0.5"
    stopped = policy.decide(state(attempt(0), forecast={0: 0.6, 1: 0.605, 2: 0.65}))
    assert stopped.rung is None
    assert stopped.accepted


def test_routing_never_looks_at_an_answer() -> None:
    """One call, whatever comes of it."""
    policy = Routing(**COSTS)
    assert policy.decide(state(forecast={0: 0.5, 1: 0.9, 2: 0.95})).rung == 1
    assert policy.decide(state(attempt(1), forecast={0: 0.5, 1: 0.0, 2: 0.95})).rung is None


def test_min_confidence_forbids_stopping_below_it() -> None:
    """While something can be asked, an answer below the floor is not enough."""
    policy = CascadeRouting(**COSTS)
    seen = state(attempt(0), forecast={0: 0.6, 1: 0.3, 2: 0.3}, min_confidence=0.9)
    assert policy.decide(seen).rung is not None
    chain = Chain(models=("small", "large"), accept=(0.5,))
    assert chain.decide(state(attempt(0, 0.6), min_confidence=0.9)).rung == 2


def test_a_chain_holds_the_surest_answer_against_the_threshold() -> None:
    """The first answer counts again, as the scorer revised it."""
    chain = Chain(models=("small", "middle", "large"), accept=(0.8, 0.8))
    decision = chain.decide(state(attempt(0, 0.5), attempt(1, 0.4), forecast={0: 0.9, 1: 0.4}))
    assert decision.rung is None
    assert decision.accepted
    assert decision.threshold == 0.8


@pytest.mark.parametrize(
    ("said", "rung"), [(1.0, None), (0.0, 2), (float("nan"), 2)], ids=["same", "other", "unknown"]
)
def test_agreement_reads_the_scorers_measure(said: float, rung: int | None) -> None:
    """`same_as_<rung>` of the second answer; what cannot be compared does not agree."""
    policy = Agreement(models=("small", "middle", "large"))
    second = attempt(1, None, score=Score(confidence=None, measures={"same_as_0": said}))
    assert policy.decide(state(attempt(0, None), second)).rung == rung


def test_agreement_takes_a_comparison_of_ones_own() -> None:
    """The function sees the request and both answers."""
    policy = Agreement(
        models=("small", "middle", "large"),
        same=lambda request, a, b: request is not None and a.text != b.text,
    )
    assert policy.decide(state(attempt(0), attempt(1))).rung is None


def test_a_random_share_logs_its_probabilities_and_repeats_itself() -> None:
    """The same request goes the same way; about the stated share goes to the strong model."""
    policy = RandomShare(weak="small", strong="large", share=0.25)
    first = policy.decide(state())
    assert first == policy.decide(state())
    assert first.probabilities == {"call:0": 0.75, "call:2": 0.25}
    asked = [policy.decide(changed(state(), request=make_request(str(i)))).rung for i in range(400)]
    assert 60 <= asked.count(2) <= 140


def test_a_policy_for_other_models_says_so() -> None:
    """The message names the model and the rungs."""
    with pytest.raises(ConfigError, match="'huge'; allowed: small, middle, large"):
        Fixed(model="huge").decide(state())


@pytest.mark.parametrize(
    "make",
    [
        lambda: Routing(models=("a",), cost_usd=(1.0, 2.0), tradeoff_usd=1.0),
        lambda: Routing(models=("a",), cost_usd=(1.0,), tradeoff_usd=0.0),
        lambda: Chain(models=("a", "b"), accept=()),
        lambda: Agreement(models=("a", "a", "b")),
        lambda: Weighted(models=("a", "b"), weights=(0.5, 0.6)),
        lambda: RandomShare(weak="a", strong="b", share=1.5),
    ],
)
def test_numbers_that_do_not_fit_are_refused(make: Any) -> None:
    """At construction, not at the first ask."""
    with pytest.raises(ValueError):
        make()


def test_versions_change_with_the_content() -> None:
    """The log tells two tunings apart."""
    assert Fixed(model="a").version != Fixed(model="b").version
    assert EVERY[0].version.startswith("routing/1-")


def test_a_continuation_is_linear_in_its_features() -> None:
    """Each weight multiplies what `FEATURES` names."""
    p = (0.5, 0.25, 0.75)
    values = [1.0, 0.5, 0.25, 0.5, 0.125, 0.75, 0.25]
    for i, value in enumerate(values):
        assert continuation(p, 0b001, 1, [float(i == k) for k in range(7)]) == value
