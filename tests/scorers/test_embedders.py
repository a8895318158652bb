"""Embedders of prompts: what their vectors are, that they fit the scorer, and what is said when they are absent."""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from cascade.errors import ScorerError
from scorers import minilm
from scorers.embedders import (
    Embedded,
    Embedder,
    best_embedder,
    cosine,
    embedder_of,
    kind_of,
    least_match,
    open_embedder,
)
from scorers.minilm import MiniLM
from scorers.pair_artifact import SHIPPED, load_default_pairs, load_pairs
from scorers.pair_text import read_prompt
from tests.scorers.minilm_reference import forward


def embed(embedder: Embedder, *texts: str) -> list[Embedded]:
    """Return the vectors of texts."""
    return embedder.embed([(text, read_prompt(text)) for text in texts])


@pytest.fixture(scope="module")
def model() -> MiniLM:
    """all-MiniLM-L6-v2, if it is installed."""
    missing = minilm.absent()
    if missing is not None:
        pytest.skip(f"{missing} is not installed")
    return MiniLM()


def test_the_graph_computes_what_the_formulas_say(model: MiniLM) -> None:
    """Whole texts and tokens, against plain numpy."""
    from safetensors.numpy import load

    found = find_spec("all_minilm_l6_v2")
    assert found is not None
    assert found.submodule_search_locations
    with zipfile.ZipFile(Path(found.submodule_search_locations[0], "model.zip")) as archive:
        weights = load(archive.read("model.safetensors"))
    text = "How do I learn Python quickly?"
    (ours,) = embed(model, text)
    whole, parts = forward(weights, model._tokenizer.encode(text).ids)
    assert ours.whole == pytest.approx(whole, abs=1e-5)
    inner = parts[1:-1] / np.linalg.norm(parts[1:-1], axis=1, keepdims=True)
    assert np.abs(ours.parts - inner).max() < 1e-3


def test_a_batch_gives_what_single_texts_give(model: MiniLM) -> None:
    """In their order, whatever their lengths."""
    texts = ["Why?", "How do I learn Python quickly?", "How do I bake bread?", "Why is it so?"]
    together = embed(model, *texts)
    for text, found in zip(texts, together, strict=True):
        (alone,) = embed(model, text)
        assert cosine(alone, found) == pytest.approx(1.0, abs=1e-5)
        assert alone.parts.shape == found.parts.shape


def test_like_meaning_is_likelier(model: MiniLM) -> None:
    """And the worst-matched word tells another question."""
    a, same, other = embed(
        model, "How can I lose weight?", "What helps to lose weight?", "How can I lose money?"
    )
    assert cosine(a, same) > cosine(a, other)
    assert least_match(a, a) == pytest.approx(1.0, abs=1e-2)
    assert least_match(a, other) < least_match(a, a)


@pytest.mark.parametrize("text", ["", "   ", "\ud800", "word " * 3_000, "\x00"])
def test_strange_texts_are_embedded_or_have_no_vector(model: MiniLM, text: str) -> None:
    """Never an error, and never a number that is none."""
    (found,) = embed(model, text)
    assert len(found.parts) <= 126
    if found.whole is None:
        assert math.isnan(cosine(found, found))
        assert math.isnan(least_match(found, found))
    else:
        assert np.isfinite(found.whole).all()


def test_the_shipped_scorer_for_minilm_tells_paraphrases(model: MiniLM) -> None:
    """It is slow, which the cache must know, and a guard needs no vectors."""
    judge = load_default_pairs(embedder=model)
    assert judge.slow
    assert not load_default_pairs().slow
    same = judge.judge(
        "What is the best way to learn Python?",
        "How do I learn Python?",
        similarity=0.8,
        margin=0.5,
    )
    assert same.p_same is not None
    assert same.p_same >= judge.threshold
    kept = len(judge._embedded)
    refused = judge.judge("Is 5 km far?", "Is 6 km far?", similarity=0.9, margin=0.5)
    assert refused.refused_by == ("numbers",)
    assert len(judge._embedded) == kept


def test_vectors_are_kept_up_to_a_size(model: MiniLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go; the two that are compared stay."""
    monkeypatch.setattr("scorers.pairs._KEPT_EMBEDDED_BYTES", 30_000)
    judge = load_default_pairs(embedder=model)
    for i in range(8):
        judge.judge(f"How is tea {'very ' * i}made?", "How is tea made?", similarity=0.9, margin=0)
    assert judge._embedded_bytes == sum(e.nbytes for e in judge._embedded.values()) <= 30_000
    assert "How is tea made?" in judge._embedded


def test_a_scorer_brings_its_own_embedder(model: MiniLM) -> None:
    """Unless told another one: then both are named."""
    del model
    assert load_pairs(SHIPPED / "minilm").slow
    with pytest.raises(ScorerError, match=r"fitted with the embedder minilm, .* used with static"):
        load_pairs(SHIPPED / "minilm", embedder="static")
    with pytest.raises(ScorerError, match=r"fitted with the embedder none, .* used with minilm"):
        load_pairs(SHIPPED / "none", embedder="minilm")


def test_a_scorer_of_an_unknown_embedder_is_refused(tmp_path: Path) -> None:
    """By the name it states."""
    shutil.copytree(SHIPPED / "none", tmp_path / "mine")
    manifest = tmp_path / "mine" / "manifest.json"
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**told, "vectors": "nobody/knows"}))
    with pytest.raises(ScorerError, match="nobody/knows"):
        load_pairs(tmp_path / "mine")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it; the other embedder is then the best."""
    monkeypatch.setattr("scorers.minilm.find_spec", lambda name: None)
    with pytest.raises(ScorerError, match="all_minilm_l6_v2; install it with: pip install"):
        open_embedder("minilm")
    try:
        assert kind_of(best_embedder().name) == "static"
    except ScorerError as exc:
        assert "wordllama" in str(exc)  # noqa: PT017 - neither is installed here


def test_none_is_no_embedder() -> None:
    """By kind and by name."""
    assert open_embedder("none") is None
    assert embedder_of(None) is None
    assert math.isnan(cosine(None, None))
    assert math.isnan(least_match(None, None))


def test_least_match_by_hand() -> None:
    """The worst of both directions."""
    a = Embedded(None, np.array([[1, 0], [0, 1]], np.float16))
    b = Embedded(None, np.array([[1, 0]], np.float16))
    assert least_match(a, b) == least_match(b, a) == 0.0
    assert least_match(b, b) == 1.0
