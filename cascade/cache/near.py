"""Near-duplicate lookup: the likest cached prompts of a scope, each verified before its answer may be used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

import anyio
import anyio.to_thread
import msgspec

from .near_index import NearIndex
from .vector_index import VectorIndex

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FLOOR", "Near", "NearHit", "NearMiss", "PairJudge", "Verdict"]


FLOOR = 0.3
"""Similarity of the index below which nothing is verified."""


class Verdict(Protocol):
    """What a judge says of a pair of prompts."""

    @property
    def p_same(self) -> float | None:
        """P(the cached answer answers what is asked), in [0, 1]; None where it was not scored."""

    @property
    def refused_by(self) -> tuple[str, ...]:
        """Guards that refuse the pair whatever `p_same` says; empty if none does."""


class PairJudge(Protocol):
    """Says whether a cached prompt's answer may be given to another prompt."""

    @property
    def version(self) -> str:
        """Name and version, as the decision log states it."""

    @property
    def threshold(self) -> float:
        """Least `p_same` of a hit, in [0, 1]; 1 for never."""

    @property
    def slow(self) -> bool:
        """Whether a verdict may take more than a millisecond: then it is not for an event loop."""

    def vector(self, text: str, *, at_hand: bool) -> np.ndarray | None:
        """Return the vector of a prompt by its meaning, of length 1, or None where there is none.

        Args:
            text: The prompt.
            at_hand: Whether to return None, too, where it would take more than a millisecond.
        """

    def judge(self, cached: str, asked: str, *, similarity: float, margin: float) -> Verdict:
        """Judge a pair.

        Args:
            cached: The prompt that has an answer.
            asked: The prompt that wants one.
            similarity: Of the index, in [0, 1].
            margin: How much likelier it is than the likest other candidate.
        """


class NearHit(msgspec.Struct, frozen=True, kw_only=True):
    """A cached prompt whose answer may be given.

    Attributes:
        key: Its key.
        text: Its text: what matched.
        similarity: Of the index, in [0, 1].
        p_same: P(same answer) in [0, 1].
    """

    key: str
    text: str
    similarity: float
    p_same: float

    def __repr__(self) -> str:
        return f"<NearHit {self.key}, similarity {self.similarity:.2f}, p_same {self.p_same:.3f}>"


class NearMiss(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing was near enough.

    Attributes:
        best_key: Key of the likest cached prompt, or None where nothing was alike.
        refused_by: Guards that refused it; empty if only the score was too low.
        p_same: P(same answer) of it in [0, 1]; None where nothing was alike, or a guard refused.
    """

    best_key: str | None
    refused_by: tuple[str, ...] = ()
    p_same: float | None = None


_NOTHING = NearMiss(best_key=None)


class _Candidate(NamedTuple):
    """A cached prompt that is alike: its key and text, its similarity, and that of the likest other one."""

    key: str
    text: str
    similarity: float
    other: float


class Near:
    """Prompts by key, found by likeness and verified. Scopes never mix. Not thread-safe.

    Args:
        judge: Verifies candidates.
        candidates: How many are verified at most, the likest first.
        floor: Similarity below which nothing is verified, in [0, 1].
    """

    def __init__(self, judge: PairJudge, *, candidates: int = 4, floor: float = FLOOR) -> None:
        self._judge = judge
        self._index = NearIndex(k=max(2, candidates), floor=floor)
        self._vectors = VectorIndex()
        self._candidates = candidates
        self._judging = anyio.Lock()
        self.threshold = judge.threshold
        """Least `p_same` of a hit; may be moved up while in use, as an audit does."""

    def __len__(self) -> int:
        return len(self._index)

    @property
    def version(self) -> str:
        """Version of the judge."""
        return self._judge.version

    def add(self, key: str, scope: str, text: str) -> bool:
        """Keep a prompt in the place of any with its key; return whether it is kept.

        One without a word, or of more than 8,000 characters, is not.
        """
        self._vectors.discard(key)
        if not self._index.add(key, scope, text):
            return False
        vector = self._judge.vector(text, at_hand=True)
        if vector is not None:
            self._vectors.add(key, scope, vector)
        return True

    def discard(self, key: str) -> bool:
        """Drop a prompt; return whether there was one."""
        self._vectors.discard(key)
        return self._index.discard(key)

    def find(self, scope: str, text: str) -> NearHit | NearMiss:
        """Return the likest prompt of a scope that passes every guard and the threshold, or why none does."""
        vector = self._judge.vector(text, at_hand=False) if self._index.holds(scope) else None
        return self._verify(self._alike(scope, text, vector), text)

    async def lookup(self, scope: str, text: str) -> NearHit | NearMiss:
        """Do what `find` does, and let a slow judge work in a thread of its own, one prompt at a time."""
        if not self._judge.slow or not self._index.holds(scope):
            return self.find(scope, text)
        async with self._judging:
            vector = await anyio.to_thread.run_sync(
                partial(self._judge.vector, text, at_hand=False)
            )
            found = self._alike(scope, text, vector)
            if not found:
                return _NOTHING
            return await anyio.to_thread.run_sync(self._verify, found, text)

    def _alike(self, scope: str, text: str, vector: np.ndarray | None) -> list[_Candidate]:
        """Return what is alike by its words, and by its meaning where that is known; by similarity."""
        found = self._index.find(scope, text)
        alike = found[: self._candidates]
        if vector is not None:
            known = {key for key, _ in found}
            also = [
                key
                for key in self._vectors.find(scope, vector, self._candidates)
                if key not in known
            ]
            alike = sorted(alike + self._index.measure(text, also), key=_by_similarity)
        candidates = []
        for i, (key, similarity) in enumerate(alike):
            cached = self._index.text(key)
            if cached is not None:
                others = found if vector is None else alike
                other = others[1 if i == 0 else 0][1] if len(others) > 1 else 0.0
                candidates.append(_Candidate(key, cached, similarity, other))
        return candidates

    def _verify(self, found: Sequence[_Candidate], text: str) -> NearHit | NearMiss:
        miss = _NOTHING
        for key, cached, similarity, other in found:
            verdict = self._judge.judge(
                cached, text, similarity=similarity, margin=similarity - other
            )
            p_same = verdict.p_same
            if not verdict.refused_by and p_same is not None and p_same >= self.threshold:
                return NearHit(key=key, text=cached, similarity=similarity, p_same=p_same)
            if miss is _NOTHING:
                miss = NearMiss(best_key=key, refused_by=verdict.refused_by, p_same=p_same)
        return miss


def _by_similarity(found: tuple[str, float]) -> float:
    return -found[1]
