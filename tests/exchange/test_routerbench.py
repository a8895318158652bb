"""RouterBench tables as traffic rows: CSV, JSON lines and Parquet, and every way in which one can be wrong."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cascade.errors import LogError
from cascade.exchange.routerbench import Layout, read_routerbench
from cascade.exchange.skips import Skips
from cascade.records import TrafficRow


def table(n: int = 2, **more: Any) -> list[dict[str, Any]]:
    """Rows as RouterBench has them: texts are Python lists written as text."""
    return [
        {
            "sample_id": f"mmlu.val.{i}",
            "prompt": str([f'Which "letter"?\n\nA) {i}\\d\nB) b']),
            "eval_name": "mmlu",
            "meta/small": 0.25,
            "large": 1.0,
            "meta/small|model_response": str(["A"]),
            "large|model_response": str(["B, it's\nso", "and B again"]),
            "meta/small|total_cost": 1e-05,
            "large|total_cost": 0.002,
            "oracle_model_to_route_to": "large",
            **more,
        }
        for i in range(n)
    ]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a table as CSV, None as an empty cell."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_json(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a table as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(*paths: Path, models: list[str] | None = None) -> tuple[list[TrafficRow], Skips]:
    """Read tables."""
    skips = Skips()
    return [row for _, row in read_routerbench(paths, skips, models=models)], skips


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a table as Parquet."""
    arrow = pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("write", [write_csv, write_json, write_parquet])
def test_a_table_is_read_whatever_its_kind(tmp_path: Path, write: Any) -> None:
    """Scores, answers, costs and tasks; lists are unwrapped; the oracle's column is not used."""
    rows, skips = read(write(tmp_path / "table", table()))
    assert skips.counts == {}
    assert [row.id for row in rows] == ["mmlu.val.0", "mmlu.val.1"]
    first = rows[0]
    assert (first.prompt, first.task) == ('Which "letter"?\n\nA) 0\\d\nB) b', "mmlu")
    assert [(r.model, r.score, r.text, r.cost_usd) for r in first.responses] == [
        ("meta/small", 0.25, "A", 1e-05),
        ("large", 1.0, "B, it's\nso\n\nand B again", 0.002),
    ]


def test_a_gzipped_csv_is_read(tmp_path: Path) -> None:
    """With a byte-order mark, too."""
    plain = write_csv(tmp_path / "table.csv", table()).read_bytes()
    packed = tmp_path / "table.csv.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + plain))
    assert len(read(packed)[0]) == 2


def test_scores_alone_are_enough(tmp_path: Path) -> None:
    """Columns of numbers are models; the others are passed over and told, as is pandas's index."""
    path = tmp_path / "table.csv"
    path.write_text("Unnamed: 0,prompt,small,note,large\n0,one,1,fine,\n1,two,TRUE,,0\n")
    layouts: list[Layout] = []
    skips = Skips()
    rows = [row for _, row in read_routerbench([path], skips, layouts=layouts)]
    assert [[(r.model, r.score) for r in row.responses] for row in rows] == [
        [("small", 1.0)],
        [("small", 1.0), ("large", 0.0)],
    ]
    assert layouts[0].passed_over == ("note",)
    assert layouts[0].listed is False


def test_models_can_be_named(tmp_path: Path) -> None:
    """A number that is no score is then no model; a name that is not there is refused."""
    path = write_csv(tmp_path / "t.csv", [{"prompt": "x", "grade": 7, "small": 1}])
    assert [r.model for r in read(path, models=["small"])[0][0].responses] == ["small"]
    with pytest.raises(LogError, match=r"t.csv:1: no column big; it has prompt, grade, small"):
        read(path, models=["big"])


def test_a_list_in_an_ordinary_table_is_text(tmp_path: Path) -> None:
    """Only where the first prompt is a written list are texts unwrapped."""
    rows = [{"prompt": "x", "m": 1, "m|model_response": "['a', 'b']"}]
    found, _ = read(write_csv(tmp_path / "t.csv", rows))
    assert found[0].responses[0].text == "['a', 'b']"


@pytest.mark.parametrize("unknown", ["", "nan", float("nan"), None])
@pytest.mark.parametrize("write", [write_csv, write_json])
def test_what_is_not_there_is_unknown(tmp_path: Path, write: Any, unknown: Any) -> None:
    """An empty cell, NaN and null are no score, and never 0; an answer may say nan."""
    gone = {"large": unknown, "large|total_cost": unknown, "large|model_response": ""}
    (row,), skips = read(write(tmp_path / "table", table(1, **gone)))
    assert [r.model for r in row.responses] == ["meta/small"]
    assert skips.counts == {}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"large": "good"}, "a score is not a number"),
        ({"large|total_cost": "free"}, "a cost is not a number"),
        ({"prompt": ""}, "a row without a prompt"),
        ({"sample_id": "mmlu.val.0"}, "an id twice"),
        (dict.fromkeys(("large", "meta/small", "large|model_response",
                        "meta/small|model_response"), ""), "a row without any score or answer"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_is_counted(
    tmp_path: Path, more: dict[str, Any], reason: str
) -> None:
    """With its place; the others are read."""
    rows = table(1) + table(1, **({"sample_id": "other"} | more)) + table(3)[2:]
    path = write_json(tmp_path / "t.jsonl", rows)
    found, skips = read(path)
    assert [row.id for row in found] == ["mmlu.val.0", "mmlu.val.2"]
    assert skips.counts == {reason: 1}
    assert skips.first[reason].startswith(f"{path}:2")


def test_half_characters_are_replaced(tmp_path: Path) -> None:
    """Python writes them, and reads them out of its lists; no file could hold them."""
    row = {"prompt": "['a \\ud800']", "m": float("nan"), "m|model_response": "b \ud800"}
    (found,), _ = read(write_json(tmp_path / "t.jsonl", [row]))
    assert (found.prompt, found.responses[0].text) == ("a ?", "b ?")


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    """A row is named by the line it begins on, although its cells hold line breaks."""
    rows: list[dict[str, Any]] = [{"prompt": "a\nb\nc", "m": 1}, {"prompt": "d", "m": "bad"}]
    path = write_csv(tmp_path / "t.csv", rows)
    assert read(path)[1].first["a score is not a number"] == f"{path}:5: m: 'bad'"


def test_a_csv_that_is_cut_off_says_so(tmp_path: Path) -> None:
    """Its last row lacks cells, which are not taken for unknown scores."""
    path = write_csv(tmp_path / "t.csv", table())
    whole = path.read_text()
    path.write_text(whole[: whole.rindex(",0.002")])
    rows, skips = read(path)
    assert len(rows) == 1
    assert list(skips.counts) == ["a row of more or fewer cells than the header"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"sample_id,small\n1,0\n", "t:1: no column prompt; it has sample_id, small; allowed: "),
        (b"prompt,note\nx,y\n", "t:1: no column of a model's scores; .*--models"),
        (b"prompt,m,m\nx,1,0\n", "t:1: column m twice"),
        (b'[{"prompt": "x"}]', "t:1: a JSON array; allowed: "),
        (b'{"prompt": "x", "m": 1}\n{"prompt"\n', "t:2: not a row of a table"),
        (b"\x80\x04\x95pickle", "t: a pickle, which is not opened .*read_pickle"),
        (b"prompt,m\n\xff\xfe,1\n", "t:1: not a CSV table|t:2: not a CSV table"),
        (
            gzip.compress(b"prompt,m\n" + b"x,1\n" * 9000, mtime=0)[:60],
            "t:.*: gzip data is cut short",
        ),
        (b"PAR1 and nothing", "t: not a Parquet file"),
    ],
)
def test_what_is_no_such_table_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    """File, line and what is allowed."""
    path = tmp_path / "t"
    path.write_bytes(content)
    with pytest.raises(LogError, match=said):
        read(path)


@pytest.mark.parametrize("content", [b"", b"prompt,m\n", b"\n\n"])
def test_a_table_without_rows_is_counted(tmp_path: Path, content: bytes) -> None:
    """There is nothing to say about its columns."""
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    rows, skips = read(path)
    assert (rows, skips.counts) == ([], {"a table without rows": 1})


def test_a_long_prompt_is_no_mistake(tmp_path: Path) -> None:
    """csv's own limit is 128 KiB a cell; it is as it was afterwards."""
    before = csv.field_size_limit()
    path = write_csv(tmp_path / "t.csv", [{"prompt": "x" * 300_000, "m": 1}])
    assert len(read(path)[0][0].prompt) == 300_000
    assert csv.field_size_limit() == before
