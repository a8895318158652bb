"""How many duplicates does the near-duplicate stage find, and how many of its hits are wrong?

    python benchmarks/near_duplicates.py [--smoke] [FILE…]

Each file of labelled pairs is halved so that no text stands in both halves. Scorers are fitted and all
thresholds chosen on one half and reported on the other, then the other way round; hits of both are added
up, so every pair is reported once, by what had not seen it. A rate of false hits is read in two ways:

- `of hits`: hits that are no duplicates ÷ hits, as `cascade cache eval` states and promises it;
- `of others`: hits that are no duplicates ÷ pairs that are none, which labels that err on the surest pairs
  do not make unreachable.

Every method gets the lowest threshold that keeps the rate on the half it is chosen on; `promised` is the
product's own, by a bound that holds with the confidence told. `recall` = hits among duplicates ÷ duplicates. All with
exact 95 % intervals. `best` is the recall at the thresholds that are best on the reported halves
themselves: what nobody can know, for baselines the kindest reading.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from benchmarks._near_baselines import BASELINES, minilm
from benchmarks._shared import DATA, absent, read_arguments, write_result
from cascade.cache.near import FLOOR
from cascade.cli.pair_files import LabelledPairs, likenesses, read_pair_files
from cascade.errors import ScorerError
from scorers.embedders import EMBEDDERS, Embedded, Embedder, open_embedder
from scorers.pair_artifact import load_default_pairs
from scorers.pair_bounds import NEVER, clopper_pearson, kept_threshold
from scorers.pair_corpus import generate_pairs
from scorers.pair_model import LEAST_ROWS, FittedPairs, fit_pairs, links, read_pairs
from scorers.pair_text import PromptText
from scorers.pairs import SameAnswer

FILES = ("qqp", "qqp_hard", "paws", "mrpc")
RATES = (
    ("of others", 0.01),
    ("of others", 0.001),
    ("of hits", 0.001),
    ("of hits", 0.01),
    ("of hits", 0.05),
    ("of hits", 0.1),
)
CONFIDENCES = (0.95, 0.5)
"""Of the promised thresholds: the product's default, and as likely broken as kept."""
ELSEWHERE = "qqp"
"""Whose first half the scorers are fitted on that are tried on the other files."""
NO_THRESHOLD = 2.0

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A method's scores of one half; -1 where it refuses."""

    score: np.ndarray
    same: np.ndarray

    def counts(self, threshold: float) -> tuple[int, int]:
        """Return hits, and those of them that are duplicates."""
        hit = self.score >= threshold
        return int(hit.sum()), int((hit & self.same).sum())

    def lowest(self, reading: str, rate: float) -> float:
        """Return the lowest threshold that keeps a rate of false hits on these very rows."""
        order = np.argsort(-self.score, kind="stable")
        ranked, wrong = self.score[order], np.cumsum(~self.same[order])
        among = np.arange(1, len(ranked) + 1) if reading == "of hits" else (~self.same).sum()
        last = np.r_[ranked[1:] != ranked[:-1], True] & (ranked > 0)
        good = np.flatnonzero(last & (wrong <= rate * among))
        return float(ranked[good[-1]]) if len(good) else NO_THRESHOLD


class Remembering:
    """An embedder that embeds a text once: here every text is needed five times."""

    def __init__(self, embedder: Embedder) -> None:
        self.name, self.slow = embedder.name, embedder.slow
        self._embedder = embedder
        self._known: dict[str, Embedded] = {}

    def embed(self, prompts: Sequence[tuple[str, PromptText]]) -> list[Embedded]:
        """Return the vectors of prompts."""
        new = {text: prompt for text, prompt in prompts if text not in self._known}
        found = self._embedder.embed(list(new.items()))
        self._known.update(zip(new, found, strict=True))
        return [self._known[text] for text, _ in prompts]


def judged(half: Half, judge: SameAnswer) -> Scored:
    """Score a half as the cache would: refused pairs and those below the index's floor are no hits."""
    scores = []
    for (a, b), near, margin in zip(half.pairs.texts, half.similarity, half.margin, strict=True):
        verdict = judge.judge(a, b, similarity=near, margin=margin)
        scored = verdict.p_same if near >= FLOOR else None
        scores.append(-1.0 if scored is None else scored)
    return Scored(score=np.array(scores), same=half.same)


def fitted(half: Half, embedder: Embedder | None) -> FittedPairs:
    """Fit on one half."""
    rows = read_pairs(half.pairs.texts, half.similarity, half.margin, embedder)
    name = None if embedder is None else embedder.name
    return fit_pairs(rows, half.same, links(half.pairs.texts), vectors=name)


_Found = dict[tuple[str, str, float], list[tuple[Scored, float]]]
"""By method, reading and rate, for each reported half: its scores and the threshold chosen on the other."""


def ours(fit: _Fit, half: Half, embedder: Embedder | None, title: str, found: _Found) -> None:
    """Score the other half by a fitted scorer, at the thresholds its own half says."""
    model, same = fit
    allowed = model.allowed
    apart = Scored(score=np.where(allowed, model.p_same, -1.0), same=same)
    promised = {
        (rate, confidence): kept_threshold(
            model.p_same[allowed], same[allowed], rate=rate, confidence=confidence
        )
        for reading, rate in RATES
        if reading == "of hits"
        for confidence in CONFIDENCES
    }
    judge = SameAnswer(
        model.model,
        version="fitted",
        certified=promised[0.01, CONFIDENCES[0]],
        embedder=embedder,
    )
    scores = judged(half, judge)
    for reading, rate in RATES:
        at = apart.lowest(reading, rate)
        found.setdefault((title, reading, rate), []).append((scores, at))
    for (rate, confidence), kept in promised.items():
        name = f"{title}, promised at {confidence:.0%}"
        found.setdefault((name, "of hits", rate), []).append((scores, kept.threshold))


def told(
    title: str, reading: str, rate: float, found: Sequence[tuple[Scored, float]]
) -> dict[str, Any]:
    """Print one line of the table, both halves together, and return it."""
    hits, right = (sum(n) for n in zip(*(s.counts(at) for s, at in found), strict=True))
    n = sum(int(s.same.sum()) for s, _ in found)
    best = sum(s.counts(s.lowest(reading, rate))[1] for s, _ in found) / n
    others = sum(int((~s.same).sum()) for s, _ in found)
    recall, of_others = clopper_pearson(right, n), clopper_pearson(hits - right, others)
    of_hits = clopper_pearson(hits - right, hits) if hits else (0.0, 1.0)
    share = f"{(hits - right) / hits:6.2%}" if hits else "     -"
    print(
        f"  {title:46s} {hits:5d} hits  recall {right / n:6.2%} [{recall[0]:.2%}, {recall[1]:.2%}]  "
        f"wrong of others {(hits - right) / others:6.2%} [{of_others[0]:.2%}, {of_others[1]:.2%}]  "
        f"of hits {share} [{of_hits[0]:.1%}, {of_hits[1]:.1%}]  best {best:6.2%}",
        flush=True,
    )
    return {
        "method": title,
        "reading": reading,
        "rate": rate,
        "thresholds": [at for _, at in found],
        "hits": hits,
        "wrong": hits - right,
        "recall": right / n,
        "recall_ci": recall,
        "of_others": (hits - right) / others,
        "of_others_ci": of_others,
        "of_hits": (hits - right) / hits if hits else None,
        "of_hits_ci": of_hits,
        "best": best,
    }


def one_file(
    name: str, embedders: dict[str, Embedder | None], elsewhere: dict[tuple[str, int], _Fit]
) -> list[dict[str, Any]]:
    """Print one file's table."""
    both = _read(name)
    sizes = [(len(h.same), int(h.same.sum())) for h in both]
    n, duplicates = (sum(x) for x in zip(*sizes, strict=True))
    print(f"{name}: {n:,} pairs, {duplicates:,} duplicates; halves of {[m for m, _ in sizes]}")
    found: _Found = {}
    for title, missing, score in BASELINES:
        if (package := missing()) is not None:
            print(f"  {title}: {package} is not installed")
            continue
        if score is minilm and name not in FILES:
            continue
        scored = [Scored(score=score(half.pairs.texts), same=half.same) for half in both]
        for reading, rate in RATES:
            found[title, reading, rate] = [
                (scored[1 - side], scored[side].lowest(reading, rate)) for side in (0, 1)
            ]
    for kind, embedder in embedders.items():
        shipped = load_default_pairs(embedder=embedder)
        scored = [judged(half, shipped) for half in both]
        if embedder is None:
            found["guards alone", "", 0.0] = [
                (Scored(score=np.where(s.score >= 0, 1.0, -1.0), same=s.same), 1.0) for s in scored
            ]
        found[f"ours as shipped, {kind}", "of hits", shipped.certified.rate] = [
            (s, shipped.threshold) for s in scored
        ]
        for side in (0, 1):
            learn, report = both[side], both[1 - side]
            fits = {}
            if (kind, side) in elsewhere:
                fits[f"ours fitted on {ELSEWHERE}, {kind}"] = elsewhere[kind, side]
            if len(learn.same) >= LEAST_ROWS:
                fits[f"ours fitted, {kind}"] = (fitted(learn, embedder), learn.same)
                if name == ELSEWHERE:
                    elsewhere[kind, side] = fits[f"ours fitted, {kind}"]
            for title, fit in fits.items():
                ours(fit, report, embedder, title, found)
    results = []
    for reading, rate in dict.fromkeys((reading, rate) for _, reading, rate in found):
        print(f" {rate:.1%} {reading}" if reading else " no threshold")
        results += [
            told(title, reading, rate, halves_)
            for (title, its_reading, its_rate), halves_ in found.items()
            if (its_reading, its_rate) == (reading, rate)
        ]
    return results


def _embedders(smoke: bool) -> dict[str, Embedder | None]:
    found: dict[str, Embedder | None] = {}
    for kind in EMBEDDERS:
        if smoke and kind == "minilm":
            continue
        try:
            embedder = open_embedder(kind)
            found[kind] = None if embedder is None else Remembering(embedder)
        except ScorerError as exc:
            print(f"{kind}: {exc}")
    return found


def _read(name: str) -> tuple[Half, Half]:
    if name in FILES:
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
    scored = Scored(score=np.array([0.9, 0.8, 0.7, 0.6]), same=np.array([True, True, False, False]))
    assert scored.lowest("of hits", 0.1) == 0.8
    assert scored.lowest("of others", 0.5) == 0.7
    judge = load_default_pairs()
    verdict = judge.judge("Is 5 km far?", "Is 6 km far?", similarity=0.9, margin=0.5)
    assert verdict.refused_by == ("numbers",), verdict


def main(arguments: Sequence[str]) -> int:
    """Print the tables and write out/near_duplicates.json."""
    smoke, names = read_arguments(arguments, __doc__, list(FILES))
    check()
    reason = None if smoke else absent()
    if reason:
        print(reason)
        return 0
    elsewhere: dict[tuple[str, int], _Fit] = {}
    embedders = _embedders(smoke)
    files = {
        name: one_file(name, embedders, elsewhere) for name in (["made up"] if smoke else names)
    }
    if not smoke:
        write_result("near_duplicates", {"confidences": CONFIDENCES, "files": files})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
