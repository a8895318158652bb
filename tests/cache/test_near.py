"""Near-duplicate lookup: what the index finds, that scopes never mix, and what is verified."""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.cache.near import Near, NearHit, NearMiss
from cascade.cache.near_index import MAX_CHARACTERS, NearIndex, similarity

WORDS = [
    "heart",
    "river",
    "copper",
    "violin",
    "planet",
    "cheese",
    "winter",
    "bridge",
    "tiger",
    "market",
    "garden",
    "silver",
    "thunder",
    "pepper",
    "window",
    "doctor",
    "forest",
    "engine",
    "pencil",
    "island",
    "mirror",
    "rocket",
    "saddle",
    "temple",
    "velvet",
    "walnut",
    "yellow",
    "zipper",
]


def sentence(rng: random.Random) -> str:
    """Return a question of made-up content."""
    return f"How does the {' '.join(rng.sample(WORDS, 5))} number {rng.randrange(10**6)} work?"


def test_a_text_is_found_by_another_like_it() -> None:
    """Best first, with its similarity."""
    index = NearIndex()
    index.add("a", "s", "How do I bake sourdough bread?")
    index.add("b", "s", "How do I bake dark bread?")
    index.add("c", "s", "Why is the sky blue?")
    found = index.find("s", "how can i bake sourdough bread")
    assert [key for key, _ in found][:2] == ["a", "b"]
    assert found[0][1] > 0.9 > found[1][1] > 0.3
    assert "c" not in dict(found)


def test_the_same_text_has_similarity_one() -> None:
    """Whatever its case and punctuation."""
    assert similarity("Why is the sky blue?", "why is the SKY blue") == pytest.approx(1.0)
    assert similarity("Why?", "") == 0.0


def test_similarity_does_not_depend_on_what_else_is_kept() -> None:
    """So a threshold means the same in a small cache and in a large one."""
    rng = random.Random(1)
    index = NearIndex()
    index.add("a", "s", "How do I bake sourdough bread?")
    alone = index.find("s", "How to bake bread?")
    for i in range(500):
        index.add(str(i), "s", sentence(rng))
    assert index.find("s", "How to bake bread?")[0] == alone[0]


def test_a_key_is_kept_once() -> None:
    """Its newest text counts."""
    index = NearIndex()
    index.add("a", "s", "Why is the sky blue?")
    index.add("a", "t", "Why do cats purr?")
    assert len(index) == 1
    assert index.find("s", "Why is the sky blue?") == []
    assert index.text("a") == "Why do cats purr?"
    assert "a" in index


@pytest.mark.parametrize(
    "text", ["", "  ?!", "x " * MAX_CHARACTERS], ids=["empty", "signs", "long"]
)
def test_what_cannot_be_compared_is_not_kept(text: str) -> None:
    """And finds nothing."""
    index = NearIndex()
    index.add("b", "s", "a text that can be compared")
    assert not index.add("a", "s", text)
    assert index.find("s", text) == []
    assert len(index) == 1


@pytest.mark.parametrize(
    "text", ["\x00\x00", "𝔄𝔅 𝔇", "日本の首都はどこですか", "a\x00b", "\ud800 lone"]
)
def test_strange_texts_are_found_again_or_not_kept(text: str) -> None:
    """Never an error."""
    index = NearIndex()
    if index.add("a", "s", text):
        assert index.find("s", text)[0][0] == "a"


def test_a_long_text_finds_itself_with_a_word_changed() -> None:
    """Only part of its pieces is kept, the same part in both."""
    rng = random.Random(0)
    text = " ".join(sentence(rng) for _ in range(60))
    assert similarity(text, text.replace("river", "stream", 1)) > 0.95
    assert similarity(text, " ".join(sentence(rng) for _ in range(60))) < 0.9


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, str, str, str]]:
    """Return additions and removals over few keys, scopes and texts."""
    one = st.tuples(
        st.sampled_from(["add", "add", "discard"]),
        st.sampled_from([f"k{i}" for i in range(30)]),
        st.sampled_from(["s", "t", "u"]),
        st.sampled_from([f"{a} {b} question" for a in WORDS[:6] for b in WORDS[6:12]]),
    )
    return draw(st.lists(one, max_size=120))


@given(steps())
@settings(max_examples=60, deadline=None)
def test_scopes_never_mix(done: list[tuple[str, str, str, str]]) -> None:
    """After any additions and removals a lookup gives keys of its scope, and only those that are kept."""
    index = NearIndex(k=50, floor=0.0)
    kept: dict[str, tuple[str, str]] = {}
    for what, key, scope, text in done:
        if what == "add":
            assert index.add(key, scope, text)
            kept[key] = (scope, text)
        else:
            assert index.discard(key) == (kept.pop(key, None) is not None)
    assert len(index) == len(kept)
    for scope in ("s", "t", "u", "nobody's"):
        for text in {text for _, text in kept.values()}:
            found = index.find(scope, text)
            assert all(kept[key][0] == scope for key, _ in found)
            same = {key for key, entry in kept.items() if entry == (scope, text)}
            assert same <= {key for key, value in found if value > 0.999}


def test_what_is_discarded_is_gone_and_its_place_is_used_again() -> None:
    """Over many rounds of a full cache, postings hold no more than what is kept and a sweep's worth."""
    rng = random.Random(2)
    index = NearIndex()
    texts: dict[str, str] = {}
    for i in range(6_000):
        texts[str(i)] = sentence(rng)
        index.add(str(i), "s", texts[str(i)])
        if i >= 1_000:
            assert index.discard(str(i - 1_000))
            del texts[str(i - 1_000)]
    assert len(index) == 1_000
    assert len(index._keys) < 4_000
    for key in rng.sample(sorted(texts), 50):
        assert index.find("s", texts[key])[0][0] == key
    assert all(key in texts for key, _ in index.find("s", "How does the heart work?"))


def test_a_lookup_does_not_grow_with_the_cache() -> None:
    """Ten times the entries take far less than ten times as long; limits are 5 times the promised ones."""
    rng = random.Random(3)
    took: dict[int, float] = {}
    index = NearIndex()
    size = 0
    for wanted in (2_000, 20_000):
        added = []
        while size < wanted:
            began = time.perf_counter()
            index.add(str(size), "s", sentence(rng))
            added.append(time.perf_counter() - began)
            size += 1
        asked = [sentence(rng) for _ in range(100)]
        times = []
        for text in asked:
            began = time.perf_counter()
            index.find("s", text)
            times.append(time.perf_counter() - began)
        took[wanted] = statistics.median(times)
        assert statistics.median(added) < 5e-3
        assert took[wanted] < 5e-3
    assert took[20_000] < 5 * took[2_000]


@dataclass(frozen=True)
class Told:
    """A verdict."""

    p_same: float
    refused_by: tuple[str, ...] = ()


@dataclass
class Judge:
    """Says what it is told to by cached text, and keeps what it was asked."""

    verdicts: dict[str, Told]
    version: str = "test/1"
    threshold: float = 0.9
    slow: bool = False
    asked: list[tuple[str, float, float]] = field(default_factory=list)
    vectors: dict[str, tuple[float, float]] = field(default_factory=dict)

    def vector(self, text: str, *, at_hand: bool) -> np.ndarray | None:
        """Return what is kept for a text."""
        del at_hand
        return np.array(self.vectors[text], np.float32) if text in self.vectors else None

    def judge(self, cached: str, asked: str, *, similarity: float, margin: float) -> Told:
        """Return what is kept for the cached text."""
        del asked
        self.asked.append((cached, similarity, margin))
        return self.verdicts.get(cached, Told(0.1))


CAKE, BREAD, RYE = "How do I bake a cake?", "How do I bake bread?", "How do I bake rye bread?"


def near(**verdicts: Told) -> tuple[Near, Judge]:
    """Return a lookup over three prompts and its judge."""
    names = {"cake": CAKE, "bread": BREAD, "rye": RYE}
    judge = Judge({names[name]: told for name, told in verdicts.items()})
    made = Near(judge)
    for name, text in names.items():
        made.add(name, "s", text)
    return made, judge


def test_a_verified_candidate_is_a_hit() -> None:
    """It says what matched and how sure it is."""
    made, _ = near(bread=Told(0.95))
    hit = made.find("s", "How can I bake bread?")
    assert isinstance(hit, NearHit)
    assert (hit.key, hit.text, hit.p_same) == ("bread", BREAD, 0.95)
    assert BREAD not in repr(hit)
    assert made.version == "test/1"


def test_a_guard_outranks_any_score() -> None:
    """And the miss names it."""
    made, _ = near(bread=Told(1.0, ("numbers", "units")))
    miss = made.find("s", "How can I bake bread?")
    assert isinstance(miss, NearMiss)
    assert (miss.best_key, miss.refused_by, miss.p_same) == ("bread", ("numbers", "units"), 1.0)


def test_the_next_candidate_is_tried_when_the_likest_fails() -> None:
    """A right answer may stand second."""
    made, judge = near(bread=Told(1.0, ("names",)), rye=Told(0.97))
    hit = made.find("s", "How can I bake bread?")
    assert isinstance(hit, NearHit)
    assert hit.key == "rye"
    margins = [margin for _, _, margin in judge.asked]
    assert margins[0] > 0 > margins[1]
    assert margins[0] == pytest.approx(-margins[1])


def test_what_means_the_same_is_a_candidate_though_others_are_worded_more_alike() -> None:
    """Where prompts have vectors; the floor of the words holds for it, too."""
    own, asked = "How do I bake bread at home?", "At home, what is the way to bake a bread?"
    crowd = [f"At home, what is the way to bake a {word} bread?" for word in WORDS[:12]]
    judge = Judge({own: Told(0.95)})
    made = Near(judge)
    for i, text in enumerate([own, *crowd]):
        made.add(str(i), "s", text)
    assert isinstance(made.find("s", asked), NearMiss)
    judge.vectors = {own: (1.0, 0.0), asked: (0.8, 0.6), "What is rye?": (1.0, 0.0)}
    judge.vectors |= dict.fromkeys(crowd, (0.0, 1.0))
    for i, text in enumerate([own, *crowd]):
        made.add(str(i), "s", text)
    hit = made.find("s", asked)
    assert isinstance(hit, NearHit)
    assert hit.key == "0"
    assert made.find("s", "What is rye?") == NearMiss(best_key=None)
    assert made.discard("0")
    assert isinstance(made.find("s", asked), NearMiss)


def test_the_threshold_may_be_moved_up() -> None:
    """As the audit does when too many hits were false."""
    made, _ = near(bread=Told(0.95))
    made.threshold = 0.99
    miss = made.find("s", "How can I bake bread?")
    assert isinstance(miss, NearMiss)
    assert miss.p_same == 0.95


def test_nothing_alike_is_not_judged() -> None:
    """Nor anything of another scope, nor what was discarded."""
    made, judge = near(bread=Told(0.95))
    assert made.find("s", "Why is the sky blue?") == NearMiss(best_key=None)
    assert made.find("t", BREAD) == NearMiss(best_key=None)
    for name in ("cake", "bread", "rye"):
        assert made.discard(name)
    assert made.find("s", BREAD) == NearMiss(best_key=None)
    assert (judge.asked, len(made)) == ([], 0)


def test_with_the_shipped_scorer_a_paraphrase_hits_and_a_changed_number_does_not() -> None:
    """The whole path, without embeddings."""
    from scorers.pair_artifact import load_default_pairs

    made = Near(load_default_pairs())
    made.add("a", "s", "What is the best way to learn Python in 3 weeks?")
    hit = made.find("s", "How do I learn Python in 3 weeks?")
    assert isinstance(hit, NearHit)
    miss = made.find("s", "How do I learn Python in 4 weeks?")
    assert isinstance(miss, NearMiss)
    assert miss.refused_by == ("numbers",)
