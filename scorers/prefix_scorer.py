"""Scorers of beginnings in the engine: trained ones, and the model's own token log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from cascade.errors import ScorerError
from cascade.types import Answer, Attempt, Request, Score

from .artifact import Artifact
from .confidence import Measures, confidence_from
from .features import Prompt, read_prompt
from .scorer import TrainedScorer

__all__ = ["LogprobPrefixScorer", "TrainedPrefixScorer"]


class LogprobPrefixScorer:
    """Takes one measure over the log-probabilities that have come for the confidence.

    Args:
        measure: As of `logprob.LogprobScorer`.
    """

    def __init__(self, measure: str = "mean") -> None:
        self._measure = measure

    @property
    def version(self) -> str:
        """Name, measure and version of the map."""
        return f"logprob-prefix/{self._measure}/1"

    async def score_prefix(
        self,
        request: Request,
        attempts: Sequence[Attempt],
        prefix: Answer,
        *,
        rung: int,
        tokens: int,
    ) -> Score:
        """Return the measure of what has come; None, with the reason, without log-probabilities."""
        if prefix.logprobs is None:
            return Score(confidence=None, why_unknown="the provider gave no log-probabilities")
        confidence = confidence_from(Measures(prefix.logprobs), self._measure)
        why = None if confidence is not None else f"no {self._measure} without alternatives"
        return Score(confidence=confidence, why_unknown=why)


class TrainedPrefixScorer:
    """Implements `cascade.ports.PrefixScorer` from an artifact that was trained with checkpoints.

    Args:
        artifact: What `artifact.load` returned.
        models: The model of each rung, in the order of the ladder.
        scorer: The ladder's scorer, made of the same artifact: its forecast is read too.

    Raises:
        ScorerError: It was trained without checkpoints.
    """

    def __init__(self, artifact: Artifact, models: Sequence[str], scorer: TrainedScorer) -> None:
        if artifact.prefixes is None:
            raise ScorerError(
                f"{artifact.path} was trained without checkpoints; train it with --prefixes"
            )
        self._prefixes = artifact.prefixes
        self._version = artifact.version
        self._columns = tuple(artifact.models.index(model) for model in models)
        self._scorer = scorer
        self._prompt: tuple[Request, Prompt] | None = None

    @property
    def version(self) -> str:
        """``trained/`` and the digest of the artifact."""
        return self._version

    async def score_prefix(
        self,
        request: Request,
        attempts: Sequence[Attempt],
        prefix: Answer,
        *,
        rung: int,
        tokens: int,
    ) -> Score:
        """Return P(the whole will be right) as of the last checkpoint reached; None before the first.

        Cost: about 1 ms; the call does not wait.
        """
        head = self._prefixes.head(self._columns[rung], tokens)
        if head is None:
            return Score(confidence=None, why_unknown=f"no checkpoint at or below {tokens} tokens")
        if prefix.text is None:
            return Score(confidence=None, why_unknown="there is no text to read")
        logprobs = prefix.logprobs
        confidence = self._prefixes.probability(
            head,
            self._read(request),
            prefix.text,
            self._scorer.score_nowait(request, attempts).forecast[rung],
            logprobs=None if logprobs is None else logprobs.logprobs,
            top_logprobs=None if logprobs is None else logprobs.top,
        )
        return Score(confidence=confidence)

    def _read(self, request: Request) -> Prompt:
        """Return the prompt as it is read; that of the last request is kept for its next checkpoint."""
        kept = self._prompt
        if kept is not None and kept[0] is request:
            return kept[1]
        prompt = read_prompt(request.prompt)
        self._prompt = (request, prompt)
        return prompt
