# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""`scorers.blend` for one row in compiled code.

Bounds are not checked at each step: `check` looks, once, that every index stays within its array, and
`one` that what it is given has the lengths that it was checked for.
"""

from libc.math cimport INFINITY, isnan, log, tanh
from libc.stdint cimport int32_t, uint8_t, uint16_t
from libc.float cimport DBL_MAX

import numpy as np

__all__ = ["BlendRow", "map_values"]


cdef inline double sigmoid(double z) noexcept nogil:
    return 0.5 * (1.0 + tanh(0.5 * z))


cdef inline double between(double low, double value, double high) noexcept nogil:
    """Return a value brought into a range; NaN stays NaN."""
    return low if value < low else high if value > high else value


cdef inline Py_ssize_t last_below(
    double value, const double *knots, Py_ssize_t k
) noexcept nogil:
    """Return the last knot that is at most `value`, which is not below the first; without a branch on it."""
    cdef Py_ssize_t low = 0, half
    while k > 1:
        half = k >> 1
        low += half if knots[low + half] <= value else 0
        k -= half
    return low


def map_values(
    const double[:] values,
    const double[::1] knots,
    const double[::1] scores,
    const double[::1] rise,
    double[::1] out,
):
    """Write what a column's map makes of many values: `linear_head.place` for one column.

    Args:
        values: NaN where absent. Shape (n,).
        knots: Ascending. Shape (k,), k >= 1.
        scores: What they are mapped to. Shape (k,).
        rise: From each knot to the next. Shape (k,).
        out: NaN becomes 0. Shape (n,).
    """
    cdef Py_ssize_t i, at, n = values.shape[0], k = knots.shape[0]
    cdef double value
    if k < 1 or scores.shape[0] != k or rise.shape[0] != k or out.shape[0] != n:
        raise ValueError("arrays do not fit together")
    with nogil:
        for i in range(n):
            value = values[i]
            if isnan(value):
                out[i] = 0.0
                continue
            value = between(knots[0], value, knots[k - 1])
            at = last_below(value, &knots[0], k)
            out[i] = (value - knots[at]) * rise[at] + scores[at]


cdef class BlendRow:
    """All judgements of a `Blend` over one vector.

    Args:
        width: Length of the vector.
        parts: Arrays by name, as `blend.flat_parts` makes them.

    Raises:
        ValueError: An index reaches beyond its array.
    """

    cdef Py_ssize_t width, texts, heads, models, judgements
    cdef double limit, text_low, text_high, low, high
    # Linear heads: the map of each column, and their weighted sums.
    cdef const int32_t[::1] source, absent, head_start, head_fact
    cdef const double[:, ::1] knots, scores, rise
    cdef const double[::1] head_weight, head_bias
    # Trees: every split once, and by tree which of them strike out which leaves.
    cdef const int32_t[::1] split_column, model_start, tree_start, tree_split, leaf_start
    cdef const uint8_t[::1] split_missing, plain
    cdef const double[::1] split_threshold, leaves
    cdef const uint16_t[::1] tree_strikes
    # Judgements: weighted sums of log odds, and their calibration.
    cdef const int32_t[::1] term_start, term_odds, step_start
    cdef const double[::1] term_weight, bias, up, down, offset, share, step_knots, step_values
    # Room for one row.
    cdef double[::1] row, facts, odds
    cdef uint8_t[::1] above

    def __init__(self, Py_ssize_t width, dict parts):
        self.width = width
        (self.limit, self.text_low, self.text_high, self.low, self.high) = parts["limits"]
        self.source, self.absent = parts["source"], parts["absent"]
        self.knots, self.scores, self.rise = parts["knots"], parts["scores"], parts["rise"]
        self.head_start, self.head_fact = parts["head_start"], parts["head_fact"]
        self.head_weight, self.head_bias = parts["head_weight"], parts["head_bias"]
        self.split_column, self.split_missing = parts["split_column"], parts["split_missing"]
        self.split_threshold = parts["split_threshold"]
        self.model_start, self.tree_start = parts["model_start"], parts["tree_start"]
        self.tree_split, self.tree_strikes = parts["tree_split"], parts["tree_strikes"]
        self.leaf_start, self.leaves = parts["leaf_start"], parts["leaves"]
        self.plain = parts["plain"]
        self.term_start, self.term_odds = parts["term_start"], parts["term_odds"]
        self.term_weight, self.bias = parts["term_weight"], parts["bias"]
        self.up, self.down, self.offset = parts["up"], parts["down"], parts["offset"]
        self.share, self.step_start = parts["share"], parts["step_start"]
        self.step_knots, self.step_values = parts["step_knots"], parts["step_values"]
        self.heads = len(parts["head_bias"])
        self.models = len(parts["model_start"]) - 1
        self.texts = parts["texts"]
        self.judgements = len(parts["bias"])
        self.check()
        self.row = np.empty(max(1, width))
        self.facts = np.empty(max(1, self.source.shape[0] + self.absent.shape[0]))
        self.odds = np.empty(max(1, self.heads + self.models + self.texts))
        self.above = np.empty(max(1, self.split_column.shape[0]), np.uint8)

    cdef check(self):
        cdef Py_ssize_t maps = self.source.shape[0], splits = self.split_column.shape[0]
        shapes = [
            (self.knots.shape[0], maps), (self.scores.shape[0], maps), (self.rise.shape[0], maps),
            (self.scores.shape[1], self.knots.shape[1]), (self.rise.shape[1], self.knots.shape[1]),
            (self.head_weight.shape[0], self.head_fact.shape[0]),
            (self.split_missing.shape[0], splits), (self.split_threshold.shape[0], splits),
            (self.tree_strikes.shape[0], self.tree_split.shape[0]),
            (self.leaf_start.shape[0], self.tree_start.shape[0]),
            (self.plain.shape[0], self.heads + self.models),
            (self.term_weight.shape[0], self.term_odds.shape[0]),
            (self.step_values.shape[0], self.step_knots.shape[0]),
            (self.up.shape[0], self.judgements), (self.down.shape[0], self.judgements),
            (self.offset.shape[0], self.judgements), (self.share.shape[0], self.judgements),
        ]
        if maps and self.knots.shape[1] < 1:
            raise ValueError("a column is mapped by no knots")
        if any(given != wanted for given, wanted in shapes):
            raise ValueError("arrays do not fit together")
        _within("source", self.source, self.width)
        _within("absent", self.absent, self.width)
        _within("head_fact", self.head_fact, maps + self.absent.shape[0])
        _within("split_column", self.split_column, self.width)
        _within("tree_split", self.tree_split, splits)
        _within("term_odds", self.term_odds, self.heads + self.models + self.texts)
        _runs("head_start", self.head_start, self.heads, self.head_fact.shape[0])
        _runs("model_start", self.model_start, self.models, self.tree_start.shape[0] - 1)
        _runs("tree_start", self.tree_start, self.tree_start.shape[0] - 1, self.tree_split.shape[0])
        _runs("leaf_start", self.leaf_start, self.leaf_start.shape[0] - 1, self.leaves.shape[0])
        _runs("term_start", self.term_start, self.judgements, self.term_odds.shape[0])
        _runs("step_start", self.step_start, self.judgements, self.step_knots.shape[0])
        cdef Py_ssize_t tree
        for tree in range(self.tree_start.shape[0] - 1):
            splits = self.tree_start[tree + 1] - self.tree_start[tree]
            if self.leaf_start[tree + 1] - self.leaf_start[tree] != splits + 1 or splits > 15:
                raise ValueError("a tree has another number of leaves than its splits make")

    def one(self, const double[::1] x, const double[::1] texts, double[::1] out):
        """Write a probability a judgement.

        Args:
            x: Values, NaN where absent. Shape (width,).
            texts: Sums of the text heads. Shape (texts,).
            out: Where the probabilities go. Shape (judgements,).
        """
        if x.shape[0] != self.width or texts.shape[0] != self.texts:
            raise ValueError("the vector has another length")
        if out.shape[0] != self.judgements:
            raise ValueError("there is no room for the judgements")
        self.judge(x, texts, out)

    cdef void judge(self, const double[::1] x, const double[::1] texts, double[::1] out) noexcept:
        self.map_columns(x)
        self.sum_heads()
        self.decide_splits(x)
        self.sum_trees()
        self.limit_odds(texts)
        self.weigh(out)

    cdef void map_columns(self, const double[::1] x) noexcept:
        """Do what `linear_head.place` does: each column to its score, NaN to 0."""
        cdef Py_ssize_t i, low, maps = self.source.shape[0], k = self.knots.shape[1]
        cdef double value
        for i in range(maps):
            value = x[self.source[i]]
            if isnan(value):
                self.facts[i] = 0.0
                continue
            value = between(self.knots[i, 0], value, self.knots[i, k - 1])
            low = last_below(value, &self.knots[i, 0], k)
            self.facts[i] = (value - self.knots[i, low]) * self.rise[i, low] + self.scores[i, low]
        for i in range(self.absent.shape[0]):
            self.facts[maps + i] = isnan(x[self.absent[i]])

    cdef void sum_heads(self) noexcept:
        cdef Py_ssize_t head, i
        cdef double total
        for head in range(self.heads):
            total = self.head_bias[head]
            for i in range(self.head_start[head], self.head_start[head + 1]):
                total += self.facts[self.head_fact[i]] * self.head_weight[i]
            self.odds[head] = total

    cdef void decide_splits(self, const double[::1] x) noexcept:
        cdef Py_ssize_t i
        cdef double value
        for i in range(self.split_column.shape[0]):
            value = x[self.split_column[i]]
            if isnan(value):
                if self.split_missing[i] == 0:
                    value = INFINITY
                elif self.split_missing[i] == 1:
                    value = -INFINITY
                else:
                    value = 0.0
            elif value > DBL_MAX:
                value = DBL_MAX
            self.above[i] = value > self.split_threshold[i]

    cdef void sum_trees(self) noexcept:
        """Do what `forest` does: strike out what no walk reaches; the first leaf left is where it ends."""
        cdef Py_ssize_t model, tree, i, leaf
        cdef unsigned int struck
        cdef double total
        for model in range(self.models):
            total = 0.0
            for tree in range(self.model_start[model], self.model_start[model + 1]):
                struck = 0
                for i in range(self.tree_start[tree], self.tree_start[tree + 1]):
                    struck |= self.above[self.tree_split[i]] * <unsigned int>self.tree_strikes[i]
                leaf = self.leaf_start[tree]
                while struck & 1:
                    struck >>= 1
                    leaf += 1
                total += self.leaves[leaf]
            self.odds[self.heads + model] = total

    cdef void limit_odds(self, const double[::1] texts) noexcept:
        """Bring sums to log odds that count; what is no log odds becomes it."""
        cdef Py_ssize_t i, first = self.heads + self.models
        cdef double p
        for i in range(first):
            if self.plain[i]:
                p = between(self.low, self.odds[i], self.high)
                self.odds[i] = log(p / (1.0 - p))
            self.odds[i] = between(-self.limit, self.odds[i], self.limit)
        for i in range(self.texts):
            p = between(self.text_low, texts[i], self.text_high)
            self.odds[first + i] = log(p / (1.0 - p))

    cdef void weigh(self, double[::1] out) noexcept:
        """Do what `Calibration` does with the weighed log odds."""
        cdef Py_ssize_t i, k, first, last, low, high, middle
        cdef double z, raw, q, p, step
        for i in range(self.judgements):
            z = self.bias[i]
            for k in range(self.term_start[i], self.term_start[i + 1]):
                z += self.odds[self.term_odds[k]] * self.term_weight[k]
            raw = sigmoid(z)
            q = between(self.low, raw, self.high)
            p = sigmoid(self.up[i] * log(q) - self.down[i] * log(1.0 - q) + self.offset[i])
            first, last = self.step_start[i], self.step_start[i + 1]
            if last > first:
                low, high = first, last
                while low < high:
                    middle = (low + high) >> 1
                    if raw >= self.step_knots[middle]:
                        low = middle + 1
                    else:
                        high = middle
                if low == first:
                    step = self.step_values[first]
                elif low == last:
                    step = self.step_values[last - 1]
                else:
                    step = (self.step_values[low] - self.step_values[low - 1]) / (
                        self.step_knots[low] - self.step_knots[low - 1]
                    )
                    step = self.step_values[low - 1] + step * (raw - self.step_knots[low - 1])
                p = (1.0 - self.share[i]) * p + self.share[i] * step
            out[i] = p


cdef _within(str name, const int32_t[::1] numbers, Py_ssize_t end):
    cdef Py_ssize_t i
    for i in range(numbers.shape[0]):
        if not 0 <= numbers[i] < end:
            raise ValueError(f"{name}: {numbers[i]} is not below {end}")


cdef _runs(str name, const int32_t[::1] starts, Py_ssize_t count, Py_ssize_t end):
    cdef Py_ssize_t i
    if count < 0 or starts.shape[0] != count + 1 or starts[0] != 0 or starts[count] != end:
        raise ValueError(f"{name}: runs do not cover their array")
    for i in range(count):
        if starts[i] > starts[i + 1]:
            raise ValueError(f"{name}: a run ends before it begins")
