"""What several heads share is computed once: the same numbers as each head gives alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorers.blend import Blend, Judgement
from scorers.boost_head import fit_boost, predict_boost
from scorers.calibrate import fit_calibration, logit
from scorers.heads import HeadSet
from scorers.linear_bank import LinearBank
from scorers.linear_head import fit_linear, sigmoid
from scorers.plain_trees import PlainModels
from scorers.text_bank import TextBank, hashes_of
from scorers.text_head import _TOKEN, TextAxes, TextHead, fit_axes, fit_text, words_of
from scorers.weighted_sums import WeightedSums

WORDS = ("alpha", "beta", "gamma", "delta", "7", ",", "naïve", "x_1", "12.5", "Ωmega", "(", "the")


def numbers(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ten columns with missing values, and labels."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 10))
    x[rng.random(x.shape) < 0.2] = np.nan
    x[:, 4] = 3.0
    x[:, 6] = np.where(rng.random(n) < 0.5, np.nan, 1.0)
    y = (np.nan_to_num(x[:, 0]) + np.isnan(x[:, 6]) + rng.normal(size=n) > 0.5).astype(float)
    return x, y


def texts(n: int, seed: int = 0) -> list[str]:
    """Texts of few words, some of them empty or of unknown words."""
    rng = random.Random(seed)
    made = [" ".join(rng.choices(WORDS, k=rng.randint(0, 30))) for _ in range(n)]
    return [*made, "", "unknown", "alpha " * 3_000]


@pytest.mark.usefixtures("either_way")
def test_linear_heads_give_what_each_gives_alone() -> None:
    """On the same columns, on others, and as plain numbers; live, and in a batch."""
    x, y = numbers(300)
    some = np.array([8, 6, 0])
    heads = [
        (fit_linear(x, y), np.arange(10)),
        (fit_linear(x, y, l2=2.0), np.arange(10)),
        (fit_linear(x[:, some], y), some),
        (fit_linear(x, y - 0.5, logistic=False), np.arange(10)),
        (fit_linear(x[:, [4]], y), np.array([4])),  # a column that says nothing
    ]
    bank = LinearBank(heads)
    fresh, _ = numbers(50, seed=1)
    fresh[0], fresh[1], fresh[2] = np.nan, 1e9, -np.inf
    expected = [head.columns(fresh[:, at]) @ head.weights + head.bias for head, at in heads]
    live = np.array([bank.one(row) for row in fresh]).T
    batch = bank.rows(np.ascontiguousarray(fresh.T))
    np.testing.assert_allclose(live, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(batch, expected, rtol=0, atol=1e-9)
    assert bank.logistic.tolist() == [True, True, True, False, True]


@pytest.mark.usefixtures("either_way")
def test_no_heads_give_no_sums() -> None:
    """Nothing is read then."""
    assert LinearBank([]).one(np.zeros(3)).shape == (0,)


@pytest.mark.usefixtures("either_way")
def test_sums_in_a_batch_do_not_depend_on_the_other_rows() -> None:
    """Bit by bit, which a product of matrices does not give."""
    rng = np.random.default_rng(0)
    terms = [[(int(i), float(w)) for i, w in enumerate(rng.normal(size=40))], [], [(3, 2.0)]]
    sums = WeightedSums(40, terms, [0.5, 1.5, 0.0])
    x = rng.normal(size=(40, 5_000))
    whole = sums.rows(x)
    np.testing.assert_array_equal(sums.rows(x[:, 4_000:4_007]), whole[:, 4_000:4_007])
    room = sums.room()
    room[:-1] = x[:, 7]
    np.testing.assert_allclose(sums.one(room), whole[:, 7], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(whole[1], 1.5)


@pytest.mark.parametrize("n", [400, 1_200], ids=["smooth", "with steps"])
@pytest.mark.usefixtures("either_way")
def test_a_blend_weighs_and_calibrates_as_the_parts_do(n: int) -> None:
    """Linear heads, trees and a text's sum; below 1,000 rows without isotonic steps, and above."""
    x, y = numbers(n)
    linear, trees = fit_linear(x, y), fit_boost(x, y, seed=0, trees=20)
    plain = fit_boost(x, y, seed=1, trees=20, difference=True)  # a number, cut to a probability
    raw = np.random.default_rng(3).random(n)
    calibration = fit_calibration(raw, (raw + 0.3 * y > 0.6).astype(float))
    columns = np.arange(10)
    judgement = Judgement(
        bias=0.1,
        calibration=calibration,
        linear=[(linear, columns, 0.5)],
        trees=[(trees, columns, 0.4), (plain, columns, 0.2)],
        texts=[(1, 0.3)],
    )
    blend = Blend([judgement, judgement], 10, PlainModels(), texts=2)
    fresh, _ = numbers(80, seed=5)
    said = np.random.default_rng(4).normal(0.5, 1.0, size=(2, 80))
    z = 0.1 + 0.5 * logit(linear.predict(fresh)) + 0.4 * logit(predict_boost(trees, fresh))
    z += 0.2 * logit(predict_boost(plain, fresh)) + 0.3 * logit(np.clip(said[1], 0.02, 0.98))
    expected = calibration(sigmoid(z))
    live = np.array([blend.one(row, said[:, i]) for i, row in enumerate(fresh)])
    batch = blend.rows(np.ascontiguousarray(fresh.T), said)
    np.testing.assert_allclose(live, np.stack([expected] * 2, axis=1), rtol=0, atol=1e-12)
    np.testing.assert_allclose(batch, [expected] * 2, rtol=0, atol=1e-12)


def judge(text: list[tuple[str, TextHead]], axes: TextAxes | None) -> HeadSet:
    """Heads on texts alone."""
    return HeadSet(
        answered=(),
        target=0,
        labels=(),
        axes=axes,
        hand=(),
        with_axes=(),
        core=None,
        pooled=(),
        signal=None,
        strength=np.array([0.5]),
        text=tuple(text),
    )


@pytest.mark.usefixtures("either_way")
def test_texts_are_read_alike_one_by_one_and_together() -> None:
    """By several vocabularies at once: words, pairs, n-grams, axes; whatever the text."""
    training, goals = texts(200), np.random.default_rng(0).random((203, 1))
    words, chars = fit_text(training, goals), fit_text(training, goals, chars=True)
    other = fit_text(training[:80], goals[:80], l2=3.0)  # another vocabulary
    axes = fit_axes(training, 4)
    assert axes is not None
    bank = TextBank(
        [
            judge([("prompt", words), ("chars", chars)], axes),
            judge([("prompt", other), ("prompt", words)], None),
        ]
    )
    fresh = [*texts(40, seed=1), "beta beta , beta", "(", "🙂 the"]
    source, first = bank.place(words)
    grams, gram = bank.place(chars)
    expected = {
        (source, first): words.predict(fresh)[:, 0],
        (source, bank.place(other)[1]): other.predict(fresh)[:, 0],
        (grams, gram): chars.predict(fresh)[:, 0],
    }
    start = bank.place(axes)[1]
    expected |= {(source, start + i): axes.predict(fresh)[:, i] for i in range(4)}
    read: dict[object, object] = {}
    together = {s: bank.rows(s, lambda: fresh, read) for s in (source, grams)}
    reader = bank.reader()
    for (of_source, at), numbers_of_one in expected.items():
        np.testing.assert_allclose(together[of_source][at], numbers_of_one, rtol=0, atol=1e-12)
    for i, text in enumerate(fresh):
        split = words_of(text)
        both = dict(
            zip((source, grams), reader((source, grams), [hashes_of(split), split]), strict=True)
        )
        for (of_source, at), numbers_of_one in expected.items():
            np.testing.assert_allclose(
                both[of_source][at], numbers_of_one[i], rtol=0, atol=1e-9, err_msg=text[:40]
            )
        (alone,) = reader((grams,), [split])
        np.testing.assert_allclose(alone, both[grams], rtol=0, atol=1e-12)


@pytest.mark.usefixtures("either_way")
def test_what_was_read_of_texts_is_not_read_again() -> None:
    """A second batch of the same rows asks for no text."""
    head = fit_text(texts(100), np.random.default_rng(0).random((103, 1)))
    bank = TextBank([judge([("prompt", head)], None)])
    read: dict[object, object] = {}
    first = bank.rows(bank.prompt, lambda: ["alpha beta"], read)
    np.testing.assert_array_equal(bank.rows(bank.prompt, lambda: 1 / 0, read), first)  # type: ignore[arg-type, return-value]


@given(st.text(max_size=60) | st.text(st.characters(max_codepoint=127), max_size=60))
def test_words_of_plain_text_are_those_of_any_text(text: str) -> None:
    """ASCII is split without the regular expression."""
    assert words_of(text) == _TOKEN.findall(text.lower())
