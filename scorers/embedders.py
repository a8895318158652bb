"""What an embedder says of a prompt, which embedders there are, and how two embedded prompts are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from cascade.errors import ScorerError

from .pair_text import PromptText

__all__ = [
    "EMBEDDERS",
    "Embedded",
    "Embedder",
    "EmbedderKind",
    "best_embedder",
    "cosine",
    "embedder_of",
    "kind_of",
    "least_match",
    "open_embedder",
]

EmbedderKind = Literal["none", "static", "minilm"]
EMBEDDERS: dict[EmbedderKind, str | None] = {
    "none": None,
    "static": "wordllama/l2_supercat_256",
    "minilm": "all-MiniLM-L6-v2",
}
"""Kind to the name that a scorer fitted with it states."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """A prompt's vectors, each of length 1.

    Attributes:
        whole: Of the text, or None where it has no tokens. Shape (d,), float32.
        parts: Of its words or tokens. Shape (n, d), float16: they are many, and compared coarsely.
    """

    whole: np.ndarray | None
    parts: np.ndarray

    @property
    def nbytes(self) -> int:
        """How much memory it takes, about."""
        return self.parts.nbytes + (0 if self.whole is None else self.whole.nbytes)


class Embedder(Protocol):
    """Turns prompts into vectors, offline."""

    @property
    def name(self) -> str:
        """What it is, for a scorer that was fitted with it."""

    @property
    def slow(self) -> bool:
        """Whether a prompt takes more than a millisecond, so that it is not for an event loop."""

    def embed(self, prompts: Sequence[tuple[str, PromptText]]) -> list[Embedded]:
        """Return the vectors of some prompts, each with what was read of it, in their order."""


def open_embedder(kind: EmbedderKind) -> Embedder | None:
    """Load an embedder; None for none.

    Raises:
        ScorerError: Its packages are not installed, or do not hold what they should.
    """
    if kind == "static":
        from .static_vectors import StaticVectors

        return StaticVectors()
    if kind == "minilm":
        from .minilm import MiniLM

        return MiniLM()
    return None


def best_embedder() -> Embedder:
    """Load the one that tells most of those installed.

    Raises:
        ScorerError: None is installed.
    """
    from .minilm import absent

    found = open_embedder("static" if absent() else "minilm")
    assert found is not None
    return found


def embedder_of(name: str | None) -> Embedder | None:
    """Load the embedder that a scorer says it was fitted with; None for none.

    Raises:
        ScorerError: There is none of that name, or its packages are not installed.
    """
    for kind, its in EMBEDDERS.items():
        if its == name:
            return open_embedder(kind)
    raise ScorerError(f"the pair scorer was fitted with embeddings {name!r}, which are not known")


def kind_of(name: str | None) -> str:
    """Return the kind of an embedder as a user names it, or the name itself where it is not known.

    >>> kind_of(None), kind_of("all-MiniLM-L6-v2"), kind_of("mine")
    ('none', 'minilm', 'mine')
    """
    return next((kind for kind, its in EMBEDDERS.items() if its == name), str(name))


def cosine(a: Embedded | None, b: Embedded | None) -> float:
    """Return the cosine of two whole texts, NaN if one is missing."""
    if a is None or b is None or a.whole is None or b.whole is None:
        return math.nan
    return float(a.whole @ b.whole)


def least_match(a: Embedded | None, b: Embedded | None) -> float:
    """Return how well the worst-matched part of either is matched by a part of the other, or NaN.

    Of each part the likeliest part of the other counts, as in BERTScore (Zhang et al. 2020, section 3);
    of these the least and not the mean: one word that has no like makes another question.
    """
    if a is None or b is None or not len(a.parts) or not len(b.parts):
        return math.nan
    likeness = a.parts.astype(np.float32) @ b.parts.astype(np.float32).T
    return float(min(likeness.max(1).min(), likeness.max(0).min()))
