"""Compiled loops: the same numbers as without them, and no index that reaches beyond its array."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cascade.types import Attempt
from scorers import native
from scorers.arithmetic import _blank_words, check_arithmetic
from scorers.artifact import load
from scorers.dataset import read_dataset
from scorers.features import answer, prompt
from scorers.features.logprob import logprob_features
from scorers.features.phrases import PhraseCounter
from scorers.scorer import TrainedScorer
from scorers.text_bank import hashes_of

from .. import traffic
from .conftest import without_native

built = pytest.mark.skipif(
    native.BlendRow is None and not os.environ.get("CI"),  # noqa: TID251 - CI has a compiler
    reason="the compiled loops were not built: no C compiler where this was installed",
)


@built
def test_they_are_built_where_there_is_a_compiler() -> None:
    """All of them or none."""
    assert all(getattr(native, name) is not None for name in native.__all__)


@pytest.mark.parametrize("kind", ["pair_scorer", "ladder_scorer"])
@built
def test_scores_are_the_same_without_them(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live and in a batch, in every state."""
    path: Path = request.getfixturevalue(kind)

    def scored() -> tuple[np.ndarray, list[list[float]]]:
        artifact = load(path)
        made = [traffic.as_read(r) for r in traffic.rows(12, artifact.models, seed=5, start=900)]
        scorer = TrainedScorer(artifact, artifact.models)
        live = []
        for row in made:
            attempts: list[Attempt] = []
            asked = traffic.request(row)
            for rung, response in enumerate(row.responses):
                attempts.append(traffic.attempt(rung, response))
                live.append(list(scorer.score_nowait(asked, attempts).forecast.values()))
        return artifact.model.probabilities(read_dataset(made), np.arange(len(made))), live

    batch, live = scored()
    without_native(monkeypatch)
    other_batch, other_live = scored()
    np.testing.assert_allclose(batch, other_batch, rtol=0, atol=1e-9)
    np.testing.assert_allclose(live, other_live, rtol=0, atol=1e-9)


_LOGPROB = st.floats(-60.0, 0.0) | st.sampled_from([0.0, 1e-5, -9999.0, float("-inf")])


@given(
    st.lists(st.floats(-60.0, 0.0), min_size=1, max_size=40),
    st.integers(1, 6).flatmap(
        lambda k: st.lists(st.lists(_LOGPROB, min_size=k, max_size=k), max_size=45)
    ),
)
@built
def test_log_probabilities_are_measured_alike(chosen: list[float], top: list[list[float]]) -> None:
    """However many alternatives there are, and for more or fewer tokens than were chosen."""
    rows = [sorted(row, reverse=True) for row in top]
    found = logprob_features(chosen, rows)
    with pytest.MonkeyPatch.context() as patch:
        without_native(patch)
        expected = logprob_features(chosen, rows)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@given(st.lists(st.sampled_from(["a", "b", "c", "dd", "é", "", "\ud800"]), max_size=60))
@built
def test_words_are_counted_alike(words: list[str]) -> None:
    """Hashes, and runs of three."""
    found = hashes_of(words).tolist(), answer._distinct_trigrams(words)
    with pytest.MonkeyPatch.context() as patch:
        without_native(patch)
        assert found == (hashes_of(words).tolist(), answer._distinct_trigrams(words))


_PIECES = st.sampled_from([*"0123456789.,+-*/xX()%= \t\n$a[}_×−"]) | st.sampled_from(
    ["12", ".5", " = ", "b/c", "1 + 2 = 3", "12 / 7 = 1.7", " " * 70]
)


@given(st.lists(_PIECES, max_size=40).map("".join), st.sets(st.sampled_from([1.0, 7.0, 12.0])))
@example("12 x 3 = 36 and 36 / 5 = 7.2", set())
@example("x" + " " * 113 + "3 + 4 = 7", set())
@example("3 + 4 =" + " " * 57 + "71", set())
@built
def test_equations_are_read_alike(text: str, known: set[float]) -> None:
    """Wherever numbers, blanks, units and other equations stand beside them."""
    found = check_arithmetic(text, known)
    with pytest.MonkeyPatch.context() as patch:
        without_native(patch)
        assert repr(found) == repr(check_arithmetic(text, known))
    if text.isascii():
        assert native.blanked(text.encode()).decode() == _blank_words(text)


_COUNTERS = (answer._TONE, prompt._COUNT_ASKS)
_PHRASES = sorted(
    {phrase for group in prompt._ASKS.values() for phrase in group}
    | {
        *(
            "let x =",
            "let me",
            "let m =",
            "assumes",
            "about",
            "i can't",
            "not",
            "not sure",
            "rounds",
        )
    }
)


@given(
    st.lists(
        st.sampled_from(_PHRASES)
        | st.sampled_from(_PHRASES).map(lambda phrase: phrase[:3])
        | st.sampled_from([*" .,'-_x1\n", "é", "  "]),
        max_size=20,
    ),
    st.sampled_from(["", " "]),
)
@built
def test_phrases_are_counted_alike(pieces: list[str], between: str) -> None:
    """Those that begin alike, that end in any way, and that have any letter in them."""
    text = between.join(pieces)
    found = [count(text) for count in _COUNTERS]
    with pytest.MonkeyPatch.context() as patch:
        without_native(patch)
        assert found == [count(text) for count in _COUNTERS]


@pytest.mark.parametrize(
    ("groups", "text", "counts"),
    [
        ({"a": ["so", "so be it"], "b": ["be"]}, "so be it, so be", (2, 1)),
        ({"a": ["ro?d"], "b": ["road"]}, "rood road", (1, 1)),
        ({"a": ["round*"], "b": ["rounder"]}, "rounder rounded", (1, 1)),
        ({"a": ["naïve"], "b": ["so"]}, "naïve so", (1, 1)),
    ],
)
@pytest.mark.usefixtures("either_way")
def test_phrases_that_share_a_beginning_are_told_apart(
    groups: dict[str, list[str]], text: str, counts: tuple[int, ...]
) -> None:
    """The longest one counts, and one of exactly these letters before one of any letters."""
    assert PhraseCounter(groups)(text) == counts


@pytest.mark.parametrize(
    ("steps", "groups", "endless"),
    [
        (np.full((1, 127), -1), [0], [0]),
        (np.full((1, 128), 1), [0], [0]),
        (np.full((1, 128), -1), [1], [0]),
        (np.full((1, 128), -1), [0, 0], [0]),
    ],
)
@built
def test_phrases_laid_out_wrongly_are_refused(
    steps: np.ndarray, groups: list[int], endless: list[int]
) -> None:
    """Compiled code checks no index while it counts."""
    with pytest.raises(ValueError, match=r"arrays|leads to no node|no group"):
        native.PhraseTable(
            steps.astype(np.int32), np.array(groups, np.int32), np.array(endless, np.uint8), 1
        )


def blend_parts(**other: Any) -> dict[str, Any]:
    """One linear head, one tree and one judgement over two columns."""

    def ints(*numbers: int) -> np.ndarray:
        return np.array(numbers, np.int32)

    def floats(*numbers: float) -> np.ndarray:
        return np.array(numbers, np.float64)

    parts = {
        "source": ints(0),
        "absent": ints(1),
        "knots": floats(0.0, 1.0).reshape(1, 2),
        "scores": floats(-1.0, 1.0).reshape(1, 2),
        "rise": floats(2.0, 0.0).reshape(1, 2),
        "head_start": ints(0, 2),
        "head_fact": ints(0, 1),
        "head_weight": floats(1.0, 1.0),
        "head_bias": floats(0.0),
        "split_column": ints(1),
        "split_missing": np.zeros(1, np.uint8),
        "split_threshold": floats(0.5),
        "model_start": ints(0, 1),
        "tree_start": ints(0, 1),
        "tree_split": ints(0),
        "tree_strikes": np.ones(1, np.uint16),
        "leaf_start": ints(0, 2),
        "leaves": floats(-1.0, 1.0),
        "plain": np.zeros(2, np.uint8),
        "term_start": ints(0, 2),
        "term_odds": ints(0, 1),
        "term_weight": floats(1.0, 1.0),
        "bias": floats(0.0),
        "up": floats(1.0),
        "down": floats(1.0),
        "offset": floats(0.0),
        "share": floats(0.0),
        "step_start": ints(0, 0),
        "step_knots": floats(),
        "step_values": floats(),
        "texts": 0,
        "limits": (5.0, 0.02, 0.98, 0.005, 0.995),
    }
    return parts | other


@built
@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("source", [2]),
        ("source", [-1]),
        ("absent", [7]),
        ("head_fact", [0, 2]),
        ("split_column", [2]),
        ("tree_split", [1]),
        ("term_odds", [0, 2]),
        ("head_start", [0, 3]),
        ("head_start", [1, 2]),
        ("tree_start", [0, 2]),
        ("leaf_start", [0, 3]),
        ("leaf_start", [0, 1]),
        ("model_start", [0, 2]),
        ("term_start", [2, 0]),
        ("step_start", [0, 1]),
    ],
)
def test_a_blend_is_refused_whose_indices_reach_beyond(name: str, numbers: list[int]) -> None:
    """When it is made; nothing is read there."""
    good = native.BlendRow(2, blend_parts())
    found = np.empty(1)
    good.one(np.array([0.5, np.nan]), np.empty(0), found)
    assert 0.0 < found[0] < 1.0
    with pytest.raises(ValueError, match=r".+"):
        native.BlendRow(2, blend_parts(**{name: np.array(numbers, np.int32)}))


@built
def test_a_blend_refuses_vectors_of_another_length() -> None:
    """And room that is too small."""
    blend = native.BlendRow(2, blend_parts())
    for x, texts, room in ((3, 0, 1), (2, 1, 1), (2, 0, 2)):
        with pytest.raises(ValueError, match=r"length|room"):
            blend.one(np.zeros(x), np.zeros(texts), np.zeros(room))


@built
def test_trees_and_texts_refuse_what_does_not_fit() -> None:
    """Ranks that are not there, leaves that no split leaves, columns without a weight."""

    def ints(*numbers: int) -> np.ndarray:
        return np.array(numbers, np.int32)

    def trees(rank: int = 0, strikes: int = 1, leaves: int = 2) -> native.TreeRows:
        return native.TreeRows(
            1,
            ints(rank),
            np.zeros(1, np.uint16),
            np.array([strikes], np.uint16),
            ints(0, 1),
            ints(0, 1),
            ints(0, leaves),
            np.zeros(leaves),
        )

    trees()(np.zeros((1, 3), np.uint16), np.empty((1, 3)))
    for wrong in ({"rank": 1}, {"rank": -1}, {"strikes": 2}, {"leaves": 1}, {"leaves": 3}):
        with pytest.raises(ValueError, match=r".+"):
            trees(**wrong)
    with pytest.raises(ValueError, match="room"):
        trees()(np.zeros((2, 3), np.uint16), np.empty((1, 3)))
    weights = native.TextWeights(
        np.array([0]), [np.ones((2, 1))], np.array([0]), np.zeros(1), np.ones(2), np.ones(4)
    )
    assert weights(np.array([1, 0, 1])).tolist() == pytest.approx([2**0.5], rel=1e-6)
    for column in (2, -1):
        with pytest.raises(ValueError, match="column"):
            weights(np.array([0, column]))


@built
def test_many_threads_score_alike(
    pair_scorer: Path,
) -> None:
    """Compiled code has room for one row, and the interpreter's lock keeps it to one at a time."""
    from concurrent.futures import ThreadPoolExecutor

    artifact = load(pair_scorer)
    made = [traffic.as_read(row) for row in traffic.rows(40, artifact.models, seed=6, start=500)]
    scorers = [TrainedScorer(artifact, artifact.models) for _ in range(4)]

    def score(number: int) -> float | None:
        row = made[number % len(made)]
        attempts = [traffic.attempt(0, row.responses[0])]
        scorer = random.Random(number).choice(scorers)
        return scorer.score_nowait(traffic.request(row), attempts).confidence

    alone = [score(i) for i in range(400)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(score, range(400))) == alone
