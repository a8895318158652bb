"""The ranking before there are labels: saved, loaded, scored live as in a batch, and refused when it is not sound."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascade.errors import ScorerError
from cascade.records import Response, TrafficRow
from cascade.types import RANK
from scorers.artifact import load
from scorers.cold_start import (
    ColdStart,
    ColdStartScorer,
    fit_cold_start,
    is_cold_start,
    load_cold_start,
    save_cold_start,
)
from scorers.dataset import collect

from .. import traffic

MODELS = ("small", "large")


def log(*, logprobs: bool) -> list[TrafficRow]:
    """Return answers without labels."""
    made = traffic.rows(60)
    for row in made:
        for response in row.responses:
            response.score = None
            response.text = f"Let us see: both numbers have to be added up. {response.text}"
            if not logprobs:
                response.logprobs = response.top_logprobs = None
    return made


def saved(folder: Path, *, logprobs: bool = False) -> ColdStart:
    """Fit, save and load."""
    found = collect(log(logprobs=logprobs), need_score=False)
    save_cold_start(folder, fit_cold_start(found, MODELS), {"labels": 0})
    return load_cold_start(folder, MODELS)


@pytest.mark.parametrize("logprobs", [False, True], ids=["by text", "by log-probability"])
def test_live_ranks_are_those_of_the_log(tmp_path: Path, *, logprobs: bool) -> None:
    """The same answer read live has the rank that it has in a batch."""
    cold = saved(tmp_path / "cold", logprobs=logprobs)
    rows = log(logprobs=logprobs)
    ranking = cold.rankings["small"]
    assert ranking is not None
    assert ranking.by_logprob is logprobs
    own = collect(rows, need_score=False).dataset(MODELS).blocks.own[:, 0]
    scorer = ColdStartScorer(cold, MODELS)
    live = []
    for row in rows:
        request = traffic.request(row)
        score = scorer.score_nowait(request, [traffic.attempt(0, row.responses[0])])
        assert score.confidence is not None
        assert score.measures[RANK] == score.confidence
        live.append(score.confidence)
    np.testing.assert_allclose(live, ranking.rank(own), atol=1e-12)


def test_the_same_log_gives_the_same_version(tmp_path: Path) -> None:
    """Bit by bit."""
    assert saved(tmp_path / "a").version == saved(tmp_path / "b").version


def test_the_last_rung_is_not_ranked(tmp_path: Path) -> None:
    """Its answer is kept: ranks of two models do not compare."""
    scorer = ColdStartScorer(saved(tmp_path / "cold"), MODELS)
    row = log(logprobs=False)[0]
    last = scorer.score_nowait(traffic.request(row), [traffic.attempt(1, row.responses[1])])
    assert last.confidence is None
    assert last.why_unknown is not None
    assert "do not compare" in last.why_unknown


def test_what_cannot_be_ranked_is_unknown(tmp_path: Path) -> None:
    """No answer, no text, no log-probabilities where those rank, a model without a ranking."""
    row = log(logprobs=False)[0]
    request = traffic.request(row)
    by_text = ColdStartScorer(saved(tmp_path / "text"), MODELS)
    by_logprob = ColdStartScorer(saved(tmp_path / "logprob", logprobs=True), MODELS)
    nothing = traffic.attempt(0, Response(model="small", text=None))
    silent = ColdStart(rankings=dict.fromkeys(MODELS), why={"small": "too few answers"})
    for scorer, attempts, why in (
        (by_text, [], "nothing answered yet"),
        (by_text, [nothing], "no text"),
        (by_logprob, [traffic.attempt(0, row.responses[0])], "no log-probabilities"),
        (
            ColdStartScorer(silent, MODELS),
            [traffic.attempt(0, row.responses[0])],
            "too few answers",
        ),
    ):
        score = scorer.score_nowait(request, attempts)
        assert score.confidence is None
        assert score.why_unknown is not None
        assert why in score.why_unknown


def test_a_trained_scorer_is_not_replaced(pair_scorer: Path, tmp_path: Path) -> None:
    """It is worth more."""
    cold = saved(tmp_path / "cold")
    assert not is_cold_start(pair_scorer)
    with pytest.raises(ScorerError, match="holds a trained scorer"):
        save_cold_start(pair_scorer, cold, {})
    assert load(pair_scorer, MODELS).models == MODELS


def test_it_is_not_taken_for_a_trained_scorer(pair_scorer: Path, tmp_path: Path) -> None:
    """Neither way."""
    saved(tmp_path / "cold")
    with pytest.raises(ScorerError, match="a ranking made without labels, not a probability"):
        load(tmp_path / "cold")
    with pytest.raises(ScorerError, match="not the manifest of a ranking"):
        load_cold_start(pair_scorer)


def manifest(folder: Path, **changed: Any) -> None:
    """Change what a manifest says."""
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def model(folder: Path, change: Callable[[str], str]) -> None:
    """Change the model's JSON, and the digest with it: by somebody who means it."""
    import hashlib

    file = folder / "model.json"
    text = change(file.read_text())
    file.write_text(text)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    manifest(folder, files=files | {"model.json": hashlib.sha256(text.encode()).hexdigest()})


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: manifest(f, format=2), "has format 2"),
        (lambda f: manifest(f, feature_version=0), "features of version 0"),
        (lambda f: manifest(f, files={"../x": ""}), "files given"),
        (lambda f: manifest(f, models=[]), "name different models"),
        (lambda f: manifest(f, models=None), "name different models"),
        (lambda f: (f / "model.json").write_text("{}"), "it is damaged"),
        (lambda f: (f / "arrays.npz").unlink(), "arrays.npz is missing"),
        (lambda f: (f / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda f: (f / "manifest.json").write_text("["), "cannot be read"),
        (lambda f: (f / "manifest.json").write_text("[" * 100_000), "cannot be read"),
        (lambda f: (f / "manifest.json").write_text("[]"), "is not the manifest"),
        (lambda f: model(f, lambda t: t.replace("LinearHead", "Popen")), "class 'Popen'"),
        (lambda f: model(f, lambda t: t.replace('"e_wrong"', '"__class__"')), "not fit together"),
        (lambda f: model(f, lambda t: t.replace('["knots",', '["knits",', 1)), "not fit together"),
        (lambda f: model(f, lambda t: t.replace('["answers",60]', '["answers","x"]')), "not fit"),
        (lambda f: model(f, lambda t: t[: len(t) // 2]), "cannot be read"),
    ],
)
def test_hostile_and_damaged_folders_are_refused(
    tmp_path: Path, harm: Callable[[Path], object], said: str
) -> None:
    """With the reason, and always as the same kind of error."""
    folder = tmp_path / "cold"
    saved(folder)
    harm(folder)
    with pytest.raises(ScorerError, match=said):
        load_cold_start(folder, MODELS)


def test_another_ladder_is_refused(tmp_path: Path) -> None:
    """The message names what is missing."""
    saved(tmp_path / "cold")
    with pytest.raises(ScorerError, match="not made for tiny; it knows small, large"):
        load_cold_start(tmp_path / "cold", ("tiny", "large"))
