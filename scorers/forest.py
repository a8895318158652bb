"""Many small LightGBM models at once: what all of them say of a row, or of many, without walking their trees.

A walk waits for memory at every node: 8 models of 150 trees take 55 µs a row through LightGBM's
call for single rows, and 40 in a batch. Here every split of every tree is decided at once, each one
not taken strikes out the leaves on its left, and the first leaf that is left is the one where a walk
would have ended: 20 µs, and 3 a row in a batch, for the same sums.

Source: Lucchese et al. 2015, QuickScorer, section 3 (a bit a leaf).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import lightgbm as lgb
import numpy as np

from . import native
from .fast_booster import FastBooster
from .plain_trees import PlainModels, PlainTree

__all__ = ["Forest"]

_INSTEAD = (math.inf, -math.inf, 0.0)
"""What a missing value is replaced by, by where it goes."""
_INSTEAD_ROWS = np.array(_INSTEAD)[:, None]
_MOST = float(np.finfo(np.float64).max)
"""No known value is above this, so that only missing ones are above a threshold of infinity."""
_CHUNK = 1 << 15
"""Rows decided together: the bytes of a column stay in the first cache."""

_COMPILED_CHUNK = 1 << 12
"""The same of compiled code, which has two bytes a row of every column, and of one tree, in use."""

_FEW = 4
"""So few rows are decided one by one."""

_Split = tuple[int, int, float]
"""Column, where missing values go, threshold."""


class Forest:
    """Several models over columns of one vector.

    Args:
        models: Each model and where its features stand in the vector.
        width: Length of the vector.
        plain: What has been read of models.
    """

    def __init__(
        self, models: Sequence[tuple[lgb.Booster, np.ndarray]], width: int, plain: PlainModels
    ) -> None:
        self._width = width
        self._trees: list[list[_Tree]] = []
        read_numbers = []
        self._walked: list[tuple[int, lgb.Booster, np.ndarray, FastBooster]] = []
        by_size: dict[int, list[tuple[int, list[_Tree]]]] = {}
        read = [plain.read(booster) for booster, _ in models]
        for number, ((booster, columns), model) in enumerate(zip(models, read, strict=True)):
            if model.trees is None:
                fast = FastBooster(booster, columns, raw=True)
                self._walked.append((number, booster, np.asarray(columns, np.intp), fast))
            else:
                trees = [_placed(tree, columns.tolist()) for tree in model.trees]
                self._trees.append(trees)
                read_numbers.append(number)
                size = max(len(tree.strikes) for tree in trees)
                by_size.setdefault(size, []).append((number, trees))
        self.logistic = np.array([model.logistic for model in read], bool)
        """Whether a model's sum is the log odds of a probability, or else a plain number."""
        # Models that were fitted on the same rows cut a column at the same places.
        known: dict[_Split, int] = {}
        self._groups = [_Group(found, size, known) for size, found in by_size.items()]
        self._source = np.array([missing * width + column for column, missing, _ in known], np.intp)
        self._threshold = np.array([threshold for _, _, threshold in known])
        for group in self._groups:
            group.splits[group.splits < 0] = len(known)
        self._ranks = _ranks(known)
        self._read_numbers = np.array(read_numbers, np.intp)

    @cached_property
    def flat(self) -> dict[str, np.ndarray] | None:
        """Its arrays as `native.BlendRow` wants them; None where LightGBM walks some of the trees."""
        if self._walked:
            return None
        known: dict[_Split, int] = {}
        trees = [tree for of_one in self._trees for tree in of_one]
        numbers = [known.setdefault(split, len(known)) for tree in trees for split in tree.splits]
        return {
            "split_column": np.array([column for column, _, _ in known], np.int32),
            "split_missing": np.array([missing for _, missing, _ in known], np.uint8),
            "split_threshold": np.array([threshold for _, _, threshold in known], np.float64),
            "tree_split": np.array(numbers, np.int32),
            **self._layout,
        }

    @cached_property
    def _layout(self) -> dict[str, np.ndarray]:
        """Where each model's trees, and each tree's splits and leaves, begin; leaves and what strikes them."""
        trees = [tree for of_one in self._trees for tree in of_one]
        sizes = [len(tree.splits) for tree in trees]
        return {
            "model_start": np.cumsum([0, *map(len, self._trees)]).astype(np.int32),
            "tree_start": np.cumsum([0, *sizes]).astype(np.int32),
            "tree_strikes": np.array([s for tree in trees for s in tree.strikes], np.uint16),
            "leaf_start": np.cumsum([0, *(size + 1 for size in sizes)]).astype(np.int32),
            "leaves": np.array([v for tree in trees for v in tree.leaves], np.float64),
        }

    @cached_property
    def _tree_rows(self) -> native.TreeRows:
        """The trees for many rows, in compiled code; its ranked columns are `_ranks`, in their order."""
        place: dict[_Split, tuple[int, int]] = {}
        for at, ((column, missing), (thresholds, _)) in enumerate(self._ranks.items()):
            for rank, threshold in enumerate(thresholds.tolist()):
                place[column, missing, threshold] = at, rank
        splits = [place[s] for of_one in self._trees for tree in of_one for s in tree.splits]
        layout = self._layout
        return native.TreeRows(
            len(self._ranks),
            np.array([at for at, _ in splits], np.int32),
            np.array([rank for _, rank in splits], np.uint16),
            layout["tree_strikes"],
            layout["tree_start"],
            layout["model_start"],
            layout["leaf_start"],
            layout["leaves"],
        )

    def _rows_compiled(self, x: np.ndarray, found: np.ndarray) -> None:
        """Write the sums of the models that have been read, as `rows` wants them."""
        n = x.shape[1]
        for start in range(0, n, _COMPILED_CHUNK):
            some = slice(start, min(start + _COMPILED_CHUNK, n))
            ranks = np.empty((len(self._ranks), some.stop - start), np.uint16)
            for at, ((column, missing), (thresholds, _)) in enumerate(self._ranks.items()):
                native.rank_values(x[column, some], _INSTEAD[missing], thresholds, ranks[at])
            sums = np.empty((len(self._read_numbers), some.stop - start))
            self._tree_rows(ranks, sums)
            found[self._read_numbers, some] = sums

    def one(self, x: np.ndarray) -> np.ndarray:
        """Return each model's sum of leaves for one row. Shape (models,).

        Args:
            x: Values, NaN where absent. Shape (width,), float64.
        """
        found = np.empty(len(self.logistic))
        if self._groups:
            values = np.empty((len(_INSTEAD), self._width))
            np.minimum(x, _MOST, out=values)
            np.copyto(values, _INSTEAD_ROWS, where=np.isnan(x))
            above = np.zeros(len(self._source) + 1, bool)
            np.greater(values.take(self._source), self._threshold, out=above[:-1])
            for group in self._groups:
                found[group.numbers] = group.one(above)
        for number, _, _, fast in self._walked:
            found[number] = fast.predict_one(x)
        return found

    def rows(self, x: np.ndarray) -> np.ndarray:
        """Return each model's sum of leaves for many rows. Shape (models, n).

        Args:
            x: Values, a row of the array a column: shape (width, n), float64.

        Cost: about 0.4 µs a row for 150 trees of 7 leaves.
        """
        n = x.shape[1]
        found = np.zeros((len(self.logistic), n))
        if n <= _FEW:
            for i in range(n):
                found[:, i] = self.one(x[:, i])
            return found
        compiled = native.TreeRows is not None
        if compiled and self._groups:
            self._rows_compiled(x, found)
        for start in range(0, n if self._groups and not compiled else 0, _CHUNK):
            some = slice(start, min(start + _CHUNK, n))
            above: dict[int, tuple[np.ndarray, int]] = {}
            for (column, missing), (thresholds, numbers) in self._ranks.items():
                rank = _rank(x[column, some], missing, thresholds)
                above.update({number: (rank, i) for i, number in enumerate(numbers)})
            for group in self._groups:
                group.rows(above, found[:, some])
        for number, booster, columns, _ in self._walked:
            found[number] = booster.predict(x[columns].T, raw_score=True, num_threads=1)
        return found


class _Tree:
    """A tree whose features are columns of the vector."""

    __slots__ = ("leaves", "splits", "strikes")

    def __init__(self, splits: list[_Split], strikes: list[int], leaves: Sequence[float]) -> None:
        self.splits, self.strikes, self.leaves = splits, strikes, leaves


def _placed(tree: PlainTree, columns: Sequence[int]) -> _Tree:
    splits = [(columns[f], missing, min(t, _MOST)) for f, t, missing, _ in tree.splits]
    return _Tree(splits, [strikes for _, _, _, strikes in tree.splits], tree.leaves)


class _Group:
    """Models whose largest trees have the same number of splits.

    Args:
        models: Number and trees of each.
        size: That number.
        known: Every split of the forest and its number; those of these trees are added.
    """

    def __init__(
        self, models: Sequence[tuple[int, list[_Tree]]], size: int, known: dict[_Split, int]
    ) -> None:
        self.numbers = np.array([number for number, _ in models], np.intp)
        trees = [tree for _, found in models for tree in found]
        self._sizes = [len(tree.splits) for tree in trees]
        lengths = [len(found) for _, found in models]
        self._starts = np.cumsum([0, *lengths[:-1]])
        shape = size, len(trees)
        self.splits = np.full(shape, -1, np.intp)
        """Number of each split, a tree a column; below 0 where a tree has fewer."""
        # the last leaf is never struck, so a split needs a bit
        self._strikes = np.zeros(shape, np.uint8 if size <= 8 else np.uint16)
        leaves = np.zeros((len(trees), size + 1))
        for i, tree in enumerate(trees):
            numbers = [known.setdefault(split, len(known)) for split in tree.splits]
            self.splits[: len(numbers), i] = numbers
            self._strikes[: len(numbers), i] = tree.strikes
            leaves[i, : len(tree.leaves)] = tree.leaves
        self._leaves = leaves.ravel()
        self._offset = np.arange(len(trees)) * (size + 1)
        struck = np.arange(1 << size)
        self._first = np.log2(~struck & (struck + 1)).astype(np.uint8)
        """The first leaf that is left, by which are struck."""

    def one(self, above: np.ndarray) -> np.ndarray:
        """Return each model's sum for one row, of which every split is decided."""
        strikes = above.view(np.uint8).take(self.splits) * self._strikes
        leaf = self._first.take(np.bitwise_or.reduce(strikes, axis=0)) + self._offset
        return np.asarray(np.add.reduceat(self._leaves.take(leaf), self._starts))

    def rows(self, above: dict[int, tuple[np.ndarray, int]], found: np.ndarray) -> None:
        """Add the leaves of some rows; a tree at a time, a byte or two a row and split.

        Args:
            above: Number of a split → rank of each row's value, and the rank that it must be above.
            found: Sums by model. Shape (models, n).
        """
        n = found.shape[1]
        kind = self._strikes.dtype.type
        struck, strike = np.empty((2, n), kind)
        right, value = np.empty(n, bool), np.empty(n)
        went = right.view(np.uint8)
        ends = [*self._starts[1:].tolist(), len(self._sizes)]
        for number, start, end in zip(
            self.numbers.tolist(), self._starts.tolist(), ends, strict=True
        ):
            total = found[number]
            for i in range(start, end):
                size = self._sizes[i]
                struck.fill(0)
                splits, strikes = self.splits[:size, i].tolist(), self._strikes[:size, i].tolist()
                for split, strikes_of_one in zip(splits, strikes, strict=True):
                    rank, most = above[split]
                    np.greater(rank, most, out=right)
                    np.multiply(went, kind(strikes_of_one), out=strike)
                    np.bitwise_or(struck, strike, out=struck)
                leaves = self._leaves[self._offset[i] :].take(self._first[: 1 << size])
                leaves.take(struck, out=value, mode="clip")
                total += value


def _ranks(known: dict[_Split, int]) -> dict[tuple[int, int], tuple[np.ndarray, list[int]]]:
    """Return (column, where missing goes) → ascending thresholds, and the numbers of their splits."""
    found: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for (column, missing, threshold), number in known.items():
        found.setdefault((column, missing), []).append((threshold, number))
    return {
        key: (np.array([t for t, _ in sorted(pairs)]), [number for _, number in sorted(pairs)])
        for key, pairs in found.items()
    }


def _rank(values: np.ndarray, missing: int, thresholds: np.ndarray) -> np.ndarray:
    """Return how many thresholds are below each value. Shape (n,), a byte or two each."""
    value = np.minimum(values, _MOST)
    value[np.isnan(value)] = _INSTEAD[missing]
    kind = np.uint8 if len(thresholds) < 256 else np.uint16
    return np.asarray(np.searchsorted(thresholds, value, "left"), kind)
