"""`cascade log import`: files in, a traffic log out, whole or not at all; and the examples of the docs."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from cascade.errors import ConfigError, LogError
from cascade.exchange.skips import Skips
from cascade.exchange.traffic_file import named, write_traffic
from cascade.records import Response, TrafficRow
from cascade.traffic_log import TrafficLog

from .conftest import Run
from .test_openai_log import pair, write

PAGE = (Path(__file__).parent.parent.parent / "docs" / "import.md").read_text()


@pytest.mark.parametrize(("language", "name"), [("jsonl", "requests.jsonl"), ("csv", "table.csv")])
def test_the_examples_of_the_page_do_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, language: str, name: str
) -> None:
    """The very files and commands, and what they print; the result is read back."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    Path(name).write_text(blocks[0])
    said = re.search(rf"^\$ cascade (log import {name}.*?)\n(.*?)^```", PAGE, re.M | re.S)
    assert said is not None
    code, out, err = run(*said[1].split())
    assert (code, err + out) == (0, said[2])
    log = TrafficLog(paths=[Path("traffic.jsonl.gz")])
    assert sum(len(row.responses) for row in log) == int(sum_of_answers(said[2]))
    assert log.skipped == {}


def sum_of_answers(told: str) -> int:
    """Add up the answers of all models."""
    return sum(int(n) for n in re.findall(r": (\d+) answers", told))


def test_nothing_usable_leaves_no_file(tmp_path: Path, run: Run) -> None:
    """Exit code 1 with the reasons; an older file of that name stays."""
    path = write(tmp_path / "log.jsonl", pair(score=2))
    output = tmp_path / "out.jsonl"
    output.write_text("old")
    code, out, err = run("log", "import", path, "--from", "openai", "-o", output)
    assert (code, out) == (1, "")
    assert "skipped 1: score out of range; the first: " in err
    assert "nothing to import, no file written; allowed: one JSON object a line" in err
    assert output.read_text() == "old"


def test_a_failure_in_the_middle_leaves_no_file(tmp_path: Path, run: Run) -> None:
    """Exit code 2 with file and line, and nothing half-written."""
    path = write(tmp_path / "log.jsonl", pair(), "{broken", pair())
    for merge in ("--merge", "--no-merge"):
        output = tmp_path / "out.jsonl.gz"
        code, _, err = run("log", "import", path, "--from", "openai", "-o", output, merge)
        assert code == 2
        assert "log.jsonl:2: not an OpenAI log" in err.replace("\n", "")
    assert [file.name for file in tmp_path.iterdir()] == ["log.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "out.txt"], "allowed: a name that ends with .jsonl or .jsonl.gz"),
        (["-o", "absent/out.jsonl"], "no folder absent"),
        (["-o", "log.jsonl"], "is one of the files that are read"),
        (["-o", "out.jsonl", "--models", "a"], "--models goes with --from routerbench"),
        (["-o", "out.jsonl", "--test-share", "1.5"], "test share 1.5 given; allowed: a number in"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Run,
    arguments: list[str],
    said: str,
) -> None:
    """Exit code 2."""
    monkeypatch.chdir(tmp_path)
    write(Path("log.jsonl"), pair())
    code, _, err = run("log", "import", "log.jsonl", "--from", "openai", *arguments)
    assert code == 2
    assert said in err.replace("\n", " ")


def test_json_tells_what_happened(tmp_path: Path, run: Run) -> None:
    """One object, also when nothing was written."""
    path = write(tmp_path / "log.jsonl", pair(score=1), pair("b", "large", score=7))
    output = tmp_path / "out.jsonl"
    code, out, _ = run("log", "import", path, "--from", "openai", "-o", output, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["rows"], found["answers"], found["scored"]) == (1, {"small": 1}, {"small": 1})
    assert found["skipped"] == {"score out of range": 1}


def rows(n: int) -> list[tuple[str, TrafficRow]]:
    """Rows with a prompt each."""
    return [
        (f"f:{i}", TrafficRow(prompt=f"q{i}", responses=[Response(model="m")])) for i in range(n)
    ]


def test_the_same_rows_make_the_same_bytes(tmp_path: Path) -> None:
    """Neither the time nor the name of the file is in a gzipped log."""
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_traffic(tmp_path / name, named(rows(9)), Skips())
    first = (tmp_path / "a.jsonl.gz").read_bytes()
    assert first == (tmp_path / "b.jsonl.gz").read_bytes()
    assert gzip.decompress(first).count(b"\n") == 9


def test_equal_prompts_fall_on_one_side(tmp_path: Path) -> None:
    """The share is about what was asked for, and a split that is given stays."""
    twice = rows(400) + rows(400)
    twice[0][1].split = "dev"
    written = write_traffic(tmp_path / "a.jsonl", named(twice), Skips(), test_share=0.25)
    sides: dict[str, set[str]] = {}
    for row in TrafficLog(paths=[tmp_path / "a.jsonl"]):
        sides.setdefault(row.prompt, set()).add(row.split)
    assert sides["q0"] in ({"dev", "test"}, {"dev", "train"})
    assert all(len(sides[f"q{i}"]) == 1 for i in range(1, 400))
    assert 140 < written.splits["test"] < 260
    with pytest.raises(ConfigError, match="test share nan given"):
        write_traffic(tmp_path / "a.jsonl", rows(1), Skips(), test_share=float("nan"))


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """With what the system says."""
    with pytest.raises(LogError, match=r"absent/a.jsonl: cannot be written \(No such file"):
        write_traffic(tmp_path / "absent" / "a.jsonl", rows(1), Skips())


@pytest.mark.parametrize("command", ["import", "export", "label"])
def test_every_command_has_help_with_an_example(run: Run, command: str) -> None:
    """`--help` ends well and shows how to call it."""
    code, out, _ = run("log", command, "--help")
    assert code == 0
    assert f"Example: cascade log {command}" in " ".join(out.split())
