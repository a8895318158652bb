"""Confidence by asking: another model judges the answer, or the model that gave it checks itself.

P(True): Kadavath et al. 2022, arXiv:2207.05221, section 3. Both cost a call, which the score states.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cascade.errors import ProviderError
from cascade.ports import Client
from cascade.types import Answer, Attempt, Message, ModelCall, Request, Score, Usage

__all__ = ["ASK_JUDGE", "ASK_SELF", "CostOf", "JudgedScorer", "SelfCheckScorer", "verdict"]

CostOf = Callable[[Usage], float | None]
"""What a call cost, US dollars; None when a price or count is unknown."""

ASK_JUDGE = (
    "Question:\n{question}\n\nProposed answer:\n{answer}\n\n"
    "Is the proposed answer right? Reply with Yes or No only."
)
ASK_SELF = (
    "Question:\n{question}\n\nYour answer:\n{answer}\n\n"
    "Is the answer right? Reply with Yes or No only."
)
_PLACES = re.compile(r"\{(question|answer)\}")
_WORD = re.compile(r"\W*(yes|true|right|correct|no|false|wrong|incorrect)\b", re.IGNORECASE)
_YES = frozenset(("yes", "true", "right", "correct"))
_NUMBER = re.compile(r"\W*(\d{1,3}(?:\.\d+)?)\s*(?:%|/\s*100|\W*$)")


class JudgedScorer:
    """Asks one model about every answer.

    A reply of Yes or No counts by the log-probability of that word, and as 1 or 0 without one; a
    number from 0 to 100 as its hundredth. Nothing of it is calibrated.

    Args:
        client: Performs the judge's calls.
        model: The provider's name of the judge.
        cost: What a call of the judge costs.
        prompt: What to ask, with ``{question}`` and ``{answer}``; None for `ASK_JUDGE`.
        max_tokens: Output limit of a verdict.
    """

    def __init__(
        self,
        client: Client,
        model: str,
        cost: CostOf,
        *,
        prompt: str | None = None,
        max_tokens: int = 8,
    ) -> None:
        self._client = client
        self._model = model
        self._cost = cost
        self._prompt = prompt or ASK_JUDGE
        self._max_tokens = max_tokens

    @property
    def version(self) -> str:
        """``judge/`` and the judge's name."""
        return f"judge/{self._model}/1"

    async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        """Return the judge's word on the newest answer, and what it cost."""
        answer = _newest(attempts)
        if isinstance(answer, Score):
            return answer
        call = _call(self._model, self._prompt, request, answer, self._max_tokens)
        return await _ask(self._client, call, self._cost, "the judge", needs_logprobs=False)


class SelfCheckScorer:
    """Asks the model that answered whether its answer is right: P(Yes) of the first word.

    Without log-probabilities the confidence is unknown: nearly every model says Yes.

    Args:
        rungs: (client, model, cost, extra request fields) of each rung, in the ladder's order.
    """

    def __init__(self, rungs: Sequence[tuple[Client, str, CostOf, Mapping[str, Any]]]) -> None:
        self._rungs = tuple(rungs)

    @property
    def version(self) -> str:
        """``p_true`` and the version of its question."""
        return "p_true/1"

    async def score(self, request: Request, attempts: Sequence[Attempt]) -> Score:
        """Return the model's word on its own newest answer, and what it cost."""
        answer = _newest(attempts)
        if isinstance(answer, Score):
            return answer
        client, model, cost, extra = self._rungs[attempts[-1].rung]
        call = _call(model, ASK_SELF, request, answer, 2, extra)
        return await _ask(client, call, cost, "the self-check", needs_logprobs=True)


def verdict(answer: Answer) -> tuple[float | None, bool]:
    """Return the P(right) that a reply states, in [0, 1] or None, and whether log-probabilities said it.

    >>> verdict(Answer(text="No.", model="m")), verdict(Answer(text="85", model="m"))
    ((0.0, False), (0.85, False))
    """
    text = answer.text or ""
    word = _WORD.match(text)
    if word is None:
        number = _NUMBER.match(text)
        if number is None or float(number[1]) > 100:
            return None, False
        return float(number[1]) / 100.0, False
    yes = word[1].lower() in _YES
    logprobs = answer.logprobs
    if logprobs is None or not logprobs.logprobs:
        return float(yes), False
    p = math.exp(min(_logprob_of(word[1], logprobs.tokens, logprobs.logprobs), 0.0))
    return (p if yes else 1.0 - p), True


def _logprob_of(word: str, tokens: Sequence[str], logprobs: Sequence[float]) -> float:
    """Return the log-probability of the token that begins the word; of the first if none shows it."""
    for token, value in zip(tokens, logprobs, strict=False):
        said = token.strip().strip("\"'*").lower()
        if said and word.lower().startswith(said):
            return value
    return logprobs[0]


def _newest(attempts: Sequence[Attempt]) -> Answer | Score:
    if not attempts:
        return Score(confidence=None, why_unknown="nothing answered yet")
    answer = attempts[-1].answer
    if answer is None or not answer.text:
        return Score(confidence=None, why_unknown="there is no text to judge")
    return answer


def _call(
    model: str,
    prompt: str,
    request: Request,
    answer: Answer,
    max_tokens: int,
    extra: Mapping[str, Any] | None = None,
) -> ModelCall:
    parts = {"question": _question(request), "answer": answer.text or ""}
    # In one pass, so that a question that holds "{answer}" stays as it is.
    text = _PLACES.sub(lambda found: parts[found[1]], prompt)
    asked = Request(
        messages=(Message(role="user", content=text),), temperature=0.0, max_tokens=max_tokens
    )
    return ModelCall(
        model=model, request=asked, max_tokens=max_tokens, top_logprobs=5, extra=extra or {}
    )


def _question(request: Request) -> str:
    """Return the prompt, or the whole chat where there is more than one message."""
    if len(request.messages) == 1:
        return request.prompt
    lines = []
    for message in request.messages:
        content = message.content
        if isinstance(content, str):
            lines.append(f"{message.role}: {content}")
        elif content:
            texts = [p["text"] for p in content if isinstance(p.get("text"), str)]
            lines.append(f"{message.role}: {' '.join(texts)}")
    return "\n\n".join(lines)


async def _ask(
    client: Client, call: ModelCall, cost: CostOf, who: str, *, needs_logprobs: bool
) -> Score:
    try:
        reply = await client.complete(call)
    except ProviderError as exc:
        return Score(
            confidence=None, why_unknown=f"{who} did not reply: {type(exc).__name__}: {exc}"
        )
    spent = cost(reply.usage) if reply.cost_usd is None else reply.cost_usd
    confidence, by_logprob = verdict(reply)
    why = None
    if confidence is None:
        why = f"{who} said neither Yes nor No"
    elif needs_logprobs and not by_logprob:
        confidence, why = None, f"{who} came without log-probabilities"
    measures = {} if confidence is None else {"verdict": confidence}
    return Score(confidence=confidence, why_unknown=why, measures=measures, cost_usd=spent)
