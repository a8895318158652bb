"""A policy that asks one rung of a ladder and no other: a rung served as a model of its own."""

from __future__ import annotations

from dataclasses import dataclass

from ..policy import Decision, State

__all__ = ["SingleRung"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleRung:
    """Calls one rung and takes its answer, however sure it is.

    Attributes:
        rung: Its index.
        version: What the decision log states.
    """

    rung: int
    version: str = "single-rung/1"

    @property
    def needs_forecast(self) -> bool:
        """There is nothing to choose."""
        return False

    def decide(self, state: State) -> Decision:
        """Call the rung if it may be called; stop after it."""
        if self.rung in state.open:
            return Decision(rung=self.rung, reason="asked for by name")
        last = state.attempts[-1] if state.attempts else None
        answered = last is not None and last.answer is not None and not last.failed_gates
        reason = "asked for by name" if last is None or answered else last.reason
        return Decision(rung=None, reason=reason, accepted=answered)

    def is_last(self, state: State, rung: int) -> bool:
        """Return True: it calls no other."""
        return True
