"""Off-policy estimates: right on average, and refused where they would be guesses."""

from __future__ import annotations

import numpy as np
import pytest

from cascade.replay.holes import Steps, estimate


def explored(n: int, epsilon: float, seed: int, *, value: bool) -> tuple[Steps, float]:
    """A log of one step: the policy's action is taken with probability 1 - epsilon; right where it is easy."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n)
    takes = rng.random(n) < 1 - epsilon
    reward = (np.where(takes, hard, hard + 0.5) < 0.7).astype(float)
    weight = np.where(takes, 1 / (1 - epsilon), 0.0)[:, None]
    model = (hard < 0.7).astype(float)[:, None] if value else None
    return Steps(weight=weight, reward=reward, value=model), 0.7


@pytest.mark.parametrize("value", [False, True], ids=["snips", "doubly robust"])
def test_estimates_are_right_on_average(value: bool) -> None:
    """Within their interval of the truth."""
    steps, truth = explored(4_000, 0.3, 0, value=value)
    found = estimate(steps)
    assert found.refused is None
    assert found.snips == pytest.approx(truth, abs=0.03)
    assert found.ips == pytest.approx(truth, abs=0.03)
    assert (found.doubly_robust is not None) is value
    assert found.interval is not None
    assert found.interval[0] < truth < found.interval[1]


def test_a_good_model_narrows_the_interval() -> None:
    """That is what the doubly robust estimate is for."""
    widths = []
    for value in (False, True):
        interval = estimate(explored(2_000, 0.8, 1, value=value)[0]).interval
        assert interval is not None
        widths.append(interval[1] - interval[0])
    assert widths[1] < widths[0]


def test_too_little_overlap_is_refused() -> None:
    """With the number that was missing."""
    steps, _ = explored(200, 0.9, 0, value=True)
    found = estimate(steps)
    assert found.snips is None
    assert found.refused is not None
    assert "at least 100 needed" in found.refused
