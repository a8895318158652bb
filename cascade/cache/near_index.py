"""Finds the cached prompts that look most like a new one: an inverted index over pieces of four bytes.

A text is the set of its four-byte pieces within words; pieces of small words weigh little. The
weights are fixed, so the similarity of two texts is the same in a cache of ten entries and of a
million, and thresholds keep their meaning. Only which pieces are looked up first depends on what is
kept: the rarest, until a bounded number of postings has been read. So a lookup does not grow with the
cache. What is discarded leaves the postings bit by bit, with every addition, and never in one pause.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["MAX_CHARACTERS", "NearIndex", "similarity"]

MAX_CHARACTERS = 8_000
"""Longer texts are not kept and find nothing."""

_MAX_PIECES = 384
"""Of a longer text those with the least hash are kept: the same ones in every text that has them."""
_POSTINGS = 3_000
"""How many postings one lookup reads at most, the rarest pieces first."""
_LEAST_PIECES = 4
"""So many pieces are looked up in any case."""
_SHORTLIST = 24
_PARTS = (0.6, 0.4, 0.25, 0.12)
"""Of the best score: what has as much is looked at, if it is enough of them."""
_SCAN = 48
"""A scope of up to so many entries has no postings: all of it is compared."""
_SWEEP = 24
"""Postings lists cleaned with every addition while there is something to clean."""
_SMALL_WEIGHT = 0.3
_SMALL = frozenset(
    [
        *(
            "a",
            "an",
            "the",
            "is",
            "are",
            "was",
            "were",
            "be",
            "do",
            "does",
            "did",
            "i",
            "you",
            "we",
        ),
        *(
            "my",
            "your",
            "me",
            "it",
            "of",
            "in",
            "on",
            "at",
            "to",
            "for",
            "from",
            "with",
            "by",
            "as",
        ),
        *("and", "or", "that", "this", "there", "what", "which", "who", "when", "where", "why"),
        *("how", "can", "could", "should", "would", "will", "has", "have", "please", "s", "t"),
    ]
)
_WORD = re.compile(r"\w+")


class _Scope:
    """The entries of one scope; `postings` is None while there are few."""

    __slots__ = ("postings", "slots")

    def __init__(self) -> None:
        self.slots: dict[int, None] = {}
        self.postings: dict[int, array[int]] | None = None


class NearIndex:
    """Texts by key, findable by likeness within their scope. Not thread-safe.

    Memory: some 1.1 kB an entry for a question of a dozen words, text and key included.

    Args:
        k: How many candidates a lookup returns at most.
        floor: Least similarity of a candidate, in [0, 1].
    """

    def __init__(self, *, k: int = 4, floor: float = 0.3) -> None:
        self._k = k
        self._floor = floor
        self._scopes: dict[str, _Scope] = {}
        self._slot_of: dict[str, int] = {}
        self._keys: list[str | None] = []
        self._texts: list[str] = []
        self._scope_of: list[str] = []
        self._pieces: list[bytes] = []  # uint32, ascending
        self._norms = array("f")
        self._alive = bytearray()
        self._score = array("f")  # all zero between lookups
        self._free: list[int] = []
        self._dead: list[int] = []  # discarded since the sweep under way began
        self._leaving: list[int] = []  # free once that sweep is over
        self._sweep: Iterator[None] | None = None

    def __len__(self) -> int:
        return len(self._slot_of)

    def __contains__(self, key: str) -> bool:
        return key in self._slot_of

    def text(self, key: str) -> str | None:
        """Return the text kept under a key, or None."""
        slot = self._slot_of.get(key)
        return None if slot is None else self._texts[slot]

    def holds(self, scope: str) -> bool:
        """Return whether a scope has any entry."""
        return scope in self._scopes

    def add(self, key: str, scope: str, text: str) -> bool:
        """Keep a text, in the place of any with its key; return whether it is kept.

        A text without a word, or longer than `MAX_CHARACTERS`, is not.
        """
        self.discard(key)
        pieces, _, norm = _pieces(text)
        if not len(pieces):
            return False
        slot = self._take_slot(key, scope, text, pieces.tobytes(), norm)
        home = self._scopes.get(scope)
        if home is None:
            home = self._scopes[scope] = _Scope()
        home.slots[slot] = None
        if home.postings is not None:
            _post(home.postings, slot, pieces.tolist())
        elif len(home.slots) > _SCAN:
            self._start_postings(home)
        self._clean()
        return True

    def discard(self, key: str) -> bool:
        """Drop a text; return whether there was one."""
        slot = self._slot_of.pop(key, None)
        if slot is None:
            return False
        scope = self._scope_of[slot]
        home = self._scopes[scope]
        del home.slots[slot]
        self._keys[slot], self._texts[slot], self._pieces[slot] = None, "", b""
        self._alive[slot] = 0
        if home.postings is None:
            self._free.append(slot)
        else:
            self._dead.append(slot)
        if not home.slots:
            del self._scopes[scope]  # what its postings held goes with it
        return True

    def find(self, scope: str, text: str) -> list[tuple[str, float]]:
        """Return the likest entries of a scope with their similarity in [0, 1], best first."""
        home = self._scopes.get(scope)
        if home is None:
            return []
        pieces, weights, norm = _pieces(text)
        if not len(pieces):
            return []
        if home.postings is None:
            slots = list(home.slots)
        else:
            slots = self._candidates(home, pieces, weights)
        return self._ranked(slots, pieces, weights, norm)

    def measure(self, text: str, keys: Sequence[str]) -> list[tuple[str, float]]:
        """Return the similarity of a text to entries that were found otherwise, best first.

        Those below the floor are left out, and of more than `k` the least like.
        """
        pieces, weights, norm = _pieces(text)
        slots = [slot for key in keys if (slot := self._slot_of.get(key)) is not None]
        return self._ranked(slots, pieces, weights, norm) if len(pieces) else []

    def _candidates(self, home: _Scope, pieces: np.ndarray, weights: np.ndarray) -> list[int]:
        import numpy as np

        postings = home.postings or {}
        lists = [
            (len(found) / weight, weight, found)
            for piece, weight in zip(pieces.tolist(), weights.tolist(), strict=True)
            if (found := postings.get(piece)) is not None
        ]
        lists.sort(key=_by_rarity)
        taken: list[tuple[float, array[int]]] = []
        read = 0
        for _, weight, found in lists:
            if read + len(found) > _POSTINGS and len(taken) >= _LEAST_PIECES:
                break
            taken.append((weight, found))
            read += len(found)
        if not taken:
            return []
        # What is read of one list is bounded too: of a very common piece the newest entries.
        parts = [np.frombuffer(found, np.uint32)[-_POSTINGS:] for _, found in taken]
        slots = np.concatenate(parts)
        gains = np.repeat(
            np.array([w * w for w, _ in taken], np.float32), [len(part) for part in parts]
        )
        score = np.frombuffer(self._score, np.float32)
        np.add.at(score, slots, gains)
        best = _likeliest(slots, score[slots])
        if len(best) > _SHORTLIST:
            best = best[np.argpartition(-score[best], _SHORTLIST)[:_SHORTLIST]]
        score[slots] = 0.0
        return [slot for slot in best.tolist() if slot in home.slots]

    def _ranked(
        self, slots: list[int], pieces: np.ndarray, weights: np.ndarray, norm: float
    ) -> list[tuple[str, float]]:
        import numpy as np

        if not slots:
            return []
        packed = [self._pieces[slot] for slot in slots]
        theirs = np.frombuffer(b"".join(packed), np.uint32)
        at = np.searchsorted(pieces, theirs)
        np.minimum(at, len(pieces) - 1, out=at)
        shared = np.where(pieces[at] == theirs, weights[at] ** 2, np.float32(0.0))
        starts = np.cumsum([0, *(len(p) // 4 for p in packed[:-1])])
        dots = np.add.reduceat(shared, starts)
        norms = np.array([self._norms[slot] for slot in slots], np.float32)
        similarity = np.minimum(dots / (norms * np.float32(norm)), np.float32(1.0))
        order = np.argsort(-similarity, kind="stable")[: self._k]
        return [
            (key, value)
            for i, value in zip(order.tolist(), similarity[order].tolist(), strict=True)
            if value >= self._floor and (key := self._keys[slots[i]]) is not None
        ]

    def _take_slot(self, key: str, scope: str, text: str, pieces: bytes, norm: float) -> int:
        if self._free:
            slot = self._free.pop()
            self._keys[slot], self._texts[slot], self._scope_of[slot] = key, text, scope
            self._pieces[slot], self._norms[slot], self._alive[slot] = pieces, norm, 1
        else:
            slot = len(self._keys)
            self._keys.append(key)
            self._texts.append(text)
            self._scope_of.append(scope)
            self._pieces.append(pieces)
            self._norms.append(norm)
            self._score.append(0.0)
            self._alive.append(1)
        self._slot_of[key] = slot
        return slot

    def _start_postings(self, home: _Scope) -> None:
        import numpy as np

        home.postings = {}
        for slot in home.slots:
            _post(home.postings, slot, np.frombuffer(self._pieces[slot], np.uint32).tolist())

    def _clean(self) -> None:
        if self._sweep is None:
            if len(self._dead) <= max(64, len(self._slot_of) // 8):
                return
            self._leaving, self._dead = self._dead, []
            self._sweep = self._sweeping()
        for _ in islice(self._sweep, _SWEEP):
            pass
        if not self._leaving:
            self._sweep = None

    def _sweeping(self) -> Iterator[None]:
        """Take the dead out of one list a step; then their places are free."""
        import numpy as np

        for home in list(self._scopes.values()):
            for piece in list(home.postings or ()):
                found = (home.postings or {}).get(piece)
                if home.postings is None or found is None:
                    continue
                slots = np.frombuffer(
                    found, np.uint32
                ).copy()  # a copy: a view would forbid additions
                keep = np.frombuffer(self._alive, np.uint8)[slots] == 1
                if not keep.any():
                    del home.postings[piece]
                elif not keep.all():
                    home.postings[piece] = array("I", slots[keep].tobytes())
                yield
        self._free.extend(self._leaving)
        self._leaving = []


def similarity(a: str, b: str) -> float:
    """Return the similarity of two texts as a lookup states it, in [0, 1].

    >>> round(similarity("How do I sort a list?", "How to sort a list"), 2)
    0.95
    """
    index = NearIndex(k=1, floor=0.0)
    index.add("a", "", a)
    found = index.find("", b)
    return found[0][1] if found else 0.0


def _post(postings: dict[int, array[int]], slot: int, pieces: list[int]) -> None:
    for piece in pieces:
        found = postings.get(piece)
        if found is None:
            postings[piece] = array("I", (slot,))
        else:
            found.append(slot)


def _likeliest(slots: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Return the slots of the highest scores, each once, and at least a shortlist of them if there are so many.

    Most postings are of entries that share a piece or two: those with a good part of the best score are
    few, and found by comparisons. Sorting all of them took a third of a lookup.
    """
    import numpy as np

    most = reached.max()
    for part in _PARTS:
        near = reached >= part * most
        # a slot stands here once a shared piece
        if np.count_nonzero(near) >= 8 * _SHORTLIST:
            slots = slots[near]
            break
    ordered = np.sort(slots)  # np.unique would hash, at several times the cost
    first = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def _by_rarity(entry: tuple[float, float, Any]) -> float:
    return entry[0]


def _pieces(text: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the four-byte pieces of a text, ascending, their weights and the length of that vector."""
    import numpy as np

    empty = np.zeros(0, np.uint32)
    if len(text) > MAX_CHARACTERS:
        return empty, np.zeros(0, np.float32), 0.0
    words = _WORD.findall(text.lower())
    if not words:
        return empty, np.zeros(0, np.float32), 0.0
    encoded = [word.encode("utf-8", "replace") for word in words]
    flat = np.frombuffer(b"  " + b"  ".join(encoded) + b"  ", np.uint8).astype(np.uint32)
    packed = flat[:-3] | (flat[1:-2] << 8) | (flat[2:-1] << 16) | (flat[3:] << 24)
    light = np.repeat(
        [_SMALL_WEIGHT if word in _SMALL else 1.0 for word in words],
        [len(word) + 2 for word in encoded],
    )[: len(packed)]
    # A piece over two words begins with the end of one: two blanks keep the words apart.
    pieces, first = np.unique(packed, return_index=True)
    weights = light[first].astype(np.float32)
    if len(pieces) > _MAX_PIECES:
        kept = np.sort(np.argpartition(pieces * np.uint32(2654435761), _MAX_PIECES)[:_MAX_PIECES])
        pieces, weights = pieces[kept], weights[kept]
    return pieces, weights, float(np.sqrt((weights**2).sum()))
