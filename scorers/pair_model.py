"""Fits the same-answer model on labelled pairs: word evidence, then boosted trees over all numbers of a pair.

Every row gets a score by learners that have not seen it, nor any pair that shares a text with it or is
linked to it by shared texts; those scores calibrate the model and choose its threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np

from .boost_head import BOOST
from .embedders import Embedded, Embedder, cosine, least_match
from .pair_evidence import EVIDENCE, Evidence, EvidenceRows
from .pair_features import FEATURES, MONOTONE, Rarity, pair_features, static_rarity
from .pair_guards import refusals
from .pair_text import PromptText, read_prompt

__all__ = ["COLUMNS", "FittedPairs", "PairModel", "PairRow", "fit_pairs", "links", "read_pairs"]

COLUMNS = (*FEATURES, *EVIDENCE)
FOLDS = 4
_MARGIN = FEATURES.index("margin")
REPEATS = 2
"""Divisions into folds; the scores of a row kept apart are averaged over them."""
BOOSTERS = 3
"""Models that differ in their samples of rows and columns; their log odds are averaged."""
ROUNDS = 400
LEAST_ROWS = 200
LEAST_OF_A_CLASS = 25

_Tell = Callable[[float, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRow:
    """A pair as it is compared.

    Attributes:
        cached: The prompt that has an answer.
        asked: The prompt that wants one.
        similarity: Of the index, in [0, 1].
        margin: How much likelier than the next candidate, or NaN.
        refused_by: Guards that refuse it.
        cosine: Of the embeddings, or NaN.
        least_match: How well the worst-matched word is matched, or NaN.
    """

    cached: PromptText
    asked: PromptText
    similarity: float
    margin: float
    refused_by: tuple[str, ...]
    cosine: float
    least_match: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairModel:
    """The fitted parts.

    Attributes:
        rarity: Weights of words.
        evidence: What the labels say of words, or None for a model that is to serve any traffic.
        boosters: Over the columns of `COLUMNS`, without the evidence where there is none.
        slope: Of the calibration: log odds = slope * mean raw score + bias.
        bias: Of the calibration.
        vectors: Name of the vectors it was fitted with, or None.
    """

    rarity: Rarity
    evidence: Evidence | None
    boosters: tuple[lgb.Booster, ...]
    slope: float
    bias: float
    vectors: str | None

    def columns(self, row: PairRow) -> list[float]:
        """Return what the boosters read of a pair."""
        values = _numbers(row, self.rarity)
        if self.evidence is not None:
            values += self.evidence.features(row.cached, row.asked)
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedPairs:
    """A model and the scores of its own rows by learners that had not seen them.

    Attributes:
        model: Fitted on all rows.
        p_same: Calibrated. Shape (n,).
        allowed: Whether no guard refuses the row. Shape (n,), bool.
    """

    model: PairModel
    p_same: np.ndarray
    allowed: np.ndarray


def read_pairs(
    pairs: Sequence[tuple[str, str]],
    similarity: Sequence[float],
    margin: Sequence[float],
    embedder: Embedder | None,
    *,
    allow: Sequence[str] = (),
) -> list[PairRow]:
    """Take pairs apart; a text that stands in several is read and embedded once."""
    texts = {text: read_prompt(text) for text in dict.fromkeys(t for pair in pairs for t in pair)}
    embedded: dict[str, Embedded] = {}
    if embedder is not None:
        embedded = dict(zip(texts, embedder.embed(list(texts.items())), strict=True))
    return [
        pair_row(
            texts[a],
            texts[b],
            similarity=near,
            margin=apart,
            embedded=(embedded.get(a), embedded.get(b)),
            refused_by=refusals(texts[a], texts[b], allow=allow),
        )
        for (a, b), near, apart in zip(pairs, similarity, margin, strict=True)
    ]


def pair_row(
    cached: PromptText,
    asked: PromptText,
    *,
    similarity: float,
    margin: float,
    embedded: tuple[Embedded | None, Embedded | None],
    refused_by: tuple[str, ...],
) -> PairRow:
    """Compare two prompts that have been read."""
    return PairRow(
        cached=cached,
        asked=asked,
        similarity=similarity,
        margin=margin,
        refused_by=refused_by,
        cosine=cosine(*embedded),
        least_match=least_match(*embedded),
    )


def links(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Return group numbers: pairs that share a text, directly or by others, are of one. Shape (n,)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    number: dict[str, int] = {}
    ends = [[number.setdefault(text.casefold(), len(number)) for text in pair] for pair in pairs]
    left, right = np.array(ends, np.intp).reshape(len(pairs), 2).T
    graph = coo_matrix((np.ones(len(pairs)), (left, right)), shape=(len(number),) * 2)
    _, group = connected_components(graph, directed=False)
    return np.asarray(group[left])


def fit_pairs(
    rows: Sequence[PairRow],
    same: np.ndarray,
    groups: np.ndarray,
    *,
    vectors: str | None = None,
    general: bool = False,
    seed: int = 0,
    progress: _Tell | None = None,
) -> FittedPairs:
    """Fit on labelled pairs.

    Args:
        rows: The pairs.
        same: Whether they are duplicates. Shape (n,), bool.
        groups: Rows of one group are never on both sides of a fold. Shape (n,).
        vectors: Name of the vectors behind `cosine`, or None.
        general: Whether the model is to serve traffic that is not like these rows: no word evidence,
            fixed weights of words, and every number moves the score in one direction only.
        seed: Of folds and samples.
        progress: Is told (share, what) as it goes on.
    """
    tell = progress or _silent
    tell(0.0, "reading pairs")
    texts = {id(t): t for row in rows for t in (row.cached, row.asked)}
    rarity = static_rarity() if general else Rarity.of(list(texts.values()))
    x = np.array([_numbers(row, rarity) for row in rows], np.float64)
    if general:
        x[:, _MARGIN] = np.nan  # how dense another cache is, nobody knows
    raw = np.zeros(len(rows))
    for repeat in range(REPEATS):
        fold = _folds(groups, seed + repeat)
        told = None if general else _evidence(rows, same, fold)
        for k in range(FOLDS):
            tell((repeat + k / FOLDS) / (REPEATS + 0.5), "scores of rows kept apart")
            learn, judge = fold != k, fold == k
            seen = x if told is None else np.hstack([x, told.for_judging[k]])
            boosters = _boosters(seen[learn], same[learn], general, seed + repeat)
            raw[judge] += _raw(boosters, seen[judge]) / REPEATS
    tell(REPEATS / (REPEATS + 0.5), "the model on all rows")
    allowed = np.array([not row.refused_by for row in rows])
    slope, bias = _calibration(raw[allowed], same[allowed])
    seen = x if told is None else np.hstack([x, told.for_fitting])
    model = PairModel(
        rarity=rarity,
        evidence=None if told is None else told.fitted,
        boosters=_boosters(seen, same, general, seed),
        slope=slope,
        bias=bias,
        vectors=vectors,
    )
    return FittedPairs(model=model, p_same=_p_same(raw, slope, bias), allowed=allowed)


def _numbers(row: PairRow, rarity: Rarity) -> list[float]:
    return pair_features(
        row.cached,
        row.asked,
        rarity,
        similarity=row.similarity,
        margin=row.margin,
        guards=len(row.refused_by),
        cosine=row.cosine,
        least_match=row.least_match,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """Word evidence of the rows, never counted with a row's own fold.

    Attributes:
        fitted: On all rows.
        for_fitting: Of each row, without its fold. Shape (n, e).
        for_judging: For each fold k, of its rows without k, of the other rows without theirs and
            without k: learners of the others know nothing of k. Shape (folds, n, e).
    """

    fitted: Evidence
    for_fitting: np.ndarray
    for_judging: np.ndarray


def _evidence(rows: Sequence[PairRow], same: np.ndarray, fold: np.ndarray) -> _Told:
    pairs = [(row.cached, row.asked) for row in rows]
    table = EvidenceRows(pairs, same)
    members = [np.flatnonzero(fold == k) for k in range(FOLDS)]
    for_fitting = np.zeros((len(rows), len(EVIDENCE)))
    for_judging = np.zeros((FOLDS, len(rows), len(EVIDENCE)))

    def features(fitted: Evidence, k: int) -> np.ndarray:
        return np.array([fitted.features(*pairs[i]) for i in members[k].tolist()])

    for k in range(FOLDS):
        without = fold != k
        for_fitting[members[k]] = for_judging[k, members[k]] = features(table.fit(without), k)
        for j in range(k):
            without_both = table.fit(without & (fold != j))
            for_judging[j, members[k]] = features(without_both, k)
            for_judging[k, members[j]] = features(without_both, j)
    return _Told(
        fitted=table.fit(np.ones(len(rows), bool)),
        for_fitting=for_fitting,
        for_judging=for_judging,
    )


def _folds(groups: np.ndarray, seed: int) -> np.ndarray:
    """Return fold numbers: groups in random order, each to the fold with the fewest rows."""
    names, member = np.unique(groups, return_inverse=True)
    sizes = np.bincount(member)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    of_group, filled = np.zeros(len(names), np.intp), np.zeros(FOLDS)
    for group in order:
        of_group[group] = k = int(np.argmin(filled))
        filled[k] += sizes[group]
    return of_group[member]


def _boosters(x: np.ndarray, same: np.ndarray, general: bool, seed: int) -> tuple[lgb.Booster, ...]:
    params = {
        **BOOST,
        "objective": "cross_entropy",
        "learning_rate": 0.05,
        "feature_fraction": 0.5,
        "min_data_in_leaf": 30 if len(same) >= 2_000 else 10,
        "extra_trees": not general,
    }
    if general:
        params["monotone_constraints"] = list(MONOTONE[: x.shape[1]])
    made = []
    for i in range(1 if general else BOOSTERS):
        data = lgb.Dataset(
            x, label=same.astype(float), params={"max_bin": BOOST["max_bin"], "verbosity": -1}
        )
        made.append(
            lgb.train({**params, "seed": seed * BOOSTERS + i}, data, num_boost_round=ROUNDS)
        )
    return tuple(made)


def _raw(boosters: Sequence[lgb.Booster], x: np.ndarray) -> np.ndarray:
    return np.asarray(
        np.mean([b.predict(x, raw_score=True, num_threads=1) for b in boosters], axis=0)
    )


def _calibration(raw: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """Return slope and bias of Platt's map, the slope positive; (1, 0) where one class is missing."""
    if len(raw) < LEAST_OF_A_CLASS or same.all() or not same.any():
        return 1.0, 0.0
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=10.0).fit(raw[:, None], same)
    return max(0.05, float(fitted.coef_[0, 0])), float(fitted.intercept_[0])


def _p_same(raw: np.ndarray, slope: float, bias: float) -> np.ndarray:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * (slope * raw + bias))))


def _silent(share: float, what: str) -> None:
    del share, what
