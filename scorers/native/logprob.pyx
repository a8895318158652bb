# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""`scorers.features.logprob` in compiled code: the same measures, in one pass each."""

from cpython.float cimport PyFloat_AsDouble
from libc.math cimport NAN, exp, log1p, sqrt

import numpy as np

__all__ = ["chosen_values", "doubles", "top_values"]


def doubles(list values):
    """Return a list of numbers as an array.

    Raises:
        TypeError: One of them is no number.
    """
    cdef Py_ssize_t i, n = len(values)
    found = np.empty(n)
    cdef double[::1] out = found
    for i in range(n):
        out[i] = PyFloat_AsDouble(values[i])
    return found


cdef Py_ssize_t below(const double[::1] ordered, double limit) noexcept:
    """Return how many of ascending values are less than a limit."""
    cdef Py_ssize_t low = 0, high = ordered.shape[0], middle
    while low < high:
        middle = (low + high) >> 1
        if ordered[middle] < limit:
            low = middle + 1
        else:
            high = middle
    return low


def chosen_values(
    const double[::1] chosen,
    const double[::1] ordered,
    double half,
    double tenth,
    tuple quantiles,
):
    """Return the values of `features.logprob._CHOSEN_NAMES`.

    Args:
        chosen: Log-probabilities of the tokens, at least one, finite. Shape (t,).
        ordered: The same, ascending.
        half: Log of a half.
        tenth: Log of a tenth.
        quantiles: Which ones, in [0, 1].
    """
    cdef Py_ssize_t i, n = chosen.shape[0], least = 0, run = 0, longest = 0, at
    cdef Py_ssize_t firsts = min(n, 5), lasts = min(n, 10)
    cdef double total = 0.0, squares = 0.0, first = 0.0, last = 0.0, mean, place, value
    if n == 0 or ordered.shape[0] != n:
        raise ValueError("there are no tokens, or not the same ones in order")
    for i in range(n):
        value = chosen[i]
        total += value
        squares += value * value
        if value < chosen[least]:
            least = i
        run = run + 1 if value < half else 0
        longest = max(longest, run)
    for i in range(firsts):
        first += chosen[i]
    for i in range(n - lasts, n):
        last += chosen[i]
    mean = total / n
    cdef double spread = squares / n - mean * mean
    cuts = []
    for quantile in quantiles:
        place = <double>quantile * (n - 1)
        at = <Py_ssize_t>place
        value = ordered[at]
        cuts.append(value + (ordered[min(at + 1, n - 1)] - value) * (place - at))
    return (
        mean,
        total,
        ordered[0],
        sqrt(spread) if spread > 0.0 else 0.0,
        chosen[0],
        chosen[n - 1],
        first / firsts,
        last / lasts,
        *cuts,
        <double>below(ordered, half) / n,
        <double>below(ordered, tenth) / n,
        <double>longest,
        <double>least / n,
        log1p(n),
    )


def top_values(const double[:, ::1] logs, const double[::1] chosen, double least, double tie):
    """Return the values of `features.logprob._TOP_NAMES`.

    Args:
        logs: Log-probabilities of the alternatives of each token, descending. Shape (count, k), k >= 2.
        chosen: Of the tokens themselves. Shape (t,).
        least: What is less likely counts as this.
        tie: Differences up to this are none.
    """
    cdef Py_ssize_t i, j, count = logs.shape[0], k = logs.shape[1]
    cdef Py_ssize_t both = min(count, chosen.shape[0]), elsewhere = 0, above = 0
    cdef double value, p, best, second, entropy, entropies = 0.0, most = 0.0, margins = 0.0
    cdef double narrowest = 0.0, first_entropy = 0.0, first_sum = 0.0
    cdef double first[3]
    if both == 0 or k < 2:
        raise ValueError("there are no alternatives")
    for i in range(count):
        entropy = 0.0
        best = second = 0.0
        for j in range(k):
            value = logs[i, j]
            value = least if value < least else 0.0 if value > 0.0 else value
            p = exp(value)
            entropy -= p * value
            if j == 0:
                best = p
                if i < both and value > chosen[i] + tie:
                    elsewhere += 1
            elif j == 1:
                second = p
            if i == 0:
                first_sum += p
                if j < 3:
                    first[j] = value
                if value > chosen[0] + tie:
                    above += 1
        if i == 0:
            first_entropy = entropy
            narrowest = best - second
        entropies += entropy
        most = max(most, entropy)
        margins += best - second
        narrowest = min(narrowest, best - second)
    return (
        first[0],
        first[1],
        first[2] if k > 2 else NAN,
        first[0] - first[1],
        first_entropy,
        max(0.0, 1.0 - first_sum),
        <double>above,
        entropies / count,
        most,
        margins / count,
        narrowest,
        <double>elsewhere / both,
    )
