"""The scorer of a ladder: every state, both kinds, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cascade.errors import ScorerError
from cascade.replay import metrics
from scorers.artifact import load
from scorers.dataset import Dataset, TrainingFailed, collect, read_dataset
from scorers.evaluate import auroc, hull_value
from scorers.ladder import LadderModel
from scorers.ladder_choice import donors, pick_models
from scorers.ladder_fit import fit_ladder
from scorers.training import choose_models, train

from .. import traffic

PAIR, THREE = ("small", "large"), ("tiny", "small", "large")


def fresh(models: tuple[str, ...], n: int = 120) -> Dataset:
    """Rows that no scorer of these tests was trained on."""
    return read_dataset(traffic.rows(n, models, seed=9, start=1_000))


@pytest.fixture(params=["pair_scorer", "ladder_scorer"])
def model(request: pytest.FixtureRequest) -> LadderModel:
    """Both kinds of scorer."""
    path: Path = request.getfixturevalue(request.param)
    return load(path).model


def test_every_state_has_probabilities(model: LadderModel) -> None:
    """One number a state, row and model, all in [0, 1]."""
    m = len(model.models)
    data = fresh(model.models, 20)
    q = model.probabilities(data, np.arange(20))
    assert q.shape == (2**m, 20, m)
    assert ((q >= 0) & (q <= 1)).all()


def test_chosen_states_are_filled_in_alike(model: LadderModel) -> None:
    """Asking for some states gives the same numbers there, and NaN elsewhere."""
    data = fresh(model.models, 10)
    whole = model.probabilities(data, np.arange(10))
    some = model.probabilities(data, np.arange(10), [0, 3])
    np.testing.assert_array_equal(some[[0, 3]], whole[[0, 3]])
    assert np.isnan(some[1]).all()


def test_no_rows_have_no_scores(model: LadderModel) -> None:
    """As when all rows of a log were trained on."""
    data = fresh(model.models, 3)
    none = np.zeros(0, np.intp)
    m = len(model.models)
    assert model.probabilities(data, none).shape == (2**m, 0, m)
    assert [x.shape for x in model.own_scores(data, none)] == [(0, m)] * 2


def test_what_was_read_of_texts_serves_again(model: LadderModel) -> None:
    """A later call for the same rows reads no text, and gives the same."""
    data = fresh(model.models, 12)
    read: dict[object, object] = {}
    first = model.probabilities(data, np.arange(12), [1], read)
    assert read
    kept = {key: id(value) for key, value in read.items()}
    np.testing.assert_array_equal(model.probabilities(data, np.arange(12), [1], read)[1], first[1])
    assert {key: id(value) for key, value in read.items()} == kept


def test_rows_do_not_depend_on_each_other(model: LadderModel) -> None:
    """A row scored alone gets what it gets among others."""
    data = fresh(model.models, 40)
    together = model.probabilities(data, np.arange(40))
    alone = model.probabilities(data, np.array([7]))
    np.testing.assert_allclose(alone[:, 0], together[:, 7], rtol=0, atol=1e-12)


def test_the_own_answer_tells_right_from_wrong(model: LadderModel) -> None:
    """On rows never seen, and better than the prompt alone."""
    data = fresh(model.models)
    q = model.probabilities(data, np.arange(len(data)))
    j = model.models.index("small")
    y = data.score[:, j]
    assert auroc(q[1 << j][:, j], y) > 0.85
    assert auroc(q[1 << j][:, j], y) > auroc(q[0][:, j], y)


def test_the_value_of_escalating_follows_the_trust_rule(pair_scorer: Path) -> None:
    """gain = trust x P(strong right) - P(weak right), once weak has answered."""
    model = load(pair_scorer).model
    data = fresh(PAIR, 30)
    q = model.probabilities(data, np.arange(30))
    assert model.trust == 0.25  # 210 rows
    np.testing.assert_array_equal(
        model.value_of_escalating(q, 0, 1), 0.25 * q[1][:, 1] - q[1][:, 0]
    )
    kept = model.keep_weak(q, 0, 1)
    np.testing.assert_array_equal(kept, q[3][:, 0] > q[3][:, 1] + 0.075)


def test_out_of_fold_scores_are_not_those_of_the_fit() -> None:
    """The rows' own scores come from learners that had not seen them."""
    data = read_dataset(traffic.rows(80))
    model, oof = fit_ladder(data, np.arange(80), PAIR, 0, seeds=1)
    q = model.probabilities(data, np.arange(80))
    assert oof.q.shape == q.shape
    assert np.abs(oof.q - q).max() > 0.01
    y = data.score[:, 0]
    assert auroc(oof.q[1][:, 0], y) <= auroc(q[1][:, 0], y) + 0.02


def test_the_same_seed_gives_the_same_scorer() -> None:
    """Bit by bit; another seed gives another."""
    data = read_dataset(traffic.rows(70))
    a = fit_ladder(data, np.arange(70), PAIR, 0, seeds=1)[1]
    b = fit_ladder(data, np.arange(70), PAIR, 0, seeds=1)[1]
    np.testing.assert_array_equal(a.q, b.q)
    other = fit_ladder(data, np.arange(70), PAIR, 1, seeds=1)[1]
    assert np.abs(a.q - other.q).max() > 0


def test_scores_without_texts_use_the_prompt_alone() -> None:
    """A log of scores only: who has answered makes no difference."""
    data = read_dataset(traffic.rows(90, THREE, text=False))
    model, oof = fit_ladder(data, np.arange(90), THREE, 0, seeds=1)
    assert model.readable == (False, False, False)
    q = model.probabilities(data, np.arange(90))
    np.testing.assert_array_equal(q, np.broadcast_to(q[0], q.shape))
    np.testing.assert_array_equal(oof.q, np.broadcast_to(oof.q[0], oof.q.shape))


def test_one_model_without_texts_among_others() -> None:
    """Its answer says nothing, the others' do."""
    made = traffic.rows(90, THREE)
    for row in made:
        row.responses[2].text = None
    data = read_dataset(made)
    model, _ = fit_ladder(data, np.arange(90), THREE, 0, seeds=1)
    assert model.readable == (True, True, False)
    q = model.probabilities(data, np.arange(90))
    np.testing.assert_array_equal(q[0b011], q[0b111])
    np.testing.assert_array_equal(q[0b000], q[0b100])


def test_soft_labels_are_taken() -> None:
    """A judge's grades between 0 and 1."""
    made = traffic.rows(80)
    for row in made:
        for response in row.responses:
            response.score = 0.2 + 0.6 * (response.score or 0.0)
    data = read_dataset(made)
    _, oof = fit_ladder(data, np.arange(80), PAIR, 0, seeds=1)
    assert 0.1 < oof.q.mean() < 0.9
    assert auroc(oof.q[1][:, 0], data.score[:, 0]) > 0.7


def test_a_model_that_is_always_right_is_learned_as_such() -> None:
    """One class for one model is no reason to refuse the others."""
    made = traffic.rows(80)
    for row in made:
        row.responses[1].score = 1.0
    _, oof = fit_ladder(read_dataset(made), np.arange(80), PAIR, 0, seeds=1)
    assert np.isfinite(oof.q).all()
    assert oof.q[:, :, 1].mean() > 0.95


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (traffic.rows(10), "10 of 10 rows have a score of small"),
        ([], "0 of 0 rows have a score of small"),
    ],
    ids=["ten rows", "no rows"],
)
def test_too_few_rows_are_refused(made: list[traffic.TrafficRow], said: str) -> None:
    """The message says how many there are and how many are needed."""
    data = read_dataset(made, PAIR)
    with pytest.raises(TrainingFailed, match=said):
        fit_ladder(data, np.arange(len(data)), PAIR, 0)


def test_one_class_is_refused() -> None:
    """Nothing can be told apart if all are right."""
    made = traffic.rows(40)
    for row in made:
        for response in row.responses:
            response.score = 1.0
    with pytest.raises(TrainingFailed, match="both right answers"):
        fit_ladder(read_dataset(made), np.arange(40), PAIR, 0)


def test_too_many_models_are_refused() -> None:
    """2^7 states are more than a scorer learns."""
    names = tuple("abcdefg")
    with pytest.raises(ScorerError, match="7 models given"):
        fit_ladder(read_dataset([], names), np.arange(0), names, 0)


def test_another_ladder_is_refused(model: LadderModel) -> None:
    """Columns in another order would be scored as other models."""
    data = fresh(tuple(reversed(model.models)), 3)
    with pytest.raises(ScorerError, match="the scorer is for"):
        model.probabilities(data, np.arange(3))


def test_the_default_ladder_lies_on_the_hull() -> None:
    """The cheapest, the best, and what lies on the line between; not what is dearer and worse."""
    rng = np.random.default_rng(0)
    quality = np.array([0.3, 0.55, 0.5, 0.7, 0.8, 0.79, 0.6])
    cost = np.array([1, 2, 3, 5, 10, 20, 9.0])
    score = (rng.random((400, 7)) < quality).astype(float)
    picked = pick_models(score, np.tile(cost, (400, 1)))
    assert picked[0] == 0
    assert 4 in picked
    assert 5 not in picked
    assert 3 <= len(picked) <= 5
    assert [cost[j] for j in picked] == sorted(cost[j] for j in picked)


def test_the_mix_of_models_is_the_one_of_replay() -> None:
    """Scorers may not import it, so there is a small one; the two agree."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        k = int(rng.integers(1, 9))
        cost, quality = rng.integers(0, 6, k) * 1.0, rng.integers(0, 10, k) / 10
        at = np.concatenate([cost, rng.uniform(cost.min(), cost.max() + 1, 4)])
        expected = metrics.hull_value(cost, quality, at)
        np.testing.assert_allclose(hull_value(cost, quality, at), expected, rtol=0, atol=1e-12)


def test_models_are_ordered_by_cost_and_the_unpriced_left_out() -> None:
    """What has no score, or no price where others have one, is named and left out."""
    made = traffic.rows(30, ("large", "small", "tiny"))
    for row in made:
        row.responses[2].cost_usd = None
    choice = choose_models(collect(made), None)
    assert choice.models == ("small", "large")
    assert "left out, no price" in choice.told[0]
    assert "tiny" in choice.told[0]
    assert choose_models(collect(made), ["tiny", "large"]).models == ("tiny", "large")
    with pytest.raises(ScorerError, match="--models: huge not in the log; known: large, small"):
        choose_models(collect(made), ["huge"])


def test_what_is_missing_is_told() -> None:
    """Scores of one model only: the message counts them by model."""
    made = traffic.rows(40)
    for row in made[5:]:
        row.responses[1].score = None
    with pytest.raises(
        TrainingFailed, match=r"5 of 40 rows have a score of large .*small: 40, large: 5"
    ):
        train(collect(made), PAIR)


def test_models_outside_the_ladder_help_in_the_order_of_their_quality() -> None:
    """Nearest in quality first, at most four beside a pair, none that is mostly unscored."""
    rng = np.random.default_rng(0)
    means = [0.5, 0.9, 0.1, 0.45, 0.88, 0.6, 0.7]
    score = (rng.random((400, 7)) < means).astype(float)
    score[:300, 5] = np.nan
    names = list("abcdefg")
    assert donors(names, score, ["a", "b"]) == ["e", "d", "g", "c"]
    assert donors(names[:2], score[:, :2], ["a", "b"]) == []


def test_a_pair_learns_from_further_models_and_is_used_without_them() -> None:
    """The scorer of a pair is asked about rows that hold the pair's answers alone."""
    made = traffic.rows(240, ("tiny", "small", "large"))
    for row in made[::3]:
        row.responses[0].score = None  # the model outside may lack scores
    pair = list(PAIR)
    whole = read_dataset(made)
    alone, _ = fit_ladder(whole.only(pair), np.arange(240), pair, seeds=1)
    helped, _ = fit_ladder(whole, np.arange(240), pair, seeds=1)
    new = read_dataset(traffic.rows(100, PAIR, seed=1, start=1_000))
    q = helped.probabilities(new, np.arange(100))
    assert np.isfinite(q).all()
    assert not np.array_equal(q, alone.probabilities(new, np.arange(100)))
    assert auroc(q[1][:, 0], new.score[:, 0]) > 0.8
