"""The same-answer scorer: may the answer to a cached prompt be given to another one?"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection

import msgspec
import numpy as np

from cascade.errors import ScorerError

from .embedders import Embedded, Embedder, kind_of
from .fast_booster import FastBooster
from .pair_bounds import Certified
from .pair_guards import SETTABLE, refusals
from .pair_model import PairModel, pair_row
from .pair_text import MAX_CHARACTERS, PromptText, read_prompt

__all__ = ["PairVerdict", "SameAnswer"]

_KEPT_PROMPTS = 4_096
_KEPT_EMBEDDED_BYTES = 64 << 20


class PairVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a pair.

    Attributes:
        p_same: Calibrated P(same answer), in [0, 1]; None where a guard refuses: it is not scored.
        refused_by: Names of the guards that refuse the pair, in the order of `pair_guards.GUARDS`;
            `too_long` where a text is longer than is compared.
    """

    p_same: float | None
    refused_by: tuple[str, ...] = ()


class SameAnswer:
    """Judges pairs of prompts. Not thread-safe: it keeps what it has read of the newest prompts.

    Args:
        model: The fitted parts.
        version: What the decision log shall name.
        certified: The threshold and what is known of it.
        embedder: The one that the model was fitted with, if it was with one.
        allow: Guards that are switched off, out of `time_dependent` and `refers_back`.

    Raises:
        ScorerError: The embedder is not that of the model, or a guard cannot be switched off.
    """

    def __init__(
        self,
        model: PairModel,
        *,
        version: str,
        certified: Certified,
        embedder: Embedder | None = None,
        allow: Collection[str] = (),
    ) -> None:
        if model.vectors != (None if embedder is None else embedder.name):
            raise ScorerError(
                f"the pair scorer was fitted with the embedder {kind_of(model.vectors)}, "
                f"and is to be used with {kind_of(None if embedder is None else embedder.name)}"
            )
        wrong = sorted(set(allow) - set(SETTABLE))
        if wrong:
            raise ScorerError(f"guard {wrong[0]}: only {', '.join(SETTABLE)} can be switched off")
        self.version = version
        self.threshold = certified.threshold
        self.certified = certified
        self._model = model
        self._embedder = embedder
        self._allow = tuple(allow)
        self._fast = [FastBooster(booster, raw=True) for booster in model.boosters]
        self._read: OrderedDict[str, PromptText] = OrderedDict()
        self._embedded: OrderedDict[str, Embedded] = OrderedDict()
        self._embedded_bytes = 0

    @property
    def slow(self) -> bool:
        """Whether a verdict may take more than a millisecond."""
        return self._embedder is not None and self._embedder.slow

    def vector(self, text: str, *, at_hand: bool) -> np.ndarray | None:
        """Return the embedding of a prompt, of length 1, or None where there is none. Shape (d,).

        Args:
            text: The prompt.
            at_hand: Whether to return None, too, where it would first have to be made by a slow embedder.
        """
        if self._embedder is None or len(text) > MAX_CHARACTERS:
            return None
        if at_hand and self._embedder.slow:
            found = self._embedded.get(text)
        else:
            found = self._embed(text, self._prompt(text))
        return None if found is None else found.whole

    def judge(self, cached: str, asked: str, *, similarity: float, margin: float) -> PairVerdict:
        """Judge one pair.

        Args:
            cached: The prompt that has an answer.
            asked: The prompt that wants one.
            similarity: Of the index, in [0, 1].
            margin: How much likelier than the next candidate, or NaN.
        """
        if max(len(cached), len(asked)) > MAX_CHARACTERS:
            return PairVerdict(p_same=None, refused_by=("too_long",))
        a, b = self._prompt(cached), self._prompt(asked)
        refused_by = refusals(a, b, allow=self._allow)
        if refused_by:
            return PairVerdict(p_same=None, refused_by=refused_by)
        row = pair_row(
            a,
            b,
            similarity=similarity,
            margin=margin,
            embedded=(self._embed(cached, a), self._embed(asked, b)),
            refused_by=(),
        )
        values = np.array(self._model.columns(row), np.float64)
        raw = sum([fast.predict_one(values) for fast in self._fast]) / len(self._fast)
        z = self._model.slope * raw + self._model.bias
        return PairVerdict(p_same=0.5 * (1.0 + math.tanh(0.5 * z)), refused_by=row.refused_by)

    def _prompt(self, text: str) -> PromptText:
        known = self._read.get(text)
        if known is None:
            known = self._read[text] = read_prompt(text)
            if len(self._read) > _KEPT_PROMPTS:
                self._read.popitem(last=False)
        return known

    def _embed(self, text: str, prompt: PromptText) -> Embedded | None:
        if self._embedder is None:
            return None
        known = self._embedded.get(text)
        if known is not None:
            self._embedded.move_to_end(text)
            return known
        (made,) = self._embedder.embed([(text, prompt)])
        self._embedded[text] = made
        self._embedded_bytes += made.nbytes
        while self._embedded_bytes > _KEPT_EMBEDDED_BYTES and len(self._embedded) > 2:
            _, oldest = self._embedded.popitem(last=False)
            self._embedded_bytes -= oldest.nbytes
        return made
