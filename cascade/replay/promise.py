"""What a policy may promise: a test on rows that the search has not seen (Learn-then-Test).

The promise: the policy keeps at least `ratio` times the strongest model's quality on traffic like
the log, with a stated confidence over the draw of the rows. It is tested by betting: on each row
one stakes a share of one's wealth on the policy's side of d = ratio x strong - policy. If the
promise were false (mean of d >= 0) the wealth would grow `1 / (1 - confidence)`-fold at any time
with probability 1 - confidence at most (Ville's inequality), whatever the size of the sample.

Sources: Learn then Test, arXiv:2110.01052; betting on bounded means, arXiv:2010.09686. Measured on
these logs (methods page, section 11): empirical Bernstein certifies nothing at such sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Certificate", "certified_ratio", "certify", "growth", "rows_needed", "wealth"]

BETS = tuple((i + 0.5) / 12 for i in range(12))
"""Stakes, as shares of the greatest that cannot ruin; wealth is spread over all of them evenly."""

TUNED_SHARE = 0.5
"""Share of the wealth on the stake that would have grown fastest on the tuning rows."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What the test came to.

    Attributes:
        chosen: Position, in the sequence given, of the last policy certified; None for none.
        wealth: Greatest wealth reached for each policy tested, in the order of testing.
        n: Rows of the test.
        ratio: Of the strongest model's quality.
        confidence: Over the draw of the rows.
    """

    chosen: int | None
    wealth: tuple[float, ...]
    n: int
    ratio: float
    confidence: float


def certify(
    policies: Sequence[Array],
    strong: Array,
    *,
    ratio: float,
    confidence: float,
    tuned: Sequence[float | None] = (),
) -> Certificate:
    """Test policies from the safest on; the last one before the first that fails may promise.

    The order must be fixed before these rows are looked at; then no correction is needed for
    testing several.

    Args:
        policies: Quality of each policy by row, safest policy first. Each of shape (n,).
        strong: Quality of the strongest model on the same rows. Shape (n,).
        ratio: Share of its quality to keep, in (0, 1].
        confidence: In (0, 1).
        tuned: For each policy the stake from `growth` on the tuning rows; may be left out.
    """
    reached: list[float] = []
    chosen: int | None = None
    for i, quality in enumerate(policies):
        stake = tuned[i] if i < len(tuned) else None
        reached.append(float(wealth(quality, strong, ratio=ratio, tuned=stake)))
        if reached[-1] < 1.0 / (1.0 - confidence):
            break
        chosen = i
    return Certificate(
        chosen=chosen,
        wealth=tuple(reached),
        n=len(strong),
        ratio=ratio,
        confidence=confidence,
    )


def wealth(quality: Array, strong: Array, *, ratio: float, tuned: float | None = None) -> float:
    """Return the greatest wealth a bettor reaches who starts with 1 and reads the rows once.

    Args:
        quality: Of the policy, in [0, 1]. Shape (n,).
        strong: Of the strongest model. Shape (n,).
        ratio: In (0, 1].
        tuned: A stake in [0, 1) chosen on other rows, or None.

    >>> round(wealth(np.ones(60), np.ones(60), ratio=0.95), 1)
    6.8
    """
    d = ratio * strong - quality  # in [-1, ratio]
    stakes, shares = list(BETS), [1.0 / len(BETS)] * len(BETS)
    if tuned is not None:
        shares = [share * (1.0 - TUNED_SHARE) for share in shares]
        stakes, shares = [*stakes, tuned], [*shares, TUNED_SHARE]
    logs = [np.cumsum(np.log1p(-(stake / ratio) * d)) for stake in stakes]
    path = sum(
        share * np.exp(np.minimum(log, 700.0)) for share, log in zip(shares, logs, strict=True)
    )
    return float(np.max(path)) if len(d) else 1.0


def growth(quality: Array, strong: Array, *, ratio: float) -> tuple[float, float]:
    """Return the fastest mean growth of log wealth on these rows and the stake it needs.

    On tuning rows it says how safe a promise looks, and how many rows a test of it will take.

    >>> speed, stake = growth(np.ones(4), np.ones(4), ratio=0.95)
    >>> round(speed, 3), round(stake, 2)
    (0.049, 0.96)
    """
    d = ratio * strong - quality
    speeds = [float(np.log1p(-(stake / ratio) * d).mean()) for stake in BETS]
    best = int(np.argmax(speeds))
    return speeds[best], BETS[best]


def rows_needed(speed: float, confidence: float, power: float = 0.84) -> int | None:
    """Return about how many rows a test needs to succeed four times in five; None if it never would.

    The log wealth after n rows is about normal with mean n x speed and variance 2 n x speed.

    >>> rows_needed(0.05, 0.95)
    118
    """
    if speed <= 0:
        return None
    goal, spread = math.log(1.0 / (1.0 - confidence)), power * math.sqrt(2.0 * speed)
    root = (spread + math.sqrt(spread * spread + 4.0 * speed * goal)) / (2.0 * speed)
    return math.ceil(root * root)


def certified_ratio(quality: Array, strong: Array, *, confidence: float) -> float:
    """Return the greatest share of the strongest model's quality that one policy may promise, in [0, 1].

    A lower confidence bound: the ratios that are tested and not rejected begin above it. To 0.001.
    """
    goal = 1.0 / (1.0 - confidence)
    low, high = 0, 1000
    while low < high:
        middle = (low + high + 1) // 2
        if wealth(quality, strong, ratio=middle / 1000) >= goal:
            low = middle
        else:
            high = middle - 1
    return low / 1000
