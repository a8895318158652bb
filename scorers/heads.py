"""Several small heads for one question ("is answer t right, given the answers seen?"), averaged without choosing.

Hand-made numbers: logistic and GBDT, with and without the prompt's text axes; one logistic on a few
core numbers; pooled heads that share rows across all models. Text: ridge on TF-IDF of prompt
(words, characters), prompt + answer, and label x word crosses.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import lightgbm as lgb
import numpy as np

from .boost_head import fit_boost, predict_boost
from .calibrate import logit
from .corpus import Corpus
from .features import OWN_NAMES, PROMPT_NAMES
from .labels import LabelSet, fit_labels
from .linear_head import LinearHead, fit_linear
from .text_head import (
    AXES_TERMS,
    TextAxes,
    TextHead,
    Vocabulary,
    axes_of,
    fit_axes,
    fit_text,
    fit_vocabulary,
)

__all__ = [
    "CORE",
    "GROUPS",
    "SIGNALS",
    "Blocks",
    "HeadSet",
    "Model",
    "fit_heads",
    "fit_pool",
    "text_group",
    "texts_of",
]

CORE: tuple[str, ...] = (
    *("l_mean", "l_first", "l_min", "t_first_margin", "t_first_entropy", "t_entropy_mean"),
    *("s_p_true", "s_stated", "s_margin", "s_text", "e_wrong_share", "e_last_wrong"),
    *("e_unexplained_share", "e_count", "c_marked", "c_none", "u_numbers_used", "a_log_words"),
    *("a_hedges", "a_assumes", "a_repeat3", "c_conflicts", "o_overlap_margin", "c_integer"),
)
"""Numbers of one answer that a logistic head bears with few labels."""
SIGNALS: tuple[str, ...] = ("l_mean", "t_first_margin", "t_first_entropy", "s_p_true", "s_stated")
"""How sure a model says it is."""
GROUPS = ("hand", "core", "pool", "signal", "prompt", "text")
"""What the stack weighs: heads of one group are averaged."""

LINEAR_L2, CORE_L2, SIGNAL_L2 = 150.0, 10.0, 2.0
TEXT_L2_ROWS = 700.0
"""Ridge penalty of text heads: a row in so many, within [2, 10]."""
AXES = 24
POOL_WEIGHT = 0.3
"""Weight of another model's row beside the target's own."""
POOL_MAX_ROWS = 24_000
MAX_ROWS = 20_000
"""Rows a head is fitted on at most, drawn by the seed. The shared logs show no gain beyond some
thousand, and 100,000 would take hours."""
_FEW_LINEAR, _FEW_BOOST, _FEW_AXES = 60, 150, 200  # rows below which there is no such head

Model: TypeAlias = LinearHead | lgb.Booster
"""A head on numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Everything known of n requests and k models.

    Attributes:
        prompts: Length n.
        texts: Answers, n lists of k; None where the log holds only scores.
        prompt: `PROMPT_NAMES` of each prompt. Shape (n, p), float32.
        own: `OWN_NAMES` of each answer, NaN where absent. Shape (n, k, a), float32.
        same: 1 same claim, 0 another, NaN not comparable. Shape (n, k, k).
        similar: Word overlap in [0, 1], NaN unknown. Shape (n, k, k).
        logprob: Mean log-probability of each answer, NaN unknown. Shape (n, k).
        claims: What each answer claims, "" for nothing. Shape (n, k), str.
        score: Quality in [0, 1], NaN unknown. Shape (n, k).
    """

    prompts: list[str]
    texts: list[list[str | None]]
    prompt: np.ndarray
    own: np.ndarray
    same: np.ndarray
    similar: np.ndarray
    logprob: np.ndarray
    claims: np.ndarray
    score: np.ndarray

    def has_text(self, j: int) -> bool:
        """Return whether any row holds an answer of model ``j``."""
        return any(texts[j] is not None for texts in self.texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSet:
    """Fitted heads for one question.

    Attributes:
        answered: The models whose answers are read; at most two (ladders stack on top).
        target: Whose answer is judged, or would be.
        labels: The labels of each answered model.
        axes: Text axes of the prompt, or None.
        hand: Heads on hand-made numbers.
        with_axes: Heads on hand-made numbers and the axes.
        core: Head on ``CORE``, or None without readable answers.
        pooled: Heads on (prompt, one answer, strength, model), fitted on the rows of all models.
        signal: Head on (``SIGNALS``, strength) of all models, or None: the safest with few labels.
        strength: Base rate of each model in training. Shape (k,).
        text: (kind of text, head).
    """

    answered: tuple[int, ...]
    target: int
    labels: tuple[LabelSet, ...]
    axes: TextAxes | None
    hand: tuple[Model, ...]
    with_axes: tuple[Model, ...]
    core: LinearHead | None
    pooled: tuple[Model, ...]
    signal: LinearHead | None
    strength: np.ndarray
    text: tuple[tuple[str, TextHead], ...]

    def groups(
        self,
        b: Blocks,
        rows: np.ndarray,
        shared: dict[Any, Any] | None = None,
        wanted: Collection[str] = GROUPS,
        corpus: Corpus | None = None,
    ) -> np.ndarray:
        """Return the log odds of each group of heads.

        Args:
            b: The blocks.
            rows: Row numbers. Shape (n,).
            shared: Keeps texts' matrices for other questions about the same rows with the same
                answered models; None to keep nothing.
            wanted: Groups to compute.
            corpus: Holds these rows' texts, counted; None to read them.

        Returns:
            Shape (n, len(GROUPS)); 0 for a group that was not fitted or is not wanted.
        """
        found: dict[str, list[np.ndarray]] = {group: [] for group in GROUPS}
        shared = {} if shared is None else shared
        if "hand" in wanted:
            x = _hand(b, rows, self.answered, self.labels)
            found["hand"] += [logit(_predict(head, x)) for head in self.hand]
            if self.axes is not None and self.with_axes:
                _prepare(self.axes.vocabulary, rows, "prompt", (), corpus, shared)
                axes = self.axes.predict([b.prompts[i] for i in rows], shared)
                x = np.hstack([x, axes])
                found["hand"] += [logit(_predict(head, x)) for head in self.with_axes]
        if "core" in wanted and self.core is not None:
            found["core"].append(logit(self.core.predict(_core(b, rows, self.answered))))
        if "pool" in wanted and self.pooled:
            x = _pool_rows(b, rows, self.answered[0], self.strength)
            found["pool"] += [logit(_predict(head, x)) for head in self.pooled]
        if "signal" in wanted and self.signal is not None:
            x = _signal_rows(b, rows, self.answered[0], self.strength)
            found["signal"].append(logit(self.signal.predict(x)))
        for kind, text_head in self.text:
            if text_group(kind) in wanted:
                _prepare(text_head.vocabulary, rows, kind, self.answered, corpus, shared)
                texts = texts_of(b, rows, kind, self.answered, self.labels)
                p = np.clip(text_head.predict(texts, shared)[:, 0], *TEXT_RANGE)
                found[text_group(kind)].append(logit(p))
        columns = [np.mean(found[g], axis=0) if found[g] else np.zeros(len(rows)) for g in GROUPS]
        return np.stack(columns, axis=1)

    def prune(self, weights: np.ndarray) -> HeadSet:
        """Return it without the groups whose stack weight is 0: the same scores, and smaller.

        Args:
            weights: One a group. Shape (len(GROUPS),).
        """
        used = {group for group, weight in zip(GROUPS, weights, strict=True) if weight > 0}
        hand = "hand" in used
        return replace(
            self,
            axes=self.axes if hand else None,
            hand=self.hand if hand else (),
            with_axes=self.with_axes if hand else (),
            core=self.core if "core" in used else None,
            pooled=self.pooled if "pool" in used else (),
            signal=self.signal if "signal" in used else None,
            text=tuple((kind, head) for kind, head in self.text if text_group(kind) in used),
        )


TEXT_RANGE = (0.02, 0.98)
"""A ridge head's output is cut to this before it counts as a probability."""


def text_group(kind: str) -> str:
    """Return the group of a kind of text head."""
    return "prompt" if kind in ("prompt", "chars") else "text"


def _predict(head: Model, x: np.ndarray) -> np.ndarray:
    return head.predict(x) if isinstance(head, LinearHead) else predict_boost(head, x)


def fit_heads(
    b: Blocks,
    rows: np.ndarray,
    answered: Sequence[int],
    target: int,
    *,
    seed: int,
    pool: bool = True,
    text: bool = True,
    boost: bool = True,
    shared: dict[Any, Any] | None = None,
    corpus: Corpus | None = None,
) -> HeadSet:
    """Fit all heads for P(target right | prompt, answers of ``answered``).

    Small-data rule: below 60 rows only the core and pooled logistic heads; below 150 rows no GBDT
    on the target's own rows; below 200 no text axes. Of more than ``MAX_ROWS`` rows a sample.

    Args:
        b: The blocks.
        rows: Row numbers to fit on. Shape (n,).
        answered: Models whose answers are read; at most two.
        target: Whose answer is judged.
        seed: Of every sample.
        pool: Whether there are heads that share the rows of all models.
        text: Whether there are text heads and axes.
        boost: Whether there are GBDTs.
        shared: Keeps vocabularies, axes and the matrices of texts, which do not depend on the
            target, for other questions about the same rows; None to keep nothing.
        corpus: Holds these rows' texts, counted; None to read them.
    """
    if len(rows) > MAX_ROWS:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:MAX_ROWS])
    answered = tuple(answered)
    shared = {} if shared is None else shared
    y = b.score[rows, target]
    n = len(rows)
    labels = tuple(fit_labels([str(claim) for claim in b.claims[rows, j]]) for j in answered)
    readable = bool(answered) and b.has_text(answered[0])
    prompts = [b.prompts[i] for i in rows]
    if "axes" not in shared:
        enough = text and n >= _FEW_AXES
        shared["axes"] = _fit_axes(prompts, rows, corpus, shared, seed) if enough else None
    axes: TextAxes | None = shared["axes"]
    x = _hand(b, rows, answered, labels)
    hand: list[Model] = []
    with_axes: list[Model] = []
    if n >= _FEW_LINEAR:
        hand.append(fit_linear(x, y, l2=LINEAR_L2))
    if n >= _FEW_BOOST and boost:
        hand.append(fit_boost(x, y, seed=seed))
    if axes is not None:
        wide = np.hstack([x, axes.predict(prompts, shared)])
        with_axes.append(fit_linear(wide, y, l2=LINEAR_L2))
        if boost:
            with_axes.append(fit_boost(wide, y, seed=seed + 1))
    core = fit_linear(_core(b, rows, answered), y, l2=CORE_L2) if readable else None
    strength = np.nanmean(b.score[rows], axis=0)
    pooled: list[Model] = []
    signal: LinearHead | None = None
    if pool and readable and len(answered) == 1 and b.score.shape[1] > 2:
        pooled, signal = fit_pool(b, rows, answered[0], target, strength, seed=seed, boost=boost)
    if not (hand or with_axes or pooled or core):
        hand.append(fit_linear(x, y, l2=4.0 * LINEAR_L2))
    return HeadSet(
        answered=answered,
        target=target,
        labels=labels,
        axes=axes,
        hand=tuple(hand),
        with_axes=tuple(with_axes),
        core=core,
        pooled=tuple(pooled),
        signal=signal,
        strength=strength,
        text=_fit_texts(b, rows, y, answered, labels, readable, shared, corpus)
        if text and n >= _FEW_LINEAR
        else (),
    )


def fit_pool(
    b: Blocks,
    rows: np.ndarray,
    last: int,
    target: int,
    strength: np.ndarray,
    *,
    seed: int,
    boost: bool,
) -> tuple[list[Model], LinearHead | None]:
    """Fit the heads that learn from every model's answers; the last one's own rows count most."""
    wide, narrow, goals, weights = [], [], [], []
    for j in range(b.score.shape[1]):
        if (target != last and j == target) or not b.has_text(j):
            continue
        goal = b.score[rows, j if target == last else target]
        known = np.isfinite(goal)  # a model outside the ladder may lack some scores
        wide.append(_pool_rows(b, rows[known], j, strength))
        narrow.append(_signal_rows(b, rows[known], j, strength))
        goals.append(goal[known])
        weights.append(np.full(int(known.sum()), 1.0 if j == last else POOL_WEIGHT))
    x, y, weight = np.vstack(wide), np.concatenate(goals), np.concatenate(weights)
    signal = None
    if np.isfinite(b.own[rows, last][:, SIGNAL_COLUMNS]).any():
        signal = fit_linear(np.vstack(narrow), y, weight=weight, l2=SIGNAL_L2)
    if len(y) > POOL_MAX_ROWS:
        drawn = np.random.default_rng(seed).permutation(len(y))[:POOL_MAX_ROWS]
        kept = np.union1d(drawn, np.flatnonzero(weight == 1.0))
        x, y, weight = x[kept], y[kept], weight[kept]
    pooled: list[Model] = [fit_linear(x, y, weight=weight, l2=LINEAR_L2)]
    if boost:
        pooled.append(fit_boost(x, y, seed=seed, leaves=12, rate=0.05, trees=120, weight=weight))
    return pooled, signal


def _fit_texts(
    b: Blocks,
    rows: np.ndarray,
    y: np.ndarray,
    answered: tuple[int, ...],
    labels: tuple[LabelSet, ...],
    readable: bool,
    shared: dict[Any, Any],
    corpus: Corpus | None,
) -> tuple[tuple[str, TextHead], ...]:
    """Fit a ridge head a kind of text."""
    kinds = ["prompt", "chars"]
    if readable:
        kinds.append("both")
    if labels and labels[0].closed and any(len(value) > 1 for value in labels[0].values):
        kinds.append("cross")
    l2 = min(10.0, max(2.0, len(rows) / TEXT_L2_ROWS))
    heads = []
    for kind in kinds:
        key = (kind, answered[:1] if kind in ("both", "cross") else ())
        if key not in shared and corpus is not None and kind in COUNTED:
            counts, places = corpus.counts(*key), corpus.places(rows)
            vocabulary = counts.vocabulary(places)
            shared[key] = vocabulary, counts.matrix(places, vocabulary)
        elif key not in shared:
            texts = texts_of(b, rows, kind, answered, labels)
            vocabulary = fit_vocabulary(texts, chars=kind == "chars")
            shared[key] = vocabulary, vocabulary.transform(texts)
        heads.append((kind, fit_text((), y[:, None], l2=l2, fitted=shared[key])))
    return tuple(heads)


COUNTED = ("prompt", "chars", "both")
"""Kinds of text that are the same in every fold."""


def _fit_axes(
    prompts: list[str],
    rows: np.ndarray,
    corpus: Corpus | None,
    shared: dict[Any, Any],
    seed: int,
) -> TextAxes | None:
    if corpus is None:
        return fit_axes(prompts, AXES, seed=seed)
    counts, places = corpus.counts("prompt", ()), corpus.places(rows)
    vocabulary = counts.vocabulary(places, **AXES_TERMS)
    matrix = shared[id(vocabulary)] = counts.matrix(places, vocabulary)
    return axes_of(vocabulary, matrix, AXES, seed=seed)


def _prepare(
    vocabulary: Vocabulary,
    rows: np.ndarray,
    kind: str,
    answered: tuple[int, ...],
    corpus: Corpus | None,
    shared: dict[Any, Any],
) -> None:
    """Put the matrix of some texts where heads look for it, if they have been counted."""
    if corpus is not None and kind in COUNTED and id(vocabulary) not in shared:
        of = answered[:1] if kind == "both" else ()
        shared[id(vocabulary)] = corpus.read(rows, kind, of, vocabulary)


SIGNAL_COLUMNS = [OWN_NAMES.index(name) for name in SIGNALS]
CORE_COLUMNS = [OWN_NAMES.index(name) for name in CORE]
PROMPT_CORE = [PROMPT_NAMES.index(name) for name in ("p_log_words", "p_numbers", "p_options")]
PROMPT_CHARS, ANSWER_CHARS = 1_500, 2_000
"""Of the end of prompt and answer, read together by a text head."""
BETWEEN = " ||| "


def _hand(
    b: Blocks, rows: np.ndarray, answered: tuple[int, ...], labels: tuple[LabelSet, ...]
) -> np.ndarray:
    """Return prompt, then own numbers and label of each answer, then how two of them compare."""
    parts = [b.prompt[rows]]
    for j, known in zip(answered, labels, strict=True):
        claims = [str(claim) for claim in b.claims[rows, j]]
        parts += [b.own[rows, j], known.features(claims)]
    if len(answered) == 2:
        i, j = answered
        difference = b.logprob[rows, i] - b.logprob[rows, j]
        parts.append(np.stack([b.same[rows, i, j], b.similar[rows, i, j], difference], axis=1))
    return np.hstack(parts)


def _core(b: Blocks, rows: np.ndarray, answered: tuple[int, ...]) -> np.ndarray:
    parts = [b.prompt[rows][:, PROMPT_CORE]]
    parts += [b.own[rows, j][:, CORE_COLUMNS] for j in answered]
    if len(answered) == 2:
        parts.append(b.same[rows, answered[0], answered[1]][:, None])
    return np.hstack(parts)


def _pool_rows(b: Blocks, rows: np.ndarray, j: int, strength: np.ndarray) -> np.ndarray:
    who = np.empty((len(rows), 2), np.float32)
    who[:] = strength[j], j
    return np.hstack([b.prompt[rows], b.own[rows, j], who])


def _signal_rows(b: Blocks, rows: np.ndarray, j: int, strength: np.ndarray) -> np.ndarray:
    base_rate = np.full((len(rows), 1), strength[j], np.float32)
    return np.hstack([b.own[rows, j][:, SIGNAL_COLUMNS], base_rate])


def texts_of(
    b: Blocks,
    rows: np.ndarray,
    kind: str,
    answered: tuple[int, ...],
    labels: tuple[LabelSet, ...],
) -> list[str]:
    """Return the text that a kind of head reads of each row."""
    if kind in ("prompt", "chars"):
        return [b.prompts[i] for i in rows]
    j = answered[0]
    if kind == "cross":
        return [labels[0].cross(b.prompts[i], str(b.claims[i, j])) for i in rows]
    return [
        b.prompts[i][-PROMPT_CHARS:] + BETWEEN + (b.texts[i][j] or "")[-ANSWER_CHARS:] for i in rows
    ]
