"""Other ways to tell a near-duplicate: each gives a pair of texts a score, the higher the likelier."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import pairwise

import numpy as np

from benchmarks._shared import OUT
from scorers.embedders import open_embedder
from scorers.minilm import absent
from scorers.pair_text import read_prompt

__all__ = ["BASELINES", "exact", "minhash", "minilm", "shingles", "tfidf"]

Pairs = Sequence[tuple[str, str]]
PERMUTATIONS = 128


def normalised(text: str) -> str:
    """Return a text without case, punctuation and spaces that matter to nobody."""
    return " ".join(re.findall(r"\w+", text.lower()))


def exact(pairs: Pairs) -> np.ndarray:
    """Score 1 where both texts are equal once normalised."""
    return np.array([float(normalised(a) == normalised(b)) for a, b in pairs])


def tfidf(pairs: Pairs) -> np.ndarray:
    """Cosine of character 3- to 5-grams within words, weights counted on the cached texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    made = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    a = made.fit_transform([a for a, _ in pairs])
    b = made.transform([b for _, b in pairs])
    return np.asarray(a.multiply(b).sum(1)).ravel()


def shingles(text: str) -> list[str]:
    """Return the words of a text and its pairs of neighbouring words."""
    words = normalised(text).split()
    return words + [f"{x} {y}" for x, y in pairwise(words)]


def minhash(pairs: Pairs) -> np.ndarray:
    """Share of 128 equal minima over words and pairs of words (rensa)."""
    from rensa import RMinHash

    made = {}
    for text in dict.fromkeys(text for pair in pairs for text in pair):
        made[text] = RMinHash(num_perm=PERMUTATIONS, seed=1)
        made[text].update(shingles(text))
    return np.array([made[a].jaccard(made[b]) for a, b in pairs])


def minilm(pairs: Pairs) -> np.ndarray:
    """Cosine of all-MiniLM-L6-v2, kept under out/."""
    digest = hashlib.sha256("\0".join(t for pair in pairs for t in pair).encode()).hexdigest()[:12]
    kept = OUT / "near" / f"minilm-{digest}.npy"
    if not kept.exists():
        embedder = open_embedder("minilm")
        assert embedder is not None
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        found = embedder.embed([(text, read_prompt(text)) for text in texts])
        whole = {text: one.whole for text, one in zip(texts, found, strict=True)}
        kept.parent.mkdir(parents=True, exist_ok=True)
        cosines = [
            -1.0 if (x := whole[a]) is None or (y := whole[b]) is None else float(x @ y)
            for a, b in pairs
        ]
        np.save(kept, np.array(cosines))
    return np.asarray(np.load(kept))


def _no_rensa() -> str | None:
    return None if find_spec("rensa") else "rensa"


def _nothing() -> None:
    return None


BASELINES: tuple[tuple[str, Callable[[], str | None], Callable[[Pairs], np.ndarray]], ...] = (
    ("exact after normalisation", _nothing, exact),
    ("TF-IDF cosine", _nothing, tfidf),
    ("MinHash", _no_rensa, minhash),
    ("MiniLM cosine (GPTCache)", absent, minilm),
)
"""Title, what names a package that is missing, and the score."""
