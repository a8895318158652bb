"""`cascade report`: which rows it chooses on and measures on, what it tells, and the page it leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cascade.cli import main
from cascade.records import TrafficRow
from cascade.replay import policy_file

from . import traffic

MODELS = ("tiny", "small", "large")


def made(n: int, split: str, seed: int) -> list[TrafficRow]:
    """Rows of one split; their ids and prompts are those of no other seed."""
    rows = traffic.rows(n, MODELS, seed=seed, split=split, start=1_000 * seed)
    for row in rows:
        row.id = f"{split or 'row'}-{row.id}"
    return rows


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of two splits."""
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    return traffic.write(path, made(120, "train", 1) + made(80, "test", 2))


def run(arguments: Sequence[str | Path]) -> int:
    """Run the command; return its exit code."""
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def said(capsys: pytest.CaptureFixture[str], arguments: Sequence[str | Path]) -> Any:
    """Run the command, which must succeed, and return the JSON it printed."""
    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def data_of(path: Path) -> Any:
    """Return the JSON that a page holds."""
    block = re.search(r'id="data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL)
    assert block is not None
    return json.loads(block.group(1))


def test_a_page_is_written_and_its_headlines_are_printed(
    log: Path, ladder_scorer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON and as lines, with the figures of the page."""
    output = tmp_path / "new" / "report.html"
    told = said(capsys, ["report", log, "--scorer", ladder_scorer, "-o", output])
    data = data_of(output)
    found = data["figures"]
    assert told["report"] == str(output)
    assert told["n"] == found["n"] == 80
    assert told["unknown"] == 0
    assert told["strongest"] == found["strongest"] == "large"
    assert told["quality_of_strongest"] == found["strongest_quality"]["value"]
    assert told["lift"] == found["lines"][0]["lift"]["value"] > 0
    for level in found["levels"]:
        saved, share = level["saved"], str(level["share"])
        assert told["saving_at"][share] == saved["value"]
        assert told["saving_at_ci"][share] == [saved["low"], saved["high"]]
    assert found["tuned_on"] == 120
    assert data["about"]["measured_on"] == "split test"
    assert [one["model"] for one in found["reliability"]] == list(MODELS)
    keys = {line["key"] for line in found["lines"]}
    assert keys == {"ours", "routing", "chain", "agreement", "mix"}
    assert run(["report", log, "--scorer", ladder_scorer, "-o", output]) == 0
    lines = capsys.readouterr().out
    assert f"{told['saving_at']['0.95']:.1%}" in lines
    assert "80 requests measured, policies chosen on 120 others" in lines


def test_the_same_seed_and_rows_give_the_same_figures(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the time of writing differs."""
    pages = []
    for name in ("one.html", "two.html"):
        assert run(["report", log, "-o", tmp_path / name]) == 0
        data = data_of(tmp_path / name)
        data["about"]["made"] = ""
        pages.append(data)
    assert pages[0] == pages[1]


def test_texts_of_mistakes_are_in_the_page_unless_refused(
    log: Path, ladder_scorer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --no-text no prompt and no answer enters the file, and the page says so."""
    output = tmp_path / "report.html"
    common = ["report", log, "--scorer", ladder_scorer, "-o", output]
    assert run(common) == 0
    data = data_of(output)
    worst = data["figures"]["frontier"][0]["mistakes"]["worst"][0]
    assert data["texts"][str(worst["row"])]["prompt"].startswith("What is ")
    assert run([*common, "--no-text"]) == 0
    assert data_of(output)["texts"] is None
    assert "What is" not in output.read_text("utf-8")
    assert "sheet" not in output.read_text("utf-8")
    assert "prompts and answers are left out" in data_of(output)["about"]["notes"][-1]


def test_without_a_scorer_the_page_says_what_is_missing(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Single models and agreement are compared, no confidence is drawn."""
    output = tmp_path / "report.html"
    assert run(["report", log, "-o", output]) == 0
    assert "no scorer was given" in capsys.readouterr().err
    found = data_of(output)["figures"]
    assert found["reliability"] == []
    assert {line["key"] for line in found["lines"]} == {"ours", "agreement", "mix"}


def test_rows_that_were_chosen_on_are_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same row in both splits is left out; the same question under another id is told."""
    train, test = made(120, "train", 1), made(60, "test", 2)
    again = [msgspec.structs.replace(row, split="test") for row in train[:10]]
    asked = [msgspec.structs.replace(row, split="test", id=f"x-{row.id}") for row in train[10:15]]
    logs = [
        traffic.write(tmp_path / "monday.jsonl", train),
        traffic.write(tmp_path / "tuesday.jsonl", test + again + asked),
    ]
    output = tmp_path / "report.html"
    assert said(capsys, ["report", *logs, "-o", output])["n"] == 65
    assert data_of(output)["about"]["logs"] == ["monday.jsonl", "tuesday.jsonl"]
    notes = data_of(output)["about"]["notes"]
    assert "left out 10 of 75 report rows: they are among the tuning rows too" in notes
    assert "5 of 65 report rows ask what a tuning row asks, word for word" in notes


def test_a_log_without_a_test_split_is_divided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every row is on one side: chosen on, or measured on."""
    log = traffic.write(tmp_path / "log.jsonl", made(200, "", 3))
    output = tmp_path / "report.html"
    told = said(capsys, ["report", log, "-o", output])
    data = data_of(output)
    assert told["n"] + data["figures"]["tuned_on"] == 200
    assert 50 < told["n"] < 110
    assert data["about"]["measured_on"].startswith("40% of the log")
    assert data["about"]["chosen_on"] == "the other 60% of the log"


def test_rows_that_the_scorer_was_trained_on_are_told(
    ladder_scorer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They flatter the calibration; the page says how many there are."""
    log = traffic.write(tmp_path / "log.jsonl", traffic.rows(210, MODELS))
    output = tmp_path / "report.html"
    told = said(capsys, ["report", log, "--scorer", ladder_scorer, "-o", output])
    notes = " ".join(data_of(output)["about"]["notes"])
    assert f"the scorer was trained on {told['n']} of {told['n']} report rows" in notes


def test_rows_with_holes_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row that lacks a model's answer is not measured, and the page says how many there are."""
    rows = made(120, "train", 1) + made(80, "test", 2)
    for row in rows[-7:]:
        del row.responses[0]
    output = tmp_path / "report.html"
    log = traffic.write(tmp_path / "log.jsonl", rows)
    told = said(capsys, ["report", log, "-o", output])
    assert (told["n"], told["unknown"]) == (73, 7)
    assert any(note.startswith("7 report rows") for note in data_of(output)["about"]["notes"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--split", "test", "--tune-split", "test"], "--split and --tune-split are both 'test'"),
        (["--tune-split", "test"], "--split (absent) and --tune-split are both 'test'"),
        (["--split", "train"], "left out 120 of 120 report rows"),
        (["--split", "dev"], "none is of split 'dev'; it has test: 80 rows, train: 120 rows"),
        (["--models", "tiny,huge"], "not in the log: huge"),
        (["--models", "tiny,tiny"], "give each model once"),
        (["--scorer", "nowhere"], "no such scorer"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_wishes_are_refused(
    log: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    """Exit code 2, a message that says what to change, and no page."""
    output = tmp_path / "report.html"
    assert run(["report", log, *arguments, "-o", output]) == 2
    assert told in capsys.readouterr().err
    assert not output.exists()


def test_too_few_rows_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the number that there are and the number that is needed."""
    log = traffic.write(tmp_path / "log.jsonl", made(20, "train", 1) + made(20, "test", 2))
    assert run(["report", log, "-o", tmp_path / "report.html"]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "20 rows with every model's answer" in message
    assert "at least 40 are needed" in message


def test_an_interrupt_leaves_no_half_written_page(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was there before stays as it was, and no other file is left behind."""
    output = tmp_path / "report.html"
    output.write_text("old")

    def interrupt(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(policy_file.os, "fsync", interrupt)
    assert run(["report", log, "-o", output]) != 0
    assert output.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
