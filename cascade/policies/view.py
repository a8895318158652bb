"""What a policy sees of an ask, counted in its own models: which have answered, which may be called, P(right) of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import ConfigError
from ..ladder import Ladder
from ..policy import Decision, State
from ..types import Attempt

__all__ = ["NOTHING", "View", "blind", "finish", "look", "rungs_of", "surest"]

NOTHING = float("-inf")
"""Worth of stopping while no answer is at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """An ask in a policy's own numbering.

    Attributes:
        rungs: Rung index of each of the policy's models.
        seen: The models whose answers are at hand and passed their gates, as a bit mask.
        open: The policy's models that may still be called, ascending.
        p: P(right) by model given all that was seen, or None when the scorer does not say it for
            every one of them.
        intact: Whether every attempt so far gave a usable answer.
    """

    rungs: tuple[int, ...]
    seen: int
    open: tuple[int, ...]
    p: tuple[float, ...] | None
    intact: bool


def rungs_of(ladder: Ladder, models: Sequence[str]) -> tuple[int, ...]:
    """Return the rung of each model; the first one where several providers serve it.

    Raises:
        ConfigError: A model is no rung of the ladder; names the first such.
    """
    where = {rung.model: i for i, rung in reversed(list(enumerate(ladder.rungs)))}
    missing = [model for model in models if model not in where]
    if missing:
        allowed = ", ".join(rung.model for rung in ladder.rungs)
        raise ConfigError(f"policy: no rung has the model {missing[0]!r}; allowed: {allowed}")
    return tuple(where[model] for model in models)


def look(state: State, models: Sequence[str]) -> View:
    """Return what has been seen, in the numbering of `models`."""
    rungs = rungs_of(state.ladder, models)
    usable = {a.rung for a in state.attempts if _usable(a)}
    seen = sum(1 << i for i, rung in enumerate(rungs) if rung in usable)
    known = [state.forecast.get(rung) for rung in rungs]
    p = tuple(value for value in known if value is not None)
    return View(
        rungs=rungs,
        seen=seen,
        open=tuple(i for i, rung in enumerate(rungs) if rung in state.open),
        p=p if len(p) == len(rungs) else None,
        intact=len(usable) == len(state.attempts),
    )


def surest(state: State) -> float | None:
    """Return the highest P(right) of an answer at hand, as last revised; None when none is known."""
    known = [
        state.forecast.get(a.rung, a.confidence)
        for a in state.attempts
        if _usable(a) and (a.confidence is not None or a.rung in state.forecast)
    ]
    return max((value for value in known if value is not None), default=None)


def finish(
    state: State, view: View, chosen: int | None, reason: str, *, best: float | None = None
) -> Decision:
    """Return the decision for the policy's model `chosen`, or for stopping at None.

    Stopping with nothing at hand is no way to end an ask: then the topmost rung that may still be
    called is, whether the policy names it or not.

    Args:
        state: The state decided about.
        view: The same in the policy's numbering.
        chosen: Index into the policy's models, or None.
        reason: Why, in words.
        best: P(right) of the surest answer, when it was looked at.
    """
    if chosen is not None:
        return Decision(rung=view.rungs[chosen], reason=reason)
    usable = any(_usable(attempt) for attempt in state.attempts)
    if not usable and state.open:
        return Decision(rung=state.open[-1], reason="no answer so far; asking the top rung left")
    floor = state.demand.min_confidence
    enough = floor is None or (best is not None and best >= floor)
    return Decision(
        rung=None, reason=reason, accepted=usable and view.intact and enough, threshold=floor
    )


def blind(state: State, view: View, fallback: int) -> Decision:
    """Return the decision of a policy that lives by forecasts when the scorer gave none."""
    if not view.seen >> fallback & 1 and fallback in view.open:
        return Decision(rung=view.rungs[fallback], reason="no forecast; asking the strongest model")
    return finish(state, view, None, "no forecast; keeping what the strongest model said")


def _usable(attempt: Attempt) -> bool:
    return attempt.answer is not None and not attempt.failed_gates
