"""The few values that answers of a closed task claim (labels, letters, yes/no), learned without looking at right or wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["MAX_LABELS", "LabelSet", "fit_labels"]

MAX_LABELS = 12
MIN_SHARE = 0.02
"""Share of the training answers that a label needs, and at least three of them."""

_LEAST_COUNT = 3
_MAX_LABEL_CHARS = 40
_CLOSED_SHARE = 0.8
_CROSSED_WORDS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSet:
    """Labels of one model's answers.

    Attributes:
        values: Claim values, the most frequent first; empty for open answers.
        closed: Whether they cover at least 80 % of the answers: a closed set of labels.
    """

    values: tuple[str, ...]
    closed: bool

    def features(self, claims: Sequence[str]) -> np.ndarray:
        """Return one indicator a label, then the label's rank, NaN where it is none.

        Shape (n, MAX_LABELS + 1), float32.
        """
        out = np.zeros((len(claims), MAX_LABELS + 1), np.float32)
        rank = {value: i for i, value in enumerate(self.values)}
        for row, claim in enumerate(claims):
            i = rank.get(claim)
            if i is None:
                out[row, -1] = np.nan
            else:
                out[row, i] = 1.0
                out[row, -1] = i
        return out

    def cross(self, prompt: str, claim: str) -> str:
        """Return the prompt with its last 200 words also joined to the claimed label.

        So a linear text head can learn one weight a (label, word).

        >>> LabelSet(values=("up", "down"), closed=True).cross("gold rises", "up")
        'gold rises up_gold up_rises up'
        """
        if not self.closed or claim not in self.values or len(claim) < 2:
            return prompt
        tag = claim.replace(" ", "_")
        words = prompt.lower().split()[-_CROSSED_WORDS:]
        return f"{prompt} {' '.join(f'{tag}_{word}' for word in words)} {tag}"


def fit_labels(claims: Sequence[str]) -> LabelSet:
    """Learn the label set from the claims of training answers, "" for none."""
    n = max(1, len(claims))
    counts = Counter(claim for claim in claims if claim and len(claim) <= _MAX_LABEL_CHARS)
    least = max(_LEAST_COUNT, MIN_SHARE * n)
    top = [(value, count) for value, count in counts.most_common(MAX_LABELS) if count >= least]
    top.sort(key=lambda pair: (-pair[1], pair[0]))
    covered = sum(count for _, count in top)
    return LabelSet(values=tuple(value for value, _ in top), closed=covered >= _CLOSED_SHARE * n)
