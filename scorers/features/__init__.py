"""Request + answer + earlier answers to a vector of floats: the same code in training and live. Absent is NaN.

Blocks: prompt (P), one answer (A: text, claim, arithmetic, log-probabilities), agreement of one
answer with others (X). A change of any number's meaning, name or place raises ``FEATURE_VERSION``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..claims import same_claim
from .answer import ANSWER_NAMES, Answer, read_answer
from .logprob import LOGPROB_NAMES, logprob_features
from .prompt import PROMPT_NAMES, Prompt, read_prompt

__all__ = [
    "AGREE_NAMES",
    "FEATURE_VERSION",
    "OWN_NAMES",
    "PROMPT_NAMES",
    "Prompt",
    "ReadAnswer",
    "agreement",
    "matrix",
    "overlap",
    "read",
    "read_prompt",
]

FEATURE_VERSION: Final = 1
OWN_NAMES: Final = (*ANSWER_NAMES, *LOGPROB_NAMES, "s_p_true")
AGREE_NAMES: Final = (
    *("x_others", "x_same", "x_diff", "x_unknown", "x_same_share", "x_same_strongest"),
    *("x_vote", "x_vote_against", "x_best_vote_other", "x_sim_mean", "x_sim_max"),
    *("x_logprob_diff", "x_groups", "x_len_ratio"),
)


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """One answer's own numbers and what agreement needs of it.

    Attributes:
        values: The numbers named by ``OWN_NAMES``, same order; NaN where absent.
        answer: Its claim, words and mean log-probability.
    """

    values: tuple[float, ...]
    answer: Answer


def read(
    prompt: Prompt,
    text: str | None,
    *,
    logprobs: Sequence[float] | None = None,
    top_logprobs: Sequence[Sequence[float]] | None = None,
    finish_reason: str | None = None,
    completion_tokens: int | None = None,
    prompt_tokens: int | None = None,
    p_true: float | None = None,
) -> ReadAnswer | None:
    """Read one answer; None where the text is not known (a log of scores only).

    Args:
        prompt: The request's prompt, read once.
        text: The answer, or None.
        logprobs: Natural-log probabilities of its tokens, shape (t,), or None.
        top_logprobs: Best alternatives per token, ragged (t, <= 20), descending, or None.
        finish_reason: Why the provider stopped, or None.
        completion_tokens: Tokens of the answer, or None.
        prompt_tokens: Tokens of the prompt, or None.
        p_true: What the model said when asked whether its answer is true, in [0, 1], or None.
    """
    if text is None:
        return None
    log_values = logprob_features(logprobs, top_logprobs)
    answer = read_answer(
        text,
        prompt,
        finish_reason=finish_reason,
        completion_tokens=completion_tokens,
        prompt_tokens=prompt_tokens,
        mean_logprob=log_values[0],
    )
    self_check = math.nan if p_true is None else float(p_true)
    return ReadAnswer((*answer.values, *log_values, self_check), answer)


def overlap(a: Answer, b: Answer) -> float:
    """Return the Jaccard overlap of two answers' word sets, NaN if either has no word."""
    if not a.words or not b.words:
        return math.nan
    shared = len(a.words & b.words)
    return shared / (len(a.words) + len(b.words) - shared)


def agreement(
    answers: Sequence[ReadAnswer | None], strength: Sequence[float], target: int
) -> tuple[float, ...]:
    """Return ``AGREE_NAMES`` for ``answers[target]`` against the other answers given so far.

    Args:
        answers: One a model, None where it was not asked.
        strength: Each model's base rate of being right, in [0, 1]; a vote weighs its log odds
            plus one, at least 0.1.
        target: Whose answer is compared.

    Returns:
        The count of others, then NaN throughout when nothing can be compared.
    """
    mine = answers[target]
    others = [(j, a) for j, a in enumerate(answers) if a is not None and j != target]
    if mine is None or not others:
        return (float(len(others)), *(math.nan,) * (len(AGREE_NAMES) - 1))
    same = [same_claim(mine.answer.claim, other.answer.claim) for _, other in others]
    weight = [_vote_weight(strength[j]) for j, _ in others]
    known = [s for s in same if not math.isnan(s)]
    votes: dict[str, float] = {}
    for (_, other), s, w in zip(others, same, weight, strict=True):
        if s == 0.0:
            value = other.answer.claim.value
            votes[value] = votes.get(value, 0.0) + w
    strongest = max(range(len(others)), key=lambda i: strength[others[i][0]])
    alike = [x for _, a in others if not math.isnan(x := overlap(mine.answer, a.answer))]
    sureness = [x for _, a in others if not math.isnan(x := a.answer.mean_logprob)]
    own_sureness = mine.answer.mean_logprob
    agreeing = sum(s == 1.0 for s in same)
    return (
        float(len(others)),
        float(agreeing),
        float(sum(s == 0.0 for s in same)),
        float(len(same) - len(known)),
        agreeing / len(known) if known else math.nan,
        same[strongest],
        sum(w for s, w in zip(same, weight, strict=True) if s == 1.0)
        + _vote_weight(strength[target]),
        sum(w for s, w in zip(same, weight, strict=True) if s == 0.0),
        max(votes.values(), default=0.0),
        sum(alike) / len(alike) if alike else math.nan,
        max(alike, default=math.nan),
        own_sureness - max(sureness) if sureness else math.nan,
        float(len(votes)),
        mine.values[0] - sum(a.values[0] for _, a in others) / len(others),
    )


def _vote_weight(p_right: float) -> float:
    q = min(max(p_right, 0.02), 0.98)
    return max(0.1, math.log(q / (1.0 - q)) + 1.0)


def matrix(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Stack value tuples into float32 of shape (n, f)."""
    return np.asarray(rows, dtype=np.float32)
