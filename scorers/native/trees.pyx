# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""`scorers.forest` for many rows, in compiled code: a tree at a time, each split once over all rows."""

from libc.float cimport DBL_MAX
from libc.stdint cimport int32_t, uint16_t

import numpy as np

__all__ = ["TreeRows", "rank_values"]

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define first_left(struck) __builtin_ctz(~(unsigned int)(struck))
    #else
    static int first_left(unsigned int struck) {
        int leaf = 0;
        while (struck & 1u) { struck >>= 1; leaf++; }
        return leaf;
    }
    #endif

    /* Sixteen rows at once where the processor can: chosen when the program is loaded. */
    #if defined(__GNUC__) && defined(__x86_64__) && defined(__linux__)
    __attribute__((target_clones("avx2", "default")))
    #endif
    void strike_out(
        unsigned short *struck, const unsigned short *rank, unsigned short most,
        unsigned short strike, Py_ssize_t n
    ) {
        for (Py_ssize_t i = 0; i < n; i++)
            struck[i] |= rank[i] > most ? strike : 0;
    }
    """
    int first_left(unsigned int struck) noexcept nogil
    void strike_out(
        uint16_t *struck, const uint16_t *rank, uint16_t most, uint16_t strike, Py_ssize_t n
    ) noexcept nogil


def rank_values(
    const double[:] values, double missing, const double[::1] thresholds, uint16_t[::1] out
):
    """Write how many thresholds are below each value.

    Args:
        values: NaN where absent. Shape (n,).
        missing: What an absent value counts as.
        thresholds: Ascending, fewer than 65,536. Shape (k,).
        out: Shape (n,).
    """
    cdef Py_ssize_t i, low, half, size, n = values.shape[0], k = thresholds.shape[0]
    cdef double value
    if out.shape[0] != n:
        raise ValueError("there is no room for the ranks")
    with nogil:
        for i in range(n):
            value = values[i]
            if value != value:
                value = missing
            elif value > DBL_MAX:
                value = DBL_MAX
            low, size = 0, k
            while size > 1:  # without a branch that depends on the value
                half = size >> 1
                low += half if thresholds[low + half - 1] < value else 0
                size -= half
            out[i] = <uint16_t>(low + (1 if k and thresholds[low] < value else 0))


cdef class TreeRows:
    """Models of small trees whose splits compare ranks.

    Args:
        ranked: How many ranked columns there are.
        split_rank: Which of them each split of each tree looks at, a tree after the other. Shape (splits,).
        split_most: Above which rank a row goes right. Shape (splits,).
        strikes: Bits of the leaves that are struck out then. Shape (splits,).
        tree_start: First split of each tree, and the end. Shape (trees + 1,).
        model_start: First tree of each model, and the end. Shape (models + 1,).
        leaf_start: First leaf of each tree, and the end. Shape (trees + 1,).
        leaves: Values of the leaves. Shape (leaves,).

    Raises:
        ValueError: The arrays do not fit together.
    """

    cdef Py_ssize_t ranked, models
    cdef const int32_t[::1] split_rank, tree_start, model_start, leaf_start
    cdef const uint16_t[::1] split_most, strikes
    cdef const double[::1] leaves

    def __init__(
        self, Py_ssize_t ranked, split_rank, split_most, strikes, tree_start, model_start,
        leaf_start, leaves,
    ):
        self.ranked, self.models = ranked, len(model_start) - 1
        self.split_rank, self.split_most, self.strikes = split_rank, split_most, strikes
        self.tree_start, self.model_start = tree_start, model_start
        self.leaf_start, self.leaves = leaf_start, leaves
        cdef Py_ssize_t i, size, splits = self.split_rank.shape[0]
        cdef Py_ssize_t trees = self.tree_start.shape[0] - 1
        starts = [(tree_start, splits), (model_start, trees), (leaf_start, self.leaves.shape[0])]
        for start, end in starts:
            if start[0] != 0 or start[len(start) - 1] != end or (np.diff(start) < 0).any():
                raise ValueError("runs do not cover their array")
        if len(split_most) != splits or len(strikes) != splits or len(leaf_start) != trees + 1:
            raise ValueError("arrays do not fit together")
        for i in range(splits):
            if not 0 <= self.split_rank[i] < ranked:
                raise ValueError("a split looks at no column")
        for i in range(trees):
            size = self.tree_start[i + 1] - self.tree_start[i]
            if self.leaf_start[i + 1] - self.leaf_start[i] != size + 1 or size > 15:
                raise ValueError("a tree has another number of leaves than its splits make")
            for split in range(self.tree_start[i], self.tree_start[i + 1]):
                if self.strikes[split] >> size:
                    raise ValueError("a split strikes out the last leaf")

    def __call__(self, const uint16_t[:, ::1] ranks, double[:, ::1] out):
        """Write each model's sum of leaves.

        Args:
            ranks: How many thresholds are below each row's value, a column a row. Shape (ranked, n).
            out: Where the sums go. Shape (models, n).
        """
        cdef Py_ssize_t i, model, tree, split, n = ranks.shape[1]
        cdef const uint16_t *rank
        cdef const double *values
        cdef double *total
        if ranks.shape[0] != self.ranked or out.shape[0] != self.models or out.shape[1] != n:
            raise ValueError("there is no room for the sums")
        room = np.empty(max(1, n), np.uint16)
        cdef uint16_t[::1] struck_rows = room
        cdef uint16_t *struck = &struck_rows[0]
        if n == 0:
            return
        with nogil:
            for model in range(self.models):
                total = &out[model, 0]
                for i in range(n):
                    total[i] = 0.0
                for tree in range(self.model_start[model], self.model_start[model + 1]):
                    for i in range(n):
                        struck[i] = 0
                    for split in range(self.tree_start[tree], self.tree_start[tree + 1]):
                        rank = &ranks[self.split_rank[split], 0]
                        strike_out(struck, rank, self.split_most[split], self.strikes[split], n)
                    values = &self.leaves[self.leaf_start[tree]]
                    for i in range(n):
                        total[i] += values[first_left(struck[i])]
