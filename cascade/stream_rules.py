"""What a stream does with what a rung says before it is complete: wait, pass it on, or end it. Pure.

The rule of a rung says how its drafts are handled; `judge` decides at a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .errors import ConfigError

__all__ = ["CHECKPOINTS", "StreamRule", "Verdict", "judge", "next_checkpoint"]

CHECKPOINTS = (16, 32, 64, 128)
"""Tokens at which a draft is judged unless a rule says otherwise."""

Handling = Literal["hold", "early", "through"]
Verdict = Literal["wait", "release", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRule:
    """How the drafts of one rung are handled.

    Attributes:
        mode: ``hold``: nothing is passed on before the answer is accepted; ``early``: passed on, or
            ended, at a checkpoint; ``through``: passed on from the first byte, and the answer is final.
        last: What becomes of it where no other rung may be asked after it: ``through``, or as `mode`
            says.
        accept: P(right) in [0, 1] from which a draft is passed on; None: never early.
        reject: P(right) in [0, 1] below which a draft is ended; None: never for its confidence.
        min_logprob: Mean log-probability of the tokens, <= 0, below which a draft is ended; None: never
            for that.
        checkpoints: Tokens at which a draft is judged, rising.

    Raises:
        ConfigError: A value is out of range; names it.
    """

    mode: Handling = "hold"
    last: Literal["through", "as_mode"] = "through"
    accept: float | None = None
    reject: float | None = None
    min_logprob: float | None = None
    checkpoints: tuple[int, ...] = CHECKPOINTS

    def __post_init__(self) -> None:
        for name in ("accept", "reject"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise ConfigError(f"stream.{name}: {value!r} (allowed: a number in [0, 1])")
        if self.accept is not None and self.reject is not None and self.accept <= self.reject:
            raise ConfigError(
                f"stream.reject: {self.reject!r} (allowed: below accept, {self.accept!r})"
            )
        if self.min_logprob is not None and not self.min_logprob <= 0.0:
            raise ConfigError(f"stream.min_logprob: {self.min_logprob!r} (allowed: a number <= 0)")
        rising = all(a < b for a, b in zip(self.checkpoints, self.checkpoints[1:], strict=False))
        if not self.checkpoints or self.checkpoints[0] < 1 or not rising:
            raise ConfigError(
                f"stream.checkpoints: {list(self.checkpoints)!r} "
                "(allowed: whole numbers >= 1, each above the one before)"
            )

    def handling(self, *, is_last: bool) -> Handling:
        """Return how a draft is handled; `is_last`: no other rung may be asked after it."""
        return "through" if is_last and self.last == "through" else self.mode


def next_checkpoint(checkpoints: tuple[int, ...], tokens: int) -> int | None:
    """Return the first checkpoint above `tokens`, or None after the last.

    >>> next_checkpoint((16, 32), 16), next_checkpoint((16, 32), 40)
    (32, None)
    """
    return next((checkpoint for checkpoint in checkpoints if checkpoint > tokens), None)


def judge(rule: StreamRule, confidence: float | None, mean_logprob: float | None) -> Verdict:
    """Return what to do with a draft at a checkpoint.

    Args:
        rule: The rung's.
        confidence: P(the whole will be right) in [0, 1], or None when it cannot be measured.
        mean_logprob: Mean log-probability of its tokens, or None when there are none.

    >>> rule = StreamRule(mode="early", accept=0.9, reject=0.2)
    >>> judge(rule, 0.95, None), judge(rule, 0.5, None), judge(rule, 0.1, None), judge(rule, None, None)
    ('release', 'wait', 'stop', 'wait')
    """
    least = rule.min_logprob
    if least is not None and mean_logprob is not None and mean_logprob < least:
        return "stop"
    if confidence is None:
        return "wait"
    if rule.accept is not None and confidence >= rule.accept:
        return "release"
    return "stop" if rule.reject is not None and confidence < rule.reject else "wait"
