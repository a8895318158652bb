"""Calibration: monotone, nearer to the truth than raw scores, and always fit to be saved and loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from scorers.calibrate import ISOTONIC_FROM, fit_calibration, isotonic
from scorers.codec import load_fitted, save_fitted
from scorers.evaluate import brier, ece, ece_floor


def overconfident(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return scores that are too extreme, and labels drawn from the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.05, 0.95, n)
    odds = (truth / (1 - truth)) ** 3
    return odds / (1 + odds), (rng.random(n) < truth).astype(float)


@pytest.mark.parametrize("n", [200, ISOTONIC_FROM], ids=["platt", "blended"])
def test_held_out_rows_are_nearer_to_the_truth(n: int) -> None:
    """On rows the map has not seen, Brier score and calibration error are lower than before."""
    raw, y = overconfident(n)
    calibration = fit_calibration(raw, y)
    new, truth = overconfident(4_000, seed=1)
    assert (calibration.blend > 0) == (n >= ISOTONIC_FROM)
    assert brier(calibration(new), truth) < brier(new, truth)
    assert ece(calibration(new), truth) < 0.5 * ece(new, truth)


@pytest.mark.parametrize("n", [200, 3_000])
def test_the_order_of_scores_is_kept(n: int) -> None:
    """A higher score never gets a lower probability."""
    raw, y = overconfident(n)
    grid = np.linspace(0, 1, 2_001)
    assert (np.diff(fit_calibration(raw, y)(grid)) >= 0).all()


def test_one_score_is_calibrated_as_a_column_is() -> None:
    """The quick map of one number equals the map of an array."""
    raw, y = overconfident(2_000)
    calibration = fit_calibration(raw, y)
    for value in (0.0, 0.013, 0.5, 0.97, 1.0):
        assert calibration.one(value) == pytest.approx(float(calibration(np.array([value]))[0]))


def test_blocks_equal_an_independent_implementation() -> None:
    """Pool-adjacent-violators gives the levels, weights and places of scikit-learn's isotonic regression, ties included."""
    rng = np.random.default_rng(3)
    raw = rng.integers(0, 40, 500) / 40.0
    y = (rng.random(500) < raw).astype(float)
    weight = rng.uniform(0.1, 2.0, 500)
    knots, right, size = isotonic(raw, y, weight)
    theirs = IsotonicRegression().fit(raw, y, sample_weight=weight)
    predicted = theirs.predict(raw)
    levels = np.unique(predicted)
    assert (right / size).tolist() == pytest.approx(levels.tolist())
    assert size.tolist() == pytest.approx([weight[predicted == x].sum() for x in levels])
    means = [np.average(raw[predicted == x], weights=weight[predicted == x]) for x in levels]
    assert knots.tolist() == pytest.approx(means)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 7, 1_000_000]))
def test_whatever_was_fitted_has_ascending_knots(seed: int, values: int) -> None:
    """Ties and weights of any size leave no knot below the one before it, by a rounding error either."""
    rng = np.random.default_rng(seed)
    raw = 1.0 - rng.integers(0, values, ISOTONIC_FROM) / values / 3.0
    y = (rng.random(ISOTONIC_FROM) < 0.9).astype(float)
    calibration = fit_calibration(raw, y, rng.choice([1 / 3, 1 / 7], ISOTONIC_FROM))
    assert (np.diff(calibration.knots) >= 0).all()
    assert (np.diff(calibration.steps) >= 0).all()


def test_a_fitted_map_survives_saving(tmp_path: Path) -> None:
    """What was fitted on tied, weighted scores can be loaded again."""
    rng = np.random.default_rng(5)
    raw = np.repeat(rng.random(97), 31)
    y = (rng.random(len(raw)) < raw).astype(float)
    calibration = fit_calibration(raw, y, np.full(len(raw), 1 / 31))
    save_fitted(calibration, tmp_path)
    again = load_fitted(tmp_path)
    assert again(raw).tolist() == calibration(raw).tolist()


def test_by_chance_alone_the_ece_is_what_a_bin_misses_its_share_by() -> None:
    """sqrt(2/pi) standard errors of a bin on average; and of sure scores nothing."""
    mean, at_most = ece_floor(np.full(1500, 0.5))
    standard_error = 0.5 / np.sqrt(1500 / 15)
    assert mean == pytest.approx(np.sqrt(2 / np.pi) * standard_error, rel=0.05)
    assert mean < at_most < 2 * mean
    assert ece_floor(np.array([0.0, 1.0] * 50)) == (0.0, 0.0)
