"""Watches how often near hits are false: some are asked of the ladder all the same and compared.

A plain counter with a test: is the observed rate above what was promised, beyond chance?
"""

from __future__ import annotations

import math

from ..errors import ConfigError

__all__ = ["Audit", "is_beyond"]

CONFIDENCE = 0.95
"""Of the statement that the promise is broken."""


def is_beyond(false: int, n: int, promised: float, confidence: float = CONFIDENCE) -> bool:
    """Return whether `false` of `n` is more than a rate of `promised` explains.

    The exact one-sided binomial test: the lower end of the interval of Clopper and Pearson
    (Biometrika 26, 1934) lies above `promised`.

    >>> is_beyond(1, 100, 0.01), is_beyond(6, 100, 0.01), is_beyond(0, 0, 0.01)
    (False, True, False)
    """
    if not false:
        return False
    below = math.fsum(
        math.comb(n, i) * promised**i * (1.0 - promised) ** (n - i) for i in range(false)
    )
    return 1.0 - below < 1.0 - confidence


class Audit:
    """The near hits that were compared since the threshold last moved.

    Args:
        promised: Share of near hits that may be false, in (0, 1).

    Attributes:
        n: Comparisons since then.
        false: Of these, answers that were not the same.
        total: All comparisons.
        total_false: All that were not the same.
    """

    def __init__(self, promised: float) -> None:
        if not 0.0 < promised < 1.0:
            raise ConfigError(f"cache.near.false_hits: {promised!r} is not between 0 and 1")
        self._promised = promised
        self._highest = 0.0
        self.n = self.false = self.total = self.total_false = 0

    def note(self, p_same: float, same: bool) -> float | None:
        """Take a comparison in; return the threshold to rise to when the promise is broken, else None.

        The new threshold is the highest P(same answer) of a false hit: only surer ones are served.
        """
        self.n += 1
        self.total += 1
        if same:
            return None
        self.false += 1
        self.total_false += 1
        self._highest = max(self._highest, p_same)
        if not is_beyond(self.false, self.n, self._promised):
            return None
        threshold = math.nextafter(self._highest, 2.0)
        self.n = self.false = 0
        self._highest = 0.0
        return threshold
