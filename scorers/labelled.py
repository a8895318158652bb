"""Which rows each part of a scorer is fitted on, where a log labels only some answers.

A question ("is this model right, given those answers?") needs the label of its target and the
answers it reads, nothing else. Labels that are missing are never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .dataset import TrainingFailed
from .heads import Blocks
from .judges import Question
from .states import standing

__all__ = ["ENOUGH_ROWS", "LEAST_ROWS", "Labels", "Used"]

LEAST_ROWS = 25
"""Labelled answers of each model that a fit needs at least."""
ENOUGH_ROWS = 40
"""Rows from which on answers are judged by comparing them, although a judge of each alone has more
rows: with 40 of 700 the Brier score of pairs was .131 against .136, and .221 against .228, on two
shared logs. Forecasts from an answer were up to .026 worse with so few rows than from the prompt
alone: they need half its rows."""
_LEAST_PROMPTS = 10
"""Different prompts among the rows of a part: near-identical ones lie in one fold together, and the
others must do without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a scorer was fitted on.

    Attributes:
        models: The ladder, cheapest first.
        rows: Rows with a label of any of the models.
        complete: Rows with a label of each.
        answers: Labelled answers of each model. Length m.
        questions: (answered, target) → rows that hold what it needs.
        stands_in: (answered, target) → the question that answers it, fitted on more rows.
        states: Of each model, the rows on which its answer stands beside others, which its learner
            over states compares, and those that hold others' answers without its own, from which
            it forecasts; each 0 where there were too few. Empty without such learners.
    """

    models: tuple[str, ...]
    rows: int
    complete: int
    answers: tuple[int, ...]
    questions: Mapping[Question, int]
    stands_in: Mapping[Question, Question]
    states: tuple[tuple[int, int], ...]

    def in_words(self) -> list[str]:
        """Return it line by line; nothing where every row has a label of every model."""
        if self.complete == self.rows:
            return []
        each = self._each(self.answers)
        told = [
            f"{self.rows:,} rows have some label, {self.complete:,} one of every model; "
            f"P(right | prompt, own answer) is fitted on every labelled answer: {each}"
        ]
        if self.states:
            compared = self._each([n for n, _ in self.states])
            asked = self._each([n for _, n in self.states])
            told.append(f"fitted on rows with several answers: {compared}")
            told.append(f"forecasts after others' answers: {asked}")
            if not all(n for pair in self.states for n in pair):
                told.append(
                    "0: too few; there an answer is scored alone, and a model not asked yet by the "
                    "prompt alone"
                )
        fitted = [
            n
            for (answered, j), n in self.questions.items()
            if answered not in ((), (j,)) and (answered, j) not in self.stands_in
        ]
        if fitted:
            told.append(
                "what one model's answer says of another, and two of each other, is fitted on "
                f"{min(fitted):,} to {max(fitted):,} rows"
            )
        told += [
            f"{self._question(question)}: {self.questions[question]:,} rows are too few; "
            f"{self._question(instead)}, from {self.questions[instead]:,}, serves"
            for question, instead in self.stands_in.items()
        ]
        return told

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "rows": self.rows,
            "complete": self.complete,
            "answers": dict(zip(self.models, self.answers, strict=True)),
            "questions": {self._question(q): n for q, n in self.questions.items()},
            "stands_in": {self._question(a): self._question(b) for a, b in self.stands_in.items()},
            "states": {
                model: {"compared": compared, "forecast": asked}
                for model, (compared, asked) in zip(self.models, self.states, strict=False)
            },
        }

    def _each(self, counts: Sequence[int]) -> str:
        return ", ".join(f"{n:,} of {m}" for m, n in zip(self.models, counts, strict=True))

    def _question(self, question: Question) -> str:
        answered, target = question
        given = ["prompt", *(f"answer of {self.models[j]}" for j in answered)]
        return f"P({self.models[target]} right | {', '.join(given)})"


class Labels:
    """The labels of a ladder's models on some rows.

    Args:
        b: The blocks; the ladder's models are its first columns.
        rows: Row numbers, each with a label of some model. Shape (n,).
        readable: Whether the log holds texts of each of the m models.
        groups: Group of near-identical prompts of each row. Shape (n,).
    """

    def __init__(
        self, b: Blocks, rows: np.ndarray, readable: Sequence[bool], groups: np.ndarray
    ) -> None:
        m = len(readable)
        self.readable = tuple(readable)
        self._labelled = np.isfinite(b.score[rows, :m])
        said = [[b.texts[i][j] is not None for j in range(m)] for i in rows.tolist()]
        # A label says that there was an answer, even where its text was not kept.
        self._said = np.array(said, bool).reshape(len(rows), m) | self._labelled
        self._groups = groups
        self.complete = np.asarray(self._labelled.all(axis=1))
        """Whether every model has a label. Shape (n,), bool."""

    @property
    def answers(self) -> tuple[int, ...]:
        """Labelled answers of each model."""
        return tuple(self._labelled.sum(axis=0).tolist())

    def serves(self, question: Question) -> np.ndarray:
        """Return the rows that a question can be fitted on. Shape (n,), bool."""
        answered, target = question
        return np.asarray(self._labelled[:, target] & self._said[:, list(answered)].all(axis=1))

    def instead(self, question: Question) -> Question | None:
        """Return the question that is to answer this one because it has many more rows, or None.

        The target's own answer alone if it is among those read, else the prompt alone.
        """
        answered, target = question
        first = (target,) if target in answered else ()
        if answered == first:
            return None
        rows = int(self.serves((first, target)).sum())
        return None if self._enough(self.serves(question), rows, bool(first)) else (first, target)

    def states(self, target: int) -> np.ndarray:
        """Return which rows show the target's label in which states. Shape (2^m, n), bool."""
        m = len(self.readable)
        inside = np.array([[bool(state >> j & 1) for j in range(m)] for state in range(1 << m)])
        missing = inside.astype(int) @ (~self._said).T.astype(int)
        return np.asarray((missing == 0) & self._labelled[:, target])

    def compared(self, target: int) -> int:
        """Return the rows on which a target's answer stands beside others; 0 if they are too few."""
        return self._rows_of(target, 2)

    def forecast(self, target: int) -> int:
        """Return the rows from which a target is forecast after others' answers; 0 if too few."""
        return self._rows_of(target, 0)

    def _rows_of(self, target: int, kind: int) -> int:
        states = self.states(target)
        of_kind = [s for s in range(1, len(states)) if standing(s, target) == kind]
        mask = np.asarray(states[of_kind].any(axis=0))
        beside = int(self._labelled[:, target].sum())
        return int(mask.sum()) if self._enough(mask, beside, kind == 2) else 0

    def _enough(self, mask: np.ndarray, beside: int, compares: bool) -> bool:
        wanted = min(ENOUGH_ROWS, beside / 2) if compares else beside / 2
        return bool(mask.all()) or self._are(mask, max(wanted, LEAST_ROWS))

    def check(self, models: Sequence[str]) -> None:
        """Refuse a ladder one of whose models has too few labels.

        Raises:
            TrainingFailed: Names it.
        """
        for j, model in enumerate(models):
            mask = self._labelled[:, j]
            n = int(mask.sum())
            if n < LEAST_ROWS or not (mask.all() or self._are(mask, LEAST_ROWS)):
                raise TrainingFailed(
                    f"{n} of {len(mask)} rows have a score of {model}, on {self._prompts(mask)} "
                    f"different prompts; training needs at least {LEAST_ROWS}, on {_LEAST_PROMPTS}"
                )

    def _are(self, mask: np.ndarray, least: float) -> bool:
        return int(mask.sum()) >= least and self._prompts(mask) >= _LEAST_PROMPTS

    def _prompts(self, mask: np.ndarray) -> int:
        return len(np.unique(self._groups[mask]))
