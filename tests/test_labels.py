"""Labels beside a decision log, joined by id."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade import Cascade
from cascade.cli import main
from cascade.errors import LogError
from cascade.labels import Label, labels_of, read_csv, write_labels
from cascade.sinks import JsonlSink
from cascade.testing import FakeClock, reply
from cascade.traffic_log import TrafficLog

from .ladders import engine


async def logged(folder: Path) -> str:
    """One ask over two rungs, logged with text; return its id."""
    ladder: Cascade
    sink = JsonlSink(folder)
    ladder, _, _ = engine(
        reply("A", confidence=0.1), reply("B", confidence=0.9), sink=sink, log_text=True
    )
    async with ladder:
        return (await ladder.ask("Which?")).id


@pytest.mark.anyio
async def test_labels_reach_the_answers_they_are_about(tmp_path: Path) -> None:
    """Without a model the label is about the answer returned; a later label replaces an earlier."""
    id = await logged(tmp_path)
    write_labels(tmp_path, [Label(id=id, score=0.0)], FakeClock(1))
    write_labels(
        tmp_path, [Label(id=id, score=1.0), Label(id=id, score=0.25, model="small")], FakeClock(2)
    )
    (row,) = TrafficLog(paths=[tmp_path])
    assert [(r.model, r.score) for r in row.responses] == [("small", 0.25), ("large", 1.0)]


def test_labels_of_the_same_moment_do_not_replace_each_other(tmp_path: Path) -> None:
    """Two files, and of the same answer the later label counts."""
    for label in (Label(id="a", score=0.0), Label(id="b", score=1.0), Label(id="a", score=1.0)):
        write_labels(tmp_path, [label], FakeClock(1))
    assert labels_of(tmp_path) == {("a", None): 1.0, ("b", None): 1.0}


@pytest.mark.anyio
async def test_the_command_joins_a_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says how many labels found their ask."""
    id = await logged(tmp_path / "logs")
    labels = tmp_path / "labels.csv"
    labels.write_text(f"\ufeffid,score\n{id[:8]},1\nelsewhere,0\n", "utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["log", "label", str(labels), "--path", str(tmp_path / "logs")])
    assert not ended.value.code
    out, err = capsys.readouterr()
    assert out == "1 labels joined\n"
    assert "'elsewhere'" in err
    assert labels_of(tmp_path / "logs")[(id, None)] == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,grade\na,1\n", r"labels.csv:1: no column score"),
        ("id,score\na,1.5\n", r"labels.csv:2: score '1.5' given; allowed: a number in"),
        ("id,score\na,1\nb,nan\n", r"labels.csv:3: score 'nan'"),
        ("id,score\na,yes\n", r"labels.csv:2: score 'yes'"),
    ],
)
def test_a_bad_csv_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    """Nothing is guessed."""
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(LogError, match=said):
        list(read_csv(path))
