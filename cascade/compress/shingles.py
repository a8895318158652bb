"""Finds passages that are nearly the same: by runs of words in common, and by what must not differ.

Candidates are found by the rarest of their runs of words (the smallest hashes), so that each passage
is compared with few others; the likeness itself is Jaccard's, over all runs.
"""

from __future__ import annotations

import re
from zlib import crc32

__all__ = ["ShingleIndex", "likeness"]

WORDS = 3
"""Words in a run."""

LIKE = 0.8
"""Share of their runs that two passages have in common at least."""

SIGNS = 12
"""Smallest hashes by which candidates are found. Of two passages that share 80 % of their runs at least one
of twelve is common with probability 1 - 0.2**12."""

LEAST_RUNS = 8
"""Runs of a passage that is compared at all."""

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAME = re.compile(r"(?<=\w[ ,;:])[^\W\d_a-zß-öø-ÿ]\w+")
_NEGATION = re.compile(
    r"\b(?:no|not|never|none|nobody|nothing|neither|nor|without|cannot|\w+n['’]t|except|unless|only|nicht|"
    r"kein\w*|nie|ohne|ne|pas|jamais|sans|aucun\w*|sin|nunca|ningun\w*|не|нет|без|ни)\b|[不没無无非]",
    re.IGNORECASE,
)


class ShingleIndex:
    """Passages that were seen, for finding one that is nearly the same."""

    def __init__(self) -> None:
        self._passages: list[tuple[frozenset[int], tuple[frozenset[str], ...]]] = []
        self._by_sign: dict[int, list[int]] = {}

    def add(self, passage: str) -> None:
        """Take in a passage."""
        runs = _runs(passage)
        if len(runs) < LEAST_RUNS:
            return
        place = len(self._passages)
        self._passages.append((runs, _fixed(passage)))
        for sign in sorted(runs)[:SIGNS]:
            self._by_sign.setdefault(sign, []).append(place)

    def has_like(self, passage: str) -> bool:
        """Return whether a passage that was taken in is nearly the same and says no other number or name."""
        runs = _runs(passage)
        if len(runs) < LEAST_RUNS:
            return False
        tried: set[int] = set()
        fixed: tuple[frozenset[str], ...] | None = None
        for sign in sorted(runs)[:SIGNS]:
            for place in self._by_sign.get(sign, ()):
                if place in tried:
                    continue
                tried.add(place)
                other, other_fixed = self._passages[place]
                if len(runs & other) >= LIKE * len(runs | other):
                    fixed = fixed or _fixed(passage)
                    if fixed == other_fixed:
                        return True
        return False


def likeness(first: str, second: str) -> float:
    """Return which share of their runs of words two passages have in common, in [0, 1].

    >>> likeness("a b c d e", "a b c d e"), likeness("a b c d", "a b c e")
    (1.0, 0.3333333333333333)
    """
    one, two = _runs(first), _runs(second)
    return len(one & two) / max(len(one | two), 1)


def _runs(passage: str) -> frozenset[int]:
    words = _WORD.findall(passage.lower())
    return frozenset(
        crc32(" ".join(words[i : i + WORDS]).encode("utf-8", "surrogatepass"))
        for i in range(max(1, len(words) - WORDS + 1))
    )


def _fixed(passage: str) -> tuple[frozenset[str], ...]:
    """Return what may not differ: numbers, names and negations."""
    negations = frozenset(word.lower() for word in _NEGATION.findall(passage))
    return frozenset(_NUMBER.findall(passage)), frozenset(_NAME.findall(passage)), negations
