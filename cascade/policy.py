"""What to do next: stop, or call any rung not called yet. Policies are pure functions of what was seen.

`Thresholds` walks the ladder in order and stops at the first answer that is sure enough
(FrugalGPT, arXiv:2305.05176, section 3). Any object with the same methods can skip and reorder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from .ladder import Ladder
from .types import Attempt, Demand, Request

__all__ = ["STOP", "Decision", "Policy", "State", "Thresholds"]

STOP = "stop"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All that a policy may look at.

    Attributes:
        ladder: The rungs.
        attempts: What has been tried, in order; failed and skipped rungs included.
        open: Indices of the rungs that may still be called, in the order of the ladder.
        forecast: P(rung j would be right) by rung index, as the scorer said last; empty if unknown.
        demand: What this ask demands.
        request: What is asked; None where a test or a replay has no text.
    """

    ladder: Ladder
    attempts: tuple[Attempt, ...]
    open: tuple[int, ...]
    forecast: Mapping[int, float]
    demand: Demand
    request: Request | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy wants.

    Attributes:
        rung: Index of the rung to call next, or None to stop.
        reason: Why, in words; about the newest attempt when there is one.
        accepted: Whether stopping means that the newest answer was good enough.
        threshold: The confidence the newest answer was held against, in [0, 1]; None if none was.
        probabilities: Probability of every action the policy could have taken, by ``stop`` or
            ``call:<rung>``; empty for certainty. Off-policy evaluation needs them.
    """

    rung: int | None
    reason: str
    accepted: bool = False
    threshold: float | None = None
    probabilities: Mapping[str, float] = {}

    @property
    def action(self) -> str:
        """The action as the log names it."""
        return STOP if self.rung is None else f"call:{self.rung}"


class Policy(Protocol):
    """Decides after every outcome.

    One that knows of a rung that it calls none after it, whatever that answers, may say so by a further
    method ``is_last(state, rung) -> bool``: a stream passes such a rung's answer straight through.
    """

    @property
    def version(self) -> str:
        """Name and version, as the decision log states it."""

    @property
    def needs_forecast(self) -> bool:
        """Whether the scorer is to be asked once before the first call."""

    def decide(self, state: State) -> Decision:
        """Return what to do next. Never names a rung outside `state.open`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Rungs in a fixed order, each accepted from its own confidence upwards.

    Attributes:
        accept: Thresholds by model name that replace the ladder's own; empty to use those.
        order: Rung indices in the order to try; empty for the ladder's order. Rungs left out are
            never called.
        version: What the decision log states.
    """

    accept: Mapping[str, float] = field(default_factory=dict)
    order: Sequence[int] = ()
    version: str = "thresholds/1"

    @property
    def needs_forecast(self) -> bool:
        """A fixed order needs no forecast."""
        return False

    def decide(self, state: State) -> Decision:
        """Stop at the first answer that reaches its threshold; otherwise go on in order.

        An answer whose confidence is unknown is handled as its rung says (`unknown`), and never
        accepted when the ask demands a confidence.
        """
        upcoming = self._next(state)
        if not state.attempts:
            return Decision(rung=upcoming, reason="first of the ladder")
        last = state.attempts[-1]
        if last.verdict in ("failed", "rejected", "skipped"):
            return Decision(rung=upcoming, reason=last.reason)
        rung = state.ladder.rungs[last.rung]
        threshold = _stricter(self.accept.get(rung.model, rung.accept), state.demand.min_confidence)
        confidence = last.confidence
        if confidence is None:
            why = (last.score.why_unknown if last.score else None) or "nothing could be measured"
            accepted = rung.unknown == "accept" and state.demand.min_confidence is None
            word = "accepted" if accepted else "not accepted"
            reason = f"confidence unknown ({why}), {word}"
        elif threshold is None:
            accepted, reason = False, f"confidence {confidence:.2f}, no threshold set"
        else:
            accepted = confidence >= threshold
            reason = f"confidence {_compared(confidence, threshold)}"
        if accepted:
            return Decision(rung=None, reason=reason, accepted=True, threshold=threshold)
        if upcoming is None:
            reason = f"{reason}; nothing left to ask"
        return Decision(rung=upcoming, reason=reason, threshold=threshold)

    def is_last(self, state: State, rung: int) -> bool:
        """Return whether no open rung comes after this one in the order."""
        order = list(self.order or range(len(state.ladder.rungs)))
        return not set(order[order.index(rung) + 1 :]) & set(state.open)

    def _next(self, state: State) -> int | None:
        """Return the first open rung after the last that has answered.

        A rung before it was passed over because it was slow (hedging), and its answer is worth less.
        """
        if not state.attempts and not self.order:
            return state.open[0] if state.open else None
        order = self.order or range(len(state.ladder.rungs))
        answered = {attempt.rung for attempt in state.attempts if attempt.answer is not None}
        upcoming: int | None = None
        for rung in reversed(order):
            if rung in answered:
                break
            if rung in state.open:
                upcoming = rung
        return upcoming


def _compared(confidence: float, threshold: float) -> str:
    """Return both numbers with the sign between them, and as many digits as tell them apart.

    >>> _compared(0.9, 0.8), _compared(0.8496, 0.85)
    ('0.90 ≥ 0.80', '0.8496 < 0.8500')
    """
    sign = "≥" if confidence >= threshold else "<"
    for digits in (2, 4, 6):
        shown = f"{confidence:.{digits}f}", f"{threshold:.{digits}f}"
        if shown[0] != shown[1] or confidence == threshold:
            break
    return f"{shown[0]} {sign} {shown[1]}"


def _stricter(own: float | None, floor: float | None) -> float | None:
    """The rung's threshold, raised to the floor; a rung without one stays without."""
    return own if own is None or floor is None else max(own, floor)
