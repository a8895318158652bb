"""LightGBM models read as lists of splits and leaves, where they are small and plain enough for that."""

from __future__ import annotations

from dataclasses import dataclass

import lightgbm as lgb

__all__ = ["LEFT", "MAX_LEAVES", "RIGHT", "ZERO", "PlainModel", "PlainModels", "PlainTree"]

MAX_LEAVES = 16
"""Models with larger trees are not read: LightGBM itself is quick with few large trees."""

RIGHT, LEFT, ZERO = range(3)
"""Where a missing value goes: right, left, or where 0 goes."""

# LightGBM's `decision_type`: two bits, then how missing values are told.
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_ZERO_IS_MISSING, _NAN_IS_MISSING = 1, 2


@dataclass(frozen=True, slots=True)
class PlainTree:
    """One tree.

    Attributes:
        splits: (feature, threshold, where missing values go, bits of the leaves on its left); a
            value above the threshold goes right.
        leaves: Values of the leaves from the left to the right.
    """

    splits: tuple[tuple[int, float, int, int], ...]
    leaves: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PlainModel:
    """One model.

    Attributes:
        booster: The model itself.
        logistic: Whether its sum of leaves is the log odds of a probability, or a plain number.
        trees: Its trees; None if some are too large or not plain.
    """

    booster: lgb.Booster
    logistic: bool
    trees: tuple[PlainTree, ...] | None


class PlainModels:
    """Models that have been read, so that each is read once."""

    def __init__(self) -> None:
        self._known: dict[int, PlainModel] = {}
        self._shapes: dict[tuple[str, str], _Shape] = {}

    def read(self, booster: lgb.Booster) -> PlainModel:
        """Return a model, read from LightGBM's text for it."""
        found = self._known.get(id(booster))
        if found is None:
            head, _, rest = booster.model_to_string().partition("\nTree=0\n")
            logistic = "\nobjective=cross_entropy" in head
            found = PlainModel(booster, logistic, self._trees(rest.partition("end of trees")[0]))
            self._known[id(booster)] = found
        return found

    def _trees(self, text: str) -> tuple[PlainTree, ...] | None:
        trees = []
        for block in text.split("\nTree="):
            fields = dict(line.split("=", 1) for line in block.split("\n") if "=" in line)
            tree = self._tree(fields)
            if tree is None:
                return None
            trees.append(tree)
        return tuple(trees)

    def _tree(self, fields: dict[str, str]) -> PlainTree | None:
        count = int(fields["num_leaves"])
        plain = fields.get("num_cat", "0") == "0" and fields.get("is_linear", "0") == "0"
        if not plain or count > MAX_LEAVES:
            return None
        values = [float(v) for v in fields["leaf_value"].split()]
        if count == 1:
            return PlainTree((), (values[0],))
        kinds = [int(kind) for kind in fields["decision_type"].split()]
        if any(kind & _CATEGORICAL or kind >> 2 == _ZERO_IS_MISSING for kind in kinds):
            return None
        key = fields["left_child"], fields["right_child"]
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = _shape(*key)
        features, thresholds = fields["split_feature"].split(), fields["threshold"].split()
        splits = [
            (int(features[node]), float(thresholds[node]), _missing(kinds[node]), strikes)
            for node, strikes in shape.strikes
        ]
        return PlainTree(tuple(splits), tuple([values[leaf] for leaf in shape.leaves]))


@dataclass(frozen=True, slots=True)
class _Shape:
    """How a tree branches: (node, bits of the leaves on its left), and the leaves' numbers in order."""

    strikes: list[tuple[int, int]]
    leaves: list[int]


def _shape(left_child: str, right_child: str) -> _Shape:
    left, right = ([int(c) for c in side.split()] for side in (left_child, right_child))
    leaves: list[int] = []
    strikes: list[tuple[int, int]] = []

    def visit(node: int) -> None:
        if node < 0:
            leaves.append(~node)
            return
        first = len(leaves)
        visit(left[node])
        strikes.append((node, (1 << len(leaves)) - (1 << first)))
        visit(right[node])

    visit(0)
    return _Shape(strikes, leaves)


def _missing(kind: int) -> int:
    if kind >> 2 != _NAN_IS_MISSING:
        return ZERO
    return LEFT if kind & _DEFAULT_LEFT else RIGHT
