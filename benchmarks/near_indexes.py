"""Which index finds the cached prompt that a paraphrase is meant for, and how fast?

    python benchmarks/near_indexes.py [--smoke]

All first texts of the labelled Quora pairs are cached (made-up questions fill up to the sizes told), the
second text of each duplicate is asked. `found` = share of the duplicates whose own cached text is among the
four likeliest (with an embedder: among the four of either index); nothing is verified here. Ours is an inverted index over pieces of four bytes with fixed
weights; MinHash is rensa's LSH over the same pieces, its candidates ranked by signature; TF-IDF is
scikit-learn's over character 3- to 5-grams, compared with every entry.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from benchmarks._near_baselines import normalised
from benchmarks._shared import DATA, absent, read_arguments, write_result
from benchmarks.cache import made_questions
from cascade.cache.near_index import NearIndex
from cascade.cache.vector_index import VectorIndex
from cascade.cli.pair_files import LabelledPairs, read_pair_files
from cascade.errors import ScorerError
from scorers.embedders import EMBEDDERS, EmbedderKind, open_embedder
from scorers.pair_corpus import generate_pairs
from scorers.pair_text import read_prompt

SIZES = (10_000, 100_000)
CANDIDATES = 4
BANDS = ((128, 32), (128, 64))
"""Permutations and bands: more bands find less alike texts and give more candidates."""

Find = Callable[[str], list[int]]


def ours(texts: Sequence[str]) -> Find:
    """Return a lookup in the product's index."""
    index = NearIndex(k=CANDIDATES, floor=0.0)
    for i, text in enumerate(texts):
        index.add(str(i), "", text)
    return lambda asked: [int(key) for key, _ in index.find("", asked)]


def with_vectors(kind: EmbedderKind) -> Callable[[Sequence[str]], Find]:
    """Return what makes a lookup in the product's index and in that of an embedder's vectors."""

    def make(texts: Sequence[str]) -> Find:
        embedder = open_embedder(kind)
        assert embedder is not None
        by_words, by_meaning = NearIndex(k=CANDIDATES, floor=0.0), VectorIndex()
        for start in range(0, len(texts), 1_000):
            some = texts[start : start + 1_000]
            found = embedder.embed([(text, read_prompt(text)) for text in some])
            for i, (text, one) in enumerate(zip(some, found, strict=True), start):
                by_words.add(str(i), "", text)
                if one.whole is not None:
                    by_meaning.add(str(i), "", one.whole)

        def find(asked: str) -> list[int]:
            (one,) = embedder.embed([(asked, read_prompt(asked))])
            keys = {key for key, _ in by_words.find("", asked)}
            if one.whole is not None:
                keys.update(by_meaning.find("", one.whole, CANDIDATES))
            return [int(key) for key in keys]

        return find

    return make


def pieces(text: str) -> list[str]:
    """Return the four-character pieces of a text's words, each word between blanks."""
    padded = "  " + "  ".join(normalised(text).split()) + "  "
    return list({padded[i : i + 4] for i in range(len(padded) - 3)})


def rensa(permutations: int, bands: int) -> Callable[[Sequence[str]], Find]:
    """Return what makes a lookup in a MinHash index."""

    def make(texts: Sequence[str]) -> Find:
        from rensa import RMinHash, RMinHashLSH

        def signature(text: str) -> Any:
            made = RMinHash(num_perm=permutations, seed=1)
            made.update(pieces(text))
            return made

        index = RMinHashLSH(threshold=0.5, num_perm=permutations, num_bands=bands)
        kept = []
        for i, text in enumerate(texts):
            kept.append(signature(text))
            index.insert(i, kept[-1])

        def find(asked: str) -> list[int]:
            sought = signature(asked)
            return sorted(index.query(sought), key=lambda i: -sought.jaccard(kept[i]))[:CANDIDATES]

        return find

    return make


def tfidf(texts: Sequence[str]) -> Find:
    """Return a lookup that compares with every entry; weights are counted once, over all."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    made = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    table = made.fit_transform(texts).T.tocsr()

    def find(asked: str) -> list[int]:
        likeness = np.asarray((made.transform([asked]) @ table).todense()).ravel()
        best = np.argpartition(-likeness, CANDIDATES)[:CANDIDATES]
        return [int(i) for i in best[np.argsort(-likeness[best])]]

    return find


def measured(
    title: str,
    make: Callable[[Sequence[str]], Find],
    texts: list[str],
    asked: list[tuple[str, str]],
) -> dict[str, Any]:
    """Print one line of the table and return it."""
    began = time.perf_counter()
    find = make(texts)
    insert_ms = (time.perf_counter() - began) / len(texts) * 1e3
    found, took = 0, []
    for own, question in asked:
        began = time.perf_counter()
        candidates = find(question)
        took.append((time.perf_counter() - began) * 1e3)
        found += any(texts[i] == own for i in candidates)
    p99 = statistics.quantiles(took, n=100)[98]
    print(
        f"  {title:34s} found {found / len(asked):6.1%}  lookup {statistics.median(took):7.3f} ms "
        f"(p99 {p99:.3f})  insert {insert_ms:.3f} ms",
        flush=True,
    )
    return {
        "index": title,
        "entries": len(texts),
        "found": found / len(asked),
        "lookup_ms": took,
        "insert_ms": insert_ms,
    }


def main(arguments: Sequence[str]) -> int:
    """Print the table and write out/near_indexes.json."""
    smoke, _ = read_arguments(arguments, __doc__)
    reason = None if smoke else absent()
    if reason:
        print(reason)
        return 0
    if smoke:
        made = list(generate_pairs(400, seed=7))
        pairs = LabelledPairs(texts=[(p.a, p.b) for p in made], same=[p.duplicate for p in made])
    else:
        pairs = read_pair_files([DATA / "duplicates_qqp.jsonl.gz"])
    cached = list(dict.fromkeys(a for a, _ in pairs.texts))
    duplicates = [pair for pair, same in zip(pairs.texts, pairs.same, strict=True) if same]
    rng = random.Random(0)
    results = []
    for size in (500,) if smoke else SIZES:
        asked = rng.sample(duplicates, min(len(duplicates), 50 if smoke else 500))
        own = {a for a, _ in asked}
        texts = [a for a in cached if a in own]
        texts += [a for a in cached if a not in own][: size - len(texts)]
        texts += made_questions(max(0, size - len(texts)))
        rng.shuffle(texts)
        print(f"{len(texts):,} entries, {len(asked):,} asked")
        results.append(measured("ours", ours, texts, asked))
        assert results[-1]["found"] > 0.5
        for kind in EMBEDDERS:
            if kind == "none" or (kind == "minilm" and (smoke or size > 10_000)):
                continue
            try:
                results.append(
                    measured(f"ours, {kind} vectors too", with_vectors(kind), texts, asked)
                )
            except ScorerError as exc:
                print(f"  {kind}: {exc}")
        if find_spec("rensa"):
            for permutations, bands in BANDS:
                title = f"MinHash (rensa), {permutations} in {bands} bands"
                results.append(measured(title, rensa(permutations, bands), texts, asked))
        else:
            print("  MinHash: rensa is not installed")
        results.append(measured("TF-IDF, every entry compared", tfidf, texts, asked))
    if not smoke:
        write_result("near_indexes", {"results": results})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
