"""How a walk treats a reply to several questions: it stops there, and each answer is scored by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from .policy import Decision, Policy, State
from .ports import Scorer
from .pricing import add_costs
from .rules import Gate, failed_gates
from .together import Part, Together, take_apart
from .types import Attempt, Request, Score

__all__ = ["ByPart", "FirstAnswer", "PartScores", "score_of"]

_NO_SCORER = Score(confidence=None, why_unknown="no scorer")


class PartScores(Score, frozen=True, kw_only=True):
    """What a scorer says of each answer in a reply to several questions.

    Attributes:
        parts: The scores in the order of the questions; None where there is no usable answer.
    """

    parts: tuple[Score | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAnswer:
    """The policy of a joint call: as `inner` until a model has answered, then stop.

    Whether the answers are good enough is decided one by one afterwards.
    """

    inner: Policy

    @property
    def version(self) -> str:
        """``together/`` and the version of the policy whose first choice is taken."""
        return f"together/{self.inner.version}"

    @property
    def needs_forecast(self) -> bool:
        """As the policy whose first choice is taken."""
        return self.inner.needs_forecast

    def decide(self, state: State) -> Decision:
        """Stop at the first answer."""
        if any(attempt.answer is not None for attempt in state.attempts):
            reason = "each of its answers is decided about by itself"
            return Decision(rung=None, reason=reason, accepted=True)
        return self.inner.decide(state)


class ByPart:
    """A scorer that scores a reply to several questions answer by answer.

    Any other request goes to the scorer as it is. The confidence of a whole reply is unknown; in
    the decision log `measures` has that of each answer under its number.

    Args:
        scorer: Scores single answers.
        gates: Answers that fail one are not scored.
    """

    def __init__(self, scorer: Scorer, gates: Sequence[Gate]) -> None:
        self._scorer = scorer
        self._gates = tuple(gates)
        self.version = scorer.version
        self.is_immediate = getattr(scorer, "is_immediate", False)

    async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        """Return the scorer's word on the newest answer, or on each answer in it."""
        asked = request.messages[-1]
        if not isinstance(asked, Together) or not attempts or attempts[-1].answer is None:
            return await self._scorer.score(request, attempts)
        attempt = attempts[-1]
        assert attempt.answer is not None
        found: list[Score | None] = []
        for single, part in zip(asked.alone, take_apart(attempt.answer, asked.alone), strict=True):
            found.append(await self._one(single, part, attempt))
        known = [None if score is None else score.confidence for score in found]
        return PartScores(
            confidence=None,
            why_unknown="several answers in one: `measures` has the confidence of each",
            measures={
                str(n): math.nan if value is None else value for n, value in enumerate(known, 1)
            },
            cost_usd=add_costs(*(score.cost_usd for score in found if score is not None)),
            parts=tuple(found),
        )

    async def _one(self, single: Request, part: Part, attempt: Attempt) -> Score | None:
        """Return the score of one answer; unknown where its own tokens are not known."""
        if part.answer is None or failed_gates(self._gates, single, part.answer):
            return None
        if part.why_no_logprobs is not None:
            return Score(confidence=None, why_unknown=part.why_no_logprobs)
        return await self._scorer.score(single, [replace(attempt, answer=part.answer)])


def score_of(attempt: Attempt, place: int) -> Score:
    """Return what the scorer said of one answer in a reply; what it cost is in the attempt's cost.

    Args:
        attempt: The attempt that holds the whole reply.
        place: Position of the question, from 0.
    """
    whole = attempt.score
    if whole is None:
        return _NO_SCORER
    score = whole.parts[place] if isinstance(whole, PartScores) else None
    return Score(confidence=None, why_unknown=whole.why_unknown) if score is None else score
