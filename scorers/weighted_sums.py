"""Several weighted sums over one list of numbers, for one row or for many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["WeightedSums"]

_BLOCK = 4_096
"""Rows summed at a time: a few numbers of so many rows stay in the first cache."""


class WeightedSums:
    """Sums of weight times number, plus a bias each.

    No product of matrices: for one row BLAS may wake its threads, and for many the last digits
    of a row would depend on how many others there are.

    Args:
        count: How many numbers there are.
        terms: (which number, weight) of each sum.
        bias: Added to each.
    """

    def __init__(
        self, count: int, terms: Sequence[Sequence[tuple[int, float]]], bias: Sequence[float]
    ) -> None:
        self._terms = terms
        self._bias = list(bias)
        # The biases are weights of a number that is always 1, so no run of products is empty.
        runs = [[*of_one, (count, b)] for of_one, b in zip(terms, bias, strict=True)]
        self._which = np.array([number for run in runs for number, _ in run], np.intp)
        self._weights = np.array([weight for run in runs for _, weight in run], np.float64)
        self._starts = np.cumsum([0, *map(len, runs)])[:-1]
        self._count = count

    def runs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return where each sum's terms begin, the number and the weight of each term, and the biases."""
        sizes = [len(of_one) for of_one in self._terms]
        flat = [term for of_one in self._terms for term in of_one]
        return (
            np.cumsum([0, *sizes]).astype(np.int32),
            np.array([number for number, _ in flat], np.int32),
            np.array([weight for _, weight in flat], np.float64),
            np.array(self._bias, np.float64),
        )

    def room(self) -> np.ndarray:
        """Return where the numbers of one row are to be written, and then a 1. Shape (count + 1,)."""
        numbers = np.empty(self._count + 1)
        numbers[-1] = 1.0
        return numbers

    def one(self, numbers: np.ndarray) -> np.ndarray:
        """Return the sums for one row of numbers, in what `room` gave. Shape (sums,)."""
        if not len(self._starts):
            return np.zeros(0)
        products = numbers.take(self._which)
        products *= self._weights
        return np.asarray(np.add.reduceat(products, self._starts))

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Return the sums for many rows, shape (sums, n); one of the numbers a row of the array."""
        n = numbers.shape[1]
        found = np.zeros((len(self._terms), n))
        product = np.empty(min(n, _BLOCK))
        for start in range(0, n, _BLOCK):
            block = numbers[:, start : start + _BLOCK]
            part = product[: block.shape[1]]
            sums = found[:, start : start + _BLOCK]
            for total, terms, bias in zip(sums, self._terms, self._bias, strict=True):
                for number, weight in terms:
                    np.multiply(block[number], weight, out=part)
                    np.add(total, part, out=total)
                total += bias
        return found
