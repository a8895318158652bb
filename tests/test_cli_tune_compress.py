"""`cascade tune --compress`: from the log of a probe to the file that the engine reads."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from typer.testing import CliRunner, Result

from cascade.cli.app import app
from cascade.compress.clusters import TaskClusters
from cascade.compress.evidence import read_evidence
from cascade.errors import CascadeError, ConfigError, LogError
from cascade.exchange.probe_about import ProbeAbout, StageAbout, about_path
from cascade.labels import Label, write_labels
from cascade.records import Response, TrafficRow
from tests import traffic
from tests.compress.test_evidence import ASKED, Stage

KINDS = TaskClusters(names=("a", "b"), idf={1: 1.0}, centroids=({1: 1.0}, {2: 1.0}))
VARIANTS = {
    "fine": [StageAbout(name="fine", version="1")],
    "bad": [StageAbout(name="bad", version="1")],
}


def probe(
    folder: Path,
    count: int = 400,
    *,
    name: str = "probe.jsonl",
    lost: Mapping[str, float] | None = None,
    scored: bool = True,
    kinds: TaskClusters = KINDS,
    variants: Mapping[str, list[StageAbout]] = VARIANTS,
    start: int = 0,
) -> Path:
    """Write what `cascade probe` would: `bad` loses a fifth of the right answers, `fine` none."""
    lost = {"fine": 0.0, "bad": 0.2} if lost is None else lost
    rng = random.Random(start)
    rows = []
    for n in range(start, start + count):
        right = rng.random() < 0.85
        answers = {"m": right} | {
            f"m#{variant}": right and rng.random() >= lost[variant] for variant in variants
        }
        rows.append(
            TrafficRow(
                id=f"q{n}",
                task="ab"[n % 2],
                prompt=f"prompt {n}",
                responses=[
                    Response(
                        model=model,
                        text="yes",
                        score=float(good) if scored else None,
                        prompt_tokens=100 if model == "m" else 60 if model == "m#fine" else 30,
                    )
                    for model, good in answers.items()
                ],
            )
        )
    file = traffic.write(folder / name, rows)
    about = ProbeAbout(
        variants={"m": dict(variants)},
        clusters=kinds.to_json().decode(),
        seed=0,
        logs=["log.jsonl"],
        scored="scored by a test",
    )
    about_path(file).write_bytes(msgspec.json.encode(about))
    return file


def tune(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["tune", "--compress", *map(str, arguments)])


def refused(*arguments: object) -> str:
    done = tune(*arguments)
    assert isinstance(done.exception, CascadeError), done.output
    return str(done.exception)


def test_the_harmful_stage_is_refused_and_the_harmless_one_allowed(tmp_path: Path) -> None:
    """In every kind of task; the engine reads it so."""
    out = tmp_path / "compress.yaml"
    done = tune(probe(tmp_path), "-o", out)
    assert done.exit_code == 0, done.output
    evidence = read_evidence(out)
    used = [s.name for s in evidence.allowed((Stage("fine"), Stage("bad")), ASKED, model="m")]
    assert used == ["fine"]
    text = " ".join(done.output.split())
    assert (
        "with 95% confidence, of the prompts that it changes, compression keeps at least 95%"
        in text
    )
    assert "everywhere at once (4 tests on 400 prompts, Holm's correction)" in text
    assert "bad for m, kind of task a: not shown harmless on 200 pairs" in text
    assert "scored by a test" in text
    written = yaml.safe_load(out.read_text())
    assert [(e["cluster"], e["allowed"]) for e in written["compress"]["fine"]] == [
        ("a", True),
        ("b", True),
    ]
    assert [e["allowed"] for e in written["compress"]["bad"]] == [False, False]
    assert written["compress"]["fine"][0]["tokens_saved"] == pytest.approx(0.4)
    assert out.read_text().startswith("# with 95% confidence")


def test_with_too_few_rows_nothing_is_allowed_and_it_says_how_many_more_would_do(
    tmp_path: Path,
) -> None:
    """And exits with 0: that is an answer."""
    out = tmp_path / "compress.yaml"
    done = tune(probe(tmp_path, 40), "-o", out, "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["told"][0].startswith("nothing is allowed: no variant was shown to keep 95%")
    fine = [v for v in found["verdicts"] if v["variant"] == "fine"]
    assert all(v["more_rows"] > 0 for v in fine)
    assert any("more would do" in line for line in found["told"])
    assert not read_evidence(out).has("fine")


def test_probes_add_up_and_a_prompt_in_two_of_them_counts_once(tmp_path: Path) -> None:
    """More rows may be bought later, in a log of their own."""
    files = [
        probe(tmp_path, 120, name="one.jsonl"),
        probe(tmp_path, 120, name="two.jsonl", start=120),
    ]
    out = tmp_path / "compress.yaml"
    found = json.loads(tune(*files, files[0], "-o", out, "--json").stdout)
    assert found["prompts"] == 240
    assert {v["pairs"] for v in found["verdicts"]} == {120}


def test_labels_beside_the_log_are_the_scores(tmp_path: Path) -> None:
    """What a judge said."""
    file = probe(tmp_path, 400, scored=False)
    out = tmp_path / "compress.yaml"
    assert refused(file, "-o", out) == (
        "none of the 800 pairs of answers has scores; `cascade log label` joins them"
    )
    labels = [
        Label(id=f"q{n}", score=1.0, model=model, log=file.name)
        for n in range(300)
        for model in ("m", "m#fine")
    ]
    write_labels(tmp_path, labels)
    found = json.loads(tune(file, "-o", out, "--json").stdout)
    assert [v["variant"] for v in found["verdicts"]] == ["fine", "fine"]
    assert all(v["allowed"] for v in found["verdicts"])
    assert found["unscored"] == 500


def test_over_many_probes_the_promise_is_broken_no_more_often_than_stated(tmp_path: Path) -> None:
    """A stage that keeps exactly the share that is promised, in two kinds of task, sixty times over."""
    wrong = 0
    for seed in range(60):
        variants = {"edge": [StageAbout(name="edge", version="1")]}
        file = probe(tmp_path, 300, lost={"edge": 0.05}, variants=variants, start=1_000 * seed + 1)
        done = tune(file, "-o", tmp_path / "o.yaml", "--confidence", "0.8", "--json")
        wrong += any(v["harmless"] for v in json.loads(done.stdout)["verdicts"])
    assert wrong / 60 <= 0.2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--budget", "1"), "--budget: cannot be used with --compress"),
        (("--quality", "1.5"), "--quality 1.5 is not between 0 and 1"),
        (("--confidence", "1"), "--confidence 1 is not between 0 and 1"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_bad_options_are_refused(tmp_path: Path, options: tuple[str, ...], told: str) -> None:
    """By name."""
    assert told in refused(probe(tmp_path, 4), "-o", tmp_path / "o.yaml", *options)


def test_what_is_no_probe_is_refused(tmp_path: Path) -> None:
    """A log alone does not say what was compressed how."""
    log = traffic.write(tmp_path / "log.jsonl", traffic.rows(3))
    done = tune(log, "-o", tmp_path / "o.yaml")
    assert isinstance(done.exception, LogError)
    assert "no log of `cascade probe`: log.probe.json is not beside it" in str(done.exception)
    about_path(log).write_text("{}")
    assert "not what `cascade probe` writes" in refused(log, "-o", tmp_path / "o.yaml")


def test_probes_of_other_stages_or_kinds_do_not_go_together(tmp_path: Path) -> None:
    """Their verdicts would speak of different things."""
    one = probe(tmp_path, 8)
    other = probe(
        tmp_path,
        8,
        name="other.jsonl",
        variants={"fine": [StageAbout(name="fine", version="2")]},
    )
    done = tune(one, other, "-o", tmp_path / "o.yaml")
    assert isinstance(done.exception, ConfigError)
    assert "fine for m has other stages than in" in str(done.exception)
    third = probe(tmp_path, 8, name="third.jsonl", kinds=TaskClusters(names=("all",)))
    assert "other kinds of task than" in refused(one, third, "-o", tmp_path / "o.yaml")
