"""What labelled pairs say about words: which shared ones mean the same question, which different ones another.

People ask about some things in many ways and mean one thing, and about others in nearly the same words
and mean several. Labels of one's own traffic tell which. Two readings of them, both of word keys of a
pair: a linear model over all keys, and the share of duplicates among the pairs that share a word.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from .pair_text import PromptText

__all__ = ["EVIDENCE", "EVIDENCE_MONOTONE", "Evidence", "EvidenceRows"]

EVIDENCE = (
    "evidence_linear",
    "evidence_shared_best",
    "evidence_shared_mean",
    "evidence_shared_rows",
    "evidence_two_shared_best",
    "evidence_two_shared_rows",
    "evidence_only_worst",
)
EVIDENCE_MONOTONE = (1, 1, 1, 0, 1, 0, 1)

_LEAST_ROWS = 3
_LEAST_WEIGHT = 0.005
_PULL = 2.0
"""Rows of the mean share that every share is mixed with."""
_MOST_WORDS = 14
"""Of a longer text the first so many different content words make keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Fitted word evidence.

    Attributes:
        prior: Share of duplicates in the pairs it was fitted on.
        counts: Key to (duplicates, rows); keys of shared words, of two of them, of differing words.
        weights: Key to its weight in the linear model, log odds.
        bias: Of the linear model.
    """

    prior: float
    counts: Mapping[str, tuple[int, int]]
    weights: Mapping[str, float]
    bias: float

    def features(self, a: PromptText, b: PromptText) -> list[float]:
        """Return the values of `EVIDENCE`."""
        shared, two, only = _counted(a, b)
        weight = self.weights.get
        linear = self.bias + sum([weight(key, 0.0) for key in _linear(a, b)])
        best, mean, rows = self._best(shared)
        best_two, _, rows_two = self._best(two)
        worst = min(
            (p + spread for p, spread, _ in self._shares(only)), default=min(1.0, self.prior + 0.3)
        )
        return [linear, best, mean, rows, best_two, rows_two, worst]

    def _best(self, keys: Iterable[str]) -> tuple[float, float, float]:
        """Return the greatest lower bound, the mean weighted by the root of rows, and the bound's rows."""
        best, rows = self.prior - 0.3, 0
        total = over = 0.0
        for p, spread, n in self._shares(keys):
            if p - spread > best:
                best, rows = p - spread, n
            root = math.sqrt(n)
            total, over = total + root * p, over + root
        return best, total / over if over else self.prior, float(rows)

    def _shares(self, keys: Iterable[str]) -> Iterable[tuple[float, float, int]]:
        counts, pull = self.counts, self.prior * _PULL
        for key in keys:
            found = counts.get(key)
            if found is not None:
                p = (found[0] + pull) / (found[1] + _PULL)
                yield p, math.sqrt(p * (1.0 - p) / (found[1] + _PULL)), found[1]


class EvidenceRows:
    """Labelled pairs with their keys, read once to be fitted on several parts of them.

    Args:
        pairs: Cached and asked prompts.
        same: Whether they are duplicates. Shape (n,), bool.
    """

    def __init__(self, pairs: Sequence[tuple[PromptText, PromptText]], same: np.ndarray) -> None:
        from scipy.sparse import csr_matrix

        self._same = same
        self._counted = [_counted(a, b) for a, b in pairs]
        number: dict[str, int] = {}
        self._linear = [
            [number.setdefault(key, len(number)) for key in dict.fromkeys(_linear(a, b))]
            for a, b in pairs
        ]
        self._keys = list(number)
        ends = np.cumsum([0, *(len(row) for row in self._linear)])
        indices = np.array([i for row in self._linear for i in row], np.int32)
        shape = (len(self._linear), max(1, len(number)))
        self._matrix = csr_matrix((np.ones(len(indices)), indices, ends), shape=shape)

    def fit(self, learn: np.ndarray) -> Evidence:
        """Fit on some of the rows.

        Args:
            learn: Which; of both classes. Shape (n,), bool.
        """
        from sklearn.linear_model import LogisticRegression

        counts: dict[str, list[int]] = {}
        for i in np.flatnonzero(learn).tolist():
            same = int(self._same[i])
            for keys in self._counted[i]:
                for key in keys:
                    found = counts.setdefault(key, [0, 0])
                    found[0] += same
                    found[1] += 1
        matrix = self._matrix[learn]
        columns = np.flatnonzero(np.asarray(matrix.sum(0)).ravel() >= _LEAST_ROWS)
        weights: dict[str, float] = {}
        bias = 0.0
        if len(columns):
            model = LogisticRegression(C=0.2, max_iter=200, solver="liblinear", random_state=0)
            model.fit(matrix[:, columns], self._same[learn])
            bias = round(float(model.intercept_[0]), 4)
            weights = {
                self._keys[column]: round(weight, 4)
                for column, weight in zip(columns.tolist(), model.coef_[0].tolist(), strict=True)
                if abs(weight) >= _LEAST_WEIGHT
            }
        return Evidence(
            prior=round(float(self._same[learn].mean()), 4),
            counts={key: (same, n) for key, (same, n) in counts.items() if n >= _LEAST_ROWS},
            weights=weights,
            bias=bias,
        )


def _counted(a: PromptText, b: PromptText) -> tuple[list[str], list[str], list[str]]:
    ours, theirs = dict.fromkeys(a.content), dict.fromkeys(b.content)
    shared = sorted([s for s in ours if s in theirs][:_MOST_WORDS])
    only = [s for s in ours if s not in theirs] + [s for s in theirs if s not in ours]
    return (
        ["=" + s for s in shared],
        ["=" + x + " " + y for x, y in combinations(shared, 2)],
        ["/" + s for s in only[:_MOST_WORDS]],
    )


def _linear(a: PromptText, b: PromptText) -> list[str]:
    ours, theirs = dict.fromkeys(a.stems), dict.fromkeys(b.stems)
    shared = [s for s in ours if s in theirs]
    only_a = [s for s in ours if s not in theirs][:_MOST_WORDS]
    only_b = [s for s in theirs if s not in ours][:_MOST_WORDS]
    keys = ["=" + s for s in shared[: 2 * _MOST_WORDS]]
    keys += ["/" + s for s in only_a]
    keys += ["/" + s for s in only_b]
    keys += ["~" + x + " " + y if x < y else "~" + y + " " + x for x in only_a for y in only_b]
    twos = set(pairwise(a.stems))
    keys += ["+" + x + " " + y for x, y in pairwise(b.stems) if (x, y) in twos]
    content = sorted([s for s in dict.fromkeys(a.content) if s in theirs][:_MOST_WORDS])
    keys += ["=" + x + " " + y for x, y in combinations(content, 2)]
    return keys
