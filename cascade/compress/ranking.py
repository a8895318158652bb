"""How much each piece of a context has to do with a question: BM25 and TF-IDF, then without repetition.

BM25 as in Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009), section 3.2; maximal
marginal relevance as in Carbonell and Goldstein (SIGIR 1998), equation 1. numpy and scipy are
imported when something is ranked; words are `cascade.compress.stems`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .stems import stems, stems_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Ranking", "rank"]

K1, B = 1.2, 0.75
"""Saturation of repeated words and the weight of a piece's length; the usual values."""

NEIGHBOUR = 0.3
"""Share of a neighbour's relevance that a piece has as well: a passage is about one thing."""

DIVERSITY = 0.3
"""Weight of being unlike what is kept already, against relevance."""

MOST_COMPARED = 96
"""Pieces that are compared with each other; the rest stay in the order of their relevance."""


_PIECE = 0xFFFFFF
_TERM = 0xFFFFFFFFFF000000
"""Bits of a number that say which piece a word is in, and which word it is."""


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
    words, owners = stems(pieces)
    rows, columns, counts, known = _counted(words, owners)
    n_terms = len(known)
    frequency = np.bincount(columns, minlength=n_terms)
    lengths = np.bincount(owners, minlength=n).astype(float)
    idf = np.log1p((n - frequency + 0.5) / (frequency + 0.5))
    weights = (1.0 + np.log(counts)) * idf[columns]
    norms = np.sqrt(np.bincount(rows, weights=weights * weights, minlength=n))
    norms[norms == 0.0] = 1.0

    asked = np.zeros(n_terms)
    if question is not None and n_terms:
        wanted_words, often = np.unique(stems_of(question) & _TERM, return_counts=True)
        places = np.minimum(np.searchsorted(known, wanted_words), n_terms - 1)
        found = known[places] == wanted_words
        asked[places[found]] = often[found]
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


def _counted(
    words: NDArray[np.uint64], owners: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    """Return every pair of a piece and a term once: the piece, the term's index, how often; and all terms, sorted.

    By one sort of numbers that hold both: two of `unique` take three times as long.
    """
    import numpy as np

    ordered = np.sort((words & np.uint64(_TERM)) | owners.astype(np.uint64))
    begins = np.flatnonzero(_new(ordered))
    counts = np.diff(begins, append=len(ordered))
    pairs = ordered[begins]
    rows = (pairs & np.uint64(_PIECE)).astype(np.int64)
    terms: NDArray[np.uint64] = pairs & np.uint64(_TERM)
    first = _new(terms)
    return rows, np.cumsum(first) - 1, counts, terms[first]


def _new(ordered: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return for each of sorted numbers whether it is not the one before."""
    import numpy as np

    new = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return new


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
