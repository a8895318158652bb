"""Judgements from heads: linear ones, trees and texts, weighed in log odds and calibrated, all at once.

The same as `Stack` and `StateModel` over `HeadSet` compute one by one, for one row without a loop
over heads, and for many rows without reading a column twice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import lightgbm as lgb
import numpy as np

from . import native
from .calibrate import CLIP, Calibration, logit
from .forest import Forest
from .heads import TEXT_RANGE
from .linear_bank import LinearBank
from .linear_head import LinearHead, sigmoid
from .plain_trees import PlainModels
from .weighted_sums import WeightedSums

__all__ = ["Blend", "Judgement"]

_LIMIT = float(logit(np.ones(1))[0])
"""Log odds of a head count up to this: `logit` of 1."""

_NO_TEXTS = np.empty(0)


@dataclass(slots=True, kw_only=True)
class Judgement:
    """What one judgement is made of.

    Attributes:
        bias: Log odds.
        calibration: From the weighed sum to a probability.
        linear: Heads, where their columns stand, and their weights.
        trees: The same of LightGBM models.
        texts: (number of a text head's sum, weight).
    """

    bias: float
    calibration: Calibration
    linear: list[tuple[LinearHead, np.ndarray, float]] = field(default_factory=list)
    trees: list[tuple[lgb.Booster, np.ndarray, float]] = field(default_factory=list)
    texts: list[tuple[int, float]] = field(default_factory=list)


class Blend:
    """Several judgements over one vector.

    Args:
        judgements: What to compute.
        width: Length of the vector.
        plain: What has been read of LightGBM models.
        texts: How many sums of text heads are given besides.
        forest: The trees of exactly these judgements, if they are there already.
    """

    def __init__(
        self,
        judgements: Sequence[Judgement],
        width: int,
        plain: PlainModels,
        *,
        texts: int = 0,
        forest: Forest | None = None,
    ) -> None:
        linear = [(head, columns) for j in judgements for head, columns, _ in j.linear]
        trees = [(model, columns) for j in judgements for model, columns, _ in j.trees]
        self._linear = LinearBank(linear)
        self.forest = forest or Forest(trees, width, plain)
        """The trees."""
        self._first_tree, self._first_text = len(linear), len(linear) + len(trees)
        logistic = np.concatenate([self._linear.logistic, self.forest.logistic])
        self._plain = np.flatnonzero(~logistic)
        size = self._first_text + texts
        terms: list[list[tuple[int, float]]] = []
        heads, models = iter(range(len(linear))), iter(range(len(linear), self._first_text))
        for judgement in judgements:
            of_one = [(next(heads), weight) for _, _, weight in judgement.linear]
            of_one += [(next(models), weight) for _, _, weight in judgement.trees]
            of_one += [(self._first_text + number, w) for number, w in judgement.texts]
            terms.append(of_one)
        self._sums = WeightedSums(size, terms, [judgement.bias for judgement in judgements])
        self._size = size
        calibrations = [judgement.calibration for judgement in judgements]
        self._up = np.array([c.slope + c.skew for c in calibrations])
        self._down = np.array([c.slope - c.skew for c in calibrations])
        self._bias = np.array([c.bias for c in calibrations])
        self._steps = [
            (i, c.blend, c.knots, c.steps, c.knots.tolist(), c.steps.tolist())
            for i, c in enumerate(calibrations)
            if c.blend and len(c.knots)
        ]

        self._texts = texts
        self._compiled = None if native.BlendRow is None else self._compile(width)

    def _compile(self, width: int) -> native.BlendRow | None:
        """Return the same in compiled code; None where LightGBM walks some of the trees."""
        trees = self.forest.flat
        if trees is None:
            return None
        start, odds, weight, bias = self._sums.runs()
        plain = np.zeros(self._first_text, np.uint8)
        plain[self._plain] = 1
        share = np.zeros(len(bias))
        knots: list[list[float]] = [[] for _ in bias]
        steps: list[list[float]] = [[] for _ in bias]
        for i, blend, _, _, knots[i], steps[i] in self._steps:
            share[i] = blend
        return native.BlendRow(
            width,
            {
                **self._linear.flat(),
                **trees,
                "plain": plain,
                "term_start": start,
                "term_odds": odds,
                "term_weight": weight,
                "bias": bias,
                "up": self._up,
                "down": self._down,
                "offset": self._bias,
                "share": share,
                "step_start": np.cumsum([0, *map(len, knots)]).astype(np.int32),
                "step_knots": np.array([x for of_one in knots for x in of_one], np.float64),
                "step_values": np.array([x for of_one in steps for x in of_one], np.float64),
                "texts": self._texts,
                "limits": (_LIMIT, *TEXT_RANGE, *CLIP),
            },
        )

    def one(self, x: np.ndarray, texts: np.ndarray | None = None) -> np.ndarray:
        """Return a probability a judgement for one row.

        Args:
            x: Values, NaN where absent. Shape (width,), float64.
            texts: Sums of the text heads; None for none.
        """
        if self._compiled is not None:
            found = np.empty(len(self._bias))
            said = _NO_TEXTS if texts is None else np.ascontiguousarray(texts)
            self._compiled.one(np.ascontiguousarray(x), said, found)
            return found
        odds = self._sums.room()
        odds[: self._first_tree] = self._linear.one(x)
        odds[self._first_tree : self._first_text] = self.forest.one(x)
        self._limit(odds[: self._first_text])
        if texts is not None:
            _to_odds(texts, odds[self._first_text : -1])
        z = self._sums.one(odds)
        raw = sigmoid(z)
        p = _calibrated(raw, self._up, self._down, self._bias)
        if not self._steps:
            return p
        smooth, before = p.tolist(), raw.tolist()  # plain numbers are quicker one by one
        for i, blend, _, _, knots, steps in self._steps:
            smooth[i] = (1.0 - blend) * smooth[i] + blend * _between(before[i], knots, steps)
        return np.array(smooth)

    def rows(self, x: np.ndarray, texts: np.ndarray | None = None) -> np.ndarray:
        """Return a probability a judgement for many rows.

        Args:
            x: Values, a row of the array a column: shape (width, n), float64.
            texts: Sums of the text heads, shape (texts, n); None for none.

        Returns:
            Shape (judgements, n).
        """
        odds = np.empty((self._size, x.shape[1]))
        odds[: self._first_tree] = self._linear.rows(x)
        odds[self._first_tree : self._first_text] = self.forest.rows(x)
        self._limit(odds[: self._first_text])
        if texts is not None:
            _to_odds(texts, odds[self._first_text :])
        z = self._sums.rows(odds)
        raw = sigmoid(z)
        p = _calibrated(raw, self._up[:, None], self._down[:, None], self._bias[:, None])
        for i, blend, knots, steps, _, _ in self._steps:
            p[i] = (1.0 - blend) * p[i] + blend * np.interp(raw[i], knots, steps)
        return p

    def _limit(self, odds: np.ndarray) -> None:
        """Bring sums to log odds that count, in place; what is no log odds becomes it."""
        if len(self._plain):
            odds[self._plain] = logit(odds[self._plain])
        np.minimum(odds, _LIMIT, out=odds)
        np.maximum(odds, -_LIMIT, out=odds)


def _calibrated(raw: np.ndarray, up: np.ndarray, down: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return the smooth part of `Calibration`, its slope and skew taken together."""
    q = np.minimum(np.maximum(raw, CLIP[0]), CLIP[1])
    return sigmoid(up * np.log(q) - down * np.log(1.0 - q) + bias)


def _to_odds(sums: np.ndarray, out: np.ndarray) -> None:
    """Bring what text heads say to probabilities that count, and these to log odds."""
    p = np.minimum(np.maximum(sums, TEXT_RANGE[0]), TEXT_RANGE[1])
    np.log(p / (1.0 - p), out=out)


def _between(x: float, knots: list[float], steps: list[float]) -> float:
    """Return `np.interp` of one number."""
    at = bisect_right(knots, x) - 1
    if at < 0:
        return steps[0]
    if at >= len(knots) - 1:
        return steps[-1]
    rise = (steps[at + 1] - steps[at]) / (knots[at + 1] - knots[at])
    return steps[at] + rise * (x - knots[at])
