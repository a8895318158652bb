"""Is compression harmless? Paired tests on prompts that were answered both ways, by kind of task.

The promise: of the prompts that it changes, the compressed ones keep at least `ratio` times the quality
of the plain ones, for every model and kind of task where a variant is allowed, all at once, with the
stated confidence. It is the test of `promise` (betting, Ville's inequality), its p-value being
1 / wealth, with Holm's correction over all variants, models and clusters that were tested. As such a
p-value holds at any time, more rows may be bought and tested again after a look at the result.

Sources: Learn then Test, arXiv:2110.01052; Holm 1979, Scandinavian Journal of Statistics 6, 65-70;
anytime-valid p-values, arXiv:2210.01948, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .promise import growth, rows_needed, wealth

__all__ = ["Case", "CaseVerdict", "decide", "least_pairs"]

Array = NDArray[np.float64]

STAKE = 0.75
"""Half of the wealth goes on this stake. Fixed beforehand, so it costs no confidence; of 0.5 to 0.95 it
needs about the fewest rows for variants that lose between 0 and 2 % of the right answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One variant, model and kind of task: the rows that were asked both ways, in the order of sampling.

    Attributes:
        variant: Name of the variant.
        model: Who answered.
        cluster: Name of the kind of task.
        plain: Quality of the answers to plain prompts, in [0, 1]. Shape (n,).
        compressed: Quality of those to compressed ones. Shape (n,).
        saved: Share of the input tokens that compression saved, over all rows; NaN if not known.
    """

    variant: str
    model: str
    cluster: str
    plain: Array
    compressed: Array
    saved: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseVerdict:
    """What the test says of a case.

    Attributes:
        case: The case.
        harmless: Whether the promise holds, with the confidence that was asked for.
        allowed: Whether it is to be used: harmless, and of the harmless variants there the one that
            saves the most tokens. Two variants were not tested together, so one place has one.
        p: P-value of "it keeps less than that", at any time, before the correction, in (0, 1].
        kept: Quality compressed / plain; NaN where plain is never right.
        more_rows: About how many further rows would do; None: harmless already, or never on rows like
            these.
    """

    case: Case
    harmless: bool
    allowed: bool
    p: float
    kept: float
    more_rows: int | None


def decide(cases: Sequence[Case], *, ratio: float, confidence: float) -> tuple[CaseVerdict, ...]:
    """Return a verdict on every case, in their order.

    Args:
        cases: All that were probed: a case that is left out is a test that was not counted.
        ratio: Share of the plain quality to keep, in (0, 1].
        confidence: That no case is called harmless wrongly, in (0, 1), over the draw of the rows.
    """
    p = [_p_value(case, ratio) for case in cases]
    harmless = _holm(p, 1.0 - confidence)
    best: dict[tuple[str, str], int] = {}
    for i, case in enumerate(cases):
        place = (case.model, case.cluster)
        # Without tokens saved there is nothing to be had for the risk.
        worth_it = harmless[i] and case.saved > 0
        if worth_it and (place not in best or case.saved > cases[best[place]].saved):
            best[place] = i
    return tuple(
        CaseVerdict(
            case=case,
            harmless=harmless[i],
            allowed=best.get((case.model, case.cluster)) == i,
            p=p[i],
            kept=float(case.compressed.mean() / case.plain.mean())
            if len(case.plain) and case.plain.mean() > 0
            else float("nan"),
            more_rows=None
            if harmless[i]
            else _more_rows(case, ratio, 1.0 - (1.0 - confidence) / len(cases)),
        )
        for i, case in enumerate(cases)
    )


def least_pairs(
    tests: int, *, quality: float = 0.85, ratio: float = 0.95, confidence: float = 0.95
) -> int | None:
    """Return about how many pairs a place needs so that anything can be shown, if no answer is lost.

    Args:
        tests: Variants, models and kinds of task together.
        quality: Of the plain answers, in [0, 1].
        ratio: Share of it to keep, in (0, 1].
        confidence: In (0, 1).

    Returns:
        None when no number would do: the plain answers are never right, or all of them must be kept.

    >>> least_pairs(1), least_pairs(4)
    (98, 138)
    """
    if quality <= 0 or ratio >= 1:
        return None
    goal, low, high = tests / (1.0 - confidence), 1, 1
    while _even(high, ratio) < goal:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _even(middle, ratio) >= goal else (middle + 1, high)
    return math.ceil(low / quality)


def _even(right: int, ratio: float) -> float:
    """Return the wealth after so many prompts that were answered right both ways."""
    ones = np.ones(right)
    return wealth(ones, ones, ratio=ratio, tuned=STAKE)


def _p_value(case: Case, ratio: float) -> float:
    return min(1.0, 1.0 / wealth(case.compressed, case.plain, ratio=ratio, tuned=STAKE))


def _holm(p: Sequence[float], level: float) -> list[bool]:
    """Return which nulls are rejected so that P(any of them is true) is at most `level`.

    >>> _holm([0.01, 0.04, 0.03], 0.05)
    [True, False, False]
    """
    rejected = [False] * len(p)
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[i] > level / (len(p) - rank):
            break
        rejected[i] = True
    return rejected


def _more_rows(case: Case, ratio: float, confidence: float) -> int | None:
    if not len(case.plain):
        return None
    speed, _ = growth(case.compressed, case.plain, ratio=ratio)
    needed = rows_needed(speed, confidence)
    return None if needed is None else max(needed - len(case.plain), 1)
