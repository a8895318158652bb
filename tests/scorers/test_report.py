"""What a scorer is said to be worth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scorers.artifact import load
from scorers.dataset import collect, read_dataset
from scorers.report import make_report, more_labels, stage_of
from scorers.training import train

from .. import traffic

PAIR = ("small", "large")


def test_a_scorer_is_held_against_its_baselines(pair_scorer: Path) -> None:
    """It beats the base rate, log-probabilities, length and the prompt alone on fresh rows."""
    model = load(pair_scorer).model
    learned = read_dataset(traffic.rows(210))
    other = read_dataset(traffic.rows(150, seed=4, start=500))
    rows = np.arange(150)
    own, raw = model.own_scores(other, rows)
    report = make_report("fresh", 210, learned, np.arange(210), own, raw, (other, rows))
    small = report.models[0]
    assert (small.name, small.n) == ("small", 150)
    assert small.base_rate == pytest.approx(other.score[:, 0].mean())
    assert small.auroc is not None
    assert small.auroc > 0.85
    assert small.separates
    assert small.auroc_interval is not None
    assert small.auroc_interval[0] < small.auroc < small.auroc_interval[1]
    assert set(small.baselines) == {
        "base rate",
        "mean log-probability",
        "answer length",
        "prompt only (TF-IDF)",
    }
    assert all(b.brier is not None and small.brier < b.brier for b in small.baselines.values())
    assert small.baselines["base rate"].auroc == 0.5
    assert sum(b.n for b in small.reliability) == 150
    said = [b.said for b in small.reliability]
    assert said == sorted(said)
    assert "of every model" in report.verdict
    json.dumps(report.as_json(), allow_nan=False)


def test_noise_is_called_noise() -> None:
    """Scores that say nothing: the verdict says so, and the artifact does too."""
    rng = np.random.default_rng(0)
    data = read_dataset(traffic.rows(200))
    q = rng.random((200, 2)) * 0.2 + 0.4
    report = make_report("noise", 200, data, np.arange(200), q, q)
    assert not any(m.separates for m in report.models)
    assert "nothing separates right from wrong" in report.verdict
    assert "do not set thresholds" in report.verdict


def test_a_model_whose_answers_are_all_alike_is_named() -> None:
    """All right: no AUROC, and no claim that scores separate anything."""
    made = traffic.rows(90)
    for row in made:
        row.responses[1].score = 1.0
    trained = train(collect(made), PAIR, seeds=1)
    small, large = trained.report.models
    assert small.separates
    assert (large.auroc, large.auroc_interval, large.separates) == (None, None, False)
    assert large.baselines["prompt only (TF-IDF)"].brier is None
    assert "right from wrong answers of large" in trained.report.verdict
    assert [m["conclusion"] for m in trained.facts["models"]] == [
        "separates",
        "does not separate",
    ]


def test_rows_of_another_split_are_measured_if_asked_for() -> None:
    """Otherwise the training rows, out of fold, and the report says which."""
    made, held = traffic.rows(60), traffic.rows(50, seed=8, start=300, split="test")
    inside = train(collect(made), PAIR, seeds=1)
    assert "60 training rows" in inside.report.held_out
    outside = train(collect(made), PAIR, seeds=1, held_out=("test", collect(held, split="test")))
    assert outside.report.held_out == "50 rows of split 'test'"
    assert outside.report.models[0].n == 50
    np.testing.assert_array_equal(inside.oof.q, outside.oof.q)


@pytest.mark.parametrize(
    ("labels", "said"),
    [(10, "cold start"), (30, "few labels"), (300, "enough to work with"), (5_000, "settled")],
)
def test_the_stage_is_told_in_words(labels: int, said: str) -> None:
    """By the number of labelled rows."""
    assert said in stage_of(labels)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (10, "15 more labelled rows make a first scorer possible"),
        (50, "+0.03 APGR"),
        (100, "+0.01 APGR"),
        (5_000, "hardly change"),
    ],
)
def test_what_more_labels_would_buy_is_an_estimate(labels: int, said: str) -> None:
    """From the published curve, and said to be one."""
    assert said in more_labels(labels)


def test_the_features_that_matter_are_explained(ladder_scorer: Path) -> None:
    """Shares of gain, SHAP values, and names; from the trees alone."""
    made = [traffic.as_read(row) for row in traffic.rows(210, ("tiny", "small", "large"))]
    from scorers.explain import explain

    model = load(ladder_scorer).model
    found = explain(model, read_dataset(made), np.arange(210), 5)
    assert [f.model for f in found] == ["tiny"] * 5 + ["small"] * 5 + ["large"] * 5
    assert all(0 <= f.gain <= 1 and f.shap >= 0 for f in found)
    small = {f.feature for f in found if f.model == "small"}
    assert small & {"l_min", "l_mean", "c_marked", "a_log_words", "a_log_chars", "a_hedges"}
