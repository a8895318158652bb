"""The generic prior: what it reads, when it is silent, and that its ranks are ranks."""

from __future__ import annotations

import numpy as np
import pytest

from cascade.records import Response, TrafficRow
from scorers.dataset import read_dataset
from scorers.features import OWN_NAMES
from scorers.generic import (
    BY_LOGPROB,
    READ,
    fit_signed,
    fit_weights,
    generic_log,
    rank_answers,
    why_silent,
)


def answers(
    texts: list[str], *, logprobs: bool = False, prompt: str = "What is {} plus {}?"
) -> np.ndarray:
    """Return `OWN_NAMES` of one model's answers to as many sums."""
    rows = [
        TrafficRow(
            id=str(i),
            prompt=prompt.format(i, i + 1),
            responses=[
                Response(
                    model="m",
                    text=text,
                    finish_reason="stop",
                    completion_tokens=len(text) // 4,
                    logprobs=[-0.1, -0.01 * i] if logprobs else None,
                )
            ],
        )
        for i, text in enumerate(texts)
    ]
    return read_dataset(rows, need_score=False).blocks.own[:, 0]


def sums(n: int = 60) -> list[str]:
    """Return worked sums of which every third is wrong and told with doubt."""
    right = "To add {0} and {1} we take {0} + {1} = {2}. The answer is {2}."
    wrong = "I am not sure, but maybe {0} + {1} = {3}, or about {2}? Perhaps {3} in the end."
    return [
        (wrong if i % 3 == 0 else right).format(i, i + 1, 2 * i + 1, 2 * i + 3) for i in range(n)
    ]


def test_the_log_that_ships_can_be_fitted_again() -> None:
    """Questions of ten tasks by two models, right and wrong; the same weights every time."""
    data = generic_log()
    assert len(data.models) == 2
    assert len({name.rpartition("-")[0] for name in data.ids}) == 10
    assert 0.1 < np.nanmean(data.score) < 0.9
    weights = fit_weights()
    assert weights.shape == (len(READ),)
    assert np.isfinite(weights).all()
    fit_weights.cache_clear()
    np.testing.assert_array_equal(weights, fit_weights())


def test_no_weight_has_the_wrong_sign() -> None:
    """A wrong equation or a hedge never speaks for an answer, whatever the labels say."""
    rng = np.random.default_rng(0)
    parts = [rng.uniform(-0.5, 0.5, (40, len(READ))) for _ in range(3)]
    weights = dict(
        zip(READ, fit_signed(parts, [np.round(p.mean(1) + 0.5) for p in parts]), strict=True)
    )
    assert weights["e_wrong"] <= 0
    assert weights["a_hedges"] <= 0
    assert weights["c_marked"] >= 0


def test_doubtful_and_wrong_sums_rank_below_worked_ones() -> None:
    """Without a label."""
    own = answers(sums())
    ranking = rank_answers(own)
    assert ranking is not None
    rank = ranking.rank(own)
    doubtful = np.arange(60) % 3 == 0
    assert rank[doubtful].max() < rank[~doubtful].min()


def test_ranks_are_ranks() -> None:
    """A threshold lets through about its complement, however the looks are distributed."""
    own = answers([f"{'So it is, ' * (i % 17)}{text}" for i, text in enumerate(sums(400))])
    ranking = rank_answers(own)
    assert ranking is not None
    rank = ranking.rank(own)
    assert rank.min() >= 0
    assert rank.max() <= 1
    for share in (0.2, 0.4, 0.6, 0.8):
        assert (rank < share).mean() == pytest.approx(share, abs=0.08)


def test_with_log_probabilities_their_mean_ranks() -> None:
    """Nothing that is read of the text comes near it."""
    ranking = rank_answers(answers(["yes"] * 30, logprobs=True))
    assert ranking is not None
    assert ranking.reads == BY_LOGPROB
    own = answers(["yes"] * 30, logprobs=True)
    assert (np.diff(ranking.rank(own)) <= 0).all()


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (answers(sums(20)), "20 answers; ranks need at least 25"),
        (answers(["five"] * 40), "the median answer is 1 words long"),
        (
            answers(
                ["Well, one could say many things about this matter, and people do so."] * 40,
                prompt="Tell me about {} and {}",
            ),
            "0% of the answers claim something",
        ),
        (np.full((30, len(OWN_NAMES)), np.nan), "0 answers"),
    ],
    ids=["few", "short", "open talk", "none"],
)
def test_it_is_silent_where_there_is_nothing_to_go_by(own: np.ndarray, said: str) -> None:
    """And says why."""
    assert rank_answers(own) is None
    why = why_silent(own)
    assert why is not None
    assert why.startswith(said)
