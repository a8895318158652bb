"""The fitted scorer for one request at a time: the same numbers as `ladder`, without its cost for arrays.

A row through the batch code costs milliseconds, nearly all of it calls on arrays of one row. Here
every linear head of a state goes through one table of knots, LightGBM through its C call for single
rows (`fast_booster`), words through a dictionary, and what depends on the
prompt alone is kept. `tests/scorers/test_trained_scorer.py` holds the two paths against each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .calibrate import logit_one as _logit
from .calibrate import sigmoid_one as _sigmoid
from .claims import same_claim
from .dataset import CLAIM_CHARS
from .fast_booster import FastBooster
from .features import OWN_NAMES, PROMPT_NAMES, Prompt, ReadAnswer, overlap
from .heads import _CORE_COLUMNS, _PROMPT_CORE, _SIGNAL_COLUMNS, GROUPS, HeadSet
from .judges import Judge
from .labels import LabelSet
from .ladder import _EXTRA, LadderModel, Member
from .linear_head import LinearHead, place, slopes
from .states import StateModel
from .text_head import TermReader, TextAxes, Vocabulary, words_of

__all__ = ["Heard", "SingleScorer", "Turn"]

_NAN = math.nan
_PROMPT_SIZE = len(PROMPT_NAMES)


@dataclass(slots=True, eq=False)
class Heard:
    """One answer as it was read, and what was computed of it alone."""

    read: ReadAnswer
    text: str
    own: np.ndarray = field(init=False)
    claim: str = field(init=False)
    memo: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.own = np.asarray(self.read.values, np.float32)
        self.claim = self.read.answer.claim.value[:CLAIM_CHARS]


@dataclass(slots=True, eq=False)
class Turn:
    """One request as it was read, and what was computed of the prompt alone."""

    prompt: Prompt
    text: str
    values: np.ndarray = field(init=False)
    memo: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values = np.asarray(self.prompt.values, np.float32)


class SingleScorer:
    """Scores one request in one state. Not safe to be used by two threads at once."""

    def __init__(self, model: LadderModel) -> None:
        self._model = model
        self._shared = _Shared()
        self._members = model.members
        self._banks: dict[tuple[tuple[int, ...], tuple[int, ...]], _JudgeBank] = {}
        self._levels: dict[int, _StateBank] = {}
        p = np.clip(model.strength, 0.02, 0.98)
        self._votes = np.maximum(0.1, np.log(p / (1 - p)) + 1.0).tolist()

    def probabilities(self, turn: Turn, heard: Mapping[int, Heard]) -> list[float]:
        """Return P(model j is right), given these answers by model. Length m."""
        m = len(self._model.models)
        answered = tuple(j for j in sorted(heard) if self._model.readable[j])
        targets = tuple(range(m))
        if not answered or not self._members[0].states:
            each = self._judged(turn, heard, answered, targets)
        else:
            before = self._judged(turn, heard, (), targets)
            after = {j: self._judged(turn, heard, (j,), (j,)) for j in answered}
            each = self._states(turn, heard, answered, before, after)
        return [math.fsum(member[j] for member in each) / len(each) for j in range(m)]

    def _judged(
        self,
        turn: Turn,
        heard: Mapping[int, Heard],
        answered: tuple[int, ...],
        targets: tuple[int, ...],
    ) -> list[list[float]]:
        """Return each member's P(target right | prompt, answers); one answer's are kept with it."""
        memo = turn.memo if not answered else heard[answered[0]].memo
        key = ("judged", answered, targets)
        if len(answered) < 2 and key in memo:
            kept: list[list[float]] = memo[key]
            return kept
        bank = self._banks.get((answered, targets))
        if bank is None:
            judges = [[m.judges[(t, *answered)] for t in targets] for m in self._members]
            bank = _JudgeBank(judges, answered, self._model, self._shared)
            self._banks[answered, targets] = bank
        found = bank(turn, [heard[j] for j in answered])
        if len(answered) < 2:
            memo[key] = found
        return found

    def _states(
        self,
        turn: Turn,
        heard: Mapping[int, Heard],
        answered: tuple[int, ...],
        before: list[list[float]],
        after: dict[int, list[list[float]]],
    ) -> list[list[float]]:
        m = len(self._model.models)
        same = [[_NAN] * m for _ in range(m)]
        similar = [[_NAN] * m for _ in range(m)]
        for a in answered:
            for b in answered:
                if a < b:
                    agree, shared = _compare(heard[a], heard[b])
                    same[a][b] = same[b][a] = agree
                    similar[a][b] = similar[b][a] = shared
        extra = {j: [float(heard[j].own[e]) for e in _EXTRA] for j in answered}
        state = sum(1 << j for j in answered)
        bank = self._levels.get(state)
        if bank is None:
            bank = self._levels[state] = _StateBank(self._members, state)
        rows = []
        for k in range(len(self._members)):
            own = {j: after[j][k][0] for j in answered}
            rows.append(
                [_state_row(before[k], own, same, similar, self._votes, extra, j) for j in range(m)]
            )
        return bank(rows)


def _compare(a: Heard, b: Heard) -> tuple[float, float]:
    key = ("compared", id(b))
    found = a.memo.get(key)
    if found is None or found[0] is not b:
        agree = same_claim(a.read.answer.claim, b.read.answer.claim)
        found = (b, agree, float(np.float32(overlap(a.read.answer, b.read.answer))))
        a.memo[key] = found
    return found[1], found[2]


class _Shared:
    """Vocabularies that several heads fitted alike, each read once a text."""

    def __init__(self) -> None:
        self._known: list[tuple[Vocabulary, TermReader]] = []

    def vocabulary(self, wanted: Vocabulary) -> int:
        """Return the number of the vocabulary with this content."""
        for i, (known, _) in enumerate(self._known):
            if known is wanted or (
                known.chars == wanted.chars
                and known.index == wanted.index
                and np.array_equal(known.idf, wanted.idf)
            ):
                return i
        self._known.append((wanted, TermReader(wanted)))
        return len(self._known) - 1

    def terms(
        self, number: int, key: object, memo: dict[Any, Any], text: Callable[[], str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return columns and weights of a text's terms, kept in `memo` under `key`."""
        place = ("terms", number, key)
        found = memo.get(place)
        if found is None:
            words = memo.get(("words", key))
            if words is None:
                words = memo["words", key] = words_of(text())
            found = memo[place] = self._known[number][1](words)
        columns, values = found
        return columns, values


class _LinearBank:
    """Several linear heads on parts of one vector, mapped through one table of knots."""

    def __init__(self, heads: Sequence[tuple[LinearHead, int]]) -> None:
        knots, scores, source, missing = [], [], [], []
        known: dict[tuple[Any, ...], tuple[slice, slice]] = {}
        columns = lost = 0
        self._heads: list[tuple[slice, slice, np.ndarray, np.ndarray, float, bool]] = []
        for head, offset in heads:
            c = head.columns
            keep = np.flatnonzero(c.keep)
            gone = keep[np.asarray(c.missing, bool)]
            key = (offset, keep.tobytes(), c.knots.tobytes(), c.scores.tobytes(), gone.tobytes())
            if key not in known:
                knots.append(c.knots)
                scores.append(c.scores)
                source.append(keep + offset)
                missing.append(gone + offset)
                known[key] = (
                    slice(columns, columns + len(keep)),
                    slice(lost, lost + len(gone)),
                )
                columns += len(keep)
                lost += len(gone)
            here, there = known[key]
            size = here.stop - here.start
            self._heads.append(
                (here, there, head.weights[:size], head.weights[size:], head.bias, head.logistic)
            )
        self._source = np.concatenate([*source, np.zeros(0, np.intp)])
        self._missing = np.concatenate([*missing, np.zeros(0, np.intp)])
        if columns:
            self._knots = np.ascontiguousarray(np.vstack(knots).T)
            self._scores = np.ascontiguousarray(np.vstack(scores).T)
            self._slopes = slopes(self._knots, self._scores)

    def __call__(self, x: np.ndarray) -> list[float]:
        """Return each head's output for the vector `x`, float64."""
        mapped = np.zeros(0)
        if len(self._source):
            mapped, _ = place(x[self._source], self._knots, self._scores, self._slopes)
        gone = np.isnan(x[self._missing]).astype(np.float64)
        found = []
        for here, there, weights, lost, bias, logistic in self._heads:
            z = float(mapped[here] @ weights) + bias
            if len(lost):
                z += float(gone[there] @ lost)
            found.append(_sigmoid(z) if logistic else z)
        return found


_Fill = Callable[[Turn, list[Heard]], Any]


class _JudgeBank:
    """All judges of one set of answered models: every member's, for every target asked for."""

    def __init__(
        self,
        judges: Sequence[Sequence[Judge]],
        answered: tuple[int, ...],
        model: LadderModel,
        shared: _Shared,
    ) -> None:
        self._shape = len(judges), len(judges[0])
        self._answered = answered
        self._shared = shared
        self._fills: dict[object, tuple[int, int, _Fill]] = {}
        self._size = 0
        self._plans: list[tuple[Judge, list[list[tuple[str, int]]]]] = []
        self._trees: list[tuple[FastBooster, int, int]] = []
        self._texts: list[tuple[int, str, Any, np.ndarray, float]] = []
        linear: list[tuple[LinearHead, int]] = []
        for member in judges:
            for judge in member:
                self._plans.append((judge, self._plan(judge.heads, model, linear)))
        self._linear = _LinearBank(linear)

    def __call__(self, turn: Turn, heard: list[Heard]) -> list[list[float]]:
        x = np.empty(self._size)
        for start, stop, fill in self._fills.values():
            x[start:stop] = fill(turn, heard)
        linear = self._linear(x)
        trees = [t.predict_one(x[start:stop]) for t, start, stop in self._trees]
        texts = [self._text(turn, heard, *one) for one in self._texts]
        value = {"linear": linear, "trees": trees, "text": texts}
        found = []
        for judge, plan in self._plans:
            z = judge.stack.bias
            for weight, group in zip(judge.stack.weights.tolist(), plan, strict=True):
                if group and weight:
                    z += weight * sum(_logit(value[k][i]) for k, i in group) / len(group)
            found.append(judge.stack.calibration.one(_sigmoid(z)))
        members, targets = self._shape
        return [found[i * targets : (i + 1) * targets] for i in range(members)]

    def _plan(
        self, heads: HeadSet, model: LadderModel, linear: list[tuple[LinearHead, int]]
    ) -> list[list[tuple[str, int]]]:
        """Return for each group of heads where its outputs will stand."""
        groups: dict[str, list[tuple[str, int]]] = {g: [] for g in GROUPS}

        def add(group: str, head: Any, offset: int, size: int) -> None:
            if isinstance(head, LinearHead):
                linear.append((head, offset))
                groups[group].append(("linear", len(linear) - 1))
            else:
                self._trees.append((FastBooster(head), offset, offset + size))
                groups[group].append(("trees", len(self._trees) - 1))

        hand = _Hand(heads.labels)
        if heads.hand:
            place = self._place(("hand", heads.labels), hand.size, hand)
            for head in heads.hand:
                add("hand", head, *place)
        if heads.axes is not None and heads.with_axes:
            axes = _WithAxes(hand, heads.axes, self._shared)
            place = self._place(("axes", heads.labels, id(heads.axes)), axes.size, axes)
            for head in heads.with_axes:
                add("hand", head, *place)
        if heads.core is not None:
            add("core", heads.core, *self._place("core", _core_size(len(self._answered)), _core))
        if heads.pooled:
            pool = _Pool(float(heads.strength[self._answered[0]]), self._answered[0])
            place = self._place("pool", pool.size, pool)
            for head in heads.pooled:
                add("pool", head, *place)
        if heads.signal is not None:
            signal = _Signal(float(heads.strength[self._answered[0]]))
            add("signal", heads.signal, *self._place("signal", signal.size, signal))
        for kind, words in heads.text:
            number = self._shared.vocabulary(words.vocabulary)
            labels = heads.labels[0] if kind == "cross" else None
            weights, bias = np.ascontiguousarray(words.weights[:, 0]), float(words.bias[0])
            self._texts.append((number, kind, labels, weights, bias))
            group = "prompt" if kind in ("prompt", "chars") else "text"
            groups[group].append(("text", len(self._texts) - 1))
        return [groups[g] for g in GROUPS]

    def _place(self, key: object, size: int, fill: _Fill) -> tuple[int, int]:
        if key not in self._fills:
            self._fills[key] = (self._size, self._size + size, fill)
            self._size += size
        start, stop, _ = self._fills[key]
        return start, stop - start

    def _text(
        self,
        turn: Turn,
        heard: list[Heard],
        number: int,
        kind: str,
        labels: LabelSet | None,
        weights: np.ndarray,
        bias: float,
    ) -> float:
        if kind in ("prompt", "chars"):
            columns, values = self._shared.terms(number, "prompt", turn.memo, lambda: turn.text)
        else:
            text = _Said(turn, heard[0], labels)
            columns, values = self._shared.terms(number, labels, heard[0].memo, text)
        return min(max(float(values @ weights[columns]) + bias, 0.02), 0.98)


@dataclass(frozen=True, slots=True)
class _Hand:
    """Fills in prompt, answers, their labels and how two of them compare; see `heads._hand`."""

    labels: tuple[LabelSet, ...]

    @property
    def size(self) -> int:
        n = len(self.labels)
        label = 0 if not n else self.labels[0].features([""]).shape[1]
        return _PROMPT_SIZE + n * (len(OWN_NAMES) + label) + (3 if n == 2 else 0)

    def __call__(self, turn: Turn, heard: list[Heard]) -> np.ndarray:
        parts: list[Any] = [turn.values]
        for one, labels in zip(heard, self.labels, strict=True):
            parts += [one.own, labels.features([one.claim])[0]]
        if len(heard) == 2:
            a, b = heard
            agree, shared = _compare(a, b)
            said = [np.float32(x.read.answer.mean_logprob) for x in heard]
            parts.append((agree, shared, said[0] - said[1]))
        return np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class _Said:
    """What text heads read of an answer; see `heads._texts`."""

    turn: Turn
    heard: Heard
    labels: LabelSet | None

    def __call__(self) -> str:
        if self.labels is not None:
            return self.labels.cross(self.turn.text, self.heard.claim)
        return self.turn.text[-1500:] + " ||| " + self.heard.text[-2000:]


class _WithAxes:
    """Fills in what `_Hand` does and the prompt's coordinates on text axes."""

    def __init__(self, hand: _Hand, axes: TextAxes, shared: _Shared) -> None:
        self._hand = hand
        self._axes = axes.axes
        self._number = shared.vocabulary(axes.vocabulary)
        self._shared = shared
        self._key = ("axes", id(axes))
        self.size = hand.size + self._axes.shape[1]

    def __call__(self, turn: Turn, heard: list[Heard]) -> np.ndarray:
        at = turn.memo.get(self._key)
        if at is None:
            columns, values = self._shared.terms(
                self._number, "prompt", turn.memo, lambda: turn.text
            )
            at = turn.memo[self._key] = values @ self._axes[columns]
        return np.concatenate([self._hand(turn, heard), at])


def _core_size(answers: int) -> int:
    return len(_PROMPT_CORE) + answers * len(_CORE_COLUMNS) + (1 if answers == 2 else 0)


def _core(turn: Turn, heard: list[Heard]) -> np.ndarray:
    """Fill in the few numbers of `heads.CORE`."""
    parts: list[Any] = [turn.values[_PROMPT_CORE]]
    parts += [one.own[_CORE_COLUMNS] for one in heard]
    if len(heard) == 2:
        parts.append((_compare(heard[0], heard[1])[0],))
    return np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class _Pool:
    """Fills in what heads over all models read: prompt, answer, strength and number of the model."""

    strength: float
    model: int

    @property
    def size(self) -> int:
        return _PROMPT_SIZE + len(OWN_NAMES) + 2

    def __call__(self, turn: Turn, heard: list[Heard]) -> np.ndarray:
        who = np.array((self.strength, self.model), np.float32)
        return np.concatenate([turn.values, heard[0].own, who])


@dataclass(frozen=True, slots=True)
class _Signal:
    """Fills in the signals a model states of itself, and its strength."""

    strength: float

    @property
    def size(self) -> int:
        return len(_SIGNAL_COLUMNS) + 1

    def __call__(self, turn: Turn, heard: list[Heard]) -> np.ndarray:
        return np.append(heard[0].own[_SIGNAL_COLUMNS], np.float32(self.strength))


class _StateBank:
    """The learners of one state: every member's, for every target."""

    def __init__(self, members: Sequence[Member], state: int) -> None:
        self._members = len(members)
        self._inside = [state >> j & 1 for j in range(len(members[0].states))]
        self._learners: list[StateModel] = [s for member in members for s in member.states]
        self._trees: list[FastBooster | None] | None = None
        self._linear: _LinearBank | None = None

    def __call__(self, rows: list[list[list[float]]]) -> list[list[float]]:
        flat = [row for member in rows for row in member]
        size = len(flat[0])
        x = np.array(flat, np.float32).astype(np.float64).ravel()
        if self._linear is None or self._trees is None:
            self._compile(size)
        assert self._linear is not None
        assert self._trees is not None
        linear = self._linear(x)
        found = []
        for i, (learner, p, trees) in enumerate(
            zip(self._learners, linear, self._trees, strict=True)
        ):
            z = _logit(p)
            if trees is not None:
                z = 0.5 * z + 0.5 * _logit(trees.predict_one(x[size * i : size * (i + 1)]))
            inside = self._inside[learner.target]
            found.append(learner.calibration[inside].one(_sigmoid(z)))
        m = len(self._inside)
        return [found[i * m : (i + 1) * m] for i in range(self._members)]

    def _compile(self, size: int) -> None:
        heads = []
        trees: list[FastBooster | None] = []
        for i, learner in enumerate(self._learners):
            head = learner.linear_in if self._inside[learner.target] else learner.linear_out
            assert head is not None
            heads.append((head, i * size))
            trees.append(None if learner.boost is None else FastBooster(learner.boost))
        self._linear, self._trees = _LinearBank(heads), trees


def _state_row(
    before: Sequence[float],
    after: Mapping[int, float],
    same: Sequence[Sequence[float]],
    similar: Sequence[Sequence[float]],
    votes: Sequence[float],
    extra: Mapping[int, Sequence[float]],
    target: int,
) -> list[float]:
    """Return `states.state_features` of one row; `after` holds the models that have answered."""
    m = len(before)
    inside = list(after)
    known = target in after
    said = {j: _logit(p) for j, p in after.items()}
    row = [_logit(before[target]), said[target] if known else _NAN]
    for j in range(m):
        if j != target:
            both = known and j in after
            row += [_logit(before[j]), said.get(j, _NAN), same[target][j] if both else _NAN]
    support = {
        j: sum(votes[i] if i == j else _zero(same[j][i]) * votes[i] for i in inside) for j in inside
    }
    total = sum(votes[j] for j in inside)
    compared = sum(same[i][j] == same[i][j] for j in inside for i in inside if i < j)
    row += [max(support.values()) / max(total, 1e-9), total, max(after.values()), float(compared)]
    if not known:
        row += [_NAN] * 7
    else:
        others = [j for j in inside if j != target]
        mine = support[target]
        rival = max((support[j] if same[target][j] < 0.5 else 0.0 for j in others), default=_NAN)
        close = np.float32(0.0)
        for j in others:
            close += np.float32(_zero(similar[target][j]))
        row += [
            mine / max(total, 1e-9),
            mine,
            rival,
            mine - rival,
            float(close / np.float32(len(others))) if others else _NAN,
            sum(said[j] for j in others if same[target][j] == 1.0),
            sum(said[j] for j in others if same[target][j] == 0.0),
        ]
    row += extra[target] if known else [_NAN] * len(_EXTRA)
    return row


def _zero(value: float) -> float:
    return 0.0 if value != value else value
