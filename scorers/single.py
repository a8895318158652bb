"""The fitted scorer for one request at a time: the same numbers as `batch`, without its cost for arrays.

A row through the batch code costs milliseconds, nearly all of it calls on arrays of one row. Here
everything a state needs is one `Bank`: each column mapped once, all trees decided at once, each text
read once; what depends on the prompt or on one answer alone is kept.
`tests/scorers/test_trained_scorer.py` holds the two paths against each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import mul
from typing import Any

import numpy as np

from .bank import Bank, Part
from .blend import Blend
from .calibrate import logit_one
from .claims import same_claim
from .compiled import Question
from .dataset import CLAIM_CHARS
from .features import Prompt, ReadAnswer, overlap
from .features.answer import Answer
from .heads import ANSWER_CHARS, BETWEEN, PROMPT_CHARS
from .ladder import LadderModel
from .states import EXTRA
from .text_bank import Source, hashes_of
from .text_head import words_of

__all__ = ["Heard", "SingleScorer", "Turn"]

_NAN = math.nan


@dataclass(slots=True, eq=False)
class Heard:
    """One answer as it was read, and what was computed of it alone.

    Attributes:
        said: What it claims, its words and its mean log-probability.
        text: The answer.
        own: `OWN_NAMES`. Shape (a,), float32.
        claim: The beginning of what it claims, as labels are.
        memo: What was computed of it.
    """

    said: Answer
    text: str
    own: np.ndarray
    claim: str
    memo: dict[Any, Any] = field(default_factory=dict)

    @staticmethod
    def of(read: ReadAnswer, text: str) -> Heard:
        """Return it without the numbers of which there are arrays."""
        said = read.answer
        return Heard(
            said=said,
            text=text,
            own=np.array(read.values, np.float32),
            claim=said.claim.value[:CLAIM_CHARS],
        )


@dataclass(slots=True, eq=False)
class Turn:
    """One request as it was read, and what was computed of the prompt alone.

    Attributes:
        prompt: What answers are read against.
        text: The prompt.
        values: `PROMPT_NAMES`. Shape (p,), float32.
        memo: What was computed of it.
        words: `words_of` the text while they are wanted.
    """

    prompt: Prompt
    text: str
    values: np.ndarray = field(init=False)
    memo: dict[Any, Any] = field(default_factory=dict)
    words: list[str] | None = None

    def __post_init__(self) -> None:
        self.values = np.array(self.prompt.values, np.float32)


class SingleScorer:
    """Scores one request in one state; `Turn` and `Heard` are for one thread at a time."""

    def __init__(self, model: LadderModel) -> None:
        self._model = model
        self._members = len(model.members)
        self._targets = tuple(range(len(model.models)))
        self._compiled = model.compiled
        self._prompt = model.compiled.texts.prompt
        self._states: dict[tuple[int, ...], _State] = {}
        self._labels: dict[int, tuple[dict[str, np.ndarray], np.ndarray]] = {}
        p = np.clip(model.strength, 0.02, 0.98)
        self._votes = np.maximum(0.1, np.log(p / (1 - p)) + 1.0).tolist()
        self._prepare()

    def probabilities(self, turn: Turn, heard: Mapping[int, Heard]) -> list[float]:
        """Return P(model j is right), given these answers by model. Length m."""
        answered = tuple(j for j in sorted(heard) if self._model.readable[j])
        if not answered or not self._has_states():
            (each,) = self._judged(turn, heard, ((answered, self._targets),))
        else:
            before, *after = self._judged(turn, heard, self._first_level(answered))
            each = self._state(answered)([heard[j] for j in answered], before, after)
        found: list[float] = (np.add.reduce(each, axis=0) / len(each)).tolist()
        return found

    def _prepare(self) -> None:
        """Lay out what an ask may need, so that no ask waits for it: some hundred milliseconds."""
        readable = [j for j in self._targets if self._model.readable[j]]
        self._compiled.reader  # noqa: B018 - it is made when it is first looked at
        if self._has_states():
            self._compiled.bank((((), self._targets),))
            for j in readable:
                self._compiled.bank((((j,), (j,)),))
                self._compiled.bank(self._first_level((j,)))
        subsets = [
            tuple(j for j in readable if state >> j & 1) for state in range(1 << len(self._targets))
        ]
        for answered in dict.fromkeys(subsets):
            if not self._has_states():
                self._compiled.bank(((answered, self._targets),))
            elif answered:
                self._state(answered)

    def _has_states(self) -> bool:
        return bool(self._model.members[0].states)

    def _first_level(self, answered: tuple[int, ...]) -> tuple[Question, ...]:
        return ((), self._targets), *(((j,), (j,)) for j in answered)

    def _judged(
        self, turn: Turn, heard: Mapping[int, Heard], questions: tuple[Question, ...]
    ) -> list[np.ndarray]:
        """Return P(right) of each question, (members, targets); what one answer decides is kept with it."""
        memos = [_memo(turn, heard, answered) for answered, _ in questions]
        asked = tuple(
            [q for q, memo in zip(questions, memos, strict=True) if memo is None or q not in memo]
        )
        # The prompt and a first answer come together often; other sets are taken one by one.
        together = [asked] if self._compiled.has(asked) else [(q,) for q in asked]
        fresh: dict[Question, np.ndarray] = {}
        for some in together if asked else ():
            bank = self._compiled.bank(some)
            self._read(bank.reads, turn, heard)
            p = bank.blend.one(self._vector(bank, turn, heard), _sums(bank, turn, heard))
            at = 0
            for question in some:
                size = self._members * len(question[1])
                fresh[question] = p[at : at + size].reshape(self._members, -1)
                at += size
        found = []
        for question, memo in zip(questions, memos, strict=True):
            if memo is None:
                found.append(fresh[question])
            else:
                if question in fresh:
                    memo[question] = fresh[question]
                found.append(memo[question])
        return found

    def _state(self, answered: tuple[int, ...]) -> _State:
        state = self._states.get(answered)
        if state is None:
            blend = self._compiled.state(answered)
            state = self._states[answered] = _State(
                blend, len(self._targets), answered, self._votes
            )
        return state

    def _vector(self, bank: Bank, turn: Turn, heard: Mapping[int, Heard]) -> np.ndarray:
        x = np.empty(bank.width)
        for part, place in bank.parts:
            kind = part.kind
            if kind == "prompt":
                x[place] = turn.values
            elif kind == "own":
                x[place] = heard[part.models[0]].own
            elif kind == "labels":
                x[place] = self._label_row(part, heard[part.models[0]].claim)
            elif kind == "axes":
                first, size = part.number, place.stop - place.start
                x[place] = turn.memo[self._prompt][first : first + size]
            elif kind == "constant":
                x[place] = part.value
            else:
                a, b = (heard[j] for j in part.models)
                said = [np.float32(one.said.mean_logprob) for one in (a, b)]
                x[place] = (*_compare(a, b), said[0] - said[1])
        return x

    def _label_row(self, part: Part, claim: str) -> np.ndarray:
        """Return `LabelSet.features` of one claim, kept by label; parts live as long as their bank."""
        known = self._labels.get(id(part))
        if known is None:
            labels = part.labels
            assert labels is not None
            by_value = dict(zip(labels.values, labels.features(labels.values), strict=True))
            (other,) = labels.features(["".join(labels.values) + "?"])  # longer than any of them
            known = self._labels[id(part)] = by_value, other
        return known[0].get(claim, known[1])

    def _read(self, sources: Sequence[Source], turn: Turn, heard: Mapping[int, Heard]) -> None:
        """Keep what the heads on texts say, with the prompt or with the answer."""
        fresh = tuple([s for s in sources if s not in _kept(s, turn, heard)])
        if fresh:
            said = self._compiled.reader(fresh, [_words(source, turn, heard) for source in fresh])
            turn.words = None
            for source, one in zip(fresh, said, strict=True):
                _kept(source, turn, heard)[source] = one


def _memo(
    turn: Turn, heard: Mapping[int, Heard], answered: tuple[int, ...]
) -> dict[Any, Any] | None:
    if len(answered) > 1:
        return None
    return turn.memo if not answered else heard[answered[0]].memo


def _kept(source: Source, turn: Turn, heard: Mapping[int, Heard]) -> dict[Any, Any]:
    return turn.memo if source.model is None else heard[source.model].memo


def _sums(bank: Bank, turn: Turn, heard: Mapping[int, Heard]) -> np.ndarray | None:
    """Return what the bank's text heads say; the texts have been read."""
    if not bank.text_count:
        return None
    sums = np.empty(bank.text_count)
    for source, heads, place in bank.texts:
        sums[place] = _kept(source, turn, heard)[source].take(heads)
    return sums


def _words(source: Source, turn: Turn, heard: Mapping[int, Heard]) -> np.ndarray | list[str]:
    """Return the words of what `heads.texts_of` gives a kind of head to read, as they are wanted."""
    if source.chars:
        return words_of(turn.text) if turn.words is None else turn.words
    if source.model is None:
        return _prompt_hashes(turn)
    answer = heard[source.model]
    if source.labels is not None:
        return hashes_of(words_of(source.labels.cross(turn.text, answer.claim)))
    if len(turn.text) <= PROMPT_CHARS:
        start = _prompt_hashes(turn)
    elif "end" in turn.memo:
        start = turn.memo["end"]
    else:
        start = turn.memo["end"] = hashes_of(words_of(turn.text[-PROMPT_CHARS:]))
    return np.concatenate([start, hashes_of(_BETWEEN + words_of(answer.text[-ANSWER_CHARS:]))])


_BETWEEN = words_of(BETWEEN)


def _prompt_hashes(turn: Turn) -> np.ndarray:
    hashes: np.ndarray | None = turn.memo.get("hashes")
    if hashes is None:
        turn.words = words_of(turn.text)
        hashes = turn.memo["hashes"] = hashes_of(turn.words)
    return hashes


def _compare(a: Heard, b: Heard) -> tuple[float, float]:
    key = ("compared", id(b))
    found = a.memo.get(key)
    if found is None or found[0] is not b:
        agree = same_claim(a.said.claim, b.said.claim)
        found = (b, agree, float(np.float32(overlap(a.said, b.said))))
        a.memo[key] = found
    return found[1], found[2]


class _State:
    """The learners of one state, every member's for every target: `states.state_features` of one row.

    Every number that any of their inputs holds is computed once into a list of facts, from which
    the inputs are drawn by place.
    """

    def __init__(
        self, blend: Blend, models: int, answered: tuple[int, ...], votes: Sequence[float]
    ) -> None:
        self._blend = blend
        self._answered = answered
        self._m = m = models
        self._votes = [votes[j] for j in answered]
        self._total = sum(self._votes)
        # Facts: NaN, before, after, same, standing (4), of each target (7), its own numbers.
        self._after, self._same = 1 + m, 1 + 2 * m
        self._standing = self._same + m * m
        self._target = self._standing + 4
        self._own = self._target + 7 * m
        self._unknown = [_NAN] * (self._own + len(EXTRA) * m)
        if len(answered) == 1:
            self._alone()
        places = [place for t in range(m) for place in self._row(t)]
        self._places = np.array(places, np.intp)

    def __call__(
        self, heard: Sequence[Heard], before: np.ndarray, after: Sequence[np.ndarray]
    ) -> np.ndarray:
        """Return P(target right), (members, targets)."""
        common, same = self._common(heard)
        facts = []
        for k, known in enumerate(before.tolist()):
            one = common.copy()
            one[1 : self._after] = map(logit_one, known)
            own = [float(column[k, 0]) for column in after]
            one[self._standing + 2] = max(own)
            said = [logit_one(p) for p in own]
            for a, model in enumerate(self._answered):
                one[self._after + model] = said[a]
                if len(own) == 1:
                    break
                last = self._target + 7 * model + 5
                others = [b for b in range(len(said)) if b != a]
                one[last] = sum([said[b] for b in others if same[a][b] == 1.0])
                one[last + 1] = sum([said[b] for b in others if same[a][b] == 0.0])
            facts.append(one)
        x = np.array(facts, np.float32).take(self._places, axis=1).astype(np.float64)
        return self._blend.one(x.ravel()).reshape(len(before), self._m)

    def _alone(self) -> None:
        """Fill in what is always the same of a single answer: it agrees with itself."""
        (vote,), (model,) = self._votes, self._answered
        share = vote / max(self._total, 1e-9)
        self._unknown[self._standing : self._target] = share, self._total, _NAN, 0.0
        first = self._target + 7 * model
        self._unknown[first : first + 7] = share, vote, _NAN, _NAN, _NAN, 0.0, 0.0

    def _row(self, target: int) -> list[int]:
        """Return the places of `state_features` of a target; 0 for what its state does not show."""
        m = self._m
        row = [1 + target, self._after + target]
        for j in range(m):
            if j != target:
                row += [1 + j, self._after + j, self._same + target * m + j]
        row += range(self._standing, self._standing + 4)
        if target not in self._answered:
            return row + [0] * (7 + len(EXTRA))
        first, own = self._target + 7 * target, self._own + len(EXTRA) * target
        return [*row, *range(first, first + 7), *range(own, own + len(EXTRA))]

    def _common(self, heard: Sequence[Heard]) -> tuple[list[float], list[list[float]]]:
        """Return the facts that members share, and who of the answered says the same."""
        one = self._unknown.copy()
        if len(heard) == 1:
            own = self._own + len(EXTRA) * self._answered[0]
            one[own : own + len(EXTRA)] = heard[0].own.take(_EXTRA).tolist()
            return one, [[1.0]]
        votes, total, count = self._votes, self._total, len(heard)
        same = [[1.0] * count for _ in heard]
        similar = [[0.0] * count for _ in heard]
        compared = 0
        for a in range(count):
            for b in range(a + 1, count):
                agree, shared = _compare(heard[a], heard[b])
                same[a][b] = same[b][a] = agree
                similar[a][b] = similar[b][a] = _zero(shared)
                compared += agree == agree
                first, second = self._answered[a], self._answered[b]
                one[self._same + first * self._m + second] = agree
                one[self._same + second * self._m + first] = agree
        support = [sum(map(mul, map(_zero, row), votes)) for row in same]
        weight = max(total, 1e-9)
        one[self._standing : self._target] = max(support) / weight, total, _NAN, float(compared)
        for a, model in enumerate(self._answered):
            others = [b for b in range(count) if b != a]
            mine = support[a]
            rival = max([support[b] if same[a][b] < 0.5 else 0.0 for b in others], default=_NAN)
            alike = _NAN
            if others:
                close = np.float32(0.0)
                for b in others:
                    close += np.float32(similar[a][b])
                alike = float(close / np.float32(len(others)))
            first = self._target + 7 * model
            one[first : first + 5] = mine / weight, mine, rival, mine - rival, alike
            own = self._own + len(EXTRA) * model
            one[own : own + len(EXTRA)] = heard[a].own.take(_EXTRA).tolist()
        return one, same


_EXTRA = np.array(EXTRA, np.intp)


def _zero(value: float) -> float:
    return 0.0 if value != value else value
