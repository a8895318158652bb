"""Two cheap models that say the same need no third: a ladder without scorer, labels or log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from ..fingerprint import digest
from ..policy import Decision, State
from ..types import Answer, Request
from .view import View, finish, look, surest

__all__ = ["Agreement", "SameClaim"]

SameClaim = Callable[[Request | None, Answer, Answer], bool | None]
"""Whether two answers to a request claim the same in the end; None when that cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Asks two models; the same final answer stops, anything else asks the last one.

    What "the same" means is not decided here. Either `same` is given (`cascade.build` takes it from
    `scorers.claims`), or the scorer says it with the measure ``same_as_<rung>`` of the second
    answer: 1 the same as that rung's, 0 another, NaN not comparable.

    Attributes:
        models: First, second and last model.
        same: Compares two answers; None: the scorer's measure does.
        version: Name, version and digest of the models.
    """

    models: tuple[str, str, str]
    same: SameClaim | None = field(default=None, compare=False)
    version: str = field(init=False)

    def __post_init__(self) -> None:
        if len(set(self.models)) != 3:
            raise ValueError(f"{len(self.models)} models given; three different ones are needed")
        object.__setattr__(self, "version", f"agreement/1-{digest(self.models)[:8]}")

    @property
    def needs_forecast(self) -> bool:
        """The first two calls are always the same."""
        return False

    def decide(self, state: State) -> Decision:
        """Ask the first two; stop if they agree; else ask the last."""
        view = look(state, self.models)
        best = surest(state)
        last = 2 if 2 in view.open else None
        if view.seen >> 2 & 1 or (last is None and view.seen & 3 and not {0, 1} & set(view.open)):
            return finish(state, view, None, "the last of three has answered", best=best)
        for i in (0, 1):
            if i in view.open and view.intact:
                reason = (
                    "the first of two that must agree" if i == 0 else "does a second one agree?"
                )
                return finish(state, view, i, reason)
        if view.seen & 3 != 3:
            return finish(
                state, view, last, "one of the two that must agree has no answer", best=best
            )
        agree = self._agree(state, view)
        floor = state.demand.min_confidence
        if agree and (floor is None or (best is not None and best >= floor)):
            return finish(state, view, None, "both say the same", best=best)
        why = "they cannot be compared" if agree is None else "they differ"
        if agree:
            why = "both say the same, but not surely enough"
        return finish(state, view, last, f"{why}; asking {self.models[2]}", best=best)

    def _agree(self, state: State, view: View) -> bool | None:
        by_rung = {attempt.rung: attempt for attempt in state.attempts}
        first, second = (by_rung[view.rungs[i]] for i in (0, 1))
        if self.same is not None:
            assert first.answer is not None
            assert second.answer is not None
            return self.same(state.request, first.answer, second.answer)
        measures = second.score.measures if second.score is not None else {}
        said = measures.get(f"same_as_{view.rungs[0]}", math.nan)
        return None if math.isnan(said) else said >= 0.5
