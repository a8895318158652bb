"""Rank a model's answers before there are labels, by what tells right from wrong ones elsewhere.

The weights were learned from answers of two small models to questions made from templates
(`data/generic`); every number is read as its rank among the answers of the model in question, so that
only the order of its own answers counts. What comes out is a ranking, not a probability.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from scipy.optimize import minimize

from cascade.records import RowReader, TrafficRow

from .dataset import Dataset, read_dataset
from .features import OWN_NAMES
from .linear_head import N_KNOTS, ColumnMap, LinearHead, sigmoid

__all__ = [
    "BY_LOGPROB",
    "LEAST_ANSWERS",
    "READ",
    "SIGNS",
    "Ranking",
    "fit_signed",
    "fit_weights",
    "generic_log",
    "percentiles",
    "rank_answers",
    "why_silent",
]

LEAST_ANSWERS = 25
"""Answers of a model, labelled or not, that its ranks need."""
LEAST_CLAIMS = 0.5
"""Share of answers that must claim something: a number, an option, a short text."""
LEAST_WORDS = 8.0
"""Words of the median answer, at least: of a word alone nothing can be read but its log-probability."""

_L2, _L2_INTERCEPT = 30.0, 0.1
_FALLING = (
    *("a_log_chars", "a_repeat3", "a_truncated", "a_hedges", "a_turns", "a_assumes", "a_refuses"),
    *("a_rounds", "c_none", "c_conflicts", "c_after", "c_log_value", "e_wrong", "e_wrong_share"),
    *("e_worst", "e_last_wrong", "e_unexplained", "e_unexplained_share", "e_decimals"),
    *("e_negative", "e_max_log", "u_numbers_unused", "u_echo"),
)
_RISING = (
    *("c_marked", "c_integer", "e_claim_is_last", "e_claim_is_any", "o_valid", "o_claim_overlap"),
    *("o_overlap_margin", "o_text_in_answer", "s_stated", "s_margin", "s_text", "u_numbers_used"),
)
READ = (*_FALLING, *_RISING)
"""The numbers that are read. What only tells one task from another is not among them."""
_COLUMNS = np.array([OWN_NAMES.index(name) for name in READ], np.intp)
SIGNS = np.array([-1.0] * len(_FALLING) + [1.0] * len(_RISING))
"""Which way each points: whether more of it speaks against or for an answer."""
BY_LOGPROB = ("l_mean",)
LEAST_LOGPROBS = 0.9
"""Share of a model's answers with log-probabilities from which it is ranked by them."""
_LOGPROB = OWN_NAMES.index("l_mean")
_LOWEST_LOGPROB = -50.0
_CLAIMS_NOTHING = OWN_NAMES.index("c_none")
_WORDS = OWN_NAMES.index("a_log_words")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Ranks one model's answers.

    Attributes:
        reads: The numbers of an answer that it reads, among `OWN_NAMES`.
        head: Says of them how right they look: a sum, of no unit.
        knots: What it said of the model's logged answers, quantiles, increasing. Shape (k,).
        ranks: The rank of each knot among them, in [0, 1]. Shape (k,).
        answers: How many answers that were.
    """

    reads: tuple[str, ...]
    head: LinearHead
    knots: np.ndarray
    ranks: np.ndarray
    answers: int

    def looks(self, own: np.ndarray) -> np.ndarray:
        """Return how right answers look.

        Args:
            own: `OWN_NAMES` of each. Shape (n, a).

        Returns:
            A log odds but for an unknown constant and an unknown scale. Shape (n,).
        """
        return self.head.predict(own[:, [OWN_NAMES.index(name) for name in self.reads]])

    def rank(self, own: np.ndarray) -> np.ndarray:
        """Return each answer's rank among the logged ones, in [0, 1]. Shape (n,)."""
        return np.asarray(np.interp(self.looks(own), self.knots, self.ranks))

    @property
    def by_logprob(self) -> bool:
        """Whether it ranks by the mean log-probability alone."""
        return self.reads == BY_LOGPROB


def rank_answers(own: np.ndarray) -> Ranking | None:
    """Return the ranking of a model's answers; None where there is nothing to go by.

    By their mean log-probability where nearly all have one (there it ranks as well as the rest
    together), else by their text.

    Args:
        own: `OWN_NAMES` of its logged answers, NaN throughout where there is none. Shape (n, a).
    """
    own = _there(own)
    if len(own) >= LEAST_ANSWERS and np.isfinite(own[:, _LOGPROB]).mean() >= LEAST_LOGPROBS:
        logprob = own[:, _LOGPROB]
        return _ranking(own, BY_LOGPROB, _as_it_is(logprob), np.ones(1))
    if why_silent(own) is not None:
        return None
    return _ranking(own, READ, percentiles(own[:, _COLUMNS]), fit_weights())


def _ranking(
    own: np.ndarray, reads: tuple[str, ...], columns: ColumnMap, weights: np.ndarray
) -> Ranking:
    head = LinearHead(columns=columns, weights=weights, bias=0.0, logistic=False)
    knots, ranks = _mid_ranks(head.predict(own[:, [OWN_NAMES.index(name) for name in reads]]))
    return Ranking(reads=reads, head=head, knots=knots, ranks=ranks, answers=len(own))


def _as_it_is(logprob: np.ndarray) -> ColumnMap:
    """Return the map of a mean log-probability to itself, less the median, which NaN is taken for."""
    knots = np.linspace(_LOWEST_LOGPROB, 0.0, N_KNOTS)[None]
    return ColumnMap(
        keep=np.ones(1, bool),
        knots=knots,
        scores=knots - np.nanmedian(logprob),
        missing=np.zeros(1, bool),
    )


def _there(own: np.ndarray) -> np.ndarray:
    return np.asarray(own[np.isfinite(own[:, _WORDS])])


def why_silent(own: np.ndarray) -> str | None:
    """Return why answers cannot be ranked by their text, in words; None if they can.

    Args:
        own: `OWN_NAMES` of a model's logged answers. Shape (n, a).
    """
    own = _there(own)
    if len(own) < LEAST_ANSWERS:
        return f"{len(own)} answers; ranks need at least {LEAST_ANSWERS}"
    claims = 1.0 - float(np.nanmean(own[:, _CLAIMS_NOTHING]))
    if claims < LEAST_CLAIMS:
        return (
            f"{claims:.0%} of the answers claim something that can be checked (a number, an option, "
            f"a short text); in open talk such a ranking is worse than chance"
        )
    words = float(np.expm1(np.median(own[:, _WORDS])))
    if words < LEAST_WORDS:
        return f"the median answer is {words:.0f} words long: there is no reasoning to read"
    return None


@cache
def fit_weights() -> np.ndarray:
    """Return the weights of `READ`, none of the wrong sign, from the log that ships. Shape (f,).

    Logistic regression on ranks within each model and task, with an intercept for each: what it
    learns is which of two answers to the same kind of question is right.
    """
    data = generic_log()
    tasks = np.array([name.rpartition("-")[0] for name in data.ids])
    parts = [
        (j, rows)
        for j in range(len(data.models))
        for task in np.unique(tasks)
        if len(rows := np.flatnonzero((tasks == task) & np.isfinite(data.score[:, j])))
    ]
    return fit_signed(
        [percentiles(own := data.blocks.own[rows, j][:, _COLUMNS])(own) for j, rows in parts],
        [data.score[rows, j] for j, rows in parts],
    )


def fit_signed(parts: list[np.ndarray], right: list[np.ndarray], l2: float = _L2) -> np.ndarray:
    """Return logistic weights of the right signs, pulled to one common size, with an intercept a part.

    Few answers cannot weigh so many numbers, but which way each of them points is known
    beforehand: pulled to zero, or with free signs, weights rank the answers to other tasks worse.

    Args:
        parts: Ranks of the answers of one model to one task. Each (n_i, f).
        right: Whether each was right, in [0, 1]. Each (n_i,).
        l2: Penalty of a weight's distance from the common size.
    """
    z, y = np.concatenate(parts) * SIGNS, np.concatenate(right)
    part = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
    f, k = z.shape[1], len(parts)
    a = np.hstack([z, np.eye(k)[part]])

    def loss(b: np.ndarray) -> tuple[float, np.ndarray]:
        away, own, common = b[:f] - b[-1], b[f:-1], len(b) - 1
        s = a @ b[:-1]
        value = (np.logaddexp(0.0, s) - y * s).sum()
        value += 0.5 * l2 * (away @ away) + 0.5 * _L2_INTERCEPT * (own @ own)
        gradient = np.zeros(len(b))
        gradient[:common] = a.T @ (sigmoid(s) - y)
        gradient[:f] += l2 * away
        gradient[f:common] += _L2_INTERCEPT * own
        gradient[common] = -l2 * away.sum()
        return float(value), gradient

    bounds = [*[(0.0, None)] * f, *[(None, None)] * k, (0.0, None)]
    found = minimize(loss, np.zeros(f + k + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(found.x[:f] * SIGNS)


@cache
def generic_log() -> Dataset:
    """Return the log that ships: questions from templates, what two small models answered, and whether right."""
    return read_dataset(_rows())


def _rows() -> Iterator[TrafficRow]:
    reader = RowReader()
    with (
        files("scorers").joinpath("data/generic/log.jsonl.gz").open("rb") as packed,
        gzip.open(packed) as lines,
    ):
        for line in lines:
            yield reader.read(line)


def percentiles(x: np.ndarray) -> ColumnMap:
    """Return the map of each column to its mid-rank among these rows, from -1/2 to 1/2; NaN to 0."""
    f = x.shape[1]
    knots, scores = np.zeros((f, N_KNOTS)), np.zeros((f, N_KNOTS))
    for j in range(f):
        known = x[:, j][~np.isnan(x[:, j])]
        if len(known):
            at, rank = _mid_ranks(known)
            knots[j], scores[j] = at, rank - 0.5
    return ColumnMap(keep=np.ones(f, bool), knots=knots, scores=scores, missing=np.zeros(f, bool))


def _mid_ranks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return knots and their mid-ranks in [0, 1], each (N_KNOTS,), the last repeated.

    >>> _mid_ranks(np.array([1.0, 1.0, 3.0, 3.0]))[1][:2]
    array([0.25, 0.75])
    """
    known = np.sort(values.astype(np.float64))
    knots = np.unique(known)
    if len(knots) > N_KNOTS:
        knots = np.unique(np.quantile(known, np.linspace(0, 1, N_KNOTS), method="nearest"))
    low, high = np.searchsorted(known, knots, "left"), np.searchsorted(known, knots, "right")
    rank = (low + high) / (2.0 * len(known))
    spare = N_KNOTS - len(knots)
    return np.pad(knots, (0, spare), mode="edge"), np.pad(rank, (0, spare), mode="edge")
