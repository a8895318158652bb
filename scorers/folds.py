"""Folds grouped by near-identical prompt, so that a paraphrase or a changed number never sits on both sides."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

__all__ = ["fold_ids", "prompt_groups"]

_MAX_WORDS = 2_000
_HASHES, _BANDS = 16, 4  # bands of four: two prompts meet at a Jaccard overlap of about 0.75
_LEAST_GRAMS = 8
_COMMON_SHARE, _COMMON_COUNT = 0.02, 10.0

_WORD = re.compile(r"[^\W\d_]+")


def prompt_groups(prompts: Sequence[str]) -> np.ndarray:
    """Return a group number per prompt: equal numbers for prompts that ask nearly the same.

    Two prompts meet when they are equal after dropping numbers, case and punctuation, or when their
    word trigrams share a band of min-hashes. Trigrams that many prompts share are a template and
    say nothing about being the same question. Transitive: chains of such pairs are one group.

    Returns:
        Shape (n,), integers; the number is the row of one member.

    Source: Broder 1997 (min-hash); Leskovec et al., Mining of Massive Datasets, 3.4 (bands).
    Cost: O(n * words); deterministic (a fixed hash, not Python's seeded one).
    """
    sets = _UnionFind(len(prompts))
    rng = np.random.default_rng(12345)
    factors = rng.integers(1, 2**61 - 1, _HASHES, dtype=np.int64).astype(np.uint64) | np.uint64(1)
    plain: list[str] = []
    hashes: list[np.ndarray] = []  # not the trigrams: 100,000 prompts hold ten million of them
    for prompt in prompts:
        words = _WORD.findall(prompt.lower())[:_MAX_WORDS]
        grams = {f"{a} {b} {c}" for a, b, c in zip(words, words[1:], words[2:], strict=False)}
        plain.append(" ".join(words))
        hashes.append(np.unique(np.array([zlib.crc32(g.encode()) for g in grams], np.uint32)))
    common = max(_COMMON_COUNT, _COMMON_SHARE * len(prompts))
    known, seen_in = np.unique(np.concatenate([*hashes, _NO_HASH]), return_counts=True)
    template = known[seen_in > common]
    first: dict[object, int] = {}
    for i, grams_of in enumerate(hashes):
        keys: list[object] = [plain[i]]
        telling = np.setdiff1d(grams_of, template, assume_unique=True)
        if len(telling) >= _LEAST_GRAMS:
            keys += _bands(telling, factors)
        for key in keys:
            j = first.setdefault(key, i)
            if j != i:
                sets.join(i, j)
    return np.array([sets.find(i) for i in range(len(prompts))], dtype=np.int64)


_NO_HASH = np.zeros(0, np.uint32)


def _bands(hashes: np.ndarray, factors: np.ndarray) -> list[tuple[int, ...]]:
    """Return one key a band of min-hashes."""
    mixed = (hashes.astype(np.uint64) + np.uint64(1))[:, None] * factors[None, :]
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    least = mixed.min(0).reshape(_BANDS, -1).tolist()
    return [(band, *values) for band, values in enumerate(least)]


class _UnionFind:
    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def find(self, i: int) -> int:
        parent = self._parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        self._parent[self.find(i)] = self.find(j)


def fold_ids(groups: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Return a fold number 0..k-1 per row: whole groups, sizes balanced, shuffled by ``seed``.

    Args:
        groups: Group number of each row. Shape (n,).
        k: Folds.
        seed: Of the shuffle.
    """
    rng = np.random.default_rng(seed)
    distinct, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = rng.permutation(len(distinct))
    order = order[np.argsort(-counts[order], kind="stable")]
    load = np.zeros(k)
    fold_of = np.zeros(len(distinct), int)
    for group in order:
        fold = int(np.argmin(load + rng.random(k) * 1e-3))
        fold_of[group] = fold
        load[fold] += counts[group]
    return fold_of[inverse]
