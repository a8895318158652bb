"""How much each piece of a context has to do with a question: BM25 and TF-IDF, then without repetition.

BM25 as in Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009), section 3.2; maximal
marginal relevance as in Carbonell and Goldstein (SIGIR 1998), equation 1. numpy and scipy are
imported when something is ranked.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Ranking", "rank"]

K1, B = 1.2, 0.75
"""Saturation of repeated words and the weight of a piece's length; the usual values."""

STEM_CHARS = 6
"""Words are compared by their beginnings: a stem for every language that inflects at the end."""

NEIGHBOUR = 0.3
"""Share of a neighbour's relevance that a piece has as well: a passage is about one thing."""

DIVERSITY = 0.3
"""Weight of being unlike what is kept already, against relevance."""

MOST_COMPARED = 96
"""Pieces that are compared with each other; the rest stay in the order of their relevance."""

_WORD = re.compile(rf"(\w{{3,{STEM_CHARS}}})\w*|\x00")
"""Words of three letters or more: shorter ones are a third of all, and say little."""
_ANY_WORD = re.compile(rf"(\w{{1,{STEM_CHARS}}})\w*|\x00")
_UNSPACED = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]{2,}"
)
_SEPARATOR = "\x00"
_NO_WORD = ""
"""What the pattern finds for a separator."""


class Ranking:
    """Pieces of a context in the order in which they are worth keeping.

    Attributes:
        order: Indices of pieces, best first; those that have nothing to do with the question last.
        relevance: Of each piece, in [0, 1].
    """

    __slots__ = ("order", "relevance")

    def __init__(self, order: list[int], relevance: NDArray[np.float64]) -> None:
        self.order = order
        self.relevance = relevance


def rank(pieces: Sequence[str], question: str | None) -> Ranking:
    """Rank the pieces of a context.

    Args:
        pieces: In the order of the context; neighbours lend each other relevance.
        question: What they are ranked for; None: how close a piece is to all of them.
    """
    import numpy as np

    n = len(pieces)
    if n == 0:
        return Ranking([], np.zeros(0))
    known, terms, owners = _terms(pieces)
    n_terms = len(known)
    # Every (piece, term) pair once, with how often.
    pairs, counts = np.unique(owners * n_terms + terms, return_counts=True)
    rows, columns = np.divmod(pairs, n_terms)
    frequency = np.bincount(columns, minlength=n_terms)
    lengths = np.bincount(owners, minlength=n).astype(float)
    idf = np.log1p((n - frequency + 0.5) / (frequency + 0.5))
    weights = (1.0 + np.log(counts)) * idf[columns]
    norms = np.sqrt(np.bincount(rows, weights=weights * weights, minlength=n))
    norms[norms == 0.0] = 1.0

    asked = np.zeros(n_terms)
    if question is not None:
        for word in _words(question):
            place = known.get(word)
            if place is not None:
                asked[place] += 1.0
    bm25 = np.zeros(n)
    if asked.any():
        of_question = asked[columns] > 0
        r, c, tf = rows[of_question], columns[of_question], counts[of_question]
        saturated = tf * (K1 + 1) / (tf + K1 * (1 - B + B * lengths[r] / max(lengths.mean(), 1e-9)))
        bm25 += np.bincount(r, weights=idf[c] * saturated, minlength=n)
        wanted = np.where(asked > 0, (1.0 + np.log(np.maximum(asked, 1.0))) * idf, 0.0)
    else:  # no question, or one that shares no word: what is closest to the whole
        wanted = np.bincount(columns, weights=weights / norms[rows], minlength=n_terms)
    cosine = np.bincount(rows, weights=weights * wanted[columns], minlength=n) / norms
    relevance = 0.5 * _scaled(bm25) + 0.5 * _scaled(cosine)
    relevance = _lent(relevance)
    order = np.argsort(-relevance, kind="stable")
    best = order[: min(MOST_COMPARED, int((relevance > 0).sum()))]
    if len(best) > 1:
        alike = _likeness(best, rows, columns, weights / norms[rows], (n, n_terms))
        order[: len(best)] = best[_diverse(relevance[best], alike)]
    return Ranking(order.tolist(), relevance)


def _terms(pieces: Sequence[str]) -> tuple[dict[str, int], NDArray[np.int64], NDArray[np.int64]]:
    """Return the vocabulary, and for every word of the pieces its term and its piece."""
    import numpy as np

    joined = _SEPARATOR.join(piece.replace(_SEPARATOR, " ") for piece in pieces)
    words = _words(joined)
    places: defaultdict[str, int] = defaultdict(count().__next__)
    ids = np.fromiter(map(places.__getitem__, words), dtype=np.int64, count=len(words))
    separator = places[_NO_WORD]
    is_separator = ids == separator
    owners = np.cumsum(is_separator)
    return places, ids[~is_separator], owners[~is_separator]


def _words(text: str) -> list[str]:
    """Return the beginnings of words in small letters, "" for a separator; of scripts without spaces, pairs."""
    lowered = text.lower()
    if not text.isascii() and _UNSPACED.search(lowered):
        return _ANY_WORD.findall(_UNSPACED.sub(_pairs, lowered))
    return _WORD.findall(lowered)


def _pairs(match: re.Match[str]) -> str:
    run = match.group()
    return " " + " ".join(run[i : i + 2] for i in range(len(run) - 1)) + " "


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    most = values.max()
    return values / most if most > 0 else values


def _lent(relevance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return relevance with a share of the better neighbour's."""
    import numpy as np

    if len(relevance) < 2:
        return relevance
    before = np.concatenate(([0.0], relevance[:-1]))
    after = np.concatenate((relevance[1:], [0.0]))
    return (relevance + NEIGHBOUR * np.maximum(before, after)) / (1 + NEIGHBOUR)


def _likeness(
    chosen: NDArray[Any],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    weights: NDArray[np.float64],
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Return the cosine between each two of some pieces. Shape (n_chosen, n_chosen).

    By sparse products: a dense one waits for the threads of the linear algebra library.
    """
    import numpy as np
    from scipy.sparse import csr_array

    place = np.full(shape[0], -1)
    place[chosen] = np.arange(len(chosen))
    own = place[rows]
    inside = own >= 0
    pairs = (own[inside], columns[inside])
    vectors = csr_array((weights[inside], pairs), shape=(len(chosen), shape[1]))
    alike: NDArray[np.float64] = (vectors @ vectors.T).toarray()
    return alike


def _diverse(relevance: NDArray[np.float64], alike: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return positions in the order of maximal marginal relevance.

    Args:
        relevance: Shape (n,).
        alike: Cosine between pieces. Shape (n, n).
    """
    import numpy as np

    n = len(relevance)
    gain = (1.0 - DIVERSITY) * relevance
    closest = np.zeros(n)
    left = np.ones(n, dtype=bool)
    chosen = np.empty(n, dtype=np.int64)
    for i in range(n):
        value = np.where(left, gain - DIVERSITY * closest, -np.inf)
        best = int(value.argmax())
        chosen[i] = best
        left[best] = False
        np.maximum(closest, alike[best], out=closest)
    return chosen
