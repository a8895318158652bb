"""Scorers of beginnings: cut alike, honest, saved with the scorer and refused when they do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cascade.errors import ScorerError
from cascade.types import Answer, Message, Request, TokenLogprobs
from scorers.artifact import load
from scorers.dataset import collect
from scorers.prefix_scorer import LogprobPrefixScorer, TrainedPrefixScorer
from scorers.prefixes import cut_text, tokens_of
from scorers.scorer import TrainedScorer
from scorers.training import train

from .. import traffic
from .test_artifact import refused

pytestmark = pytest.mark.anyio

PAIR = ("small", "large")
CHECKPOINTS = (1, 2)


@pytest.fixture(scope="module")
def with_prefixes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a two-model ladder that scores beginnings too."""
    made = [traffic.as_read(row) for row in traffic.rows(210, PAIR)]
    found = collect(made, checkpoints=CHECKPOINTS)
    folder = tmp_path_factory.mktemp("prefixes") / "scorer"
    trained = train(found, PAIR, seeds=1, checkpoints=CHECKPOINTS)
    trained.save(folder, created="2026-01-01T00:00:00Z")
    return folder


def state(folder: Path, files: dict[str, str]) -> None:
    """Write other files into the manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"files": files}))


def request_for(a: int, b: int) -> Request:
    prompt = f"What is {a} plus {b}? Question 7 of the redA sheet."
    return Request(messages=(Message(role="user", content=prompt),))


async def test_a_sure_beginning_is_told_from_an_unsure_one(with_prefixes: Path) -> None:
    """The second token's log-probability says most of it, and the scorer has learnt that."""
    artifact = load(with_prefixes, PAIR)
    scorer = TrainedPrefixScorer(artifact, PAIR, TrainedScorer(artifact, PAIR))
    confidences = []
    for text, low in (("40 + 30 = 70. The ans", -0.05), ("Not sure, maybe", -1.8)):
        logprobs = TokenLogprobs(tokens=["", ""], logprobs=[-0.1, low])
        prefix = Answer(text=text, model="small", logprobs=logprobs)
        score = await scorer.score_prefix(request_for(40, 30), (), prefix, rung=0, tokens=2)
        assert score.confidence is not None
        confidences.append(score.confidence)
    assert confidences[0] > confidences[1] + 0.2
    assert all(0 <= p <= 1 for p in confidences)


async def test_before_the_first_checkpoint_nothing_is_known(with_prefixes: Path) -> None:
    """The reason says so."""
    artifact = load(with_prefixes, PAIR)
    scorer = TrainedPrefixScorer(artifact, PAIR, TrainedScorer(artifact, PAIR))
    prefix = Answer(text="4", model="small")
    score = await scorer.score_prefix(request_for(1, 2), (), prefix, rung=0, tokens=0)
    assert score.confidence is None
    assert score.why_unknown == "no checkpoint at or below 0 tokens"


async def test_log_probabilities_alone_score_a_beginning() -> None:
    """The geometric mean of the token probabilities, as of a whole answer."""
    scorer = LogprobPrefixScorer()
    logprobs = TokenLogprobs(tokens=["a", "b"], logprobs=[-0.1, -0.3])
    prefix = Answer(text="ab", model="m", logprobs=logprobs)
    score = await scorer.score_prefix(request_for(1, 2), (), prefix, rung=0, tokens=2)
    assert score.confidence == pytest.approx(np.exp(-0.2))
    bare = Answer(text="ab", model="m")
    unknown = await scorer.score_prefix(request_for(1, 2), (), bare, rung=0, tokens=2)
    assert unknown.confidence is None


def test_the_manifest_says_what_beginnings_are_worth(with_prefixes: Path) -> None:
    """One entry a model and checkpoint, measured on rows that the learners had not seen."""
    manifest = json.loads((with_prefixes / "manifest.json").read_text())
    heads = manifest["prefixes"]
    assert [(head["model"], head["tokens"]) for head in heads] == [
        ("small", 1),
        ("small", 2),
        ("large", 1),
        ("large", 2),
    ]
    assert all(head["rows"] == 210 for head in heads)
    assert heads[1]["brier"] < heads[1]["brier_before"]
    assert "prefix/model.json" in manifest["files"]


def test_a_scorer_without_checkpoints_is_refused_for_beginnings(pair_scorer: Path) -> None:
    """The message says how to train one."""
    artifact = load(pair_scorer, PAIR)
    assert artifact.prefixes is None
    with pytest.raises(ScorerError, match="--prefixes"):
        TrainedPrefixScorer(artifact, PAIR, TrainedScorer(artifact, PAIR))


@pytest.mark.parametrize("name", ["prefix/model.json", "prefix/arrays.npz", "prefix/tree_0.txt"])
def test_a_damaged_part_is_refused(with_prefixes: Path, tmp_path: Path, name: str) -> None:
    """By its digest, as every other part is."""
    copy = Path(shutil.copytree(with_prefixes, tmp_path / "scorer"))
    with (copy / name).open("ab") as file:
        file.write(b" ")
    refused(copy, "damaged")
    (copy / name).unlink()
    refused(copy)


def test_prefixes_of_another_scorer_are_refused(
    with_prefixes: Path, ladder_scorer: Path, tmp_path: Path
) -> None:
    """Their models are not those of the scorer they lie with."""
    copy = Path(shutil.copytree(ladder_scorer, tmp_path / "scorer"))
    shutil.copytree(with_prefixes / "prefix", copy / "prefix")
    digests = json.loads((with_prefixes / "manifest.json").read_text())["files"]
    files = json.loads((copy / "manifest.json").read_text())["files"]
    inner = {name: digest for name, digest in digests.items() if name.startswith("prefix/")}
    state(copy, files | inner)
    refused(copy, "different models")


@pytest.mark.parametrize("name", ["prefix/../model.json", "prefix/oof.npz", "prefix/prefix/x"])
def test_no_other_file_is_opened(with_prefixes: Path, tmp_path: Path, name: str) -> None:
    """Names come from a list."""
    copy = Path(shutil.copytree(with_prefixes, tmp_path / "scorer"))
    files = json.loads((copy / "manifest.json").read_text())["files"]
    state(copy, {**files, name: "0" * 64})
    refused(copy, "not a file of a scorer")


def test_text_is_cut_by_the_share_of_its_tokens() -> None:
    """Logs keep no token strings; all of a text is its own beginning."""
    assert cut_text("abcdefgh", 1, 4) == "ab"
    assert cut_text("abcdefgh", 4, 4) == "abcdefgh"
    row = traffic.as_read(traffic.rows(1, PAIR)[0])
    kept = collect([row]).kept[0]["small"]
    assert tokens_of(kept) == 3
