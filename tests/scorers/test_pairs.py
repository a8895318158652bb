"""Near-duplicate verification: guards, features, bounds, the corpus, and the scorer on disk."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.errors import ScorerError
from scorers.pair_artifact import SHIPPED, load_default_pairs, load_pairs, save_pairs
from scorers.pair_bounds import (
    NEVER,
    certified_threshold,
    clopper_pearson,
    kept_threshold,
    upper_bound,
)
from scorers.pair_corpus import generate_pairs
from scorers.pair_features import FEATURES, MONOTONE, pair_features, static_rarity
from scorers.pair_frames import FRAMES, frame_of
from scorers.pair_guards import GUARDS, SETTABLE, refusals
from scorers.pair_model import COLUMNS, fit_pairs, links, read_pairs
from scorers.pair_text import MAX_CHARACTERS, read_prompt, stem
from scorers.pairs import SameAnswer
from scorers.static_vectors import StaticVectors

REFUSED = [
    ("numbers", "What is 12 + 7?", "What is 12 + 8?"),
    ("numbers", "Convert 5 km to miles", "Convert 50 km to miles"),
    ("numbers", "How do I unlock an iPhone 6?", "How do I unlock an iPhone 7?"),
    ("numbers", "Who won the second world war?", "Who won the third world war?"),
    ("numbers", "Is -5 greater than 3?", "Is 5 greater than 3?"),
    ("numbers", "Name three rivers", "Name four rivers"),
    ("numbers", "What is pi to 2 digits?", "What is pi?"),
    ("numbers", "Move 3 from box 4 to box 5", "Move 3 from box 5 to box 4"),
    ("dates", "What happened on 2024-03-05?", "What happened on 2024-03-06?"),
    ("dates", "Is the shop open on Monday?", "Is the shop open on Sunday?"),
    ("dates", "Is it hot in Rome in May?", "Is it hot in Rome in June?"),
    ("units", "How far is 10 km?", "How far is 10 miles?"),
    ("units", "What does it cost in dollars?", "What does it cost in euros?"),
    ("units", "Is 20 °C warm?", "Is 20 °F warm?"),
    ("units", "How many hours does it take?", "How many days does it take?"),
    ("negation", "Which birds can fly?", "Which birds cannot fly?"),
    ("negation", "Why does bread rise?", "Why doesn't bread rise?"),
    ("negation", "Can I bake with eggs?", "Can I bake without eggs?"),
    ("negation", "Is it legal to fish here?", "Is it illegal to fish here?"),
    ("negation", "Is this drug harmful for dogs?", "Is this drug harmless for dogs?"),
    ("quotes", 'What does "carpe diem" mean?', 'What does "memento mori" mean?'),
    ("quotes", "Who said 'I came, I saw'?", "Who said 'let them eat cake'?"),
    ("code", "What does `x += 1` do?", "What does `x -= 1` do?"),
    ("code", "How do I sort in C++?", "How do I sort in C#?"),
    ("code", "What does == mean in JavaScript?", "What does === mean in JavaScript?"),
    ("code", "What does my_func() return?", "What does your_func() return?"),
    ("code", "What does () mean in Python?", "What does [] mean in Python?"),
    ("urls", "Summarize https://example.com/a", "Summarize https://example.com/b"),
    ("urls", "Who owns example.com?", "Who owns example.org?"),
    ("urls", "Mail bob@example.com for me", "Mail eve@example.com for me"),
    ("urls", "What is in /etc/passwd?", "What is in /etc/shadow?"),
    ("names", "Who is the president of France?", "Who is the president of Germany?"),
    ("names", "who is the president of france", "who is the president of germany"),
    ("names", "What did Marie Curie discover?", "What did Irene Curie discover?"),
    ("names", "How do I sort a list in Python?", "How do I sort a list in Ruby?"),
    ("names", "What did George H. W. Bush do?", "What did George W. Bush do?"),
    ("negation", "Can I not eat and be healthy?", "Can I eat and not be healthy?"),
    ("comparison", "Is iron heavier than lead?", "Is iron lighter than lead?"),
    ("comparison", "Is iron heavier than lead?", "Is lead heavier than iron?"),
    ("comparison", "What is the best phone?", "What is the worst phone?"),
    ("comparison", "How do I enable dark mode?", "How do I disable dark mode?"),
    ("comparison", "Should I eat before a run?", "Should I eat after a run?"),
    ("comparison", "How do I convert JPG to PNG?", "How do I convert PNG to JPG?"),
    ("comparison", "Did Germany attack Russia?", "Did Russia attack Germany?"),
    (
        "comparison",
        "Why do married women meet single men?",
        "Why do single women meet married men?",
    ),
    ("language", "How old is the tower in the city?", "Wie alt ist der Turm in der Stadt?"),
    ("language", "Where is the station of the city?", "Где находится вокзал города?"),
    ("time_dependent", "What is the weather today?", "What is the weather today?"),
    ("time_dependent", "Who is the current president?", "Who is the current president?"),
    ("time_dependent", "Show the latest news", "Show the latest news"),
    ("time_dependent", "What is on TV this week?", "What is on TV this week?"),
    ("time_dependent", "What should I do right now?", "What should I do right now?"),
    ("refers_back", "What about the second one?", "What about the second one?"),
    ("refers_back", "Why is that?", "Why is that?"),
    ("refers_back", "Can you explain it again?", "Can you explain it again?"),
    ("refers_back", "Summarize the previous answer", "Summarize the previous answer"),
    ("refers_back", "Translate this into French", "Translate this into French"),
    ("refers_back", "And in winter?", "And in winter?"),
]

ALLOWED = [
    ("numbers", "What is 1,000 plus 2?", "What is 1000 plus two?"),
    ("numbers", "Is 5.0 an integer?", "Is 5 an integer?"),
    ("numbers", "Are 500 and 1000 notes banned?", "Are 1000 and 500 notes banned?"),
    ("dates", "What happened on March 3, 1990?", "What happened on march 3 1990?"),
    ("dates", "How do soldiers march in step?", "How do the soldiers march in step?"),
    ("units", "How far is 5 km?", "How far is 5 kilometers?"),
    ("units", "What costs $5?", "What costs 5 dollars?"),
    ("units", "How heavy is 3kg of iron?", "How heavy is 3 kg of iron?"),
    ("negation", "Why isn't the sky green?", "Why is the sky not green?"),
    ("negation", "Why can't dogs eat grapes?", "Why cannot dogs eat grapes?"),
    ("quotes", 'What does "carpe diem" mean?', "What does “Carpe diem” mean?"),
    ("quotes", "What's the dog's name?", "What is the dog's name?"),
    ("code", "What does `x += 1` do?", "Please tell me what `x += 1` does"),
    ("code", "How do I sort (in place) a list?", "How do I sort, in place, a list?"),
    ("code", "Is text-to-speech hard to do?", "Is text to speech hard to do?"),
    ("urls", "Who owns https://example.com?", "Please say who owns https://example.com"),
    ("names", "Who is Marie Curie?", "who is marie curie"),
    ("names", "HOW DO I LEARN PYTHON?", "How do I learn Python?"),
    ("names", "How Do I Bake Bread At Home?", "How do I bake bread at home?"),
    ("names", "Explain osmosis.", "Please explain osmosis."),
    ("comparison", "How do iron and lead differ?", "How do lead and iron differ?"),
    (
        "comparison",
        "What is the difference between a cat and a dog?",
        "What is the difference between a dog and a cat?",
    ),
    ("comparison", "In Python, how do I sort a list?", "How do I sort a list in Python?"),
    ("comparison", "What is the best way to swim?", "What is a good way to swim?"),
    ("language", "What is Weltschmerz?", "What is the Weltschmerz?"),
    ("time_dependent", "How does electric current flow?", "How does an electric current flow?"),
    ("time_dependent", "How do I know when bread is done?", "How do I tell when bread is done?"),
    ("refers_back", "Is it safe to eat raw eggs?", "Is it safe for me to eat raw eggs?"),
    ("refers_back", "How long does it take to bake bread?", "How much time does it take to bake?"),
    ("refers_back", "Why do dogs chase their tails?", "Why do dogs chase their own tails?"),
    ("refers_back", "Translate this: hello", "Translate this: hello"),
]


@pytest.mark.parametrize(("guard", "a", "b"), REFUSED, ids=lambda v: str(v)[:40])
def test_a_guard_refuses_what_differs(guard: str, a: str, b: str) -> None:
    """In both directions."""
    first, second = read_prompt(a), read_prompt(b)
    assert guard in refusals(first, second)
    assert guard in refusals(second, first)


@pytest.mark.parametrize(("guard", "a", "b"), ALLOWED, ids=lambda v: str(v)[:40])
def test_a_guard_lets_pass_what_is_only_written_otherwise(guard: str, a: str, b: str) -> None:
    """In both directions."""
    first, second = read_prompt(a), read_prompt(b)
    assert guard not in refusals(first, second)
    assert guard not in refusals(second, first)


def test_every_guard_is_tried_in_both_ways() -> None:
    """A new guard needs both kinds of examples."""
    assert {guard for guard, _, _ in REFUSED} == set(GUARDS)
    assert {guard for guard, _, _ in ALLOWED} == set(GUARDS)


def test_only_two_guards_can_be_switched_off() -> None:
    """A number that differs is never let pass."""
    today = read_prompt("What happens today?")
    assert refusals(today, today) == ("time_dependent",)
    assert refusals(today, today, allow=SETTABLE) == ()
    five, six = read_prompt("Is 5 odd?"), read_prompt("Is 6 odd?")
    assert refusals(five, six, allow=GUARDS) == ("numbers",)


@given(st.text(max_size=300))
def test_any_text_can_be_read_and_agrees_with_itself(text: str) -> None:
    """But for the time and for what was said before, a text never differs from itself."""
    read = read_prompt(text)
    assert set(refusals(read, read)) <= set(SETTABLE)
    assert len(read.words) == len(read.stems)
    assert 0 <= read.frame < len(FRAMES)


@given(st.text(max_size=120), st.text(max_size=120))
def test_guards_are_symmetric(a: str, b: str) -> None:
    """Which of the two is cached does not matter."""
    first, second = read_prompt(a), read_prompt(b)
    assert refusals(first, second) == refusals(second, first)


@pytest.mark.parametrize(
    "text",
    ["a" * MAX_CHARACTERS, "a." * 4_000, "'" * 8_000, "1," * 4_000, "/a" * 4_000, "a_" * 4_000],
    ids=["letters", "dots", "quotes", "commas", "paths", "underscores"],
)
def test_no_text_takes_long_to_read(text: str) -> None:
    """Patterns do not run away on text made to do that."""
    began = time.perf_counter()
    read_prompt(text)
    assert time.perf_counter() - began < 2.0


@pytest.mark.parametrize(
    ("text", "frame", "rest"),
    [
        ("what is the best way to learn chess", "how", "learn chess"),
        ("please tell me how can i learn chess", "how", "learn chess"),
        ("in java how do i sort a list", "how", "in java sort a list"),
        ("how long does it take to learn chess", "how long", "learn chess"),
        ("what is the reason that snow is white", "why", "snow is white"),
        ("chess", "other", "chess"),
        ("", "other", ""),
    ],
)
def test_a_frame_is_the_kind_of_question(text: str, frame: str, rest: str) -> None:
    """And what is asked about is left."""
    found, left = frame_of(text.split())
    assert (FRAMES[found], " ".join(left)) == (frame, rest)


def test_stems_meet() -> None:
    """Endings of plural and verb are taken away, and nothing of short words."""
    assert stem("baking") == stem("bake")
    assert stem("studies") == stem("study")
    assert stem("is") == "is"
    assert stem("class") == "class"


def features(a: str, b: str) -> dict[str, float]:
    """Return the features of a pair by name."""
    values = pair_features(
        read_prompt(a), read_prompt(b), static_rarity(), similarity=0.5, margin=0.1, guards=0
    )
    return dict(zip(FEATURES, values, strict=True))


def test_equal_prompts_have_no_differences() -> None:
    """All that counts differences is 0, all shares are 1."""
    same = features("How do I bake bread?", "How do I bake bread?")
    assert same["only_total_weight"] == same["others_differ"] == same["names_only"] == 0
    assert same["stems_jaccard"] == same["content_jaccard_by_rarity"] == same["order_kept"] == 1
    assert len(MONOTONE) == len(FEATURES)


def test_rare_words_weigh_more() -> None:
    """One article less is little, another thing is much."""
    article = features("How does the heart work?", "How does a heart work?")
    thing = features("How does the heart work?", "How does the kidney work?")
    assert article["only_total_weight"] < 1 < thing["only_total_weight"]
    slip = features("What is photosynthesis?", "What is photosyntesis?")
    assert slip["bare_typos"] == 1


def test_unknown_numbers_stay_absent() -> None:
    """No embedding is NaN, and not 0."""
    assert math.isnan(features("a b", "a c")["embedding_cosine"])


def test_clopper_pearson_is_the_exact_interval() -> None:
    """Against sums of binomial probabilities."""
    n, wrong = 50, 3
    low, high = clopper_pearson(wrong, n)

    def at_most(k: int, p: float) -> float:
        return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))

    assert at_most(wrong, high) == pytest.approx(0.025, abs=1e-9)
    assert 1 - at_most(wrong - 1, low) == pytest.approx(0.025, abs=1e-9)
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert upper_bound(0, 0, confidence=0.5) == 1.0


def test_a_certified_threshold_keeps_its_promise() -> None:
    """Where nine of ten thresholds would break it, it breaks it as rarely as stated."""
    rng = np.random.default_rng(0)
    broken = 0
    for _ in range(200):
        score = rng.random(2_000)
        p_wrong = 0.3 * (1 - score)
        found = certified_threshold(score, rng.random(2_000) >= p_wrong, rate=0.05, confidence=0.9)
        if found.hits:
            broken += 0.3 * (1 - (1 + found.threshold) / 2) > 0.05
    assert broken / 200 <= 0.1


def test_too_few_pairs_promise_nothing_or_twice_the_rate() -> None:
    """And what is promised is said."""
    score, same = np.linspace(1, 0.5, 50), np.ones(50, bool)
    weaker = kept_threshold(score, same, rate=0.01, confidence=0.5)
    assert weaker.rate == 0.02
    assert weaker.hits >= 35
    nothing = kept_threshold(score[:30], same[:30], rate=0.01, confidence=0.5)
    assert (nothing.threshold, nothing.hits) == (NEVER, 0)


def test_rows_of_equal_score_are_hits_together() -> None:
    """A threshold cannot stand between them."""
    score, same = np.r_[np.full(100, 0.9), np.full(100, 0.1)], np.ones(200, bool)
    assert certified_threshold(score, same, rate=0.01, confidence=0.5).hits in (100, 200)


def test_generated_pairs_are_the_same_for_the_same_seed() -> None:
    """None twice, both kinds, and no pair of numbers or directions called the same."""
    made = list(generate_pairs(600, seed=3))
    assert made == list(generate_pairs(600, seed=3))
    assert len({(p.a, p.b) for p in made}) == 600
    assert 0.3 < sum(p.duplicate for p in made) / 600 < 0.7
    for pair in made:
        if pair.kind in ("other_number", "turned", "denied"):
            assert not pair.duplicate
            assert refusals(read_prompt(pair.a), read_prompt(pair.b))


@pytest.fixture(scope="module")
def judge() -> SameAnswer:
    """The scorer that ships, without embeddings."""
    return load_default_pairs()


def test_the_shipped_scorer_accepts_what_is_only_worded_otherwise(judge: SameAnswer) -> None:
    """And scores another question low."""
    same = judge.judge(
        "What is the best way to learn Python?",
        "How do I learn Python?",
        similarity=0.8,
        margin=0.5,
    )
    other = judge.judge(
        "What is the best way to learn Python?",
        "How long does it take to learn Python?",
        similarity=0.6,
        margin=0.5,
    )
    assert same.refused_by == other.refused_by == ()
    assert same.p_same is not None
    assert other.p_same is not None
    assert same.p_same >= judge.threshold > other.p_same


def test_the_shipped_scorer_keeps_its_promise_on_new_generated_pairs(judge: SameAnswer) -> None:
    """Of another seed; where it was fitted on the like."""
    from cascade.cache.near_index import similarity

    hits = wrong = 0
    for pair in generate_pairs(3_000, seed=99):
        near = similarity(pair.a, pair.b)
        verdict = judge.judge(pair.a, pair.b, similarity=near, margin=math.nan)
        if not verdict.refused_by and verdict.p_same >= judge.threshold:
            hits += 1
            wrong += not pair.duplicate
    assert hits > 100
    assert clopper_pearson(wrong, hits)[0] <= judge.certified.rate


def test_long_texts_are_refused(judge: SameAnswer) -> None:
    """A megabyte is not compared."""
    text = "word " * 200_000
    assert judge.judge(text, text, similarity=1.0, margin=1.0).refused_by == ("too_long",)


def test_one_candidate_is_verified_in_time(judge: SameAnswer) -> None:
    """150 µs are promised on a quiet machine; here ten times that is a failure."""
    pairs = [(p.a, p.b) for p in generate_pairs(300, seed=5)]
    took = []
    for a, b in pairs:
        judge.judge(a, b, similarity=0.5, margin=0.1)
        began = time.perf_counter()
        judge.judge(a, b, similarity=0.5, margin=0.1)
        took.append(time.perf_counter() - began)
    assert sorted(took)[150] < 1.5e-3


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scorer fitted with word evidence on a few generated pairs, saved."""
    made = list(generate_pairs(500, seed=1))
    texts = [(p.a, p.b) for p in made]
    same = np.array([p.duplicate for p in made])
    rng = random.Random(0)
    rows = read_pairs(texts, [rng.random() for _ in made], [math.nan] * len(made), None)
    fitted = fit_pairs(rows, same, links(texts))
    assert fitted.p_same.shape == fitted.allowed.shape == same.shape
    kept = kept_threshold(
        fitted.p_same[fitted.allowed], same[fitted.allowed], rate=0.05, confidence=0.5
    )
    path = tmp_path_factory.mktemp("pairs") / "mine"
    save_pairs(path, fitted.model, kept, facts={"rows": 500}, created="2026-01-01T00:00:00Z")
    return path


def test_a_saved_scorer_gives_the_same_scores(saved: Path) -> None:
    """Fitting again gives the same version, loading the same scores."""
    first, second = load_pairs(saved), load_pairs(saved)
    assert first.version == second.version
    assert first.version.startswith("pairs/")
    pair = ("How do I store white rice?", "What is the best way to store white rice?")
    assert first.judge(*pair, similarity=0.7, margin=0.2) == second.judge(
        *pair, similarity=0.7, margin=0.2
    )
    manifest = json.loads((saved / "manifest.json").read_text())
    assert manifest["columns"] == list(COLUMNS)
    assert manifest["rows"] == 500


def test_what_is_promised_is_kept_with_the_scorer(saved: Path, tmp_path: Path) -> None:
    """With the counts behind it."""
    judge = load_pairs(saved)
    other = dataclasses.replace(judge.certified, rate=0.02, hits=321, wrong=2, upper=0.0194)
    save_pairs(tmp_path / "other", judge._model, other, facts={}, created="")
    assert load_pairs(tmp_path / "other").certified == other


def _no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def _cut_tree(folder: Path) -> None:
    tree = folder / "tree_0.txt"
    tree.write_text(tree.read_text()[:-200])


def _words_changed(folder: Path) -> None:
    words = folder / "words.json"
    words.write_text(words.read_text().replace("unknown", "unknowm"))


def _newer(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 9}))


def _outside(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../tree_0.txt"] = "0"
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _other_probe(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["probe"] = [0.1, 0.2, 0.3]
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_no_manifest, "is not a pair scorer"),
        (_cut_tree, "damaged"),
        (_words_changed, "damaged"),
        (_newer, "format 9"),
        (_outside, "not a file of a pair scorer"),
        (_other_probe, "other scores"),
    ],
)
def test_a_damaged_scorer_is_refused(
    saved: Path, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    """With the reason."""
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    damage(folder)
    with pytest.raises(ScorerError, match=words):
        load_pairs(folder)


def test_nothing_else_is_overwritten(tmp_path: Path) -> None:
    """A folder that is no pair scorer stays."""
    (tmp_path / "notes.txt").write_text("mine")
    judge = load_default_pairs()
    with pytest.raises(ScorerError, match="not a pair scorer"):
        save_pairs(tmp_path, judge._model, judge.certified, facts={}, created="")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_guard_that_must_stay_cannot_be_switched_off() -> None:
    """Only what a user can know to be safe."""
    with pytest.raises(ScorerError, match="numbers"):
        load_default_pairs(allow=["numbers"])


def test_shipped_scorers_hold_no_pickle() -> None:
    """JSON and LightGBM text alone."""
    files = {p.suffix for p in SHIPPED.rglob("*") if p.is_file()}
    assert files == {".json", ".txt"}


@pytest.fixture(scope="module")
def vectors() -> StaticVectors:
    """The vectors of the extra `embed`."""
    try:
        return StaticVectors()
    except ScorerError as exc:
        pytest.skip(str(exc))


def test_static_vectors_know_what_words_mean(vectors: StaticVectors) -> None:
    """Of length 1, likelier for like meaning, absent for nothing."""
    car, auto, soup = (vectors.text(t) for t in ("car", "automobile", "soup"))
    assert car is not None
    assert auto is not None
    assert soup is not None
    assert float(car @ car) == pytest.approx(1.0, abs=1e-5)
    assert car @ auto > car @ soup
    assert vectors.text("") is None
    assert vectors.words(read_prompt("the of a")).shape == (0, 256)


def test_the_shipped_scorer_with_embeddings_works(vectors: StaticVectors) -> None:
    """And neither scorer is used with the other's inputs."""
    judge = load_default_pairs(embedder=vectors)
    verdict = judge.judge(
        "How do I store white rice?",
        "What is the best way to store white rice?",
        similarity=0.8,
        margin=0.5,
    )
    assert verdict.p_same is not None
    assert verdict.p_same > 0.9
    with pytest.raises(ScorerError, match=r"fitted with the embedder none, .* used with static"):
        load_pairs(SHIPPED / "none", embedder=vectors)
    with pytest.raises(ScorerError, match=r"fitted with the embedder static, .* used with none"):
        load_pairs(SHIPPED / "static", embedder="none")
    assert load_pairs(SHIPPED / "static").version == judge.version
