"""Several linear heads over columns of one vector: each column is mapped once, whoever reads it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import native
from .linear_head import LinearHead, slopes
from .weighted_sums import WeightedSums

__all__ = ["LinearBank"]


class LinearBank:
    """Heads that were mostly fitted on the same rows, so that most of their maps are the same.

    Args:
        heads: Each head and where its columns stand in the vector.
    """

    def __init__(self, heads: Sequence[tuple[LinearHead, np.ndarray]]) -> None:
        self.logistic = np.array([head.logistic for head, _ in heads], bool)
        """Whether a head's sum is the log odds of a probability, or else a plain number."""
        maps: dict[tuple[int, bytes, bytes], int] = {}
        knots: list[np.ndarray] = []
        scores: list[np.ndarray] = []
        absent: dict[int, int] = {}
        terms: list[list[tuple[bool, int, float]]] = []  # of each head: (mapped?, which, weight)
        for head, columns in heads:
            read = head.columns
            kept = np.asarray(columns)[read.keep]
            found = []
            for i, column in enumerate(kept.tolist()):
                key = column, read.knots[i].tobytes(), read.scores[i].tobytes()
                if key not in maps:
                    maps[key] = len(maps)
                    knots.append(read.knots[i])
                    scores.append(read.scores[i])
                found.append((True, maps[key], float(head.weights[i])))
            for column, weight in zip(
                kept[read.missing].tolist(), head.weights[len(kept) :].tolist(), strict=True
            ):
                found.append((False, absent.setdefault(column, len(absent)), weight))
            terms.append(found)
        self._source = np.array([column for column, _, _ in maps], np.intp)
        self._absent = np.array(list(absent), np.intp)
        most = max((len(k) for k in knots), default=1)
        self._knots = np.array([_padded(k, most) for k in knots]).reshape(-1, most).T.copy()
        self._scores = np.array([_padded(s, most) for s in scores]).reshape(-1, most).T.copy()
        self._before = np.arange(-len(maps), 0)
        self._flat_knots, self._flat_scores = self._knots.ravel(), self._scores.ravel()
        rise = slopes(self._knots, self._scores)
        self._flat_rise = rise.ravel()
        self._by_map = tuple(part.T.copy() for part in (self._knots, self._scores, rise))
        """Knots, scores and rise, a map a row."""
        self._sums = WeightedSums(
            len(maps) + len(absent),
            [[(i if mapped else i + len(maps), w) for mapped, i, w in found] for found in terms],
            [float(head.bias) for head, _ in heads],
        )

    def flat(self) -> dict[str, np.ndarray]:
        """Return its arrays as `native.BlendRow` wants them."""
        start, fact, weight, bias = self._sums.runs()
        knots, scores, rise = self._by_map
        return {
            "source": self._source.astype(np.int32),
            "absent": self._absent.astype(np.int32),
            "knots": knots,
            "scores": scores,
            "rise": rise,
            "head_start": start,
            "head_fact": fact,
            "head_weight": weight,
            "head_bias": bias,
        }

    def one(self, x: np.ndarray) -> np.ndarray:
        """Return each head's sum for one row.

        Args:
            x: Values, NaN where absent. Float64.
        """
        numbers = self._sums.room()
        known = len(self._source)
        if known:
            self._map(x, numbers[:known])
        if len(self._absent):
            np.isnan(x.take(self._absent), out=numbers[known:-1], casting="unsafe")
        return self._sums.one(numbers)

    def _map(self, x: np.ndarray, mapped: np.ndarray) -> None:
        """Do what `linear_head.place` does."""
        x.take(self._source, out=mapped, mode="clip")
        missing = np.isnan(mapped)
        np.maximum(mapped, self._knots[0], out=mapped)
        np.minimum(mapped, self._knots[-1], out=mapped)
        below = np.add.reduce((mapped >= self._knots).view(np.uint8), axis=0, dtype=np.uint8)
        # NaN is above no knot: it counts from the end, and is replaced below
        at = below.astype(np.intp)
        at *= len(mapped)
        at += self._before
        mapped -= self._flat_knots.take(at)
        mapped *= self._flat_rise.take(at)
        mapped += self._flat_scores.take(at)
        np.copyto(mapped, 0.0, where=missing)

    def rows(self, x: np.ndarray) -> np.ndarray:
        """Return each head's sum for many rows.

        Args:
            x: Values, a row of the array a column: shape (width, n), float64.

        Returns:
            Shape (heads, n).
        """
        facts = np.empty((len(self._source) + len(self._absent), x.shape[1]))
        for i, column in enumerate(self._source.tolist()):
            if native.map_values is not None:
                knots, scores, rise = self._by_map
                native.map_values(x[column], knots[i], scores[i], rise[i], facts[i])
                continue
            values = x[column]
            facts[i] = np.interp(values, self._knots[:, i], self._scores[:, i])
            facts[i][np.isnan(values)] = 0.0
        for i, column in enumerate(self._absent.tolist(), len(self._source)):
            facts[i] = np.isnan(x[column])
        return self._sums.rows(facts)


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(np.asarray(values, np.float64), (0, length - len(values)), mode="edge")
