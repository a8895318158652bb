"""The trained scorer in the engine: P(right) of the newest answer, and of every rung, from an artifact."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from cascade.types import Answer, Attempt, Request, Score

from .artifact import Artifact, check_models
from .claims import same_claim
from .features import read, read_prompt
from .single import Heard, SingleScorer, Turn

__all__ = ["TrainedScorer"]

REMEMBERED = 256
"""Requests whose prompt part is kept: an ask is scored once a rung."""


class TrainedScorer:
    """Implements `cascade.ports.Scorer` from an artifact.

    Args:
        artifact: What `artifact.load` returned.
        models: The model of each rung, in the order of the ladder; all of them known to the
            artifact, which may know more.

    Raises:
        ScorerError: It was not trained on a model of the ladder; the message names it.
    """

    def __init__(self, artifact: Artifact, models: Sequence[str]) -> None:
        check_models(artifact.path, artifact.models, models)
        self._artifact = artifact
        self._columns = tuple(artifact.models.index(model) for model in models)
        self._single = SingleScorer(artifact.model)
        self._lock = threading.Lock()
        self._recent: OrderedDict[int, tuple[Request, Turn, dict[_Mark, Heard]]] = OrderedDict()

    is_immediate = True
    """It waits for nothing."""

    @property
    def version(self) -> str:
        """``trained/`` and the digest of the artifact."""
        return self._artifact.version

    async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        """Return the confidence of the newest answer and P(right) of every rung.

        Answers that failed a gate, and calls that failed, count as not answered. With no attempt,
        or one that says nothing, there is only the forecast.

        Cost: under a millisecond; the call does not wait.
        """
        return self.score_nowait(request, attempts)

    def score_nowait(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        """Return what `score` does."""
        with self._lock:
            turn, answers = self._turn(request)
            by_rung = {
                attempt.rung: self._heard(turn, answers, attempt.answer)
                for attempt in attempts
                if _counts(attempt) and attempt.answer is not None
            }
            heard = {self._columns[rung]: one for rung, one in by_rung.items()}
            p = self._single.probabilities(turn, heard)
        forecast = {rung: p[j] for rung, j in enumerate(self._columns)}
        if not attempts:
            return Score(confidence=None, why_unknown="nothing answered yet", forecast=forecast)
        newest = attempts[-1]
        if newest.rung not in by_rung:
            why = "it failed a gate" if newest.failed_gates else "there is no text to read"
            return Score(confidence=None, why_unknown=why, forecast=forecast)
        return Score(
            confidence=forecast[newest.rung],
            measures=_measures(newest.rung, by_rung),
            forecast=forecast,
        )

    def _turn(self, request: Request) -> tuple[Turn, dict[_Mark, Heard]]:
        """Return what is known of a request; the same object is read once."""
        kept = self._recent.get(id(request))
        if kept is not None and kept[0] is request:
            self._recent.move_to_end(id(request))
            return kept[1], kept[2]
        text = request.prompt
        turn = Turn(read_prompt(text), text)
        self._recent[id(request)] = (request, turn, {})
        while len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        return turn, self._recent[id(request)][2]

    def _heard(self, turn: Turn, answers: dict[_Mark, Heard], answer: Answer) -> Heard:
        mark = _mark(answer)
        kept = answers.get(mark)
        if kept is not None:
            return kept
        logprobs = answer.logprobs
        found = read(
            turn.prompt,
            answer.text,
            logprobs=None if logprobs is None else logprobs.logprobs,
            top_logprobs=None if logprobs is None else logprobs.top,
            finish_reason=answer.finish_reason,
            completion_tokens=answer.usage.completion_tokens,
            prompt_tokens=answer.usage.prompt_tokens,
            p_true=answer.p_true if self._artifact.uses_p_true else None,
        )
        assert found is not None  # `_counts` saw its text
        heard = answers[mark] = Heard.of(found, answer.text or "")
        return heard


_Mark = tuple[object, ...]
"""What tells one answer to a request from another."""


def _mark(answer: Answer) -> _Mark:
    """Return what an answer is known again by.

    Not the answer itself: 256 requests' worth of token lists would be kept, some 50 MB, and letting
    one go takes 100 µs once it is no longer in the processor's cache.
    """
    logprobs, usage = answer.logprobs, answer.usage
    return (
        answer.text,
        answer.finish_reason,
        usage.completion_tokens,
        usage.prompt_tokens,
        answer.p_true,
        None if logprobs is None else (len(logprobs.logprobs), sum(logprobs.logprobs)),
        None if logprobs is None or logprobs.top is None else len(logprobs.top),
    )


def _counts(attempt: Attempt) -> bool:
    """Whether an attempt's answer is one that can be returned and read."""
    return (
        attempt.answer is not None and attempt.answer.text is not None and not attempt.failed_gates
    )


def _measures(rung: int, heard: Mapping[int, Heard]) -> dict[str, float]:
    """Return the numbers worth showing: log-probability, length, and who says the same."""
    newest = heard[rung]
    answer = newest.said
    found = {"mean_logprob": answer.mean_logprob, "words": float(len(answer.words))}
    same = []
    for other, one in heard.items():
        if other != rung:
            agree = same_claim(one.said.claim, answer.claim)
            found[f"same_as_{other}"] = agree
            same.append(agree)
    known = [s for s in same if not math.isnan(s)]
    if known:
        found["agree"] = sum(known) / len(known)
    return found
