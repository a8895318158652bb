"""Numbers that say how two prompts differ: the same in training and live.

Words are compared by stem, once as they stand and once with synonyms and the wrapping of a question
("could you please tell me", "what is the best way to") taken away; what differs is weighed by how
rare it is. Everything is a plain pass over short tuples: some 60 µs a pair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise

from .pair_meanings import SYNONYMS
from .pair_text import PromptText, stem
from .pair_words import FUNCTION, LIGHT, STARTERS, word_set

__all__ = [
    "FEATURES",
    "FEATURE_VERSION",
    "MONOTONE",
    "Rarity",
    "pair_features",
    "static_rarity",
]

FEATURE_VERSION = 1

_UP, _DOWN, _FREE = 1, -1, 0
_DECLARED: tuple[tuple[str, int], ...] = (
    ("similarity", _UP),
    ("margin", _UP),
    ("embedding_cosine", _UP),
    ("embedding_least_match", _UP),
    ("words_shorter", _FREE),
    ("words_longer", _FREE),
    ("words_apart", _DOWN),
    ("stems_jaccard", _UP),
    ("stems_jaccard_by_rarity", _UP),
    ("content_jaccard", _UP),
    ("content_jaccard_by_rarity", _UP),
    ("content_covered", _UP),
    ("content_shared", _FREE),
    ("content_shared_weight", _FREE),
    ("only_less_weight", _DOWN),
    ("only_more_weight", _DOWN),
    ("only_total_weight", _DOWN),
    ("only_heaviest", _DOWN),
    ("bare_jaccard_by_rarity", _UP),
    ("bare_only_less_weight", _DOWN),
    ("bare_only_more_weight", _DOWN),
    ("bare_only_count", _DOWN),
    ("bare_typos", _FREE),
    ("order_kept", _UP),
    ("bigrams_jaccard", _UP),
    ("same_first_content", _UP),
    ("same_last_content", _UP),
    ("same_frame", _UP),
    ("same_frame_and_bare", _UP),
    ("same_frame_and_rest", _UP),
    ("frame_cached", _FREE),
    ("frame_asked", _FREE),
    ("articles_differ", _DOWN),
    ("prepositions_differ", _DOWN),
    ("auxiliaries_differ", _DOWN),
    ("persons_differ", _DOWN),
    ("quantities_differ", _DOWN),
    ("others_differ", _DOWN),
    ("opening_persons_differ", _DOWN),
    ("opening_auxiliaries_differ", _DOWN),
    ("opening_others_differ", _DOWN),
    ("names_shared", _FREE),
    ("names_only", _DOWN),
    ("guards", _DOWN),
)
FEATURES = tuple(name for name, _ in _DECLARED)
MONOTONE = tuple(sign for _, sign in _DECLARED)
"""In which direction each may move the score alone: +1 up, -1 down, 0 either."""

_ARTICLES = word_set("a an the")
_PREPOSITIONS = word_set("of in on at to for from with by about as into onto")
_AUXILIARIES = word_set(
    "is are am was were be been being do does did have has had can could should would will shall may "
    "might must"
)
_PERSONS = word_set(
    "i you we they he she it me us them my your our their his her its one someone people"
)
_QUANTITIES = word_set(
    "some any all every each many much more most few several every only just ever"
)
_COMMON = LIGHT | STARTERS | frozenset(SYNONYMS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rarity:
    """How much a word says, by its stem.

    Attributes:
        weights: Weight of each known stem, > 0.
        unknown: Weight of any other.
    """

    weights: Mapping[str, float]
    unknown: float

    @classmethod
    def of(cls, texts: Sequence[PromptText]) -> Rarity:
        """Count in how many texts each stem stands; weight = ln((n + 1) / (count + 0.5))."""
        counts: dict[str, int] = {}
        for text in texts:
            for one in set(text.stems):
                counts[one] = counts.get(one, 0) + 1
        top = len(texts) + 1
        return cls(
            weights={
                one: round(max(0.2, math.log(top / (n + 0.5))), 3)
                for one, n in sorted(counts.items())
                if n > 1
            },
            unknown=round(max(1.0, math.log(top / 1.0)), 3),
        )


def static_rarity() -> Rarity:
    """Return the weights used where no texts were counted: small, common and other words."""
    weights = {stem(word): 3.5 for word in sorted(_COMMON)}
    weights |= {stem(word): 1.0 for word in sorted(FUNCTION)}
    return Rarity(weights=weights, unknown=8.0)


def pair_features(
    cached: PromptText,
    asked: PromptText,
    rarity: Rarity,
    *,
    similarity: float,
    margin: float,
    guards: int,
    cosine: float = math.nan,
    least_match: float = math.nan,
) -> list[float]:
    """Return the values of `FEATURES`; NaN marks what is not known.

    Args:
        cached: The prompt that has an answer.
        asked: The prompt that wants one.
        rarity: Weights of words.
        similarity: Of the index, in [0, 1].
        margin: How much likelier it is than the next candidate, or NaN.
        guards: How many guards refuse the pair.
        cosine: Of the two embeddings, or NaN.
        least_match: How well the worst-matched word is matched in the other text, in [-1, 1], or NaN.
    """
    a, b = set(cached.stems), set(asked.stems)
    weight, unknown = rarity.weights.get, rarity.unknown
    shared, only_a, only_b = a & b, a - b, b - a
    w_shared = sum([weight(s, unknown) for s in shared])
    w_only = sum([weight(s, unknown) for s in only_a]) + sum([weight(s, unknown) for s in only_b])

    ca, cb = set(cached.content), set(asked.content)
    c_shared, c_a, c_b = ca & cb, ca - cb, cb - ca
    cw_shared = sum([weight(s, unknown) for s in c_shared])
    weights_a = [weight(s, unknown) for s in c_a]
    weights_b = [weight(s, unknown) for s in c_b]
    cw_a, cw_b = sum(weights_a), sum(weights_b)

    bare_a, bare_b = cached.bare, asked.bare
    n_shared, n_a, n_b = bare_a & bare_b, bare_a - bare_b, bare_b - bare_a
    typos = _typos(n_a, n_b) if n_a and n_b else 0
    nw_shared = sum([weight(s, unknown) for s in n_shared])
    nw_a = sum([weight(s, unknown) for s in n_a])
    nw_b = sum([weight(s, unknown) for s in n_b])

    pairs_a = set(pairwise(cached.stems))
    pairs_b = set(pairwise(asked.stems))
    differ = set(cached.rest) ^ set(asked.rest)
    small = [w for w in differ if w in FUNCTION]
    opening = (set(cached.words) ^ set(asked.words)) - differ
    names_a, names_b = set(cached.names), set(asked.names)
    return [
        similarity,
        margin,
        cosine,
        least_match,
        min(len(cached.words), len(asked.words)),
        max(len(cached.words), len(asked.words)),
        abs(len(cached.words) - len(asked.words)),
        len(shared) / max(1, len(a | b)),
        w_shared / (w_shared + w_only or 1.0),
        len(c_shared) / max(1, len(ca | cb)),
        cw_shared / (cw_shared + cw_a + cw_b or 1.0),
        len(c_shared) / max(1, min(len(ca), len(cb))),
        len(c_shared),
        cw_shared,
        min(cw_a, cw_b),
        max(cw_a, cw_b),
        cw_a + cw_b,
        max([*weights_a, *weights_b], default=0.0),
        nw_shared / (nw_shared + nw_a + nw_b or 1.0),
        min(nw_a, nw_b),
        max(nw_a, nw_b),
        len(n_a) + len(n_b) - 2 * typos,
        typos,
        _order_kept(cached.content, asked.content, c_shared),
        len(pairs_a & pairs_b) / max(1, len(pairs_a | pairs_b)),
        float(cached.content[:1] == asked.content[:1]),
        float(cached.content[-1:] == asked.content[-1:]),
        float(cached.frame == asked.frame),
        float(cached.frame == asked.frame and not n_a and not n_b),
        float(cached.frame == asked.frame and differ <= _ARTICLES),
        cached.frame,
        asked.frame,
        sum([w in _ARTICLES for w in small]),
        sum([w in _PREPOSITIONS for w in small]),
        sum([w in _AUXILIARIES for w in small]),
        sum([w in _PERSONS for w in small]),
        sum([w in _QUANTITIES for w in differ]),
        len(small),
        sum([w in _PERSONS for w in opening]),
        sum([w in _AUXILIARIES for w in opening]),
        len(opening),
        len(names_a & names_b),
        len(names_a ^ names_b),
        guards,
    ]


def _typos(only_a: Set[str], only_b: Set[str]) -> int:
    """Count the words of one side that are a slip of the pen away from one of the other."""
    if len(only_a) * len(only_b) > 36:
        return 0
    return sum(any(_slip(x, y) for y in only_b) for x in only_a)


def _slip(x: str, y: str) -> bool:
    """Whether two words of five letters or more differ by one letter, added, left out, changed or swapped."""
    if min(len(x), len(y)) < 5 or abs(len(x) - len(y)) > 1 or not (x.isalpha() and y.isalpha()):
        return False
    start = 0
    while start < min(len(x), len(y)) and x[start] == y[start]:
        start += 1
    end = 0
    while end < min(len(x), len(y)) - start and x[-1 - end] == y[-1 - end]:
        end += 1
    rest_x, rest_y = x[start : len(x) - end], y[start : len(y) - end]
    if len(rest_x) <= 1 and len(rest_y) <= 1:
        return True
    return len(rest_x) == len(rest_y) == 2 and rest_x == rest_y[::-1]


def _order_kept(a: Sequence[str], b: Sequence[str], shared: set[str]) -> float:
    """Return the share of neighbouring shared words that stand in the same order in the other text."""
    if len(shared) < 2:
        return 1.0
    place: dict[str, int] = {}
    for i, word in enumerate(b):
        if word in shared:
            place.setdefault(word, i)
    at = [place[word] for word in dict.fromkeys(a) if word in shared]
    return sum([x < y for x, y in pairwise(at)]) / (len(at) - 1)
