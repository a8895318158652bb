"""TF-IDF of words and character n-grams with ridge weights for several targets at once; fitted on training rows only.

The fitted head is a vocabulary (JSON) and arrays (npz); prediction needs no scikit-learn.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

__all__ = [
    "AXES_TERMS",
    "TextAxes",
    "TextHead",
    "Vocabulary",
    "axes_of",
    "fit_axes",
    "fit_text",
    "fit_vocabulary",
    "grams_of",
    "idf_of",
    "ridge",
    "terms",
    "weigh",
    "words_of",
]

MAX_CHARS = 4_000
"""A longer text is read at its two ends, half of this each."""

_GRAMS = (3, 4, 5)
_TOKEN = re.compile(r"\w+|[^\w\s]")
_NO_MARKS = bytes(i for i in range(128) if chr(i).isalnum() or chr(i).isspace() or chr(i) == "_")
"""ASCII characters that are parts of words, or blanks."""


def words_of(text: str) -> list[str]:
    """Return words and punctuation marks in lower case."""
    if len(text) > MAX_CHARS:
        text = text[: MAX_CHARS // 2] + " " + text[-MAX_CHARS // 2 :]
    text = text.lower()
    if not text.isascii():
        return _TOKEN.findall(text)
    # the same in a third of the time
    for mark in set(text.encode().translate(None, _NO_MARKS).decode()):
        text = text.replace(mark, f" {mark} ")
    return text.split()


def terms(text: str, chars: bool) -> list[str]:
    """Return word uni- and bigrams, or (``chars``) character 3- to 5-grams within words."""
    words = words_of(text)
    if not chars:
        return words + [f"{a} {b}" for a, b in pairwise(words)]
    return [gram for word in words for gram in grams_of(word)]


def grams_of(word: str) -> list[str]:
    """Return the character 3- to 5-grams of a word between blanks."""
    padded = f" {word} "
    return [padded[i : i + k] for k in _GRAMS for i in range(len(padded) - k + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What a text is read by.

    Attributes:
        index: Term -> column.
        idf: Inverse document frequency of each column. Shape (len(index),).
        chars: Whether the terms are character n-grams, or else words and pairs of words.
    """

    index: dict[str, int]
    idf: np.ndarray
    chars: bool

    def transform(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Return L2-normalised log-TF-IDF, shape (n, len(index)), float32."""
        starts = [0]
        columns: list[np.ndarray] = []
        values: list[np.ndarray] = []
        grams: dict[str, list[int]] = {}  # texts repeat their words: look each one's grams up once
        for text in texts:
            counts = Counter(self._columns(text, grams))
            at = np.fromiter(counts.keys(), np.int32, len(counts))
            times = np.fromiter(counts.values(), np.float64, len(counts))
            columns.append(at)
            values.append(weigh(times, self.idf[at]))
            starts.append(starts[-1] + len(at))
        shape = (len(texts), len(self.index))
        if not texts:
            return sparse.csr_matrix(shape, dtype=np.float32)
        data = np.concatenate(values).astype(np.float32)
        return sparse.csr_matrix((data, np.concatenate(columns), starts), shape=shape)

    def _columns(self, text: str, grams: dict[str, list[int]]) -> list[int]:
        """Return the column of every known term of a text, repeated as often as it stands there."""
        get = self.index.get
        if not self.chars:
            return [j for j in map(get, terms(text, False)) if j is not None]
        found: list[int] = []
        for word in words_of(text):
            columns = grams.get(word)
            if columns is None:
                columns = [j for j in map(get, grams_of(word)) if j is not None]
                grams[word] = columns
            found += columns
        return found


def weigh(times: np.ndarray, idf: np.ndarray) -> np.ndarray:
    """Return (1 + log times) * idf, of length 1. Shape as both."""
    value = (1.0 + np.log(times)) * idf
    length = np.sqrt((value * value).sum())
    return np.asarray(value / length if length > 0 else value)


def fit_vocabulary(
    texts: Sequence[str],
    *,
    chars: bool = False,
    min_df: int = 2,
    max_terms: int = 60_000,
    max_share: float = 0.9,
) -> Vocabulary:
    """Keep the most frequent terms.

    Args:
        texts: Training texts.
        chars: Character n-grams instead of words.
        min_df: Texts that a term must stand in.
        max_terms: Terms kept at most.
        max_share: Terms in a larger share of the texts are boilerplate and go.
    """
    frequency: Counter[str] = Counter()
    for text in texts:
        if chars:
            distinct: set[str] = set()
            for word in set(words_of(text)):
                distinct.update(grams_of(word))
            frequency.update(distinct)
        else:
            frequency.update(set(terms(text, False)))
    n = len(texts)
    most = max(max_share * n, min_df)
    kept = [(count, term) for term, count in frequency.items() if min_df <= count <= most]
    kept = sorted(kept, key=lambda pair: (-pair[0], pair[1]))[:max_terms]
    counts = np.array([count for count, _ in kept], dtype=np.float64)
    index = {term: i for i, (_, term) in enumerate(kept)}
    return Vocabulary(index=index, idf=idf_of(counts, n), chars=chars)


def idf_of(counts: np.ndarray, n: int) -> np.ndarray:
    """Return the inverse document frequency of terms that stand in so many of ``n`` texts."""
    return np.asarray(np.log((1.0 + n) / (1.0 + counts)) + 1.0)


def _matrix(
    vocabulary: Vocabulary, texts: Sequence[str], shared: dict[Any, Any] | None
) -> sparse.csr_matrix:
    """Return the matrix of these texts; ``shared`` keeps it for heads with the same vocabulary."""
    if shared is None:
        return vocabulary.transform(texts)
    key = id(vocabulary)
    x: sparse.csr_matrix | None = shared.get(key)
    if x is None:
        x = shared[key] = vocabulary.transform(texts)
    return x


@dataclass(frozen=True, slots=True, kw_only=True)
class TextAxes:
    """The leading directions of a TF-IDF matrix; label-free, so fitted once on training rows.

    Attributes:
        vocabulary: Its terms.
        axes: Weights. Shape (terms, d).
    """

    vocabulary: Vocabulary
    axes: np.ndarray

    def predict(self, texts: Sequence[str], shared: dict[Any, Any] | None = None) -> np.ndarray:
        """Return coordinates, shape (n, d); ``shared`` as in `TextHead.predict`."""
        return np.asarray(_matrix(self.vocabulary, texts, shared) @ self.axes)


AXES_TERMS: dict[str, Any] = {"min_df": 3, "max_terms": 20_000, "max_share": 0.7}
"""Which terms axes are fitted on; see `fit_vocabulary`."""


def fit_axes(texts: Sequence[str], d: int = 24, *, seed: int = 0) -> TextAxes | None:
    """Fit ``d`` axes; None when there are too few texts or terms for them."""
    vocabulary = fit_vocabulary(texts, **AXES_TERMS)
    return axes_of(vocabulary, vocabulary.transform(texts), d, seed=seed)


def axes_of(vocabulary: Vocabulary, x: sparse.csr_matrix, d: int, *, seed: int) -> TextAxes | None:
    """Fit axes on a matrix by randomised SVD; None when it has too few rows or terms for them.

    Source: Halko, Martinsson and Tropp 2011, algorithm 4.4 (subspace iteration, three rounds).
    """
    d = min(d, x.shape[0] // 10, len(vocabulary.index) // 4)
    if d < 2:
        return None
    rng = np.random.default_rng(seed)
    q = x @ rng.standard_normal((x.shape[1], d + 8))
    for _ in range(3):
        q, _ = np.linalg.qr(q)
        q, _ = np.linalg.qr(x.T @ q)
        q = x @ q
    q, _ = np.linalg.qr(q)
    _, _, vt = np.linalg.svd(np.asarray((x.T @ q).T), full_matrices=False)
    return TextAxes(vocabulary=vocabulary, axes=np.ascontiguousarray(vt[:d].T))


@dataclass(frozen=True, slots=True, kw_only=True)
class TextHead:
    """Ridge weights over one vocabulary.

    Attributes:
        vocabulary: Its terms.
        weights: Shape (terms, targets).
        bias: Shape (targets,).
    """

    vocabulary: Vocabulary
    weights: np.ndarray
    bias: np.ndarray

    def predict(self, texts: Sequence[str], shared: dict[Any, Any] | None = None) -> np.ndarray:
        """Return (n, targets).

        Args:
            texts: What to read.
            shared: Keeps the matrix for other heads with the same vocabulary object and the same
                texts; None to keep nothing.
        """
        return np.asarray(_matrix(self.vocabulary, texts, shared) @ self.weights + self.bias)


def ridge(x: sparse.csr_matrix, y: np.ndarray, l2: float) -> tuple[np.ndarray, np.ndarray]:
    """Return least-squares weights (f, t) and bias (t,), the bias not penalised.

    The bias is the mean of ``y``, as rows of TF-IDF are not centred. Solved by conjugate gradients
    in the space of the rows, (x x' + l2) a = y - mean, weights x' a.
    """
    n, f = x.shape
    mean = y.mean(0)
    residual = y - mean
    transposed = x.T.tocsr()
    weights = np.zeros((f, y.shape[1]))
    operator = LinearOperator(
        (n, n), matvec=lambda v: x @ (transposed @ v) + l2 * v, dtype=np.float64
    )
    for k in range(y.shape[1]):
        solution, _ = cg(operator, residual[:, k], rtol=1e-4, maxiter=200)
        weights[:, k] = transposed @ solution
    return weights, mean


def fit_text(
    texts: Sequence[str],
    y: np.ndarray,
    *,
    chars: bool = False,
    l2: float = 1.0,
    min_df: int = 2,
    max_terms: int = 60_000,
    fitted: tuple[Vocabulary, sparse.csr_matrix] | None = None,
) -> TextHead:
    """Fit a text head.

    Args:
        texts: Training texts; not read where ``fitted`` is given.
        y: Targets. Shape (n, t).
        chars: Character n-grams instead of words.
        l2: Penalty of the weights.
        min_df: Texts that a term must stand in.
        max_terms: Terms kept at most.
        fitted: A vocabulary and its matrix of the same texts, to be used again.
    """
    if fitted is None:
        vocabulary = fit_vocabulary(texts, chars=chars, min_df=min_df, max_terms=max_terms)
        fitted = vocabulary, vocabulary.transform(texts)
    vocabulary, x = fitted
    weights, bias = ridge(x, np.asarray(y, dtype=np.float64), l2)
    return TextHead(vocabulary=vocabulary, weights=weights, bias=bias)
