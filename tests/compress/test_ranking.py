"""Stems and ranking against a plain implementation with a regular expression and dictionaries."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.compress.ranking import K1, NEIGHBOUR, B, rank
from cascade.compress.stems import stems, stems_of

words = st.text(
    st.one_of(
        st.sampled_from(list("abcdeABC012_ .,-’éßΣя漢字\x00\n")),
        st.characters(exclude_characters="İ", exclude_categories=["Cs"]),
    ),
    max_size=60,
)
english = st.lists(
    st.sampled_from(
        [
            "the",
            "ferry",
            "landing",
            "was",
            "rebuilt",
            "by",
            "nine",
            "farmers",
            "after",
            "a",
            "great",
            "fire",
            "in",
            "spring",
        ]
    ),
    max_size=12,
).map(" ".join)


def plain_stems(text: str) -> list[str]:
    """The beginnings of words of three letters or more, sign by sign in small letters."""
    small = "".join(sign.lower()[0] for sign in text)
    return [word[:6] for word in re.findall(r"\w{3,}", small)]


def plain_relevance(pieces: Sequence[str], question: str) -> list[float]:
    """BM25 and the cosine of TF-IDF in equal parts, and a share of the better neighbour's."""
    counted = [Counter(plain_stems(piece)) for piece in pieces]
    asked = Counter(plain_stems(question))
    n, mean = len(pieces), sum(sum(c.values()) for c in counted) / len(pieces)
    holding = Counter(term for c in counted for term in c)
    idf = {t: math.log1p((n - f + 0.5) / (f + 0.5)) for t, f in holding.items()}
    wanted = {t: (1 + math.log(k)) * idf[t] for t, k in asked.items() if t in idf}
    if not wanted:
        wanted = dict.fromkeys(idf, 0.0)
        for c in counted:
            norm = math.sqrt(sum(((1 + math.log(k)) * idf[t]) ** 2 for t, k in c.items())) or 1.0
            for t, k in c.items():
                wanted[t] += (1 + math.log(k)) * idf[t] / norm
        asked = Counter()
    bm25, cosine = [], []
    for c in counted:
        size = 1 - B + B * sum(c.values()) / max(mean, 1e-9)
        bm25.append(
            sum(idf[t] * k * (K1 + 1) / (k + K1 * size) for t, k in c.items() if t in asked)
        )
        weight = {t: (1 + math.log(k)) * idf[t] for t, k in c.items()}
        norm = math.sqrt(sum(w * w for w in weight.values())) or 1.0
        cosine.append(sum(w * wanted.get(t, 0.0) for t, w in weight.items()) / norm)
    both = [
        0.5 * b / (max(bm25) or 1.0) + 0.5 * c / (max(cosine) or 1.0)
        for b, c in zip(bm25, cosine, strict=True)
    ]
    if n < 2:
        return both
    around = [0.0, *both, 0.0]
    return [
        (own + NEIGHBOUR * max(around[i], around[i + 2])) / (1 + NEIGHBOUR)
        for i, own in enumerate(both)
    ]


@given(
    pieces=st.lists(
        words.filter(lambda t: not re.search(r"[\u0e00-\u10ff\u1780-\u17ff\u3040-\u9fff]{2}", t)),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=200, deadline=None)
def test_stems_are_the_words_of_a_regular_expression(pieces: list[str]) -> None:
    """As many as it finds, in the same texts, equal where its are equal."""
    found, owners = stems(pieces)
    wanted = [(i, stem) for i, piece in enumerate(pieces) for stem in plain_stems(piece)]
    assert owners.tolist() == [i for i, _ in wanted]
    named: dict[int, str] = {}
    for number, (_, stem) in zip(found.tolist(), wanted, strict=True):
        assert named.setdefault(number, stem) == stem
    assert len(named) == len({stem for _, stem in wanted})


@pytest.mark.parametrize(
    ("text", "how_many"),
    [
        ("", 0),
        ("is it so?", 0),
        ("東京都庁", 3),
        ("ab 東京", 2),
        ("\x00", 0),
        ("Naïve cafés", 2),
        ("\ud800abc", 1),
    ],
)
def test_scripts_without_spaces_are_read_in_pairs(text: str, how_many: int) -> None:
    """And then short words of other scripts count as well."""
    assert len(stems_of(text)) == how_many


def test_words_that_differ_in_their_last_letter_are_two() -> None:
    """In the upper bits too, which are all that the ranking looks at."""
    numbers = stems_of(" ".join(f"abcde{chr(sign)}" for sign in range(ord("a"), ord("z") + 1)))
    assert len(np.unique(numbers >> np.uint64(24))) == 26


@given(pieces=st.lists(english, min_size=1, max_size=12), question=english)
@settings(max_examples=200, deadline=None)
def test_relevance_is_that_of_a_plain_implementation(pieces: list[str], question: str) -> None:
    """To within rounding; and the order holds every piece once."""
    found = rank(pieces, question)
    assert sorted(found.order) == list(range(len(pieces)))
    np.testing.assert_allclose(found.relevance, plain_relevance(pieces, question), atol=1e-12)
