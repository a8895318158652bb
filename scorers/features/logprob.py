"""Token log-probabilities to numbers. Absent stays NaN: nothing is invented for a provider that gives none."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import chain
from struct import pack

import numpy as np

from .. import native

__all__ = ["LOGPROB_NAMES", "logprob_features"]

MAX_TOKENS = 4_096
"""Tokens read of a longer answer: its first ones."""

_FLOOR, _CEILING = -1e5, 0.0  # what a provider writes beyond these is brought back to them
_TOP_FLOOR = -50.0
_TIE = 1e-6
_HALF, _TENTH = math.log(0.5), math.log(0.1)
_QUANTILES = (0.01, 0.05, 0.10, 0.25, 0.50, 0.75)

_CHOSEN_NAMES = (
    *("l_mean", "l_sum", "l_min", "l_sd", "l_first", "l_last", "l_first5", "l_last10"),
    *(f"l_q{int(q * 100):02d}" for q in _QUANTILES),
    *("l_below_half", "l_below_tenth", "l_uncertain_run", "l_min_at", "l_n"),
)
_TOP_NAMES = (
    *("t_first_p1", "t_first_p2", "t_first_p3", "t_first_margin", "t_first_entropy"),
    *("t_first_rest", "t_first_rank", "t_entropy_mean", "t_entropy_max", "t_margin_mean"),
    *("t_margin_min", "t_not_top"),
)
LOGPROB_NAMES: tuple[str, ...] = (*_CHOSEN_NAMES, *_TOP_NAMES)

_NO_CHOSEN = (math.nan,) * len(_CHOSEN_NAMES)
_NO_TOP = (math.nan,) * len(_TOP_NAMES)


def logprob_features(
    logprobs: Sequence[float] | None, top: Sequence[Sequence[float]] | None
) -> tuple[float, ...]:
    """Return the values of ``LOGPROB_NAMES``; NaN for what the provider did not give.

    Args:
        logprobs: Natural-log probabilities of the chosen tokens, shape (t,), or None. Values
            that are not finite are left out.
        top: Log-probabilities of the best alternatives of each token, each in descending order,
            ragged (t, <= 20), or None.

    Source: methods 4.3; the quantile vector is Gupta 2024's, arXiv:2404.10136, section 4.
    Cost: O(t log t), about 50 µs for 200 tokens with five alternatives each.
    """
    if not logprobs:
        return (*_NO_CHOSEN, *_NO_TOP)
    read = logprobs[:MAX_TOKENS]
    chosen = _array(read)
    ordered: list[float] = np.sort(chosen).tolist()
    if not (ordered[0] > -math.inf and ordered[-1] < math.inf):  # NaN is sorted to the end
        chosen = chosen[np.isfinite(chosen)]
        if chosen.size == 0:
            return (*_NO_CHOSEN, *_NO_TOP)
        ordered = np.sort(chosen).tolist()
    if ordered[0] < _FLOOR or ordered[-1] > _CEILING:
        chosen = np.clip(chosen, _FLOOR, _CEILING)
        ordered = np.sort(chosen).tolist()
    return (*_chosen_values(chosen, ordered), *(_top_values(chosen, top) if top else _NO_TOP))


def _chosen_values(chosen: np.ndarray, ordered: list[float]) -> tuple[float, ...]:
    """Return the values of ``_CHOSEN_NAMES``; ``ordered`` is ``chosen`` sorted."""
    if native.chosen_values is not None:
        return native.chosen_values(chosen, np.array(ordered), _HALF, _TENTH, _QUANTILES)
    n = len(ordered)
    total = float(np.add.reduce(chosen))
    mean = total / n
    first = chosen[:5].tolist()
    last = chosen[-10:].tolist()
    below_half = bisect_left(ordered, _HALF)
    return (
        mean,
        total,
        ordered[0],
        math.sqrt(max(0.0, float(chosen @ chosen) / n - mean * mean)),
        first[0],
        last[-1],
        sum(first) / len(first),
        sum(last) / len(last),
        *[_quantile(ordered, q * (n - 1)) for q in _QUANTILES],
        below_half / n,
        bisect_left(ordered, _TENTH) / n,
        float(_longest_run((chosen < _HALF).nonzero()[0].tolist())) if below_half else 0.0,
        int(chosen.argmin()) / n,
        math.log1p(n),
    )


def _array(values: Sequence[float]) -> np.ndarray:
    """Return numbers as an array, float64."""
    if native.doubles is not None and isinstance(values, list):
        return native.doubles(values)
    # twice as fast as `np.array`
    return np.frombuffer(pack(f"{len(values)}d", *values))


def _quantile(ordered: list[float], position: float) -> float:
    """Return the value at a fractional position, interpolated linearly (numpy's default)."""
    below = int(position)
    value = ordered[below]
    return value + (ordered[min(below + 1, len(ordered) - 1)] - value) * (position - below)


def _longest_run(positions: list[int]) -> int:
    """Return the length of the longest run of consecutive integers in an ascending list."""
    best = run = 0
    expected = -1
    for position in positions:
        run = run + 1 if position == expected else 1
        expected = position + 1
        best = max(best, run)
    return best


def _top_values(chosen: np.ndarray, top: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return the values of ``_TOP_NAMES``; NaN with fewer than two alternatives."""
    logs = _together(top)
    if logs is None:
        logs = _selected(top)
        if logs is None:
            return _NO_TOP
    if native.top_values is not None:
        return native.top_values(logs, chosen, _TOP_FLOOR, _TIE)
    count, k = logs.shape
    # no probability above 1; the least likely are as good as impossible
    logs = np.minimum(np.maximum(logs, _TOP_FLOOR), 0.0)
    probabilities = np.exp(logs)
    negative_entropy = np.einsum("ij,ij->i", probabilities, logs)
    margin = probabilities[:, 0] - probabilities[:, 1]
    first: list[float] = logs[0].tolist()
    best = logs[:, 0]
    both = count
    if both != len(chosen):
        both = min(both, len(chosen))
        best, chosen = best[:both], chosen[:both]
    own = float(chosen[0]) + _TIE
    # The ufuncs' own reductions: the arrays' methods take a microsecond more each.
    return (
        first[0],
        first[1],
        first[2] if k > 2 else math.nan,
        first[0] - first[1],
        -float(negative_entropy[0]),
        max(0.0, 1.0 - float(np.add.reduce(probabilities[0]))),
        float(sum([value > own for value in first])),
        -float(np.add.reduce(negative_entropy)) / count,
        -float(np.minimum.reduce(negative_entropy)),
        float(np.add.reduce(margin)) / count,
        float(np.minimum.reduce(margin)),
        int(np.count_nonzero(best > chosen + _TIE)) / both,
    )


def _together(top: Sequence[Sequence[float]]) -> np.ndarray | None:
    """Return the alternatives of a response that need no putting in order, without making lists.

    None where a list a token is needed. Shape (t, k), read-only.
    """
    get = getattr(top, "flat", None)
    if get is None or len(top) > MAX_TOKENS:
        return None
    found: tuple[list[float], int] | None = get()
    if found is None or found[1] < 2:
        return None
    logs = _array(found[0]).reshape(-1, found[1])
    descend = np.logical_and.reduce(logs[:, :-1] >= logs[:, 1:], axis=None)
    return logs if descend else None


def _selected(top: Sequence[Sequence[float]]) -> np.ndarray | None:
    """Return as many alternatives as the tokens have; of those with fewer than two, none.

    Shape (t, k); None if nothing is left.
    """
    rows = top[:MAX_TOKENS]
    widths = set(map(len, rows))
    if 0 in widths:
        rows = [row for row in rows if row]
        widths.discard(0)
        if not rows:
            return None
    k = min(widths)
    if len(rows[0]) >= 2:
        k = max(k, 2)  # later tokens with a single alternative are left out
    if k < 2:
        return None
    if len(widths) > 1:
        rows = [row[:k] for row in rows if len(row) >= k]
    flat = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * k)
    return flat.reshape(-1, k)
