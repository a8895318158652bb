"""Which stages may be used on a request: the lossless ones, and those that were proved there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from cascade.compress.clusters import TaskClusters
from cascade.compress.draft import Draft
from cascade.compress.evidence import Evidence, StageVerdict, read_evidence
from cascade.errors import ConfigError
from cascade.types import Message, Request

KINDS = TaskClusters(names=("a", "b"), idf={1: 1.0, 2: 1.0}, centroids=({1: 1.0}, {2: 1.0}))
ASKED = Request(messages=(Message(role="user", content="?"),))  # nothing known: the first kind


@dataclass(frozen=True)
class Stage:
    """A stage that does nothing."""

    name: str
    lossy: bool = True
    version: str = "1"

    def apply(self, draft: Draft) -> str:
        """Do nothing."""
        return ""


MINIFY, EXTRACT, TRIM = Stage("minify", lossy=False), Stage("extract"), Stage("trim")
STAGES = (MINIFY, EXTRACT, TRIM)


def allowed(*verdicts: StageVerdict, model: str = "m") -> list[str]:
    return [s.name for s in Evidence(verdicts, KINDS).allowed(STAGES, ASKED, model=model)]


def test_without_evidence_a_lossy_stage_is_off() -> None:
    """A lossless one needs none."""
    assert allowed() == ["minify"]
    assert allowed(StageVerdict(stage="extract", allowed=False)) == ["minify"]


@pytest.mark.parametrize(
    ("verdict", "used"),
    [
        (StageVerdict(stage="extract", allowed=True), True),
        (StageVerdict(stage="extract", allowed=True, cluster="a", model="m"), True),
        (StageVerdict(stage="extract", allowed=True, cluster="b", model="m"), False),
        (StageVerdict(stage="extract", allowed=True, cluster="a", model="other"), False),
        (StageVerdict(stage="extract", allowed=True, stage_version="1"), True),
        (StageVerdict(stage="extract", allowed=True, stage_version="2"), False),
        (StageVerdict(stage="extract", allowed=True, together=("trim",)), False),
    ],
    ids=[
        "everywhere",
        "here",
        "another kind",
        "another model",
        "as set",
        "set otherwise",
        "not alone",
    ],
)
def test_a_verdict_holds_for_what_was_tested(verdict: StageVerdict, used: bool) -> None:
    """One kind of task, one model, the stage as it was set, with the stages it was tested with."""
    assert ("extract" in allowed(verdict)) is used


def test_stages_that_were_tested_together_are_used_together() -> None:
    """All of them or none."""
    both = [
        StageVerdict(stage="extract", allowed=True, together=("trim",)),
        StageVerdict(stage="trim", allowed=True, together=("extract",)),
    ]
    assert allowed(*both) == ["minify", "extract", "trim"]


def test_the_verdict_on_a_kind_wins_over_that_on_all() -> None:
    """Also when it forbids."""
    everywhere = StageVerdict(stage="extract", allowed=True)
    assert allowed(everywhere, StageVerdict(stage="extract", allowed=False, cluster="a")) == [
        "minify"
    ]


def test_a_file_by_hand_is_read(tmp_path: Path) -> None:
    """The shortest there is."""
    file = tmp_path / "evidence.yaml"
    file.write_text("compress: {extract: {allowed: true}}\n")
    evidence = read_evidence(file)
    assert [s.name for s in evidence.allowed(STAGES, ASKED)] == ["minify", "extract"]
    assert evidence.has("extract")
    assert not evidence.has("trim")
    assert repr(evidence) == "<Evidence for extract>"


def test_the_kinds_are_in_the_file_beside_it(tmp_path: Path) -> None:
    """And must be those it speaks of."""
    (tmp_path / "kinds.json").write_bytes(KINDS.to_json())
    file = tmp_path / "evidence.yaml"
    text = "clusters: kinds.json\ncompress: {extract: [{cluster: b, allowed: true}]}\n"
    file.write_text(text)
    assert [s.name for s in read_evidence(file).allowed(STAGES, ASKED)] == ["minify"]
    file.write_text(f"clusters_version: other\n{text}")
    with pytest.raises(ConfigError, match="not the kinds of task that"):
        read_evidence(file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[", "not YAML"),
        ("a: 1", "no `compress` with stages"),
        ("compress: [1]", "no `compress` with stages"),
        ("compress: {extract: [1]}", "compress.extract[0]: allowed: a mapping with `cluster`"),
        ("compress: {extract: [{allowed: yes please}]}", "compress.extract[0]: allowed"),
        (
            "compress: {extract: [{allowed: true, cluster: 1}]}",
            "compress.extract[0].cluster: 1 given",
        ),
        ("compress: {extract: [{allowed: true, together: a}]}", "compress.extract[0].together"),
        ("clusters: 1\ncompress: {}", "clusters: allowed"),
        ("clusters: none.json\ncompress: {}", "none.json: No such file"),
    ],
    ids=lambda value: value[:30],
)
def test_anything_else_is_refused_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    """File and key."""
    file = tmp_path / "evidence.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_evidence(file)
    assert told in str(caught.value)
