"""Kinds of task: fitted offline, kept as a file, told apart live in plain Python."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from cascade.compress.clusters import ONE_CLUSTER, TaskClusters, task_text
from cascade.errors import ConfigError
from cascade.replay.task_clusters import fit_clusters
from cascade.types import Message, Request

WORDS = {
    "refunds": ["refund", "payment", "invoice", "charge", "card", "money", "billing", "receipt"],
    "code": ["function", "class", "variable", "compile", "error", "python", "loop", "return"],
    "food": ["recipe", "flour", "sugar", "oven", "bake", "butter", "eggs", "minutes"],
}


def texts(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts of three tasks, each with a few words of its own among common ones."""
    rng = random.Random(seed)
    common = ["please", "tell", "me", "what", "is", "the", "best", "way", "to", "do", "this", "now"]
    tasks = [rng.choice(sorted(WORDS)) for _ in range(count)]
    found = [
        " ".join(rng.sample(common, 6) + rng.sample(WORDS[task], 4) + [str(rng.random())])
        for task in tasks
    ]
    return found, tasks


def test_k_means_finds_tasks_that_have_words_of_their_own() -> None:
    """Rows that were not fitted on fall where their task is."""
    fitted = fit_clusters(texts(200)[0], count=3)
    fresh, tasks = texts(200, seed=1)
    together = Counter((task, fitted.of_text(t)) for t, task in zip(fresh, tasks, strict=True))
    assert len(fitted.names) == 3
    assert sum(n for _, n in together.most_common(3)) >= 195


def test_the_logs_own_tasks_become_the_kinds_and_are_told_by_the_words_alone() -> None:
    """A live request names no task."""
    fitted = fit_clusters(*texts(200))
    assert fitted.names == ("code", "food", "refunds")
    fresh, tasks = texts(200, seed=1)
    right = [fitted.of_text(t) == task for t, task in zip(fresh, tasks, strict=True)]
    assert np.mean(right) >= 0.97


def test_few_rows_are_one_kind() -> None:
    """And everything belongs to it."""
    assert fit_clusters(texts(30)[0], count=4) is ONE_CLUSTER
    assert fit_clusters([], count=4) is ONE_CLUSTER
    assert ONE_CLUSTER.of_text("anything") == "all"


def test_plain_python_finds_the_nearest_centroid_as_k_means_does() -> None:
    """Against numpy's distances, with all words kept."""
    fitted = fit_clusters(texts(200)[0], count=3)
    for text in texts(50, seed=2)[0]:
        weights = fitted.weights(text)
        terms = sorted(fitted.idf)
        x = np.array([weights.get(term, 0.0) for term in terms])
        c = np.array([[one.get(term, 0.0) for term in terms] for one in fitted.centroids])
        nearest = int(np.argmin(((x - c) ** 2).sum(axis=1)))
        assert fitted.of_text(text) == fitted.names[nearest]


def test_the_file_holds_no_words_and_reads_back_the_same() -> None:
    """Numbers stand for words."""
    fitted = fit_clusters(*texts(200))
    kept = fitted.to_json()
    again = TaskClusters.from_json(kept, "f.json")
    assert again == fitted
    assert again.version == fitted.version
    assert b"refund " not in kept
    assert b"invoice" not in kept


def test_an_unknown_text_belongs_somewhere() -> None:
    """Whatever it is made of."""
    fitted = fit_clusters(texts(200)[0], count=3)
    for text in ("", "…", "漢字かな交じり文", "\x00", "7 8 9"):
        assert fitted.of_text(text) in fitted.names


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"nothing", "no file of task clusters"),
        (b'{"kind":"x","version":1,"names":["a"],"terms":[]}', "'x' of version 1"),
        (
            b'{"kind":"cascade task clusters","version":2,"names":["a"],"terms":[]}',
            "of version 2; allowed: cascade task clusters of version 1",
        ),
        (
            b'{"kind":"cascade task clusters","version":1,"names":["a","b"],"terms":[[1,1.0]]}',
            "a term has 2 numbers for 2 clusters",
        ),
    ],
    ids=["no json", "another file", "newer", "short row"],
)
def test_another_file_is_refused(content: bytes, told: str) -> None:
    """With its name."""
    with pytest.raises(ConfigError) as caught:
        TaskClusters.from_json(content, "kinds.json")
    assert str(caught.value).startswith("kinds.json: ")
    assert told in str(caught.value)


def test_a_task_is_read_from_the_instructions_and_both_ends_of_the_question() -> None:
    """A long context in the middle says little about it."""
    chat = (
        Message(role="system", content="Summarise."),
        Message(role="user", content="first"),
        Message(role="assistant", content="aside"),
        Message(role="user", content="begin " + "x" * 9_000 + " end"),
    )
    text = task_text(chat)
    assert text.startswith("Summarise.\nbegin")
    assert text.endswith("end")
    assert len(text) < 3_200
    assert ONE_CLUSTER.of(Request(messages=chat)) == "all"
