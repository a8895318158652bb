"""The texts of a fit, each read once: vocabularies of any of its rows, and their matrices, come from counts.

Folds and seeds fit some sixty vocabularies on nearly the same texts. Reading them anew each time is
most of a large fit; from counts a text costs a twentieth. The numbers are the same, bit by bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse

from .text_head import Vocabulary, idf_of, terms, weigh

__all__ = ["Corpus", "TermCounts"]

_LEAST_DF = 2
"""Terms of fewer texts are in no vocabulary."""


class TermCounts:
    """How often each term stands in each of some texts, in the order in which a text brings them.

    Args:
        texts: The texts.
        chars: Character n-grams instead of words and pairs of words.
    """

    def __init__(self, texts: Sequence[str], chars: bool) -> None:
        self._chars = chars
        index: dict[str, int] = {}
        found: list[np.ndarray] = []
        times: list[np.ndarray] = []
        for text in texts:
            counts = Counter(terms(text, chars))
            numbers = [index.setdefault(term, len(index)) for term in counts]
            found.append(np.array(numbers, np.int32))
            times.append(np.fromiter(counts.values(), np.int32, len(counts)))
        every = np.concatenate([*found, np.zeros(0, np.int32)])
        kept = np.bincount(every, minlength=len(index)) >= _LEAST_DF
        names = [term for term, keep in zip(index, kept.tolist(), strict=True) if keep]
        place = np.full(len(index), -1, np.int32)
        # Alphabetical, as vocabularies break ties.
        order = sorted(range(len(names)), key=names.__getitem__)
        self._terms = [names[i] for i in order]
        rank = np.empty(len(names), np.int32)
        rank[order] = np.arange(len(names), dtype=np.int32)
        place[kept] = rank
        self._found, self._times = [], []
        for numbers_of_one, times_of_one in zip(found, times, strict=True):
            ranks = place[numbers_of_one]
            known = ranks >= 0
            self._found.append(ranks[known])
            self._times.append(times_of_one[known])

    def vocabulary(
        self, rows: np.ndarray, *, min_df: int = 2, max_terms: int = 60_000, max_share: float = 0.9
    ) -> Vocabulary:
        """Return what `fit_vocabulary` gives for these texts.

        Args:
            rows: Which of the texts. Shape (n,).
            min_df: Texts that a term must stand in, at least 2.
            max_terms: Terms kept at most.
            max_share: Terms in a larger share of the texts go.
        """
        n = len(rows)
        every = np.concatenate([np.zeros(0, np.int32), *(self._found[i] for i in rows.tolist())])
        frequency = np.bincount(every, minlength=len(self._terms))
        most = max(max_share * n, min_df)
        kept = np.flatnonzero((frequency >= max(min_df, _LEAST_DF)) & (frequency <= most))
        kept = kept[np.argsort(-frequency[kept], kind="stable")][:max_terms]
        return Vocabulary(
            index={self._terms[term]: i for i, term in enumerate(kept.tolist())},
            idf=idf_of(frequency[kept].astype(np.float64), n),
            chars=self._chars,
        )

    def matrix(self, rows: np.ndarray, vocabulary: Vocabulary) -> sparse.csr_matrix:
        """Return what `Vocabulary.transform` gives for these texts.

        Args:
            rows: Which of the texts. Shape (n,).
            vocabulary: Of terms that stand in two of all texts at least.
        """
        get = vocabulary.index.get
        column_of = np.array([get(term, -1) for term in self._terms], np.int32)
        starts, columns, values = [0], [], []
        for i in rows.tolist():
            at = column_of[self._found[i]]
            known = at >= 0
            at = at[known]
            columns.append(at)
            values.append(weigh(self._times[i][known].astype(np.float64), vocabulary.idf[at]))
            starts.append(starts[-1] + len(at))
        shape = (len(rows), len(vocabulary.index))
        if not len(rows):
            return sparse.csr_matrix(shape, dtype=np.float32)
        data = np.concatenate(values).astype(np.float32)
        return sparse.csr_matrix((data, np.concatenate(columns), starts), shape=shape)


class Corpus:
    """Every kind of text of some rows, counted when it is first needed.

    Args:
        rows: Row numbers, each once. Shape (n,).
        texts: Gives the texts of rows: (rows, kind, whose answer) → one a row.
    """

    def __init__(
        self, rows: np.ndarray, texts: Callable[[np.ndarray, str, tuple[int, ...]], list[str]]
    ) -> None:
        self._rows = rows
        self._order = np.argsort(rows)
        self._texts = texts
        self._counts: dict[tuple[str, tuple[int, ...]], TermCounts] = {}

    def counts(self, kind: str, answered: tuple[int, ...]) -> TermCounts:
        """Return the counts of one kind of text."""
        key = kind, answered
        if key not in self._counts:
            texts = self._texts(self._rows, kind, answered)
            self._counts[key] = TermCounts(texts, kind == "chars")
        return self._counts[key]

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return where rows stand among those of the corpus. Shape as ``rows``."""
        return self._order[np.searchsorted(self._rows, rows, sorter=self._order)]

    def read(
        self, rows: np.ndarray, kind: str, answered: tuple[int, ...], vocabulary: Vocabulary
    ) -> sparse.csr_matrix:
        """Return the matrix of some rows' texts."""
        return self.counts(kind, answered).matrix(self.places(rows), vocabulary)
