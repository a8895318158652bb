"""Tuning: goals are met on the tuning rows, refused with numbers where they cannot be, and promised honestly."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from numpy.typing import NDArray

from cascade.errors import ConfigError
from cascade.policies import Chain, Fixed
from cascade.replay import search
from cascade.replay.metrics import Curve, aiq, bootstrap, deferral, hull, lift, saving_at
from cascade.replay.promise import certified_ratio, certify, growth, rows_needed, wealth
from cascade.replay.search import candidates, strongest
from cascade.replay.summary import summarise, summarise_frontier
from cascade.replay.table import Table, make_table
from cascade.replay.tune import Goal, kept_apart, tune
from cascade.replay.walks import outcome, replay_policy

from .tables import ladder_table


def test_a_quality_goal_is_met_at_the_least_cost() -> None:
    """No candidate that keeps the quality is cheaper."""
    table = ladder_table()
    tuned = tune(table, Goal(quality=0.98))
    assert tuned.strongest == "large"
    assert tuned.chosen.quality >= 0.98 * tuned.strongest_quality
    assert tuned.saving is not None
    assert tuned.saving > 0.1
    found = candidates(table, table.models)
    able = [c.cost for c in found if c.quality >= 0.98 * tuned.strongest_quality]
    assert tuned.chosen.cost == pytest.approx(min(able))


def test_the_figures_of_candidates_are_those_of_their_replay() -> None:
    """Also for chains, whose thresholds are all evaluated in one pass."""
    table = ladder_table(150)
    for one in candidates(table, table.models):
        done = outcome(replay_policy(one.policy, table), table)
        assert one.quality == pytest.approx(done.quality.mean(), abs=1e-6)
        assert one.cost == pytest.approx(done.cost.mean(), rel=1e-5)


def test_every_combination_of_thresholds_is_a_candidate() -> None:
    """Of chains of two and of three."""
    table = ladder_table(60)
    chains = [c.policy for c in candidates(table, table.models, families=("chain",))]
    cuts = search.THRESHOLDS
    of_three = {p.accept for p in chains if isinstance(p, Chain) and len(p.models) == 3}
    assert of_three == set(itertools.product(cuts, cuts))


def test_a_budget_buys_the_best_quality_within_it() -> None:
    """And the money-minded trade-off spends less than the quality-minded one."""
    table = ladder_table()
    assert tune(table, Goal(budget_usd=8e-4)).chosen.cost <= 8e-4
    poor, rich = (tune(table, Goal(tradeoff_usd=t)).chosen for t in (1e-4, 1.0))
    assert poor.cost < rich.cost
    assert poor.quality < rich.quality


@pytest.mark.parametrize(
    ("goal", "told"),
    [
        (Goal(quality=1.5), "out of reach.*the best kept"),
        (Goal(budget_usd=1e-9), "below the cheapest policy's cost of 0.0001"),
    ],
)
def test_a_goal_out_of_reach_names_the_nearest(goal: Goal, told: str) -> None:
    """Refused with numbers."""
    with pytest.raises(ConfigError, match=told):
        tune(ladder_table(), goal)


@pytest.mark.parametrize(
    ("rows", "goal", "confidence"),
    [
        (20, Goal(quality=0.9), None),
        (20, Goal(budget_usd=1.0), 0.95),
        (15, Goal(quality=0.9), 0.95),
    ],
    ids=["no promise", "a budget", "hardly any"],
)
def test_too_few_rows_are_refused(rows: int, goal: Goal, confidence: float | None) -> None:
    """With the plain choice, and how good it was."""
    told = (
        rf"at least 40 are needed.* the plain choice is large alone, the best model of {rows} rows"
    )
    with pytest.raises(ConfigError, match=told):
        tune(ladder_table(rows), goal, confidence=confidence)


@pytest.mark.parametrize("own", [True, False], ids=["a part of the log", "rows named"])
def test_a_promise_on_few_rows_leaves_the_strongest_model(own: bool) -> None:
    """It is the safest policy; about how many rows would do is said."""
    tuned = tune(
        ladder_table(30),
        Goal(quality=0.95),
        confidence=0.95,
        certificate=None if own else ladder_table(50, seed=3),
    )
    assert tuned.chosen.policy == Fixed(model="large")
    assert tuned.n == 30
    promise = tuned.promise
    assert promise is not None
    assert not promise.certified
    assert promise.n == 0
    assert promise.more_rows is not None
    assert promise.more_rows > 100 if own else promise.more_rows == 10
    assert f"about {promise.more_rows} more labelled rows" in promise.text
    assert {point.family for point in tuned.frontier} == {"fixed"}


@pytest.mark.parametrize("count", [{}, {"quality": 0.9, "budget_usd": 1.0}], ids=["none", "two"])
def test_exactly_one_goal(count: dict[str, float]) -> None:
    """Anything else is wrong usage."""
    with pytest.raises(ConfigError, match="goals given"):
        Goal(**count)


def test_a_promise_is_tested_on_rows_the_search_never_saw() -> None:
    """The tuning rows and the certificate's rows are disjoint and make up the log."""
    table = ladder_table(900)
    tuned = tune(table, Goal(quality=0.9), confidence=0.9)
    assert tuned.promise is not None
    assert tuned.promise.certified
    assert tuned.promise.n + tuned.n == 900
    assert tuned.promise.n == kept_apart(table.ids).sum()
    fresh = ladder_table(4_000, seed=9)
    done = outcome(replay_policy(tuned.chosen.policy, fresh), fresh)
    assert done.quality.mean() >= 0.9 * fresh.score[:, 2].mean()


def test_nothing_certified_falls_back_to_the_strongest_model() -> None:
    """It says why, and about how many rows would do."""
    tuned = tune(ladder_table(110), Goal(quality=0.99), confidence=0.99)
    assert tuned.promise is not None
    assert not tuned.promise.certified
    assert tuned.chosen.policy == Fixed(model="large")
    assert "nothing cheaper can promise" in tuned.promise.text


def test_a_scorer_that_knows_nothing_is_called_that() -> None:
    """The plain choice is offered."""
    tuned = tune(ladder_table(informed=False), Goal(quality=0.9))
    assert any("nothing here tells right answers from wrong" in line for line in tuned.advice)


def test_a_best_model_that_is_the_cheapest_needs_no_ladder() -> None:
    """Said in words."""
    table = ladder_table()
    upside = make_table(
        models=table.models, ids=table.ids, score=table.score, cost=table.cost[:, ::-1], q=table.q
    )
    tuned = tune(upside, Goal(quality=1.0))
    assert tuned.chosen.policy == Fixed(model="large")
    assert "the cheapest one" in tuned.advice[0]


def test_all_equal_scores_are_no_trouble() -> None:
    """Every model always right: the cheapest wins."""
    table = ladder_table()
    same = make_table(
        models=table.models, ids=table.ids, score=np.ones((400, 3)), cost=table.cost, q=table.q
    )
    assert tune(same, Goal(quality=1.0)).chosen.cost == pytest.approx(1e-4)
    assert same.models[strongest(same)] == "small"


def test_wealth_passes_its_goal_rarely_when_the_promise_is_false() -> None:
    """At the edge of the null, in at most one of ten runs for 90 %."""
    rng = np.random.default_rng(1)
    runs = 600
    passed = 0
    for _ in range(runs):
        strong = (rng.random(120) < 0.8).astype(float)
        quality = (rng.random(120) < 0.8 * 0.95).astype(float)
        passed += wealth(quality, strong, ratio=0.95) >= 10
    assert passed <= 0.1 * runs


def test_testing_stops_at_the_first_that_fails() -> None:
    """Whatever comes after it."""
    good, bad = np.ones(200), np.zeros(200)
    result = certify([good, bad, good], np.ones(200), ratio=0.9, confidence=0.95)
    assert result.chosen == 0
    assert len(result.wealth) == 2


def test_the_promised_ratio_lies_below_what_was_seen() -> None:
    """And rises with more rows."""
    few, many = np.ones(60), np.ones(600)
    a = certified_ratio(few, few, confidence=0.95)
    b = certified_ratio(many, many, confidence=0.95)
    assert 0.8 < a < b < 1.0
    assert rows_needed(growth(few, few, ratio=0.9)[0], 0.95) is not None
    assert rows_needed(-1.0, 0.95) is None


def test_measures_of_a_random_mix() -> None:
    """The mix of single models has no lift, APGR one half, and saves what its line says."""
    line = Curve(cost=np.array([1.0, 2.0, 3.0]), quality=np.array([0.5, 0.7, 0.9]))
    assert lift(line, line, 2) == pytest.approx(0.0)
    assert saving_at(7 / 9, line, 3.0, 0.9) == pytest.approx(1 - 2 / 3)
    assert aiq(line, 1.0, 3.0) == pytest.approx(0.7)
    assert hull(line.cost, line.quality).tolist() == [0, 2]
    rng = np.random.default_rng(0)
    weak, strong = (rng.random((2, 20_000)) < [[0.5], [0.8]]).astype(float)
    random = deferral(rng.random(20_000), weak, strong)
    assert random.apgr == pytest.approx(0.5, abs=0.02)
    assert np.isnan(deferral(weak, strong, weak).apgr), "no gap, no share of it"


@pytest.mark.parametrize("n", [500, 30_000])
def test_the_interval_covers_what_it_should(n: int) -> None:
    """About ± 1.96 standard errors for a mean, drawn or by the normal limit."""
    values = np.random.default_rng(0).normal(0, 1, (n, 1))
    low, high = bootstrap(values, lambda x: x[:, 0])
    assert (high - low) / 2 == pytest.approx(1.96 / np.sqrt(n), rel=0.1)


def test_a_summary_counts_calls_and_unknowns_apart() -> None:
    """A hole in the log is counted, bounded and never filled."""
    table = ladder_table(200)
    score = table.score.copy()
    score[:50, 2] = np.nan
    holed = make_table(
        models=table.models,
        ids=table.ids,
        score=score,
        cost=table.cost,
        latency=table.latency,
        q=table.q,
        known=~np.isnan(score),
    )
    summary = summarise(Fixed(model="large"), holed, "large")
    assert (summary.n, summary.unknown) == (150, 50)
    assert summary.calls == {"small": 0.0, "middle": 0.0, "large": 1.0}
    assert summary.bounds.high - summary.bounds.low == pytest.approx(0.25)
    assert summary.latency == (1.0, 1.0, 1.0)
    cheap = summarise(Fixed(model="small"), holed, "large")
    assert cheap.unknown == 0
    assert cheap.gap_ci is None, "the strongest model's score is not known on every row"
    assert cheap.saving == pytest.approx(0.95), "but what it costs is"


def test_an_interval_of_many_requests_is_of_what_is_known() -> None:
    """Above 20,000 the means are drawn as normal: what is unknown of another model must not spread."""
    table = ladder_table(20_400)
    cost, score = table.cost.copy(), table.score.copy()
    cost[:300, 2] = score[:300, 2] = np.nan
    holed = make_table(
        models=table.models, ids=table.ids, score=score, cost=cost, known=~np.isnan(score)
    )
    summary = summarise(Fixed(model="small"), holed, "large")
    low, high = summary.quality_ci
    assert low < summary.quality < high
    assert summary.saving is None, "some costs of the strongest model are not known"
    assert summary.gap_ci is None


def test_a_frontier_has_lift_and_savings() -> None:
    """Points by rising cost; the whole measured against the random mix."""
    table, other = ladder_table(), ladder_table(seed=5)
    tuned = tune(table, Goal(quality=0.95))
    points, told = summarise_frontier([c.policy for c in tuned.frontier], other, "large")
    costs = [p.summary.cost for p in points]
    assert costs == sorted(costs)
    assert told["lift"] > 1
    assert set(told["saving_at"]) == {"0.95", "0.99", "1.0"}


def two_models(small: NDArray[np.float64]) -> Table:
    """A large model that is always right, and a small one for a tenth of the money."""
    return make_table(
        models=("small", "large"),
        ids=[f"{len(small)}-{i}" for i in range(len(small))],
        score=np.stack([small, np.ones(len(small))], axis=1),
        cost=np.array([1e-4, 1e-3]) * np.ones((len(small), 1)),
    )


def test_the_order_of_the_log_decides_nothing_about_a_promise() -> None:
    """A log sorted by task begins with the easy one, and the test would win there and stop looking."""
    tuning = two_models((np.arange(200) % 100 > 0).astype(float))
    easy, hard = np.ones(300), (np.arange(200) % 5 < 3).astype(float)
    in_order = two_models(np.concatenate([easy, hard]))  # .84 of the large model's quality
    tuned = tune(tuning, Goal(quality=0.95), confidence=0.9, certificate=in_order)
    assert tuned.promise is not None
    assert not tuned.promise.certified
    assert tuned.chosen.policy == Fixed(model="large")
    mild = two_models((np.arange(500) % 50 > 0).astype(float))  # .98 of it
    kept = tune(tuning, Goal(quality=0.95), confidence=0.9, certificate=mild)
    assert kept.promise is not None
    assert kept.promise.certified


def test_a_question_stands_on_one_side_only_and_counts_once() -> None:
    """Ten rows that ask the same are one draw, whatever their ids are."""
    once = ladder_table(120)
    rows = np.repeat(np.arange(120), 10)
    many = make_table(
        models=once.models,
        ids=[f"copy-{i}" for i in range(1_200)],
        score=once.score[rows],
        cost=once.cost[rows],
        q=once.q[:, rows],  # type: ignore[index]
        same=once.same[rows],  # type: ignore[index]
        asked=[f"question {row}" for row in rows],
    )
    apart = kept_apart(many.asked)
    assert all(len(set(apart[rows == row])) == 1 for row in range(120))
    promise = tune(many, Goal(quality=0.9), confidence=0.9).promise
    assert promise is not None
    assert promise.n == len({a for a, kept in zip(many.asked, apart, strict=True) if kept})


def test_the_nearest_goal_named_can_be_reached() -> None:
    """Digits are rounded so that what the message says is allowed."""
    table = ladder_table()
    for goal, field in ((Goal(quality=1.5), "quality"), (Goal(budget_usd=1e-9), "budget_usd")):
        with pytest.raises(ConfigError) as refused:
            tune(table, goal)
        numbers = re.findall(r"\d+\.\d+(?:e-\d+)?", str(refused.value))
        tune(table, Goal(**{field: float(numbers[-1])}))


def test_holes_do_not_hide_which_model_is_best() -> None:
    """Means are over the rows where a model answered."""
    table = ladder_table()
    score = table.score.copy()
    score[::2, 2] = np.nan
    holes = make_table(models=table.models, ids=table.ids, score=score, cost=table.cost)
    assert strongest(holes) == 2
