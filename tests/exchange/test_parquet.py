"""Logs exported as Parquet and read back: the same rows, the same records, the same decisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade.cli.logged import logged_actions
from cascade.errors import LogError
from cascade.exchange.parquet import write_rows
from cascade.labels import Label, write_labels
from cascade.log_reader import LogReader
from cascade.records import Response, TrafficRow
from cascade.replay.table import make_table
from cascade.sinks import JsonlSink
from cascade.testing import FakeClock, reply
from cascade.traffic_log import TrafficLog
from tests import traffic
from tests.ladders import engine

from .conftest import Run

pytest.importorskip("pyarrow", reason="the parquet extra is not installed")


async def asks(folder: Path, *, text: bool = True) -> list[str]:
    """Two asks of a decision log, the second of one rung; return their ids."""
    answers = [reply("A", confidence=0.1), reply("A", confidence=0.9)]
    ladder, _, _ = engine(
        answers, [reply("B", confidence=0.9)], sink=JsonlSink(folder), log_text=text
    )
    async with ladder:
        chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which?"}]
        first = await ladder.ask(chat, metadata={"team": {"name": "x"}})
        second = await ladder.ask("And now?", tenant="t")
    return [first.id, second.id]


def without_nothing(value: object) -> object:
    """Return a record without its nulls and empty lists: Parquet has no absent fields."""
    if isinstance(value, dict):
        return {k: without_nothing(v) for k, v in value.items() if v is not None}
    return [without_nothing(item) for item in value] if isinstance(value, list) else value


@pytest.mark.anyio
@pytest.mark.parametrize("text", [True, False])
async def test_decision_records_survive(tmp_path: Path, run: Run, text: bool) -> None:
    """Every field, and the labels beside the log become scores of the attempts."""
    ids = await asks(tmp_path / "logs", text=text)
    labels = [Label(id=ids[0], score=1.0), Label(id=ids[0], score=0.25, model="small")]
    write_labels(tmp_path / "logs", labels, FakeClock(1))
    output = tmp_path / "asks.parquet"
    code, out, err = run("log", "export", "--parquet", output, "--path", tmp_path / "logs")
    assert (code, out, err) == (0, f"2 decision records written to {output}\n", "")
    before = list(LogReader(path=tmp_path / "logs"))
    after = list(LogReader(path=output))
    scores = [[a.pop("score") for a in record["attempts"]] for record in after]
    assert scores == [[0.25, 1.0], [None]]
    assert without_nothing(after) == without_nothing(before)
    there, back = (list(TrafficLog(paths=[p])) for p in (tmp_path / "logs", output))
    assert back == there


@pytest.mark.anyio
async def test_replay_finds_the_same_probabilities(tmp_path: Path, run: Run) -> None:
    """What off-policy estimates need is still there."""
    ids = await asks(tmp_path / "logs")
    (segment,) = (tmp_path / "logs").glob("*.jsonl")
    certain, chance = b'"opening":{"call:0":1.0}', b'"opening":{"call:0":0.75,"call:1":0.25}'
    segment.write_bytes(segment.read_bytes().replace(certain, chance))
    output = tmp_path / "asks.parquet"
    run("log", "export", "--parquet", output, "--path", tmp_path / "logs")
    ones = [[1.0, 1.0]] * 2
    table = make_table(models=("small", "large"), ids=ids, score=ones, cost=ones)
    found = logged_actions([output], table)
    assert found == logged_actions([tmp_path / "logs"], table)
    assert found is not None
    assert found[0].probabilities == (0.75, 1.0, 1.0)


def test_traffic_rows_survive(tmp_path: Path, run: Run) -> None:
    """Chats, references of any kind, log-probabilities; labels are put in."""
    made = traffic.rows(3, split="train")
    made[0].messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    made[1].messages = [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]
    made[1].reference = {"value": 3}
    made[2].reference = "[1]"
    made[2].responses = [Response(model="small")]
    path = traffic.write(tmp_path / "log.jsonl", made)
    write_labels(tmp_path, [Label(id="q2", score=0.5, model="small", log="log.jsonl")])
    output = tmp_path / "out" / "log.parquet"
    output.parent.mkdir()
    code, out, _ = run("log", "export", "--parquet", output, "--path", path)
    assert (code, out) == (0, f"3 rows written to {output}\n")
    before, after = list(TrafficLog(paths=[path])), list(TrafficLog(paths=[output]))
    assert after == before
    assert after[2].responses[0].score == 0.5


@pytest.mark.parametrize(
    ("parquet", "said"),
    [
        ("x.csv", "give a name that ends with .parquet"),
        ("logs/x.parquet", "would become part of the log"),
        ("absent/x.parquet", "cannot be written (No such file or directory)"),
    ],
)
def test_wrong_usage_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, parquet: str, said: str
) -> None:
    """Exit code 2, and no file."""
    monkeypatch.chdir(tmp_path)
    Path("logs").mkdir()
    traffic.write(Path("logs/a.jsonl"), traffic.rows(1))
    code, _, err = run("log", "export", "--parquet", parquet, "--path", "logs")
    assert code == 2
    assert said in err.replace("\n", " ")
    assert list(tmp_path.rglob("*.part")) == []
    assert not Path(parquet).exists()


@pytest.mark.anyio
async def test_a_folder_of_both_kinds_and_an_empty_log_are_refused(
    tmp_path: Path, run: Run
) -> None:
    """One kind at a time; nothing is written for nothing."""
    await asks(tmp_path / "logs")
    traffic.write(tmp_path / "logs" / "a.jsonl", traffic.rows(1))
    code, _, err = run(
        "log", "export", "--parquet", tmp_path / "x.parquet", "-p", tmp_path / "logs"
    )
    assert code == 2
    assert "holds decision logs and traffic logs" in err.replace("\n", " ")
    (tmp_path / "empty.jsonl").touch()
    code, _, err = run(
        "log", "export", "--parquet", tmp_path / "x.parquet", "-p", tmp_path / "empty.jsonl"
    )
    assert (code, err) == (1, "nothing to export, no file written\n")
    assert not (tmp_path / "x.parquet").exists()


def test_a_field_of_another_kind_is_told(tmp_path: Path) -> None:
    """By the rows it may be in, without what it holds."""
    row = TrafficRow(prompt="x", responses=[Response(model="SECRET")])
    row.responses[0].prompt_tokens = "many"  # type: ignore[assignment]
    with pytest.raises(
        LogError, match=r"x.parquet: one of the rows 1 to 1,000 has a field"
    ) as said:
        write_rows(tmp_path / "x.parquet", [row])
    assert "many" not in str(said.value)
    assert list(tmp_path.iterdir()) == []
