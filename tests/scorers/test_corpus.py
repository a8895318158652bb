"""Texts that are read once give the vocabularies and matrices that reading them each time gives."""

from __future__ import annotations

import random

import numpy as np
import pytest

from scorers.corpus import Corpus, TermCounts
from scorers.dataset import read_dataset
from scorers.folds import fold_ids
from scorers.heads import texts_of
from scorers.judges import fit_judges
from scorers.text_head import AXES_TERMS, fit_vocabulary

from .. import traffic

WORDS = ("one", "two", "three", ",", "four", "fünf", "6", "seven-eight", "nine.", "(", "🙂")


def texts(n: int) -> list[str]:
    """Texts of few words, one empty, one long."""
    rng = random.Random(0)
    made = [" ".join(rng.choices(WORDS, k=rng.randint(1, 25))) for _ in range(n)]
    return [*made, "", "one two " * 2_000]


@pytest.mark.parametrize("chars", [False, True], ids=["words", "n-grams"])
@pytest.mark.parametrize(
    "limits", [{}, AXES_TERMS, {"max_terms": 15}], ids=["heads", "axes", "few terms"]
)
def test_counts_give_the_same_vocabulary_and_matrix(chars: bool, limits: dict[str, float]) -> None:
    """Of any rows, and for rows that the vocabulary was not fitted on; bit by bit."""
    every = texts(80)
    counts = TermCounts(every, chars)
    rng = np.random.default_rng(1)
    fitted, other = np.split(rng.permutation(len(every)), [55])
    expected = fit_vocabulary([every[i] for i in fitted], chars=chars, **limits)
    vocabulary = counts.vocabulary(fitted, **limits)
    assert list(vocabulary.index.items()) == list(expected.index.items())
    np.testing.assert_array_equal(vocabulary.idf, expected.idf)
    for rows in (fitted, other, other[:0]):
        found = counts.matrix(rows, vocabulary)
        wanted = expected.transform([every[i] for i in rows])
        assert found.shape == wanted.shape
        for part in ("indptr", "indices", "data"):
            np.testing.assert_array_equal(getattr(found, part), getattr(wanted, part))


def test_a_fit_on_counted_texts_is_the_same_fit() -> None:
    """Rows in any order; each question's scores bit by bit."""
    made = [traffic.as_read(row) for row in traffic.rows(240)]
    b = read_dataset(made).blocks
    rows = np.random.default_rng(2).permutation(240)[:220]
    corpus = Corpus(rows, lambda some, kind, answered: texts_of(b, some, kind, answered, ()))
    folds = fold_ids(np.arange(220), 3, 0)
    questions = [((), 0), ((0,), 0), ((1,), 1)]
    plain = fit_judges(b, rows, questions, seed=0, folds=folds)
    counted = fit_judges(b, rows, questions, seed=0, folds=folds, corpus=corpus)
    for one, other in zip(plain, counted, strict=True):
        np.testing.assert_array_equal(one.oof, other.oof)
        np.testing.assert_array_equal(one.stack.weights, other.stack.weights)
        assert [kind for kind, _ in one.heads.text] == [kind for kind, _ in other.heads.text]
