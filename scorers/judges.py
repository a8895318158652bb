"""Fit the scoring pipeline: heads out-of-fold and on all rows, stack and calibration; gain and best-of-tried for a pair of models."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .corpus import Corpus
from .folds import fold_ids, prompt_groups
from .heads import GROUPS, MAX_ROWS, Blocks, HeadSet, fit_heads, fit_pool
from .stack import Stack, fit_stack

__all__ = [
    "FEW_ROWS",
    "FOLDS",
    "FOLDS_FEW",
    "Judge",
    "PairScorer",
    "Question",
    "fit_judges",
    "fit_pair",
    "fold_count",
    "gain_trust",
    "out_of_fold",
]

FOLDS, FOLDS_FEW, FEW_ROWS = 5, 10, 600
"""With fewer labels more folds, so that out-of-fold heads resemble the final ones."""
_FEWER_FOLDS = ((20_000, 2), (5_000, 3))  # above so many rows, so many folds

Question = tuple[tuple[int, ...], int]
"""Which models have answered, and whose answer is judged."""


def fold_count(n: int) -> int:
    """Return the number of folds for ``n`` rows: 10 below 600, 5 up to 5,000, then 3, and 2 above 20,000.

    With many rows an out-of-fold head is as good as the final one whatever the number of folds,
    and each fold costs a fit.
    """
    for above, folds in _FEWER_FOLDS:
        if n > above:
            return folds
    return FOLDS if n >= FEW_ROWS else FOLDS_FEW


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """One calibrated question: P(target right | prompt, answers of ``heads.answered``).

    Attributes:
        heads: What is averaged.
        stack: How, and the calibration.
        oof: Its probabilities on the training rows. Shape (n,); empty where they were dropped.
    """

    heads: HeadSet
    stack: Stack
    oof: np.ndarray

    def predict(
        self, b: Blocks, rows: np.ndarray, shared: dict[Any, Any] | None = None
    ) -> np.ndarray:
        """Return calibrated probabilities, shape (len(rows),).

        Args:
            b: The blocks.
            rows: Row numbers. Shape (n,).
            shared: Keeps texts' matrices for other judges of the same rows and answered models.

        Cost: groups with a stack weight of 0 are not computed.
        """
        used = [g for g, weight in zip(GROUPS, self.stack.weights, strict=True) if weight > 0]
        return self.stack(self.heads.groups(b, rows, shared, used))

    def prune(self) -> Judge:
        """Return it without the heads that weigh nothing: the same scores, and smaller."""
        return replace(self, heads=self.heads.prune(self.stack.weights))


def gain_trust(n: int) -> float:
    """Return how much of P(next right)'s variation to believe with n labels: .25 up to 275 rows, 1 from 500 on.

    Source: inner cross-validation on the shared logs: with 230 labels ranking by the full gain loses
    to ranking by P(wrong); with 520 and 600 it wins.
    """
    return min(1.0, max(0.25, (n - 200) / 300))


def out_of_fold(
    b: Blocks,
    rows: np.ndarray,
    questions: Sequence[Question],
    folds: np.ndarray,
    *,
    seed: int,
    text: bool = True,
    told: Callable[[], None] | None = None,
    corpus: Corpus | None = None,
    serves: Sequence[np.ndarray | None] | None = None,
) -> list[np.ndarray]:
    """Return per question the log odds of each row's groups by heads that have not seen the row.

    Args:
        b: The blocks.
        rows: Row numbers. Shape (n,).
        questions: They share one fit of vocabularies and axes a fold.
        folds: Fold number of each row. Shape (n,).
        seed: Of every sample.
        text: Whether there are text heads.
        told: Called after each question of each fold.
        corpus: Holds the rows' texts, counted; None to read them.
        serves: Per question the rows it can be fitted on, shape (n,), bool, or None for all of them;
            all rows are scored.

    Returns:
        One array a question, shape (n, len(GROUPS)).
    """
    out = [np.zeros((len(rows), len(GROUPS))) for _ in questions]
    masks = [None] * len(questions) if serves is None else serves
    for k in range(int(folds.max()) + 1):
        fitted_on, held = np.flatnonzero(folds != k), np.flatnonzero(folds == k)
        shared: dict[bytes, dict[Any, Any]] = {}
        matrices: dict[Any, Any] = {}
        for i, (question, mask) in enumerate(zip(questions, masks, strict=True)):
            heads = _fit_heads(
                b,
                rows,
                fitted_on,
                question,
                mask,
                seed=seed,
                text=text,
                shared=shared,
                corpus=corpus,
            )
            out[i][held] = heads.groups(b, rows[held], matrices, corpus=corpus)
            if told is not None:
                told()
    return out


def fit_judges(
    b: Blocks,
    rows: np.ndarray,
    questions: Sequence[Question],
    *,
    seed: int,
    text: bool = True,
    folds: np.ndarray | None = None,
    progress: Callable[[float], None] | None = None,
    corpus: Corpus | None = None,
    serves: Sequence[np.ndarray] | None = None,
) -> list[Judge]:
    """Fit several questions: heads on all rows, stack and calibration on out-of-fold scores.

    ``oof`` comes from out-of-fold heads under the final stack (see `fit_stack`): for tuning, not
    for a certificate. Of more than ``heads.MAX_ROWS`` rows a sample is fitted on; the others were
    not seen by the final heads, whose scores then stand in ``oof`` for them.

    Args:
        b: The blocks.
        rows: Row numbers. Shape (n,).
        questions: What to judge. Asked together they share what does not depend on target and
            answer: vocabularies, axes and matrices of the prompts.
        seed: Of folds and samples.
        text: Whether there are text heads.
        folds: Fold number of each row, shape (n,); None: `fold_count` of them by prompt.
        progress: Told the share of the work done, in [0, 1].
        corpus: Holds the rows' texts, counted, for other fits on them too; None to read them.
        serves: Per question the rows with what it needs, shape (n,), bool; None: all of them. It is
            fitted on these, and ``oof`` scores all.
    """
    if len(rows) > MAX_ROWS:
        drawn = np.sort(np.random.default_rng(seed).permutation(len(rows))[:MAX_ROWS])
    else:
        drawn = np.arange(len(rows))
    used = rows[drawn]
    if folds is None:
        groups = prompt_groups([b.prompts[i] for i in used])
        used_folds = fold_ids(groups, fold_count(len(rows)), seed)
    else:
        used_folds = folds[drawn]
    masks: list[np.ndarray | None] = [None] * len(questions)
    if serves is not None:  # all rows, and no mask, must give the same bytes
        masks = [None if mask[drawn].all() else mask[drawn] for mask in serves]
    steps = itertools.count(1)
    total = (int(used_folds.max()) + 2) * len(questions)

    def told() -> None:
        if progress is not None:
            progress(next(steps) / total)

    scores = out_of_fold(
        b,
        used,
        questions,
        used_folds,
        seed=seed,
        text=text,
        told=told,
        corpus=corpus,
        serves=masks,
    )
    others = np.setdiff1d(np.arange(len(rows)), drawn, assume_unique=True)
    every = np.arange(len(used))
    shared: dict[bytes, dict[Any, Any]] = {}
    matrices: dict[tuple[int, ...], dict[Any, Any]] = {}
    judges = []
    for (answered, target), mask, z in zip(questions, masks, scores, strict=True):
        y = b.score[used, target]
        if mask is None:
            stack, known = fit_stack(z, y, GROUPS, used_folds)
        else:
            stack, _ = fit_stack(z[mask], y[mask], GROUPS, used_folds[mask])
            known = stack(z)
        heads = _fit_heads(
            b,
            used,
            every,
            (answered, target),
            mask,
            seed=seed,
            text=text,
            shared=shared,
            corpus=corpus,
        )
        judge = Judge(heads=heads, stack=stack, oof=known)
        if len(others):
            oof = np.empty(len(rows))
            oof[drawn] = known
            texts = matrices.setdefault(tuple(answered), {})
            oof[others] = judge.predict(b, rows[others], texts)
            judge = replace(judge, oof=oof)
        judges.append(judge)
        told()
    return judges


def _fit_heads(
    b: Blocks,
    rows: np.ndarray,
    some: np.ndarray,
    question: Question,
    mask: np.ndarray | None,
    *,
    seed: int,
    text: bool,
    shared: dict[bytes, dict[Any, Any]],
    corpus: Corpus | None,
) -> HeadSet:
    """Fit a question's heads on some of the rows; the pooled ones on every labelled answer among them.

    Args:
        b: The blocks.
        rows: Row numbers. Shape (n,).
        some: Places in ``rows``. Shape (k,).
        question: What is asked.
        mask: Which of ``rows`` the question can be fitted on; None for all.
        seed: Of every sample.
        text: Whether there are text heads.
        shared: Keeps what other questions fitted on the same rows share.
        corpus: Holds the rows' texts, counted; None to read them.
    """
    answered, target = question
    own = some if mask is None else some[mask[some]]
    kept = shared.setdefault(own.tobytes(), {})
    if mask is None:
        return fit_heads(
            b, rows[own], answered, target, seed=seed, text=text, shared=kept, corpus=corpus
        )
    with warnings.catch_warnings():
        # Another model may have no label at all on these rows: its mean, which is replaced below.
        warnings.simplefilter("ignore", RuntimeWarning)
        heads = fit_heads(
            b,
            rows[own],
            answered,
            target,
            seed=seed,
            pool=False,
            text=text,
            shared=kept,
            corpus=corpus,
        )
        strength = np.nanmean(b.score[rows[some]], axis=0)
    heads = replace(heads, strength=np.nan_to_num(strength))
    if len(answered) != 1 or not b.has_text(answered[0]) or b.score.shape[1] <= 2:
        return heads
    # A forecast needs the answer that it is made from: only the question's own rows have it.
    pool = rows[some] if answered[0] == target else rows[own]
    pooled, signal = fit_pool(b, pool, answered[0], target, heads.strength, seed=seed, boost=True)
    return replace(heads, pooled=tuple(pooled), signal=signal)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairScorer:
    """Weak -> strong: when to escalate, and whose answer to return once both are there.

    Attributes:
        weak: The cheap model.
        strong: The dear one.
        trust: How much of P(strong right)'s variation to believe; see `gain_trust`.
        first: P(weak right) and P(strong right) with the weak answer known.
        both: The same with both answers known; None without text.
    """

    weak: int
    strong: int
    trust: float
    first: tuple[Judge, Judge]
    both: tuple[Judge, Judge] | None

    def escalate(self, b: Blocks, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return P(weak right) and the value of escalating, each (n,)."""
        shared: dict[Any, Any] = {}
        weak, strong = (judge.predict(b, rows, shared) for judge in self.first)
        return weak, self.trust * strong - weak

    def keep_weak(self, b: Blocks, rows: np.ndarray) -> np.ndarray:
        """Return whether the weak answer is returned although strong was asked (best of tried)."""
        if self.both is None:
            return np.zeros(len(rows), bool)
        weak, strong = (judge.predict(b, rows) for judge in self.both)
        return np.asarray(weak > strong + self.margin)

    @property
    def margin(self) -> float:
        """By so much the strong answer is preferred while labels are few."""
        return 0.1 * (1.0 - self.trust)

    def training_view(self) -> tuple[np.ndarray, np.ndarray]:
        """Return out-of-fold (value of escalating, keep weak) on the training rows."""
        weak, strong = self.first[0].oof, self.first[1].oof
        keep = np.zeros(len(weak), bool)
        if self.both is not None:
            keep = self.both[0].oof > self.both[1].oof + self.margin
        return self.trust * strong - weak, keep


def fit_pair(b: Blocks, rows: np.ndarray, weak: int, strong: int, *, seed: int) -> PairScorer:
    """Fit a pair on ``rows``; logs of scores only get the prompt-only question."""
    text = b.has_text(weak)
    known = (weak,) if text else ()
    first = fit_judges(b, rows, [(known, weak), (known, strong)], seed=seed)
    both = None
    if text and b.has_text(strong):
        # texts add nothing once both answers are compared (inner cross-validation)
        questions = [((weak, strong), weak), ((weak, strong), strong)]
        pair = fit_judges(b, rows, questions, seed=seed, text=False)
        both = pair[0], pair[1]
    return PairScorer(
        weak=weak,
        strong=strong,
        trust=gain_trust(len(rows)),
        first=(first[0], first[1]),
        both=both,
    )
