"""Logs as traffic rows: every kind of file, and every way in which one can be wrong."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from cascade.errors import LogError
from cascade.fingerprint import request_digest
from cascade.intake import make_request
from cascade.records import Response, TrafficRow, row_from_record, row_problems
from cascade.traffic_log import TrafficLog

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"


def row(i: int, **response: Any) -> dict[str, Any]:
    answer = {"model": "m", "text": "x", "score": 1.0} | response
    return {"id": f"r{i}", "prompt": f"question {i}", "responses": [answer]}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def read(*paths: Path) -> list[str]:
    return [r.id for r in TrafficLog(paths=paths)]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path, packed: bool) -> None:
    """Windows puts one before text; the file is read as if it were not there."""
    text = "\ufeff" + "".join(json.dumps(row(i)) + "\r\n" for i in (1, 2))
    log = tmp_path / "log.jsonl"
    log.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert read(log) == ["r1", "r2"]


def test_several_files_and_folders_are_read_in_order(tmp_path: Path) -> None:
    """Plain and gzipped alike; the name does not matter, the content does."""
    first = write(tmp_path / "a.jsonl", [row(1), row(2)])
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(write(tmp_path / "b", [row(3)]).read_bytes()))
    assert read(first, folder) == ["r1", "r2", "r3"]


def test_a_decision_log_becomes_traffic_rows() -> None:
    """The rungs that were called; failed and skipped ones are left out."""
    record = {
        "id": "d1",
        "messages": [{"role": "user", "content": "hi"}],
        "attempts": [
            {"model": "a", "verdict": "escalated", "text": "x", "cost_usd": 0.1, "confidence": 0.3},
            {"model": "b", "verdict": "failed"},
            {"model": "c", "verdict": "accepted", "text": "y", "score": 1.0},
        ],
    }
    found = row_from_record(record)
    assert (found.prompt, found.messages) == ("hi", None)
    assert [(r.model, r.text, r.score) for r in found.responses] == [
        ("a", "x", None),
        ("c", "y", 1.0),
    ]


PARTS = [
    {"type": "text", "text": "What is on it?"},
    {"type": "image_url", "image_url": {"url": "data:,"}},
    {"type": "text", "text": "One word."},
]
CHATS: dict[str, list[dict[str, Any]]] = {
    "text": [{"role": "user", "content": "hi"}],
    "parts": [{"role": "user", "content": PARTS}],
    "parts after a turn": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": PARTS},
    ],
    "no text at all": [{"role": "user", "content": [PARTS[1]]}],
    "a tool's reply last": [
        {"role": "user", "content": PARTS[:1]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "7", "tool_call_id": "t"},
    ],
}


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
def test_a_logged_chat_has_the_prompt_that_it_had_live(
    tmp_path: Path, chat: list[dict[str, Any]]
) -> None:
    """From a decision log and from a traffic log; with its parts it is the same request again."""
    live = make_request(chat)
    found = row_from_record({"id": "d", "messages": chat, "attempts": []})
    assert found.prompt == live.prompt
    again = make_request(found.messages or found.prompt)
    assert request_digest(again) == request_digest(live)
    line = {"id": "r", "prompt": "", "messages": chat, "responses": []}
    (read_back,) = TrafficLog(paths=[write(tmp_path / "log.jsonl", [line])])
    assert read_back.prompt == live.prompt


def test_parts_that_are_none_are_passed_over() -> None:
    """A log may hold anything."""
    chat = [{"role": "user", "content": ["x", 3, {"text": 4}, {"text": "yes"}]}, {"role": "user"}]
    assert row_from_record({"messages": chat[:1]}).prompt == "yes"
    assert row_from_record({"messages": chat}).prompt == ""


def test_unknown_fields_are_counted_by_name(tmp_path: Path) -> None:
    """Once a row, those of answers too; the rows are read as if they were not there."""
    odd = row(2) | {"foo": {"deep": [1]}, "bar": None}
    odd["responses"] = [
        odd["responses"][0] | {"grade": 3},
        row(2, model="n", grade=4)["responses"][0],
    ]
    log = TrafficLog(paths=[write(tmp_path / "log.jsonl", [row(1), odd, row(3) | {"foo": 1}])])
    rows = list(log)
    assert log.ignored == {"foo": 2, "bar": 1, "responses[].grade": 1}
    assert [r.id for r in rows] == ["r1", "r2", "r3"]
    assert [r.model for r in rows[1].responses] == ["m", "n"]
    assert all(type(r) is TrafficRow for r in rows)
    assert len(list(log)) == 3
    assert log.ignored["foo"] == 2  # of the last reading


def test_nulls_and_numbers_where_text_is_optional(tmp_path: Path) -> None:
    """Tables have null where they know nothing, and number their rows."""
    nothing = dict.fromkeys(("task", "split", "reference", "messages"))
    chat = [{"role": "user", "content": "hello"}]
    rows = [
        row(1) | nothing | {"id": 17},
        row(2) | nothing | {"id": None, "grade": None},
        {"id": "r3", "messages": chat, "responses": row(3)["responses"]},
        {"id": "r4", "prompt": None, "messages": chat, "responses": row(4)["responses"]},
    ]
    log = TrafficLog(paths=[write(tmp_path / "log.jsonl", rows)])
    found = list(log)
    assert [(r.id, r.split, r.prompt) for r in found] == [
        ("17", "", "question 1"),
        ("", "", "question 2"),
        ("r3", "", "hello"),
        ("r4", "", "hello"),
    ]
    assert log.ignored == {"grade": 1}
    assert not log.skipped


def test_numbers_as_other_writers_hold_them(tmp_path: Path) -> None:
    """Verdicts as true and false, counts as floats with NaN in the gaps."""
    answers: list[dict[str, Any]] = [
        {"score": True, "prompt_tokens": 14.0},
        {"score": False, "prompt_tokens": math.nan},
        {"logprobs": [None, -0.5], "top_logprobs": [[-0.5, None]]},
    ]
    rows = [row(i, **answer) for i, answer in enumerate(answers)]
    log = TrafficLog(paths=[write(tmp_path / "log.jsonl", rows)])
    found = [r.responses[0] for r in log]
    assert [(r.score, r.prompt_tokens, r.logprobs) for r in found] == [
        (1.0, 14, None),
        (0.0, None, None),
        (1.0, None, None),
    ]
    assert log.ignored == {"responses[].logprobs (with null in them)": 1}
    assert not log.skipped
    with pytest.raises(LogError, match="prompt_tokens"):
        read(write(tmp_path / "half.jsonl", [row(1, prompt_tokens=14.5)]))


def test_unknown_fields_beside_what_is_wrong(tmp_path: Path) -> None:
    """NaN is still named, a missing field still ends the reading."""
    log = TrafficLog(paths=[write(tmp_path / "a.jsonl", [row(1, score=math.nan) | {"foo": 1}])])
    assert list(log) == []
    assert log.skipped == {"score out of range": 1}
    assert log.ignored == {"foo": 1}
    for bad in ({"foo": 1, "prompt": "x"}, {"foo": 1, "prompt": "x", "responses": 3}):
        with pytest.raises(LogError, match=r"b.jsonl:1: not a row of a traffic log"):
            read(write(tmp_path / "b.jsonl", [bad]))


def test_a_log_with_a_new_field_in_every_row_needs_no_memory_for_them(tmp_path: Path) -> None:
    """The first hundred by name, the rest together."""
    rows = [row(i) | {f"field {i}": 1} for i in range(150)]
    log = TrafficLog(paths=[write(tmp_path / "log.jsonl", rows)])
    assert len(list(log)) == 150
    assert len(log.ignored) == 101
    assert log.ignored["…"] == 50


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (row(2, score=1.5), "score out of range"),
        (row(2, score=float("nan")), "score out of range"),
        (row(2, cost_usd=-1), "cost_usd out of range"),
        (row(2, logprobs=[-0.1, 0.7]), "log-probabilities above 0"),
        (row(2, logprobs=[float("nan")]), "log-probabilities above 0"),
        (row(1), "an id twice"),
        ({**row(2), "responses": [row(2)["responses"][0]] * 2}, "a model twice in one row"),
    ],
)
def test_rows_that_cannot_be_true_are_skipped_and_counted(
    tmp_path: Path, bad: Any, kind: str
) -> None:
    """With the file and line of the first."""
    log = TrafficLog(paths=[write(tmp_path / "log.jsonl", [row(1), bad, row(3)])])
    assert [r.id for r in log] == ["r1", "r3"]
    assert log.skipped == {kind: 1}
    assert "log.jsonl:2: " in log.first_skipped[kind]


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"prompt": 3, "responses": []}', '{"prompt": "x"}', "\xff", "null"]
)
def test_a_line_that_is_no_row_ends_the_reading(tmp_path: Path, line: str) -> None:
    """The file is not what it was taken for; file and line are named."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(json.dumps(row(1)).encode() + b"\n" + line.encode("latin-1") + b"\n")
    with pytest.raises(LogError, match=r"log.jsonl:2: not a row of a traffic log"):
        read(path)


def test_damaged_and_absent_files_are_named(tmp_path: Path) -> None:
    """Truncated gzip with its line, a folder without logs, nothing at all."""
    packed = gzip.compress(write(tmp_path / "a", [row(i) for i in range(2000)]).read_bytes())
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(LogError, match=r"cut.jsonl.gz:\d+: gzip data is cut short"):
        read(cut)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LogError, match="no log in it"):
        read(tmp_path / "empty")
    with pytest.raises(LogError, match="no such log"):
        read(tmp_path / "absent.jsonl")


def test_parquet_reads_like_json_lines(tmp_path: Path) -> None:
    """Or says what to install."""
    arrow = pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.Table.from_pylist([row(i) for i in range(5)])
    parquet.write_table(table, tmp_path / "log.parquet")
    assert read(tmp_path / "log.parquet") == [f"r{i}" for i in range(5)]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(LogError, match=r"bad.parquet: not a Parquet file"):
        read(tmp_path / "bad.parquet")


def test_the_shared_logs_are_read_whole() -> None:
    """Real logs: every row of every file is usable."""
    if not SHARED.exists():
        pytest.skip("the shared logs are not here")
    log = TrafficLog(paths=[SHARED / "cascade9_mmlu.jsonl.gz", SHARED / "local_headlines.jsonl.gz"])
    assert sum(1 for _ in log) == 1812 + 1500
    assert log.skipped == {}


@pytest.mark.parametrize("strange", [math.nan, 0.5, math.inf], ids=["nan", "above", "infinite"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_strange_log_probability_is_found_wherever_it_stands(strange: float, place: int) -> None:
    """NaN compares with nothing, so looking at the greatest alone would miss it."""
    logprobs = [-0.1, -0.2, -math.inf]
    row = TrafficRow(prompt="?", responses=[Response(model="m", logprobs=list(logprobs))])
    assert row_problems(row) == []
    logprobs[place] = strange
    row.responses[0].logprobs = logprobs
    assert len(row_problems(row)) == 1


def test_a_log_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    """Its rows would count double; the same id with another prompt is another row."""
    first = write(tmp_path / "a.jsonl", [row(1), row(2)])
    other = write(tmp_path / "b.jsonl", [row(1) | {"prompt": "another question"}])
    log = TrafficLog(paths=[first, first, other])
    assert [r.prompt for r in log] == ["question 1", "question 2", "another question"]
    assert log.skipped == {"a row that another file holds too": 2}
