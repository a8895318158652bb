"""Scores for every state of a ladder, a state being which models have answered.

One small learner a target, shared by all states, on top of single-answer scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import lightgbm as lgb
import numpy as np

from .blend import Judgement
from .boost_head import fit_boost, predict_boost
from .calibrate import CLIP, Calibration, logit
from .features import OWN_NAMES
from .heads import Blocks
from .linear_head import N_KNOTS, ColumnMap, LinearHead, fit_linear, sigmoid

__all__ = [
    "EXTRA",
    "IDENTITY",
    "StateInputs",
    "StateModel",
    "fit_states",
    "members",
    "plain_states",
    "state_features",
    "state_size",
]

EXTRA = tuple(OWN_NAMES.index(c) for c in ("l_mean", "a_log_words", "e_wrong_share", "c_marked"))
"""Raw numbers of an answer that are read besides the scores."""
MAX_PAIRS = 40_000
"""(row, state) pairs that a learner is fitted on at most, drawn by the seed."""
_FEW_BOOST = 120
_STATE_L2 = 8.0
_LEAF_ROWS = 25
_STATES_A_LABEL = 4.0
_DRAW_BY_PERMUTATION = 20_000_000


def members(state: int, m: int) -> list[int]:
    """Return the models of a bit mask, ascending.

    >>> members(0b101, 3)
    [0, 2]
    """
    return [j for j in range(m) if state >> j & 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateInputs:
    """What level 2 reads of n requests and m models.

    Attributes:
        before: P(right | prompt). Shape (n, m).
        after: P(right | prompt, own answer), NaN without text. Shape (n, m).
        same: 1 same claim, 0 another, NaN not comparable. Shape (n, m, m).
        similar: Word overlap in [0, 1], NaN unknown. Shape (n, m, m).
        strength: Base rates. Shape (m,).
        extra: A few raw numbers of each answer (log-probability, length ...). Shape (n, m, e).
    """

    before: np.ndarray
    after: np.ndarray
    same: np.ndarray
    similar: np.ndarray
    strength: np.ndarray
    extra: np.ndarray

    @staticmethod
    def of(
        b: Blocks, rows: np.ndarray, before: np.ndarray, after: np.ndarray, strength: np.ndarray
    ) -> StateInputs:
        """Return the inputs of some rows, whose level-1 scores are given."""
        return StateInputs(
            before=before,
            after=after,
            same=b.same[rows],
            similar=b.similar[rows],
            strength=strength,
            extra=b.own[rows][:, :, list(EXTRA)],
        )

    def take(self, rows: np.ndarray) -> StateInputs:
        """Return the same of some rows, a mask or row numbers."""
        return StateInputs(
            before=self.before[rows],
            after=self.after[rows],
            same=self.same[rows],
            similar=self.similar[rows],
            strength=self.strength,
            extra=self.extra[rows],
        )


def state_features(x: StateInputs, state: int, target: int) -> np.ndarray:
    """Return what one state shows of one target.

    Columns do not depend on the state; what is not known in it is NaN: the scores of the target and
    of each other model, who agrees with the target, the votes, the raw numbers of its answer.

    Returns:
        Shape (n, 2 + 3 (m - 1) + 4 + 7 + e), float32.
    """
    n, m = x.before.shape
    inside = members(state, m)
    known = target in inside
    nan = np.full(n, np.nan)
    after = logit(x.after)
    columns = [logit(x.before[:, target]), after[:, target] if known else nan]
    for j in range(m):
        if j != target:
            columns.append(logit(x.before[:, j]))
            columns.append(after[:, j] if j in inside else nan)
            columns.append(x.same[:, target, j] if known and j in inside else nan)
    if not inside:
        columns += [nan] * 11
    else:
        votes = _votes(x, inside)
        columns += _standing(x, inside, votes)
        columns += _for_target(x, inside, target, votes, after) if known else [nan] * 7
    columns += [x.extra[:, target, e] if known else nan for e in range(x.extra.shape[2])]
    return np.stack(columns, axis=1).astype(np.float32)


def state_size(m: int) -> int:
    """Return how many columns `state_features` has for ``m`` models."""
    return 2 + 3 * (m - 1) + 4 + 7 + len(EXTRA)


def _weights(strength: np.ndarray) -> np.ndarray:
    """Return the weight of each model's vote: its log odds of being right plus one, at least 0.1."""
    p = np.clip(strength, 0.02, 0.98)
    return np.asarray(np.maximum(0.1, np.log(p / (1 - p)) + 1.0))


def _votes(x: StateInputs, inside: list[int]) -> np.ndarray:
    """Return the weight behind each claim, every answered model speaking for its own. Shape (n, m)."""
    weight = _weights(x.strength)
    votes = np.full(x.before.shape, np.nan)
    for place, j in enumerate(inside):
        agreeing = np.nan_to_num(x.same[:, j, :][:, inside], nan=0.0) * weight[inside]
        agreeing[:, place] = weight[j]
        votes[:, j] = agreeing.sum(1)
    return votes


def _standing(x: StateInputs, inside: list[int], votes: np.ndarray) -> list[np.ndarray]:
    """Return the share and sum of votes, the best own score, and how many pairs could be compared."""
    n, m = x.before.shape
    total = _weights(x.strength)[inside].sum()
    compared = np.zeros(n)
    for j in inside:
        for i in inside:
            if i < j:
                compared += ~np.isnan(x.same[:, i, j])
    own = np.where(np.isin(np.arange(m), inside)[None, :], x.after, np.nan)
    scored = ~np.isnan(own).all(1)
    best = np.where(scored, np.nanmax(np.where(np.isnan(own), -1, own), axis=1), np.nan)
    share = np.nanmax(votes, axis=1) / max(total, 1e-9)
    return [share, np.full(n, total), best, compared]


def _for_target(
    x: StateInputs, inside: list[int], target: int, votes: np.ndarray, after: np.ndarray
) -> list[np.ndarray]:
    """Return the target's votes against its best rival, and the evidence for and against it."""
    n = len(x.before)
    nan = np.full(n, np.nan)
    total = _weights(x.strength)[inside].sum()
    others = [j for j in inside if j != target]
    mine = votes[:, target]
    rival = lead = alike = nan
    if others:
        same = x.same[:, target, :][:, others]
        against = np.where(np.nan_to_num(same, nan=1.0) < 0.5, votes[:, others], 0.0)
        rival = np.max(against, axis=1)
        lead = mine - rival
        similar = x.similar[:, target, :][:, others]
        alike = np.nanmean(np.where(np.isnan(similar), 0, similar), axis=1)
    yes = np.zeros(n)
    no = np.zeros(n)
    for j in others:  # each other model counts by how sure it is of its own answer
        evidence = np.nan_to_num(after[:, j], nan=0.0)
        yes += np.where(x.same[:, target, j] == 1, evidence, 0.0)
        no += np.where(x.same[:, target, j] == 0, evidence, 0.0)
    return [mine / max(total, 1e-9), mine, rival, lead, alike, yes, no]


def standing(state: int, target: int) -> int:
    """Return how the target stands in a state: 0 it has not answered, 1 it alone has, 2 others have too.

    Each has a calibration of its own: one for all states was too modest about first answers (ECE
    .095 instead of .04 on a log of word problems), because most states hold several answers.

    >>> standing(0b101, 1), standing(0b010, 1), standing(0b011, 1)
    (0, 1, 2)
    """
    if not state >> target & 1:
        return 0
    return 1 if state == 1 << target else 2


@dataclass(frozen=True, slots=True, kw_only=True)
class StateModel:
    """One target's learners over all states.

    Attributes:
        target: Whose answer is judged.
        boost: GBDT for all states, or None with few rows.
        linear_in: Logistic head for states in which the target has answered.
        linear_out: The same for the other states.
        calibration: By `standing`.
    """

    target: int
    boost: lgb.Booster | None
    linear_in: LinearHead | None
    linear_out: LinearHead
    calibration: tuple[Calibration, Calibration, Calibration]

    def raw(self, x: StateInputs, state: int) -> np.ndarray:
        """Return uncalibrated P(target right | state), shape (n,)."""
        features = state_features(x, state, self.target)
        linear = self.linear_in if state >> self.target & 1 else self.linear_out
        assert linear is not None
        z = logit(linear.predict(features))
        if self.boost is not None:
            z = 0.5 * z + 0.5 * logit(predict_boost(self.boost, features))
        return sigmoid(z)

    def judgement(self, state: int, columns: np.ndarray) -> Judgement:
        """Return what `raw` and the calibration compute, for a `Blend`.

        Args:
            state: Bit mask of who has answered.
            columns: Where `state_features` stand.
        """
        linear = self.linear_in if state >> self.target & 1 else self.linear_out
        assert linear is not None
        share = 1.0 if self.boost is None else 0.5
        trees = [] if self.boost is None else [(self.boost, columns, share)]
        return Judgement(
            bias=0.0,
            calibration=self.calibration[standing(state, self.target)],
            linear=[(linear, columns, share)],
            trees=trees,
        )


_NO_ROWS = np.zeros(0)
IDENTITY = Calibration(slope=1.0, skew=0.0, bias=0.0, knots=_NO_ROWS, steps=_NO_ROWS, blend=0.0)
"""Leaves probabilities as they are."""


def fit_states(
    x: StateInputs,
    y: np.ndarray,
    target: int,
    *,
    seed: int,
    calibrate: tuple[Calibration, Calibration, Calibration] | None = None,
    max_rows: int = MAX_PAIRS,
    shown: np.ndarray | None = None,
    forecasts: bool = True,
) -> StateModel:
    """Fit one target over all states in which someone has answered.

    Args:
        x: Its level-1 scores must be out-of-fold.
        y: Labels of the target in [0, 1]. Shape (n,).
        target: Whose answer is judged.
        seed: Of the sample and the trees.
        calibrate: By `standing`; None for none.
        max_rows: (row, state) pairs fitted on at most.
        shown: Which rows hold a state's answers, for one at least each. Shape (2^m, n), bool; None
            for all. The label of the target must be known.
        forecasts: Whether the target is judged by others' answers before its own is there; else
            level 1 alone does it, and there are no trees, as they are for all states.

    Cost: features of the pairs drawn only, whatever n and the number of states.
    """
    n, m = x.before.shape
    n_states = (1 << m) - 1
    if shown is None:
        total = n * n_states
        pairs = _draw(total, max_rows, seed)
    else:
        known = np.flatnonzero(shown[1:])
        total = len(known)
        pairs = known[_draw(total, max_rows, seed)]
    features, labels, has_target = [], [], []
    for number in range(n_states):  # pairs come state by state
        state = number + 1
        first, last = np.searchsorted(pairs, (number * n, (number + 1) * n))
        rows = pairs[first:last] - number * n
        features.append(state_features(x.take(rows), state, target))
        labels.append(y[rows])
        has_target.append(np.full(len(rows), bool(state >> target & 1)))
    f, t, inside = np.vstack(features), np.concatenate(labels), np.concatenate(has_target)
    # a row comes once a state: the labels are worth n, not n x states
    repeats = max(1.0, total / n / _STATES_A_LABEL)
    boost = None
    if n >= _FEW_BOOST and forecasts:
        least = int(max(_LEAF_ROWS, _LEAF_ROWS * repeats))
        boost = fit_boost(f, t, seed=seed, leaves=8, rate=0.05, trees=100, min_leaf=least)
    l2 = _STATE_L2 * repeats
    linear_in = fit_linear(f[inside], t[inside], l2=l2)
    linear_out = linear_in
    if not forecasts:
        linear_out = _column(0, m)
    elif m > 1 and not inside.all():
        linear_out = fit_linear(f[~inside], t[~inside], l2=l2)
    return StateModel(
        target=target,
        boost=boost,
        linear_in=linear_in,
        linear_out=linear_out,
        calibration=calibrate or (IDENTITY, IDENTITY, IDENTITY),
    )


def plain_states(target: int, m: int) -> StateModel:
    """Return what stands where too few rows hold several answers: level 1 as it is.

    P(right | prompt, own answer) once the target has answered, P(right | prompt) before.
    """
    return StateModel(
        target=target,
        boost=None,
        linear_in=_column(1, m),
        linear_out=_column(0, m),
        calibration=(IDENTITY, IDENTITY, IDENTITY),
    )


def _column(number: int, m: int) -> LinearHead:
    """Return a head that gives back the probability whose log odds stand in one column."""
    keep = np.zeros(state_size(m), bool)
    keep[number] = True
    # float32, as inputs are: what is at an end must not lie beyond it
    low, high = (float(np.float32(z)) for z in logit(np.array(CLIP)))
    knots = np.linspace(low, high, N_KNOTS)[None, :]
    columns = ColumnMap(keep=keep, knots=knots, scores=knots, missing=np.zeros(1, bool))
    return LinearHead(columns=columns, weights=np.ones(1), bias=0.0, logistic=True)


def _draw(total: int, most: int, seed: int) -> np.ndarray:
    """Return at most ``most`` of the numbers below ``total``, ascending."""
    if total <= most:
        return np.arange(total)
    rng = np.random.default_rng(seed)
    if total <= _DRAW_BY_PERMUTATION:
        return np.sort(rng.permutation(total)[:most])
    return np.sort(rng.choice(total, most, replace=False, shuffle=False))
