"""Token buckets: so much a second on average, and no more than a burst at once."""

from __future__ import annotations

__all__ = ["TokenBucket"]


class TokenBucket:
    """A level that fills at `per_s` up to `burst`, and from which calls take.

    Over any t seconds, what was taken is <= burst + per_s · t. One taking larger than the burst waits
    for a full bucket and leaves a debt: the bound then holds from when the debt is paid.

    Args:
        per_s: Filling, units a second, > 0.
        burst: Most that is kept, units, > 0; it starts full.
        now: Reading of the clock that all later ones are of, seconds.
    """

    __slots__ = ("_at", "_burst", "_level", "_per_s")

    def __init__(self, per_s: float, burst: float, now: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._level = burst
        self._at = now

    def has(self, amount: float, now: float) -> bool:
        """Return whether `amount` may be taken now."""
        if now > self._at:
            level = self._level + (now - self._at) * self._per_s
            self._level = level if level < self._burst else self._burst
            self._at = now
        return self._level >= amount or self._level >= self._burst

    def take(self, amount: float) -> None:
        """Take `amount`, once `has` has allowed it; negative: give back what was not used."""
        level = self._level - amount
        self._level = level if level < self._burst else self._burst

    def wait_s(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` may be taken if nobody else takes any; 0: now."""
        if self.has(amount, now):
            return 0.0
        return (min(amount, self._burst) - self._level) / self._per_s

    def filling_s(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` in all, in small takings, may have been taken."""
        self.has(amount, now)
        return max(0.0, amount - self._level) / self._per_s

    def is_full(self, now: float) -> bool:
        """Return whether it is as good as new."""
        return self.has(self._burst, now)
