"""A fixed order of models with a threshold each, held against the surest answer so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..fingerprint import digest
from ..policy import Decision, State
from .view import finish, look, surest

__all__ = ["Chain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Models in a fixed order; stops as soon as the surest answer tried reaches the newest one's threshold.

    Unlike `cascade.policy.Thresholds` it holds the best of all answers, as last revised, against
    the threshold: when the second model agrees with the first, the first one's answer may be enough.

    Attributes:
        models: Names, in the order to ask.
        accept: Thresholds in [0, 1] of all but the last. Shape (n_models - 1,).
        version: Name, version and digest of the content.
    """

    models: tuple[str, ...]
    accept: tuple[float, ...]
    version: str = field(init=False)

    def __post_init__(self) -> None:
        if len(self.accept) != len(self.models) - 1:
            raise ValueError(f"{len(self.accept)} thresholds for {len(self.models)} models")
        content = [self.models, self.accept]
        object.__setattr__(self, "version", f"chain/1-{digest(content)[:8]}")

    @property
    def needs_forecast(self) -> bool:
        """The first call is always the same."""
        return False

    def decide(self, state: State) -> Decision:
        """Stop at the first rung where the surest answer reaches the threshold; else ask the next."""
        view = look(state, self.models)
        if not view.seen:
            return finish(state, view, next(iter(view.open), None), "first of the chain")
        best = surest(state)
        last = max(i for i in range(len(self.models)) if view.seen >> i & 1)
        upcoming = next((i for i in view.open if i > last), None)
        if last == len(self.models) - 1 or upcoming is None:
            return finish(state, view, None, "nothing left to ask", best=best)
        floor = state.demand.min_confidence
        threshold = self.accept[last] if floor is None else max(self.accept[last], floor)
        if best is None:
            decision = finish(state, view, upcoming, "confidence unknown, not accepted")
        elif best >= threshold:
            decision = finish(
                state, view, None, f"confidence {best:.2f} ≥ {threshold:.2f}", best=best
            )
        else:
            decision = finish(state, view, upcoming, f"confidence {best:.2f} < {threshold:.2f}")
        return Decision(
            rung=decision.rung,
            reason=decision.reason,
            accepted=decision.accepted,
            threshold=threshold,
        )

    def is_last(self, state: State, rung: int) -> bool:
        """Return whether no model that may still be asked comes after this one in the chain."""
        view = look(state, self.models)
        return not any(i in view.open for i in range(view.rungs.index(rung) + 1, len(self.models)))
