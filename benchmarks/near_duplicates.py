"""How many duplicates does the near-duplicate stage find, and how many of its hits are wrong?

    python benchmarks/near_duplicates.py [--smoke] [FILE…]

Each file of labelled pairs is halved so that no text stands in both halves. Scorers are fitted and all
thresholds chosen on one half and reported on the other, then the other way round; hits of both are added
up, so every pair is reported once, by what had not seen it. `recall` = hits among duplicates ÷ duplicates,
`false` = hits that are no duplicates ÷ pairs that are none; both with exact 95 % intervals. `of hits` = hits that
are no duplicates ÷ hits: labels are noisy, and of the surest pairs of QQP some per cent are called no duplicates. `best` is the recall at the
thresholds that are best on the reported halves themselves: what nobody can know, for baselines the kindest reading.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from benchmarks import _minilm
from benchmarks._shared import DATA, OUT, absent, write_result
from cascade.cache.near import FLOOR
from cascade.cli.pair_files import LabelledPairs, likenesses, read_pair_files
from cascade.errors import ScorerError
from scorers.pair_bounds import (
    NEVER,
    clopper_pearson,
    kept_threshold,
    threshold_among_others,
)
from scorers.pair_corpus import generate_pairs
from scorers.pair_model import LEAST_ROWS, FittedPairs, fit_pairs, links, read_pairs
from scorers.pairs import SameAnswer, load_default_pairs
from scorers.static_vectors import StaticVectors

FILES = ("qqp", "qqp_hard", "paws", "mrpc")
RATES = (0.01, 0.001)
CONFIDENCE = 0.5
ELSEWHERE = "qqp"
"""Whose first half the scorers are fitted on that are tried on the other files."""
PERMUTATIONS = 128

_Fit = tuple[FittedPairs, np.ndarray]
"""A fitted scorer with the scores of its own rows, and their labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """Pairs of one half with what the methods need."""

    pairs: LabelledPairs
    same: np.ndarray
    similarity: list[float]
    margin: list[float]

    @classmethod
    def of(cls, pairs: LabelledPairs) -> Half:
        """Measure a half as a cache of its own."""
        near, margin = likenesses(pairs)
        return cls(pairs=pairs, same=pairs.labels, similarity=near, margin=margin)


def halves(pairs: LabelledPairs) -> tuple[Half, Half]:
    """Return two halves that share no text, by a hash of the first pair of each linked group."""
    group = links(pairs.texts)
    first: dict[int, int] = {}
    for i, name in enumerate(group.tolist()):
        first.setdefault(name, i)
    second = [
        hashlib.sha256("\0".join(sorted(pairs.texts[first[name]])).encode()).digest()[0] % 2
        for name in group.tolist()
    ]
    made = []
    for side in (0, 1):
        rows = [i for i, which in enumerate(second) if which == side]
        made.append(
            Half.of(
                LabelledPairs(
                    texts=[pairs.texts[i] for i in rows], same=[pairs.same[i] for i in rows]
                )
            )
        )
    return made[0], made[1]


def normalised(text: str) -> str:
    """Return a text without case, punctuation and spaces that matter to nobody."""
    return " ".join(re.findall(r"\w+", text.lower()))


def exact(name: str, half: Half) -> np.ndarray:
    """Score 1 where both texts are equal once normalised."""
    del name
    return np.array([float(normalised(a) == normalised(b)) for a, b in half.pairs.texts])


def tfidf(name: str, half: Half) -> np.ndarray:
    """Cosine of character 3- to 5-grams within words, weights counted on the cached texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    del name
    made = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    a = made.fit_transform([a for a, _ in half.pairs.texts])
    b = made.transform([b for _, b in half.pairs.texts])
    return np.asarray(a.multiply(b).sum(1)).ravel()


def minhash(name: str, half: Half) -> np.ndarray:
    """Share of 128 equal minima over words and pairs of words."""
    del name
    rng = np.random.default_rng(0)
    a = rng.integers(1, 1 << 61, PERMUTATIONS, dtype=np.uint64) | np.uint64(1)
    b = rng.integers(0, 1 << 61, PERMUTATIONS, dtype=np.uint64)

    def signature(text: str) -> np.ndarray:
        words = normalised(text).split()
        shingles = words + [f"{x} {y}" for x, y in pairwise(words)]
        if not shingles:
            return np.zeros(PERMUTATIONS, np.uint64)
        hashes = [
            int.from_bytes(hashlib.blake2b(s.encode(), digest_size=8).digest(), "big")
            for s in shingles
        ]
        return np.asarray((np.array(hashes, np.uint64)[:, None] * a + b).min(0))

    return np.array([(signature(x) == signature(y)).mean() for x, y in half.pairs.texts])


def minilm(name: str, half: Half) -> np.ndarray:
    """Cosine of all-MiniLM-L6-v2, kept under out/."""
    texts = [text for pair in half.pairs.texts for text in pair]
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
    kept = OUT / "near" / f"minilm-{name}-{digest}.npy"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        vectors = _minilm.MiniLM().embed(texts)
        np.save(kept, (vectors[::2] * vectors[1::2]).sum(1))
    return np.asarray(np.load(kept))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A method's scores of one half; -1 where it refuses."""

    score: np.ndarray
    same: np.ndarray

    def counts(self, threshold: float) -> tuple[int, int]:
        """Return hits, and those of them that are duplicates."""
        hit = self.score >= threshold
        return int(hit.sum()), int((hit & self.same).sum())

    def lowest(self, rate: float) -> float:
        """Return the lowest threshold at which `rate` of the pairs that are no duplicates are hits."""
        order = np.argsort(-self.score, kind="stable")
        ranked, wrong = self.score[order], np.cumsum(~self.same[order])
        last = np.r_[ranked[1:] != ranked[:-1], True] & (ranked > 0)
        good = np.flatnonzero(last & (wrong <= rate * (~self.same).sum()))
        return float(ranked[good[-1]]) if len(good) else 2.0


def judged(half: Half, judge: SameAnswer) -> Scored:
    """Score a half as the cache would: refused pairs and those below the index's floor are no hits."""
    scores = []
    for (a, b), near, margin in zip(half.pairs.texts, half.similarity, half.margin, strict=True):
        verdict = judge.judge(a, b, similarity=near, margin=margin)
        scored = verdict.p_same if near >= FLOOR else None
        scores.append(-1.0 if scored is None else scored)
    return Scored(score=np.array(scores), same=half.same)


def fitted(half: Half, vectors: StaticVectors | None) -> FittedPairs:
    """Fit on one half."""
    rows = read_pairs(half.pairs.texts, half.similarity, half.margin, vectors)
    name = None if vectors is None else vectors.name
    return fit_pairs(rows, half.same, links(half.pairs.texts), vectors=name)


def ours(
    model: FittedPairs, same: np.ndarray, half: Half, vectors: StaticVectors | None, rate: float
) -> tuple[Scored, float, float]:
    """Return the scores of the other half, the promised threshold and the one of lowest observed rate."""
    allowed = model.allowed
    kept = kept_threshold(model.p_same[allowed], same[allowed], rate=rate, confidence=CONFIDENCE)
    if not kept.hits:
        kept = threshold_among_others(
            model.p_same[allowed],
            same[allowed],
            others=int((~same).sum()),
            rate=rate,
            confidence=CONFIDENCE,
        )
    apart = Scored(score=np.where(allowed, model.p_same, -1.0), same=same)
    judge = SameAnswer(model.model, version="fitted", certified=kept, vectors=vectors)
    return judged(half, judge), kept.threshold, apart.lowest(rate)


_Found = dict[tuple[str, float], list[tuple[Scored, float]]]
"""By method and rate, for each reported half: its scores and the threshold chosen on the other."""


def told(title: str, rate: float, found: Sequence[tuple[Scored, float]]) -> dict[str, Any]:
    """Print one line of the table, both halves together, and return it."""
    hits, right = (sum(n) for n in zip(*(s.counts(at) for s, at in found), strict=True))
    n = sum(int(s.same.sum()) for s, _ in found)
    best = sum(s.counts(s.lowest(rate))[1] for s, _ in found) / n
    others = sum(int((~s.same).sum()) for s, _ in found)
    recall, false = clopper_pearson(right, n), clopper_pearson(hits - right, others)
    wrong = f"{(hits - right) / others:6.2%} [{false[0]:.2%}, {false[1]:.2%}]"
    of_hits = f"{(hits - right) / hits:6.1%}" if hits else "     -"
    print(
        f"  {title:36s} {rate:5.1%}  {hits:5d} hits  recall {right / n:6.2%} "
        f"[{recall[0]:.2%}, {recall[1]:.2%}]  false {wrong:22s}  of hits {of_hits}  best {best:6.2%}",
        flush=True,
    )
    return {
        "method": title,
        "rate": rate,
        "thresholds": [at for _, at in found],
        "hits": hits,
        "wrong": hits - right,
        "recall": right / n,
        "recall_ci": recall,
        "false": (hits - right) / others,
        "of_hits": (hits - right) / hits if hits else None,
        "false_ci": false,
        "best": best,
    }


def one_file(
    name: str, elsewhere: dict[tuple[str, int], _Fit], smoke: bool
) -> list[dict[str, Any]]:
    """Print one file's table."""
    both = _read(name, smoke)
    n, duplicates = (
        sum(x) for x in zip(*((len(h.same), int(h.same.sum())) for h in both), strict=True)
    )
    print(
        f"{name}: {n:,} pairs, {duplicates:,} duplicates; halves of {[len(h.same) for h in both]}"
    )
    baselines: list[tuple[str, Callable[[str, Half], np.ndarray]]] = [
        ("exact after normalisation", exact),
        ("TF-IDF cosine", tfidf),
        ("MinHash", minhash),
    ]
    why_not = "skipped" if smoke else _minilm.absent()
    if why_not:
        print(f"  MiniLM: {why_not}")
    else:
        baselines.append(("MiniLM cosine (GPTCache)", minilm))
    found: _Found = {}
    for title, score in baselines:
        scored = [Scored(score=score(name, half), same=half.same) for half in both]
        for rate in RATES:
            found[title, rate] = [(scored[1 - side], scored[side].lowest(rate)) for side in (0, 1)]
    kinds = _kinds()
    shipped = [(title, load_default_pairs(vectors=vectors)) for title, vectors in kinds]
    for title, judge in shipped:
        scored = [judged(half, judge) for half in both]
        if judge is shipped[0][1]:
            found["guards alone", RATES[0]] = [
                (Scored(score=np.where(s.score >= 0, 1.0, -1.0), same=s.same), 1.0) for s in scored
            ]
        found[f"ours as shipped, {title}", judge.certified.rate] = [
            (s, judge.threshold) for s in scored
        ]
    for title, vectors in kinds:
        for side in (0, 1):
            learn, report = both[side], both[1 - side]
            models = {}
            if (title, side) in elsewhere:
                models[f"fitted on {ELSEWHERE}"] = elsewhere[title, side]
            if len(learn.same) >= LEAST_ROWS:
                models["fitted"] = (fitted(learn, vectors), learn.same)
            if name == ELSEWHERE:
                elsewhere[title, side] = models["fitted"]
            for where, (model, same) in models.items():
                for rate in RATES:
                    scores, promised, observed = ours(model, same, report, vectors, rate)
                    start = f"ours {where}, {title}"
                    found.setdefault((f"{start}, promised", rate), []).append((scores, promised))
                    found.setdefault((f"{start}, as others", rate), []).append((scores, observed))
    return [told(title, rate, halves_) for (title, rate), halves_ in found.items()]


def _kinds() -> list[tuple[str, StaticVectors | None]]:
    kinds: list[tuple[str, StaticVectors | None]] = [("plain", None)]
    try:
        kinds.append(("embed", StaticVectors()))
    except ScorerError as exc:
        print(f"  embed: {exc}")
    return kinds


def _read(name: str, smoke: bool) -> tuple[Half, Half]:
    if not smoke:
        return halves(read_pair_files([DATA / f"duplicates_{name}.jsonl.gz"]))
    made = list(generate_pairs(1_500, seed=7))
    return halves(LabelledPairs(texts=[(p.a, p.b) for p in made], same=[p.duplicate for p in made]))


def check() -> None:
    """The bound and the guards do what they say before anything is measured with them."""
    score, same = np.linspace(1, 0, 400), np.arange(400) < 300
    kept = kept_threshold(score, same, rate=0.01, confidence=0.5)
    assert 69 <= kept.hits <= 303, kept
    assert kept.wrong <= 3, kept
    assert kept_threshold(score[:20], same[:20], rate=0.01, confidence=0.5).threshold == NEVER
    judge = load_default_pairs()
    verdict = judge.judge("Is 5 km far?", "Is 6 km far?", similarity=0.9, margin=0.5)
    assert verdict.refused_by == ("numbers",), verdict


def main(arguments: Sequence[str]) -> int:
    """Print the tables and write out/near_duplicates.json."""
    smoke = "--smoke" in arguments
    check()
    reason = None if smoke else absent()
    if reason:
        print(reason)
        return 0
    names = [a for a in arguments if not a.startswith("-")] or list(FILES)
    elsewhere: dict[tuple[str, int], _Fit] = {}
    files = {name: one_file(name, elsewhere, smoke) for name in (["made up"] if smoke else names)}
    if not smoke:
        write_result("near_duplicates", {"confidence": CONFIDENCE, "files": files})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
