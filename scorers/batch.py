"""A fitted ladder on many rows at once: every state asked for, with what states share computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .bank import Bank
from .compiled import Question
from .heads import Blocks, texts_of
from .states import StateInputs, StateModel, state_features
from .text_bank import Source

if TYPE_CHECKING:
    from .ladder import LadderModel

__all__ = ["Batch"]

_CHUNK = 1 << 15
"""Rows of which the input of a bank is held at a time: some 50 MB."""


class Batch:
    """Some rows of a dataset under one model.

    Args:
        model: The model.
        b: The blocks of its models.
        rows: Row numbers. Shape (n,).
        read: Keeps what was read of the rows' texts, for other batches of the same rows.
    """

    def __init__(
        self, model: LadderModel, b: Blocks, rows: np.ndarray, read: dict[Any, Any]
    ) -> None:
        self._model = model
        self._b = b
        self._rows = rows
        self._read = read
        self._compiled = model.compiled
        self._texts = model.compiled.texts
        self._said: dict[Source, np.ndarray] = {}
        self._known: dict[Question, np.ndarray] = {}

    def at(self, state: int) -> np.ndarray:
        """Return each member's P(right) of every model in this state. Shape (members, n, m)."""
        model = self._model
        m = len(model.models)
        answered = tuple(j for j in range(m) if state >> j & 1 and model.readable[j])
        targets = tuple(range(m))
        if not answered or not model.members[0].states:
            return self._judged(answered, targets)
        before = self._judged((), targets)
        after = np.full(before.shape, np.nan)
        for j in answered:
            after[:, :, j] = self._judged((j,), (j,))[:, :, 0]
        seen = sum(1 << j for j in answered)
        found = np.empty(before.shape)
        for k, member in enumerate(model.members):
            inputs = StateInputs.of(self._b, self._rows, before[k], after[k], model.strength)
            for t in targets:
                found[k, :, t] = self._learned(k, member.states[t], inputs, seen)
        return found

    def _learned(
        self, number: int, learner: StateModel, inputs: StateInputs, state: int
    ) -> np.ndarray:
        """Return what one member's learner says of its target. Shape (n,)."""
        features = state_features(inputs, state, learner.target)
        blend = self._compiled.learner(number, learner.target, state)
        return np.asarray(blend.rows(np.ascontiguousarray(features.T, np.float64))[0])

    def _judged(self, answered: tuple[int, ...], targets: tuple[int, ...]) -> np.ndarray:
        """Return each member's P(target right | prompt, answers). Shape (members, n, targets)."""
        key = answered, targets
        if key in self._known:
            return self._known[key]
        bank = self._compiled.bank((key,))
        n = len(self._rows)
        sums = np.empty((bank.text_count, n))
        for source, heads, place in bank.texts:
            sums[place] = self._text(source)[heads]
        p = np.empty((len(self._model.members) * len(targets), n))
        for start in range(0, n, _CHUNK):
            some = slice(start, min(start + _CHUNK, n))
            p[:, some] = bank.blend.rows(self._input(bank, some), sums[:, some])
        found = p.reshape(len(self._model.members), len(targets), n).transpose(0, 2, 1)
        self._known[key] = found
        return found

    def _text(self, source: Source) -> np.ndarray:
        found = self._said.get(source)
        if found is None:
            found = self._said[source] = self._texts.rows(
                source, lambda: self._written(source), self._read
            )
        return found

    def _written(self, source: Source) -> list[str]:
        answered = () if source.model is None else (source.model,)
        labels = () if source.labels is None else (source.labels,)
        return texts_of(self._b, self._rows, source.kind, answered, labels)

    def _input(self, bank: Bank, some: slice) -> np.ndarray:
        """Return a bank's vectors of some rows, one a column. Shape (width, n)."""
        b, rows = self._b, self._rows[some]
        x = np.empty((bank.width, len(rows)))
        for part, place in bank.parts:
            if part.kind == "prompt":
                x[place] = b.prompt[rows].T
            elif part.kind == "own":
                x[place] = b.own[rows, part.models[0]].T
            elif part.kind == "labels":
                assert part.labels is not None
                claims = b.claims[rows, part.models[0]].tolist()
                x[place] = part.labels.features(claims).T
            elif part.kind == "axes":
                first, size = part.number, place.stop - place.start
                x[place] = self._text(self._texts.prompt)[first : first + size, some]
            elif part.kind == "constant":
                x[place] = part.value
            else:
                i, j = part.models
                x[place] = (
                    b.same[rows, i, j],
                    b.similar[rows, i, j],
                    b.logprob[rows, i] - b.logprob[rows, j],
                )
        return x
