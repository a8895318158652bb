"""Many trees at once, and one row through LightGBM: the same sums as LightGBM's own prediction."""

from __future__ import annotations

from collections.abc import Callable

import lightgbm as lgb
import numpy as np
import pytest

from scorers.boost_head import fit_boost
from scorers.fast_booster import FastBooster
from scorers.forest import Forest
from scorers.plain_trees import PlainModels

pytestmark = pytest.mark.usefixtures("either_way")

WIDTH = 14


def rows(n: int, seed: int = 0) -> np.ndarray:
    """Rows with missing values, whole numbers, and a column that tells by being absent alone."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, WIDTH))
    x[:, ::4] = np.round(x[:, ::4])
    x[rng.random(x.shape) < 0.1] = np.nan
    x[:, 3] = rng.normal(size=n)  # never missing in training
    x[:, 5] = np.where(rng.random(n) < 0.3, np.nan, 1.0)
    return x.astype(np.float32).astype(np.float64)


def label(x: np.ndarray) -> np.ndarray:
    """What the models learn."""
    known = np.nan_to_num(x)
    z = known[:, 0] + known[:, 3] - known[:, 7] + 2 * np.isnan(x[:, 5])
    return (z + np.random.default_rng(1).normal(size=len(x)) > 0.5).astype(float)


def models() -> list[tuple[lgb.Booster, np.ndarray]]:
    """Small trees of several sizes, some on other columns, one of plain numbers, one too large."""
    x = rows(600)
    y = label(x)
    every, some = np.arange(WIDTH), np.array([7, 5, 3, 0])
    return [
        (fit_boost(x, y, seed=0), every),
        (fit_boost(x[:, some], y, seed=1, leaves=12, trees=30), some),
        (fit_boost(x, y - 0.3, seed=2, difference=True, trees=20), every),
        (fit_boost(x, y, seed=3, leaves=40, trees=10, min_leaf=5), every),
        (fit_boost(x, np.ones(len(x)), seed=4, trees=3), every),  # nothing to split
        (fit_boost(x, y, seed=5, leaves=8, trees=20), every),
    ]


def hard_rows() -> np.ndarray:
    """Rows of another draw, and rows of nothing but missing, infinite, tiny or huge values."""
    x = rows(60, seed=9)
    x[np.random.default_rng(2).random(x.shape) < 0.3] = np.nan
    for i, value in enumerate((np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-36, -1e-36, 1e300, -1e300)):
        x[i] = value
    return x


def by_lightgbm(made: list[tuple[lgb.Booster, np.ndarray]], x: np.ndarray) -> np.ndarray:
    """Raw sums by LightGBM. Shape (models, n)."""
    return np.array([booster.predict(x[:, columns], raw_score=True) for booster, columns in made])


def test_a_row_gets_lightgbms_sums() -> None:
    """Whatever is missing, and whether or not a model is small enough to be read."""
    made, x = models(), hard_rows()
    forest = Forest(made, WIDTH, PlainModels())
    found = np.array([forest.one(row) for row in x]).T
    np.testing.assert_allclose(found, by_lightgbm(made, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [1, 4, 5, 60])
def test_rows_get_lightgbms_sums(n: int) -> None:
    """For few rows and for more."""
    made, x = models(), hard_rows()[:n]
    found = Forest(made, WIDTH, PlainModels()).rows(np.ascontiguousarray(x.T))
    np.testing.assert_allclose(found, by_lightgbm(made, x), rtol=0, atol=1e-12)


def test_a_row_does_not_depend_on_the_others() -> None:
    """Bit by bit."""
    made, x = models(), hard_rows()
    forest = Forest(made, WIDTH, PlainModels())
    whole = forest.rows(np.ascontiguousarray(x.T))
    part = forest.rows(np.ascontiguousarray(x[10:30].T))
    np.testing.assert_array_equal(part, whole[:, 10:30])


def test_it_says_what_is_a_log_odds() -> None:
    """Least squares give plain numbers."""
    forest = Forest(models(), WIDTH, PlainModels())
    assert forest.logistic.tolist() == [True, True, False, True, True, True]


def test_no_models_give_no_sums() -> None:
    """For few labels there are none."""
    forest = Forest([], WIDTH, PlainModels())
    assert forest.one(np.zeros(WIDTH)).shape == (0,)
    assert forest.rows(np.zeros((WIDTH, 9))).shape == (0, 9)


def test_models_are_read_once_and_large_ones_not_at_all() -> None:
    """A second forest of the same models has nothing left to parse."""
    plain, made = PlainModels(), models()
    read = [plain.read(booster) for booster, _ in made]
    assert [model.trees is None for model in read] == [i == 3 for i in range(len(made))]
    assert all(plain.read(booster) is one for (booster, _), one in zip(made, read, strict=True))


@pytest.mark.parametrize(
    ("raw", "change"),
    [(False, lambda z: 1 / (1 + np.exp(-z))), (True, lambda z: z)],
    ids=["probability", "raw sum"],
)
def test_the_single_row_call_gives_what_predict_gives(
    raw: bool, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Also on other columns, and after it was closed."""
    (booster, columns), x = models()[1], hard_rows()
    expected = change(booster.predict(x[:, columns], raw_score=True))
    with FastBooster(booster, columns, raw=raw) as fast:
        found = [fast.predict_one(row) for row in x]
    found_slowly = [fast.predict_one(row) for row in x[:5]]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found_slowly, expected[:5], rtol=0, atol=1e-12)


def test_a_model_of_other_columns_is_refused() -> None:
    """The message says how many are given and read."""
    with pytest.raises(ValueError, match="3 columns given; the model reads 4"):
        FastBooster(models()[1][0], np.arange(3))
