"""What is known of one question while `ask_many` runs, and what it bears of the calls it shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from .errors import CascadeError
from .pricing import add_costs, shares
from .types import Answer, Attempt, OneOfMany, Request, Result

__all__ = ["Question", "Share", "shared"]


class Question:
    """What is known of one question.

    Attributes:
        number: Its place in the list, from 1.
        text: As it was given.
        alone: The request that it is when asked alone; None when it cannot be sent.
        error: Why it has no answer; None as long as it may get one.
        answer: Its answer, once it has one.
        why_alone: Why it is asked alone after a joint call.
        spare: The answer of the joint call that was not sure enough, as an attempt, and the place of
            that in `attempts`; better than none.
        together: Questions in its joint call.
        share_usd: Its share of what that cost.
        attempts: Every rung tried for it.
    """

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        self.text = text
        self.alone: Request | None = None
        self.error: CascadeError | None = None
        self.answer: Answer | None = None
        self.why_alone: str | None = None
        self.spare: tuple[Attempt, int] | None = None
        self.together = 1
        self.share_usd: float | None = 0.0
        self.attempts: tuple[Attempt, ...] = ()
        self._alone_usd: float | None = 0.0
        self._ask_ids: tuple[str, ...] = ()
        self._kept: Attempt | None = None
        self._degraded: str | None = None

    def heard(
        self, ask_id: str | None, attempts: Sequence[Attempt], cost_usd: float | None
    ) -> None:
        """Note an ask of its own."""
        self._ask_ids += () if ask_id is None else (ask_id,)
        self._alone_usd = cost_usd
        self.attempts += tuple(attempts)

    def heard_part(self, ask_id: str | None, part: Share, together: int) -> None:
        """Note a joint ask, with this question's share of it."""
        self._ask_ids += () if ask_id is None else (ask_id,)
        self.share_usd, self.attempts, self.together = part.cost_usd, part.attempts, together

    def keep(self, attempt: Attempt, place: int) -> None:
        """Take the answer of a joint call; `attempt` is the one that holds it."""
        self.attempts = (*self.attempts[:place], attempt, *self.attempts[place + 1 :])
        self.answer, self._kept = attempt.answer, attempt

    def fail(self, error: CascadeError) -> None:
        """Note that asking it alone failed; an answer of the joint call is better than none."""
        self.error = error
        if self.spare is not None:
            self.keep(*self.spare)
            self._degraded = f"{self.why_alone}; asked alone it failed: {type(error).__name__}"

    def take(self, result: Result) -> None:
        """Take the answer to the question alone."""
        self.answer, self._degraded = result.answer, result.degraded
        self._kept = next(a for a in result.attempts if a.answer is result.answer)

    def result(self, id: str) -> OneOfMany:
        """Return what has become of it."""
        kept = self._kept
        score = None if kept is None else kept.score
        return OneOfMany(
            id=id,
            question=self.text,
            answer=self.answer,
            model=None if kept is None else kept.model,
            rung=None if kept is None else kept.rung,
            confidence=None if kept is None else kept.confidence,
            why_unknown=None if score is None else score.why_unknown,
            cost_usd=add_costs(self.share_usd, self._alone_usd),
            share_usd=self.share_usd,
            together=self.together,
            why_alone=self.why_alone,
            attempts=self.attempts,
            ask_ids=self._ask_ids,
            degraded=self._degraded,
            error=None if self.answer is not None else self.error,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a question bears of a joint ask: its attempts, each with a share of its cost, and of the whole."""

    attempts: tuple[Attempt, ...]
    cost_usd: float | None


def shared(attempts: Sequence[Attempt], cost_usd: float | None, count: int) -> list[Share]:
    by_attempt = [shares(attempt.cost_usd, count) for attempt in attempts]
    return [
        Share(
            attempts=tuple(
                replace(attempt, cost_usd=costs[i])
                for attempt, costs in zip(attempts, by_attempt, strict=True)
            ),
            cost_usd=share,
        )
        for i, share in enumerate(shares(cost_usd, count))
    ]
