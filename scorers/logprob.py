"""Confidence without training: one measure over the token log-probabilities and its stated map."""

from __future__ import annotations

from collections.abc import Sequence

from cascade.types import Attempt, Request, Score

from .confidence import MAPS, Measures, confidence_from

__all__ = ["LogprobScorer"]


class LogprobScorer:
    """Reads how sure the model was from its own token log-probabilities.

    Args:
        measure: Which measure becomes the confidence; one of `confidence.MAPS`.

    Raises:
        ValueError: There is no such measure; the message lists them.
    """

    def __init__(self, measure: str = "mean") -> None:
        if measure not in MAPS:
            raise ValueError(f"measure: {measure!r} given; allowed: {', '.join(MAPS)}")
        self._measure = measure

    is_immediate = True
    """It waits for nothing."""

    @property
    def version(self) -> str:
        """Name, measure and version of the map."""
        return f"logprob/{self._measure}/1"

    async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        """Return the confidence of the newest answer; None, with the reason, without log-probabilities."""
        answer = attempts[-1].answer if attempts else None
        if answer is None:
            return Score(confidence=None, why_unknown="nothing answered yet")
        if answer.logprobs is None:
            return Score(confidence=None, why_unknown="the provider gave no log-probabilities")
        measures = Measures(answer.logprobs)
        confidence = confidence_from(measures, self._measure)
        why = None if confidence is not None else f"no {self._measure} without alternatives"
        return Score(confidence=confidence, why_unknown=why, measures=measures)
